//! `fluxlet train`: what it writes, what it depends on and what it does not.

mod support;

use fluxlet::Model;
use support::data::{self, Rows};
use support::{Folder, RESULTS, column, parse_csv};

/// A folder with 300 Gaussian rows in `x.csv`.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(300, 1)));
    folder
}

#[test]
fn the_run_folder_holds_exactly_the_four_files() {
    let folder = folder();
    let said = folder.ok("train x.csv -o runs/first --epochs 5");
    let mut expected = vec!["runs/".to_string(), "runs/first/".into(), "x.csv".into()];
    expected.extend(RESULTS.map(|name| format!("runs/first/{name}")));
    expected.sort();
    assert_eq!(folder.entries(), expected);
    assert!(said.contains("trained on 240 rows, 60 held out; best of 5 epochs is "), "{said}");
    assert!(said.ends_with("wrote runs/first/model.flx\n"), "{said}");
    // A second run into the same folder replaces the first.
    folder.ok("train x.csv -o runs/first --epochs 5 --seed 3");
    assert_eq!(folder.entries(), expected);
}

#[test]
fn the_thread_count_never_shows_in_the_result() {
    let folder = folder();
    // The networks have more parameters than a thread takes at once.
    let network = "--flow coupling --hidden 64,64 --batch 200 --optimiser adamw --average 0.9";
    for options in ["", network] {
        for threads in [1, 2, 7] {
            folder
                .ok(&format!("train x.csv -o {threads} --epochs 5 --threads {threads} {options}"));
        }
        folder.assert_same_run("1", "2", &RESULTS);
        folder.assert_same_run("1", "7", &RESULTS);
    }
}

#[test]
fn a_reversible_run_learns_the_same() {
    let folder = folder();
    let options = "--flow coupling --hidden 16,16 --layers 8 --epochs 20";
    let nll = |run: &str, more: &str| -> f64 {
        let said = folder.ok(&format!("train x.csv -o {run} {options} {more}"));
        assert!(!said.contains("missed"), "{said}");
        let (_, cells) = parse_csv(&folder.text(&format!("{run}/history.csv")));
        column(&cells, 1)[19]
    };
    let (usual, reversible) = (nll("usual", ""), nll("1", "--reversible --threads 1"));
    assert!((usual - reversible).abs() < 0.01, "{usual} {reversible}");
    nll("7", "--reversible --threads 7");
    folder.assert_same_run("1", "7", &RESULTS);
}

#[test]
fn another_seed_gives_another_model() {
    let folder = folder();
    folder.ok("train x.csv -o 0 --epochs 5");
    folder.ok("train x.csv -o 9 --epochs 5 --seed 9");
    assert_ne!(folder.read("0/model.flx"), folder.read("9/model.flx"));
}

#[test]
fn a_run_is_repeated_by_its_own_config() {
    let folder = Folder::new();
    let rows = data::gaussian(300, 1).into_iter().enumerate();
    let labelled: Rows<4> = rows.map(|(i, [a, b, c])| [a, b, c, f32::from(i % 9 == 0)]).collect();
    folder.write("x.csv", data::csv("a,b,c,kind", &labelled));
    folder.ok("train x.csv -o first --epochs 4 --seed 5 --layers 3 --rotation householder \
         --reflections 2 --spline linear --bins 5 --tails identity --components 3 --label kind \
         --exclude a --false-alarm-rate 0.05");
    folder.ok("train x.csv -o second --config first/config.toml");
    folder.assert_same_run("first", "second", &RESULTS);
    // What was left to the command is filled in: a run of default length can be repeated too.
    folder.ok("train x.csv -o third --layers 1 --bins 2 --components 1");
    assert!(folder.text("third/config.toml").contains("epochs = "));
    folder.ok("train x.csv -o fourth --config third/config.toml");
    folder.assert_same_run("third", "fourth", &RESULTS);
    // An option beside --config overrides it.
    folder.ok("train x.csv -o fifth --config third/config.toml --epochs 2");
    assert_eq!(folder.text("fifth/history.csv").lines().count(), 3);
}

#[test]
fn labelled_rows_change_nothing_in_the_model() {
    let normal = data::gaussian(300, 1);
    let (clean, mixed) = (Folder::new(), Folder::new());
    clean.write("x.csv", data::csv("a,b,c", &normal));
    // After every tenth row an anomaly far away; the label says so.
    let labelled: Rows<4> = normal
        .iter()
        .enumerate()
        .flat_map(|(i, &[a, b, c])| {
            let anomaly = (i % 10 == 9).then_some([a + 40.0, b, c, 2.0]);
            [Some([a, b, c, 0.0]), anomaly]
        })
        .flatten()
        .collect();
    mixed.write("x.csv", data::csv("a,b,c,kind", &labelled));
    clean.ok("train x.csv -o run --epochs 5");
    let report = mixed.json("train x.csv -o run --epochs 5 --label kind --json");
    assert!(clean.read("run/model.flx") == mixed.read("run/model.flx"));
    assert_eq!(report["anomalies"], 30);
    assert_eq!(
        report["train_rows"].as_u64().zip(report["held_out_rows"].as_u64()),
        Some((240, 60))
    );
    assert_eq!((report["auroc"].as_f64(), report["aupr"].as_f64()), (Some(1.0), Some(1.0)));
}

#[test]
fn an_excluded_column_is_as_good_as_none() {
    let rows = data::gaussian(200, 2);
    let narrow: Rows<2> = rows.iter().map(|&[a, _, c]| [a, c]).collect();
    let (with, without) = (Folder::new(), Folder::new());
    with.write("x.csv", data::csv("a,b,c", &rows));
    without.write("x.csv", data::csv("a,c", &narrow));
    without.ok("train x.csv -o run --epochs 3");
    for exclude in ["--exclude b", "--exclude 2"] {
        with.ok(&format!("train x.csv -o run --epochs 3 {exclude}"));
        assert!(with.read("run/model.flx") == without.read("run/model.flx"), "{exclude}");
    }
    // Text is no obstacle where it is left out.
    let text = data::csv("a,c,machine", &narrow).replace('\n', ",number seven\n");
    with.write("x.csv", text.replacen(",number seven", "", 1));
    with.ok("train x.csv -o run --epochs 3 --exclude machine");
    assert!(with.read("run/model.flx") == without.read("run/model.flx"));
}

#[test]
fn the_same_numbers_in_any_format_give_the_same_model() {
    let folder = Folder::new();
    let rows = data::gaussian(200, 3);
    folder.write("header.csv", data::csv("a,b,c", &rows));
    folder.write("plain.csv", data::csv("", &rows));
    folder.write("semicolons.txt", data::csv("a,b,c", &rows).replace(',', ";"));
    folder.write("single.npy", data::npy(&rows));
    let wide: Vec<[f64; 3]> = rows.iter().map(|row| row.map(f64::from)).collect();
    folder.write("double.npy", data::npy(&wide));
    folder.write("table.parquet", data::parquet(["a", "b", "c"], &rows));
    let files = ["plain.csv", "semicolons.txt", "single.npy", "double.npy", "table.parquet"];
    for file in files.into_iter().chain(["header.csv"]) {
        folder.ok(&format!("train {file} -o {file}.run --epochs 3"));
    }
    let numbers = |file: &str| {
        let bytes = folder.read(&format!("{file}.run/model.flx"));
        let model = Model::new_checked(&bytes).unwrap();
        let weights: Vec<f32> = model.layers().flat_map(|step| step.weights.iter()).collect();
        let base: Vec<f32> = model.base().1.iter().collect();
        let table: Vec<(u32, f32)> = model.calibration().unwrap().entries().collect();
        (weights, base, table)
    };
    for file in files {
        folder.assert_same_run("header.csv.run", &format!("{file}.run"), &RESULTS[..3]);
        // The models differ in the names of columns and file, and in nothing else.
        assert_eq!(numbers(file), numbers("header.csv"), "{file}");
    }
}

#[test]
fn columns_of_few_values_and_of_one_are_survived_and_told() {
    let folder = Folder::new();
    let rows: Rows<3> = data::normals::<1>(300, 4)
        .into_iter()
        .enumerate()
        .map(|(i, [x])| [x, 3.5, (i % 5) as f32])
        .collect();
    folder.write("x.csv", data::csv("smooth,constant,coarse", &rows));
    let report = folder.json("train x.csv -o run --epochs 5 --json");
    let notes = report["notes"].to_string();
    assert!(notes.contains("column constant is always 3.5"), "{notes}");
    assert!(notes.contains("column coarse has 5 distinct values"), "{notes}");
    assert!(!notes.contains("smooth"), "{notes}");
    assert!(report["validation_nll"].as_f64().unwrap().is_finite());
    // A constant that changes is news; a value it always had is none.
    folder
        .write("new.csv", data::csv("smooth,constant,coarse", &[[0.0, 3.5, 2.0], [0.0, 4.5, 2.0]]));
    let (_, scores) = parse_csv(&folder.ok("score run/model.flx new.csv"));
    assert_eq!(column::<u8>(&scores, 3), [0, 1]);
}

#[test]
fn an_angle_has_no_end_and_a_bounded_column_has_hard_ones() {
    let folder = Folder::new();
    // A wind around north, on both sides of 0°, and a humidity that never exceeds 100.
    let rows: Rows<2> = data::normals::<2>(600, 7)
        .into_iter()
        .map(|[a, b]| [(360.0 + 20.0 * a).rem_euclid(360.0), 100.0 - 5.0 * b.abs()])
        .collect();
    folder.write("x.csv", data::csv("wind,humidity", &rows));
    let options = "--angle wind=0:360 --bounded humidity=0:100 --epochs 20";
    folder.ok(&format!("train x.csv -o run {options}"));
    let new = [[2.0, 95.0], [362.0, 95.0], [-358.0, 95.0], [358.0, 95.0], [180.0, 95.0]];
    let beyond = [[2.0, 100.5], [2.0, -1.0]];
    folder.write("new.csv", data::csv("wind,humidity", &[&new[..], &beyond].concat()));
    let (_, cells) = parse_csv(&folder.ok("score run/model.flx new.csv"));
    let (log_probs, alarms): (Vec<f32>, Vec<u8>) = (column(&cells, 0), column(&cells, 3));
    for turned in [1, 2] {
        assert!((log_probs[turned] - log_probs[0]).abs() < 1e-3, "{log_probs:?}");
    }
    // On the other side of north it is as usual as here, to the south it never was.
    assert!((log_probs[3] - log_probs[0]).abs() < 0.5, "{log_probs:?}");
    assert!(log_probs[4] < log_probs[0] - 3.0, "{log_probs:?}");
    assert_eq!(alarms, [0, 0, 0, 0, 1, 1, 1]);
    assert_eq!(log_probs[5..], [fluxlet::LOG_PROB_MIN; 2]);
    // The domains are part of the configuration.
    folder.ok("train x.csv -o again --config run/config.toml");
    folder.assert_same_run("run", "again", &RESULTS);

    for (options, expected) in [
        ("--bounded humidity=0:90", "lies outside 0 to 90"),
        ("--bounded humid=0:90", "there is no column humid"),
        ("--bounded humidity=0:100 --angle 2=0:100", "column 2 has two domains"),
        ("--angle wind=0:360 --context wind --flow coupling", "wind is context, it has no domain"),
        ("--angle wind=0:360 --window 16", "the features of a window have no limits"),
    ] {
        let said = folder.fails(&format!("train x.csv -o new {options}"));
        assert!(said.contains(expected), "{options}: {said}");
    }
}

#[test]
fn ten_rows_are_enough() {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(10, 5)));
    let report = folder.json("train x.csv -o run --json");
    assert_eq!(report["train_rows"].as_u64().zip(report["held_out_rows"].as_u64()), Some((8, 2)));
    let evaluation = folder.json("eval run/model.flx x.csv --json");
    assert!(evaluation["nll"].as_f64().unwrap() < 1e6);
}

#[test]
fn a_stream_is_cut_into_windows() {
    let folder = Folder::new();
    // 60 windows of 16 instants, and 7 instants more.
    let waves = data::normals::<2>(60 * 16 + 7, 6).into_iter().enumerate();
    let wave = |t: usize| (0.9 * t as f64).sin() as f32;
    let stream: Rows<2> = waves.map(|(t, [a, b])| [wave(t) + 0.1 * a, b]).collect();
    folder.write("x.csv", data::csv("x,y", &stream));
    folder.write("bands.toml", "[data]\nbands = 3\n");
    let report =
        folder.json("train x.csv -o run --window 16 --epochs 5 --json --config bands.toml");
    assert_eq!(report["train_rows"].as_u64().zip(report["held_out_rows"].as_u64()), Some((48, 12)));
    assert!(report["notes"].to_string().contains("the last 7 rows do not fill a window"));
    let inspection = folder.json("inspect run/model.flx --json");
    assert_eq!(inspection["dim"], 2 * (2 + 3));
    assert_eq!(inspection["input_len"], 32);
    let (_, scores) = parse_csv(&folder.ok("score run/model.flx x.csv"));
    assert_eq!(scores.len(), 60);
}

#[test]
fn the_history_tells_every_epoch() {
    let folder = folder();
    let report = folder.json("train x.csv -o run --epochs 12 --json");
    let (header, cells) = parse_csv(&folder.text("run/history.csv"));
    assert_eq!(header, ["epoch", "train_nll", "validation_nll", "learning_rate"]);
    assert_eq!(column::<usize>(&cells, 0), (1..=12).collect::<Vec<_>>());
    let validation: Vec<f64> = column(&cells, 2);
    let best = validation.iter().copied().fold(f64::INFINITY, f64::min);
    match report["best_epoch"].as_u64().unwrap() as usize {
        0 => assert!(report["validation_nll"].as_f64().unwrap() <= best),
        epoch => {
            assert_eq!(validation[epoch - 1], best);
            assert_eq!(report["validation_nll"].as_f64(), Some(best));
        }
    }
    assert!(column::<f64>(&cells, 1).iter().all(|nll| nll.is_finite()));
    assert!(column::<f64>(&cells, 3).iter().all(|rate| (0.0..1.0).contains(rate)));
}
