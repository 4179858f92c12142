//! One model a machine: each the very one that its rows alone give, whatever happens to the others.

mod support;

use std::fs;
use std::sync::Arc;

use fluxlet_tools::train::Config;
use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;
use support::data;
use support::{Folder, RESULTS, Ran};

const OPTIONS: &str = "--layers 1 --components 2 --epochs 6 --batch 64 --seed 3 --average 0.9";
/// Names that are no folders' names, and two that are.
const NAMES: [&str; 7] = ["pump-7", "a/b", "..", "", "Gerät \u{7}", "x y", "10.0.0.7"];

/// Row i of 3 numbers and a label, in the group `i % groups`.
fn rows(groups: usize, each: usize) -> Vec<(usize, [f32; 4])> {
    let rows = data::gaussian(groups * each, 1).into_iter().enumerate();
    let row = |(i, [a, b, c]): (usize, [f32; 3])| {
        let group = i % groups;
        (group, [a + group as f32, b, c, f32::from(i % 17 == 16)])
    };
    rows.map(row).collect()
}

fn line(row: [f32; 4]) -> String {
    row.map(|x| x.to_string()).join(",")
}

/// `all/x.csv`, which holds the rows of all groups, and for each group i `i/x.csv` with its own.
fn fleet(names: &[&str], each: usize) -> Folder {
    let folder = Folder::new();
    let mut all = "a,machine,b,c,kind\n".to_string();
    let mut alone = vec!["a,b,c,kind\n".to_string(); names.len()];
    for (group, row) in rows(names.len(), each) {
        let numbers = line(row);
        let (a, rest) = numbers.split_once(',').unwrap();
        all += &format!("{a},\"{}\",{rest}\n", names[group]);
        alone[group] += &format!("{numbers}\n");
    }
    fs::create_dir(folder.path("all")).unwrap();
    folder.write("all/x.csv", all);
    for (i, rows) in alone.iter().enumerate() {
        fs::create_dir(folder.path(&i.to_string())).unwrap();
        folder.write(&format!("{i}/x.csv"), rows);
    }
    folder
}

fn list(folder: &Folder, dir: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&folder.text(&format!("{dir}/fleet.json"))).unwrap();
    list["models"].as_array().unwrap().clone()
}

/// Asserts that `dir` holds what `fluxlet train` makes of each group's rows.
fn assert_as_alone(folder: &Folder, dir: &str, names: &[&str]) {
    let models = list(folder, dir);
    assert_eq!(models.len(), names.len());
    for (i, (model, name)) in models.iter().zip(names).enumerate() {
        assert_eq!(model["name"], *name);
        if !folder.path(&format!("{i}/run")).exists() {
            folder.ok(&format!("train {i}/x.csv -o {i}/run --label kind {OPTIONS}"));
        }
        let own = model["folder"].as_str().unwrap();
        folder.assert_same_run(&format!("{i}/run"), &format!("{dir}/{own}"), &RESULTS);
    }
    let folders = folder.entries();
    let inside = folders.iter().filter(|name| name.starts_with(&format!("{dir}/")));
    assert_eq!(inside.count(), 2 + names.len() * (1 + RESULTS.len()), "{folders:?}");
}

#[test]
fn each_model_is_that_of_its_rows_alone_whatever_the_threads_and_the_names() {
    let folder = fleet(&NAMES, 120);
    for threads in [1, 3, 20] {
        let dir = format!("fleet{threads}");
        let said = folder.ok(&format!(
            "fleet all/x.csv --group machine --label kind -o {dir} --threads {threads} {OPTIONS}"
        ));
        assert!(said.ends_with(&format!("7 models in {dir}\n")), "{said}");
        assert_eq!(said.lines().count(), 1 + NAMES.len() + 1, "{said}");
        assert_as_alone(&folder, &dir, &NAMES);
    }
    let models = list(&folder, "fleet1");
    assert_eq!(models[0]["folder"], "pump-7");
    assert_eq!(models[6]["folder"], "10.0.0.7");
    assert_eq!(models[0]["report"]["train_rows"], folder_report(&folder)["train_rows"]);
}

fn folder_report(folder: &Folder) -> Value {
    folder.json(&format!("train 0/x.csv -o again --label kind {OPTIONS} --json"))
}

#[test]
fn a_bad_group_is_named_with_its_reason_and_fails_alone() {
    let folder = Folder::new();
    let mut text = "machine,a,b\n".to_string();
    for (i, [a, b]) in data::normals::<2>(200, 2).into_iter().enumerate() {
        text += &format!("good,{a},{b}\n");
        match i {
            0..9 => text += &format!("few,{a},{b}\n"),
            20 => text += &format!("hole,{a},\n"),
            _ => text += &format!("stuck,1,2\nhole,{a},{b}\nlast,{b},{a}\n"),
        }
    }
    folder.write("x.csv", &text);
    let line = "fleet x.csv --group machine -o out --epochs 2 --components 1";
    let Ran { code, stdout, stderr } = folder.run(line);
    assert_eq!((code, stderr.as_str()), (Some(1), ""), "{stdout}");
    let hole =
        text.lines().position(|line| line.starts_with("hole") && line.ends_with(',')).unwrap();
    let failures = [
        ("few", "train on x.csv: it has 9 normal rows, at least 10 are needed".to_string()),
        ("hole", format!("use x.csv: row {hole} of the data, column b: NaN is not finite")),
        ("stuck", "train on x.csv: every column is constant in the normal rows, there is nothing to learn".into()),
    ];
    for (group, reason) in &failures {
        let told = stdout.lines().find(|line| line.starts_with(group)).unwrap();
        assert!(told.ends_with(&format!("failed: {reason}")), "{told}");
    }
    assert!(stdout.ends_with("2 models in out\n3 models failed\n"), "{stdout}");
    let models = list(&folder, "out");
    for (group, reason) in failures {
        let model = models.iter().find(|model| model["name"] == group).unwrap();
        assert_eq!(model["error"], reason);
        assert!(model["report"].is_null() && !folder.path(&format!("out/{group}")).exists());
    }
    for group in ["good", "last"] {
        assert!(folder.path(&format!("out/{group}/model.flx")).exists(), "{group}");
    }
    // What failed is tried again; what is finished stays, as it is.
    folder.write("out/good/model.flx", "mine");
    folder.write(
        "x.csv",
        text.replace("stuck,1,2", "stuck,1,3").replacen("stuck,1,3", "stuck,2,2", 9),
    );
    let ran = folder.run("fleet --resume out --json");
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &told["models"]), (Some(1), &list(&folder, "out").into()));
    assert_eq!(folder.text("out/good/model.flx"), "mine");
    assert!(folder.path("out/stuck/model.flx").exists());
}

#[test]
fn the_same_groups_come_from_every_format() {
    let folder = Folder::new();
    let rows: Vec<[f32; 3]> = data::normals::<2>(120, 3)
        .into_iter()
        .enumerate()
        .map(|(i, [a, b])| [(i % 3) as f32 * 10.0, a, b])
        .collect();
    folder.write("x.csv", data::csv("machine,a,b", &rows));
    folder.write("x.npy", data::npy(&rows));
    folder.write("x.parquet", data::parquet(["machine", "a", "b"], &rows));
    folder.write("text.parquet", with_text(&rows));
    let options = "--epochs 2 --components 1";
    for (file, group) in
        [("x.csv", "machine"), ("x.npy", "1"), ("x.parquet", "machine"), ("text.parquet", "1")]
    {
        folder.ok(&format!("fleet {file} --group {group} -o {file}.out {options}"));
        for (machine, name) in ["0", "10", "20"].into_iter().enumerate() {
            let model = &list(&folder, &format!("{file}.out"))[machine];
            assert_eq!((&model["name"], &model["folder"]), (&name.into(), &name.into()), "{file}");
            let [ours, first] =
                [file, "x.csv"].map(|file| format!("{file}.out/{name}/history.csv"));
            assert!(folder.read(&ours) == folder.read(&first), "{ours}");
        }
    }
}

/// A Parquet file whose first column is text.
fn with_text(rows: &[[f32; 3]]) -> Vec<u8> {
    let schema =
        "message rows { required binary machine (UTF8); required float a; required float b; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Default::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    for j in 0..3 {
        let mut writer = group.next_column().unwrap().unwrap();
        let values = rows.iter().map(|row| row[j]);
        if j == 0 {
            let texts: Vec<ByteArray> = values.map(|x| x.to_string().as_str().into()).collect();
            writer.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
        } else {
            let values: Vec<f32> = values.collect();
            writer.typed::<FloatType>().write_batch(&values, None, None).unwrap();
        }
        writer.close().unwrap();
    }
    group.close().unwrap();
    file.close().unwrap();
    bytes
}

#[test]
fn what_is_wrong_with_the_whole_is_one_sentence_and_nothing_is_written() {
    let folder = fleet(&["a", "b"], 20);
    for (line, expected) in [
        (
            "--group nothing",
            "read all/x.csv: there is no column nothing; the columns are a, machine, b, c, kind",
        ),
        (
            "--group kind --label kind",
            "read all/x.csv: column kind is the label, it can't be the group as well",
        ),
        (
            "--group machine --context machine",
            "read all/x.csv: there is no column machine; the columns are a, b, c, kind",
        ),
        ("--group machine --epochs 0", "train: epochs = 0, at least 1 is needed"),
        ("--group machine --threads 0", "train: --threads must be at least 1"),
    ] {
        assert_eq!(
            folder.fails(&format!("fleet all/x.csv {line} -o out")),
            format!("failed to {expected}")
        );
    }
    let said = folder.fails("fleet --resume out");
    assert!(said.starts_with("failed to read out/fleet.json: No such file"), "{said}");
}

#[test]
fn a_group_s_configuration_repeats_its_model() {
    let folder = fleet(&["a", "b"], 60);
    folder.ok(&format!("fleet all/x.csv --group machine --label kind -o out {OPTIONS}"));
    let config: Config = toml::from_str(&folder.text("out/b/config.toml")).unwrap();
    assert_eq!(config.train.epochs, Some(6));
    folder.ok("train 1/x.csv -o run --config out/b/config.toml");
    assert!(folder.read("run/model.flx") == folder.read("out/b/model.flx"));
}

#[cfg(unix)]
mod disturbed {
    use std::process::{Child, Command};
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

    fn start(folder: &Folder, resume: bool) -> Child {
        let what = if resume {
            "--resume out".into()
        } else {
            format!("all/x.csv --group machine --label kind -o out {OPTIONS}")
        };
        folder.start(&format!("fleet {what} --threads 2 --checkpoint-every 0"))
    }

    /// Waits until one model more is finished and another is under way.
    fn wait_for_a_state(folder: &Folder, child: &mut Child, finished: usize) {
        let is_there = |name: &&str| folder.path(&format!("out/{name}/resume.state")).exists();
        while !folder.path("out/fleet.json").exists()
            || list(folder, "out").iter().filter(|m| !m["report"].is_null()).count() <= finished
            || !NAMES.iter().any(&is_there)
        {
            assert_eq!(child.try_wait().unwrap(), None, "the fleet ended before it was disturbed");
            sleep(Duration::from_millis(1));
        }
    }

    fn stop(folder: &Folder) -> Ran {
        let mut child = start(folder, false);
        wait_for_a_state(folder, &mut child, 0);
        let interrupt = format!("kill -INT {}", child.id());
        assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
        Ran::wait(child)
    }

    #[test]
    fn ctrl_c_stops_a_fleet_and_it_goes_on_to_the_same_models() {
        let folder = fleet(&NAMES, 400);
        let Ran { code, stdout, stderr } = stop(&folder);
        assert_eq!((code, stdout.as_str()), (Some(130), ""), "{stderr}");
        let finished = list(&folder, "out").iter().filter(|m| !m["report"].is_null()).count();
        let told = format!(
            "stopped: {finished} of 5 models are finished, 0 failed; to continue: fluxlet fleet --resume out\n"
        );
        assert!((1..5).contains(&finished), "{finished}");
        assert_eq!(stderr, told);
        let line = format!("fleet all/x.csv --group machine --label kind -o out {OPTIONS}");
        let said = folder.fails(&line);
        assert!(said.contains("out: it holds an unfinished fleet"), "{said}");
        folder.ok("fleet --resume out");
        assert_as_alone(&folder, "out", &NAMES);
        // A finished fleet has nothing left to do.
        let before = folder.read("out/fleet.json");
        folder.ok("fleet --resume out");
        assert!(folder.read("out/fleet.json") == before);
    }

    #[test]
    fn a_fleet_that_is_killed_goes_on_to_the_same_models() {
        let folder = fleet(&NAMES, 400);
        for kill in 0..2 {
            let mut child = start(&folder, kill > 0);
            wait_for_a_state(&folder, &mut child, kill);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        folder.ok("fleet --resume out --threads 1");
        assert_as_alone(&folder, "out", &NAMES);
    }

    #[test]
    fn a_fleet_can_be_begun_anew() {
        let folder = fleet(&NAMES, 400);
        stop(&folder);
        folder.ok(&format!(
            "fleet all/x.csv --group machine --label kind -o out --restart {OPTIONS}"
        ));
        assert_as_alone(&folder, "out", &NAMES);
    }
}
