//! `fluxlet export`: networks in other numbers, what they cost, and that a device agrees on them.

mod support;

use fluxlet::Model;
use fluxlet::conditioner::Numbers;
use serde_json::{Value, json};
use support::{Folder, Ran, data};

/// A folder with a run on rows that a coupling flow learns, and with those rows.
fn run(flow: &str) -> Folder {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(1200, 1)));
    folder.ok(&format!("train x.csv -o run --epochs 6 {flow}"));
    folder
}

/// Runs a command that must succeed; setting up the boards may talk on standard error.
fn on_boards(folder: &Folder, line: &str) -> Value {
    let Ran { code, stdout, stderr } = folder.run(line);
    assert_eq!(code, Some(0), "fluxlet {line}: {stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn numbers_of(bytes: &[u8]) -> Vec<Numbers> {
    let model = Model::new_checked(bytes).unwrap();
    let networks = model.layers().filter(|step| step.layer.is_conditioned());
    networks.map(|step| step.shape.numbers).collect()
}

#[test]
fn int8_costs_little_is_calibrated_anew_and_has_the_same_bits_on_both_boards() {
    for flow in ["--flow coupling --hidden 32,32", "--flow autoregressive --residual --hidden 24,1"]
    {
        let folder = run(flow);
        let report = folder.json("export run --weights int8 --calibrate x.csv -o m.flx --json");
        let number = |key: &str| report[key].as_f64().unwrap();
        assert!((number("nll") - number("nll_before")).abs() < 0.02, "{flow}: {report}");
        assert!(number("largest_change") < 1.0, "{flow}: {report}");
        assert_eq!(report["calibration_rows"], json!(240), "{flow}");
        assert_eq!(number("rows"), 240.0);
        let bytes = folder.read("m.flx");
        assert_eq!(report["bytes"], json!(bytes.len()));
        assert!(numbers_of(&bytes).iter().all(|numbers| *numbers == Numbers::Int8));
        // Thresholds are of the new scores: those of the held-out rows, of which 1 % are alarms.
        let (old, new) = (folder.read("run/model.flx"), Model::new_checked(&bytes).unwrap());
        let old = Model::new_checked(&old).unwrap();
        let table = |model: &Model| model.calibration().unwrap().entries().collect::<Vec<_>>();
        assert_ne!(table(&old), table(&new), "{flow}");
        assert_eq!(new.names().unwrap().collect::<Vec<_>>(), ["a", "b", "c"]);

        let agreements: Value = on_boards(&folder, "verify m.flx x.csv --json");
        for agreement in agreements.as_array().unwrap() {
            assert_eq!(agreement["equal"], json!(1200), "{flow}: {agreements}");
        }
    }
}

#[test]
fn f16_is_half_as_large_and_changes_hardly_anything() {
    let folder = run("--flow coupling --hidden 32,32");
    let report = folder.json("export run --weights f16 --calibrate x.csv -o m.flx --json");
    assert!(report["largest_change"].as_f64().unwrap() < 0.05, "{report}");
    assert!(
        2 * report["bytes"].as_u64().unwrap() < report["bytes_before"].as_u64().unwrap() + 3000
    );
    assert_eq!(numbers_of(&folder.read("m.flx"))[0], Numbers::F16);
    let agreements = on_boards(&folder, "verify m.flx --target m0 --json");
    assert_eq!(agreements[0]["equal"], json!(1000));
}

#[test]
fn f32_is_the_model_as_it_is() {
    let folder = run("--flow coupling --hidden 8");
    folder.ok("export run --weights f32 --calibrate x.csv -o m.flx");
    assert_eq!(folder.read("m.flx"), folder.read("run/model.flx"));
}

#[test]
fn without_data_the_model_s_own_samples_serve_and_the_alarm_is_left_out() {
    let folder = run("--flow coupling --hidden 16,16");
    let report = folder.json("export run/model.flx --weights int8 -o m.flx --json");
    assert_eq!((&report["rows"], &report["calibration_rows"]), (&json!(4096), &Value::Null));
    assert!(report["notes"][0].as_str().unwrap().contains("--calibrate"), "{report}");
    assert!(Model::new_checked(&folder.read("m.flx")).unwrap().calibration().is_none());
}

#[test]
fn what_has_no_such_form_is_refused_by_name() {
    let folder = run("--flow coupling --hidden 8");
    folder.ok("export run --weights f16 --calibrate x.csv -o half.flx");
    assert_eq!(
        folder.fails("export half.flx --weights int8 -o m.flx"),
        "failed to export as int8: layer 1 is f16 already, and export starts from f32"
    );
    folder.ok("train x.csv -o rotation --epochs 2");
    assert_eq!(
        folder.fails("export rotation --weights int8 -o m.flx"),
        "failed to export as int8: no layer of the model has a network with a form in int8"
    );
    folder.write("y.csv", data::csv("a,b", &data::moons(100, 1)));
    assert_eq!(
        folder.fails("export run --weights int8 --calibrate y.csv -o m.flx"),
        "failed to read y.csv: it has 2 input columns, the model wants 3"
    );
}
