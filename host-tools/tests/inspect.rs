//! `fluxlet inspect`: sizes that add up.

mod support;

use fluxlet::Model;
use serde_json::Value;
use support::data;
use support::{Folder, models};

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn sum(inspection: &Value, key: &str) -> usize {
    inspection["layers"].as_array().unwrap().iter().map(|line| number(&line[key])).sum()
}

/// Kind, parameters and bytes of every line.
fn lines(inspection: &Value) -> Vec<(&str, usize, usize)> {
    let lines = inspection["layers"].as_array().unwrap().iter();
    lines
        .map(|l| (l["kind"].as_str().unwrap(), number(&l["parameters"]), number(&l["bytes"])))
        .collect()
}

#[test]
fn every_line_has_the_parameters_of_its_formula() {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(200, 1)));
    folder.ok("train x.csv -o run --epochs 1 --layers 2 --reflections 2 --bins 6 --components 3 \
         --spline quadratic --tails linear");
    let inspection = folder.json("inspect run/model.flx --json");
    let (d, k, m, c) = (3, 6, 2, 3);
    let layer = [
        ("Affine", 2 * d, 4 * (2 * d + 1)),
        ("Householder", m * d, 4 * m * d),
        ("RationalQuadratic", d * (3 * k - 1), 4 * d * 3 * (k + 1)),
    ];
    let base = ("Mixture", c * (2 * d + 1), 4 * c * (2 * d + 1));
    let expected: Vec<_> = [&layer[..], &layer, &[base]].concat();
    assert_eq!(lines(&inspection), expected);

    folder.ok("train x.csv -o dct --epochs 1 --layers 1 --rotation dct --spline linear \
               --bins 6 --components 1");
    let inspection = folder.json("inspect dct/model.flx --json");
    let kinds = [("Affine", 2 * d), ("Dct", 0), ("RationalLinear", d * (4 * k - 1)), ("Normal", 0)];
    let found = lines(&inspection).into_iter().map(|(kind, parameters, _)| (kind, parameters));
    assert_eq!(found.collect::<Vec<_>>(), kinds);
}

#[test]
fn totals_are_the_sums_of_the_lines() {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(200, 1)));
    let report = folder.json("train x.csv -o run --epochs 1 --json");
    folder.write("all.flx", models::with_all_sections());
    for name in ["run/model.flx", "all.flx"] {
        let inspection = folder.json(&format!("inspect {name} --json"));
        let bytes = folder.read(name);
        let model = Model::new_checked(&bytes).unwrap();
        assert_eq!(number(&inspection["parameters"]), sum(&inspection, "parameters"), "{name}");
        assert_eq!(number(&inspection["multiply_adds"]), sum(&inspection, "multiply_adds"));
        assert_eq!(number(&inspection["flash_bytes"]), bytes.len(), "{name}");
        let buffers = model.input_len() + model.work_len();
        assert_eq!(number(&inspection["stack_bytes"]), 4 * buffers, "{name}");
        assert!(sum(&inspection, "bytes") < bytes.len(), "{name}");
        let text = folder.ok(&format!("inspect {name}"));
        assert!(text.contains(&format!("flash  {} bytes", bytes.len())), "{text}");
    }
    let inspection = folder.json("inspect run/model.flx --json");
    assert_eq!(inspection["parameters"], report["parameters"]);
    assert_eq!(inspection["flash_bytes"], report["model_bytes"]);
    assert_eq!(inspection["calibration_rows"], report["held_out_rows"]);
    assert_eq!(inspection["names"], serde_json::json!(["a", "b", "c"]));
    assert!(inspection["provenance"].as_str().unwrap().contains("x.csv, 160 rows, seed 0"));
}

#[test]
fn a_front_end_and_a_calibration_are_told() {
    let folder = Folder::new();
    folder.write("all.flx", models::with_all_sections());
    let text = folder.ok("inspect all.flx");
    for part in [
        "front end: windows of 32 readings, 2 channels, 4 bands → 12 features",
        "alarm  calibrated on 60 held-out rows",
        "inputs left, right",
        "from   a test",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
