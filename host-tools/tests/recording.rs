//! The shipped recording of a ceiling fan, through `fluxlet train`, `score` and `eval`.

mod support;

use support::{Folder, column, parse_csv};

/// A folder with a copy of the recording.
fn folder() -> Folder {
    let folder = Folder::new();
    for name in ["fan_train.parquet", "fan_test.parquet"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo").join(name);
        folder.write(name, std::fs::read(path).unwrap());
    }
    folder
}

#[test]
fn a_small_model_hears_the_coin_on_the_blade() {
    let folder = folder();
    let report = folder.json(
        "train fan_train.parquet -o run --window 200 --label label --exclude speed --epochs 20 \
         --json",
    );
    let rows = [&report["train_rows"], &report["held_out_rows"], &report["anomalies"]];
    assert_eq!(rows.map(|n| n.as_u64().unwrap()), [704, 176, 0]);
    assert!(report["model_bytes"].as_u64().unwrap() <= 16 * 1024, "{report}");
    // The speed is known to the file, not to the model: it needs no exclusion any more.
    let evaluation = folder.json("eval run/model.flx fan_test.parquet --label label --json");
    assert_eq!([&evaluation["rows"], &evaluation["anomalies"]], [1722, 840]);
    assert!(evaluation["auroc"].as_f64().unwrap() >= 0.95, "{evaluation}");
    assert!(evaluation["detected"].as_f64().unwrap() > 0.5, "{evaluation}");
    assert!(evaluation["false_alarms"].as_f64().unwrap() < 0.05, "{evaluation}");

    let (_, cells) = parse_csv(&folder.ok("score run/model.flx fan_test.parquet"));
    let alarms: Vec<u8> = column(&cells, 3);
    // The first 882 seconds are without the coin; the share of alarms is that of `eval`.
    let false_alarms = alarms[..882].iter().filter(|alarm| **alarm > 0).count() as f64 / 882.0;
    assert!((evaluation["false_alarms"].as_f64().unwrap() - false_alarms).abs() < 1e-12);
}
