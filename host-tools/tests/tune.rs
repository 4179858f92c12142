//! A search among flows: each the very one that `train` makes of its settings.

mod support;

use std::fs;

use serde_json::Value;
use support::{Folder, RESULTS, Ran, data};

const OPTIONS: &str = "--label kind --components 1 --epochs 4 --batch 64";

/// 200 rows of three numbers and a label.
fn rows() -> Folder {
    let rows = data::gaussian(200, 1).into_iter().enumerate();
    let rows: Vec<[f32; 4]> =
        rows.map(|(i, [a, b, c])| [a, b, c, f32::from(i % 17 == 16)]).collect();
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c,kind", &rows));
    folder
}

fn list(folder: &Folder) -> Vec<Value> {
    let list: Value = serde_json::from_str(&folder.text("out/tune.json")).unwrap();
    list["models"].as_array().unwrap().clone()
}

#[test]
fn each_flow_is_that_of_its_settings_and_the_table_tells_which_pays() {
    let folder = rows();
    let said = folder.ok(&format!(
        "tune x.csv -o out {OPTIONS} --try flow.layers=1,2 --try train.seed=3,4 --try flow.hidden=[8],[4,4] \
         --flow coupling --threads 3"
    ));
    let mut nlls = Vec::new();
    for hidden in ["8", "4,4"] {
        for layers in ["1", "2"] {
            for seed in ["3", "4"] {
                let own =
                    format!("hidden-{}_layers-{layers}_seed-{seed}", hidden.replace(',', "-"));
                folder.ok(&format!(
                    "train x.csv -o {own} {OPTIONS} --flow coupling --layers {layers} --hidden {hidden} --seed {seed}"
                ));
                folder.assert_same_run(&own, &format!("out/{own}"), &RESULTS);
                let model = list(&folder).into_iter().find(|model| model["name"] == own).unwrap();
                let number = |name: &str| model["report"][name].as_f64().unwrap();
                let bytes = fs::metadata(folder.path(&format!("{own}/model.flx"))).unwrap().len();
                assert_eq!(number("model_bytes"), bytes as f64);
                let inspected = folder.json(&format!("inspect {own}/model.flx --json"));
                assert_eq!(inspected["multiply_adds"].as_f64(), Some(number("multiply_adds")));
                nlls.push((number("validation_nll"), bytes as f64, number("multiply_adds"), own));
            }
        }
    }
    nlls.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[9]), (10, "8 models in out"), "{said}");
    for (place, (line, (nll, bytes, adds, own))) in lines[1..].iter().zip(&nlls).enumerate() {
        assert!(line.starts_with(&format!("{own} ")), "{own}: {said}");
        assert!(line.contains(&format!("  {nll:.4}  ")), "{nll}: {line}");
        let undercut = nlls[..place].iter().any(|better| better.1 <= *bytes && better.2 <= *adds);
        assert_eq!(line.ends_with('*'), !undercut, "{said}");
    }
}

#[test]
fn a_setting_that_fails_alone_is_named_and_tried_again() {
    let folder = rows();
    // 200 rows are three windows of 64, too few to learn from.
    let line = format!("tune x.csv -o out {OPTIONS} --try data.window=0,64");
    let Ran { code, stdout, stderr } = folder.run(&line);
    assert_eq!((code, stderr.as_str()), (Some(1), ""), "{stdout}");
    assert!(stdout.ends_with("1 models in out\n1 models failed\n"), "{stdout}");
    let [fine, bad] = &list(&folder)[..] else { panic!("two are listed") };
    assert!(fine["error"].is_null() && !fine["report"].is_null());
    let error = bad["error"].as_str().unwrap();
    assert!(error.starts_with("train on x.csv: it has "), "{error}");
    let told = format!("window-64  failed: {error}");
    assert!(stdout.lines().any(|line| line == told), "{told}: {stdout}");

    // What is finished stays as it is.
    folder.write("out/window-0/model.flx", "mine");
    let again = folder.run("tune --resume out --json");
    let told: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((again.code, &told["models"]), (Some(1), &list(&folder).into()));
    assert_eq!(folder.text("out/window-0/model.flx"), "mine");
}

#[test]
fn what_is_wrong_with_the_whole_is_one_sentence_and_nothing_is_written() {
    let folder = rows();
    for (line, expected) in [
        ("nix.csv", "read nix.csv: No such file or directory (os error 2)"),
        ("x.csv --try flow.bins=6,6", "train: bins-6 is tried twice"),
        ("x.csv --try flow.bins=0", "train: bins = 0, 1 to 256 are possible"),
        (
            "x.csv --try bins=6",
            "train: there is no bins; settings are named as in config.toml, such as flow.layers",
        ),
        (
            "x.csv --try data.nothing=1",
            "train: unknown field `nothing`, expected one of `label`, `exclude`, `context`, `bounded`, \
             `angles`, `window`, `bands`, `held_out`, `false_alarm_rate`",
        ),
    ] {
        assert_eq!(folder.fails(&format!("tune {line} -o out")), format!("failed to {expected}"));
    }
    assert_eq!(folder.entries(), ["x.csv"]);
    let said = folder.fails("tune --resume out");
    assert!(said.starts_with("failed to read out/tune.json: No such file"), "{said}");
}
