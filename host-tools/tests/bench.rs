//! `fluxlet bench`: what it prints, not how fast it is.

mod support;

use serde_json::Value;
use support::Folder;

const QUICK: &str = "bench --quick --threads 1 --json";

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} of {value}"))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key} of {value}"))
}

fn assert_spread(value: &Value, key: &str) {
    let [min, median, max] = ["min", "median", "max"].map(|end| number(&value[key], end));
    assert!(0.0 < min && min <= median && median <= max, "{key}: {value}");
}

#[test]
fn a_quick_run_tells_the_limit_and_a_share_of_it_for_every_flow() {
    let report = Folder::new().json(QUICK);
    let [limit] = list(&report, "limits") else { panic!("{report}") };
    assert_eq!(limit["threads"], 1);
    assert!(limit["instruction_set"].as_str().is_some_and(|name| !name.is_empty()));
    let limit = number(limit, "gflops_per_cpu_second");
    assert!(list(&report, "ratios").is_empty() && list(&report, "left_out").is_empty());

    let cells = list(&report, "cells");
    for flow in ["coupling", "autoregressive", "rotation"] {
        for (task, batch) in [("train", 512), ("log_prob", 4096)] {
            let is_it = |cell: &&Value| cell["flow"] == flow && cell["task"] == task;
            let cell = cells.iter().find(is_it).unwrap_or_else(|| panic!("{flow}, {task}"));
            assert_eq!(cell["library"], "fluxlet");
            assert_eq!(cell["version"], env!("CARGO_PKG_VERSION"));
            assert_eq!((&cell["threads"], &cell["batch"]), (&1.into(), &batch.into()));
            for key in ["cpu_seconds", "wall_seconds", "per_cpu_second", "per_second"] {
                assert_spread(cell, key);
            }
            let unit = if task == "train" { 1.0 } else { f64::from(batch) };
            let calls = number(&cell["per_cpu_second"], "median") / unit;
            let share = number(cell, "flop") * calls / (1e9 * limit);
            let told = number(cell, "share_of_limit");
            assert!((told / share - 1.0).abs() < 1e-9, "{told} for {share}");
            assert!(number(cell, "calls") >= 2.0 && cell["speedup"].is_null(), "{cell}");
        }
    }
}

#[test]
fn a_table_has_a_line_for_every_flow_and_task() {
    let table = Folder::new().ok("bench --quick --threads 1");
    assert!(table.starts_with("multiply-add limit, 1 thread, "), "{table}");
    for line in ["coupling        steps       fluxlet", "rotation        rows scored fluxlet"] {
        assert!(table.lines().any(|own| own.starts_with(line)), "{table}");
    }
}

#[test]
fn help_holds_all_that_a_subcommand_says_of_itself() {
    let folder = Folder::new();
    assert!(folder.ok("bench --help").contains("157 million operations"));
    assert!(folder.ok("sample --help").contains("The same seed draws the same rows"));
    assert!(!folder.ok("sample -h").contains("The same seed draws the same rows"));
}

#[test]
fn a_missing_python_is_named() {
    let folder = Folder::new();
    let said = folder.fails("bench --quick --peers --python no/such/python");
    let expected = "failed to measure the peers: run the Python no/such/python (--python names \
                    another): No such file or directory (os error 2)";
    assert_eq!(said, expected);
}

#[cfg(unix)]
#[test]
fn a_missing_library_is_left_out_and_the_others_are_measured_in_turns() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    // A Python of which one library answers, one is missing and one falls over.
    folder.write(
        "python",
        r#"#!/bin/sh
case "$*" in
*peer_nflows.py*)
    echo 'a library that talks'
    echo '{"library": "nflows", "version": "9", "tasks": {"coupling": ["train", "log_prob"]}}'
    while read -r flow task seconds; do
        case $task in
        train) echo '{"calls": 2, "wall": 50.0, "cpu": 40.0}' ;;
        *) echo '{"error": "no such thing"}' ;;
        esac
    done ;;
*peer_flowjax.py*) echo '{"error": "the Python module jax is missing"}' ;;
*--version*) ;;
*) echo 'Segmentation fault' >&2; exit 1 ;;
esac
"#,
    );
    let python = folder.path("python");
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let report = folder.json(&format!("{QUICK} --peers --python ./python"));

    let left_out = list(&report, "left_out").iter().map(|left| {
        let [library, task, reason] = ["library", "task", "reason"].map(|key| left[key].as_str());
        (library.unwrap(), task, reason.unwrap())
    });
    let fell = "the script ended without an answer: Segmentation fault";
    let expected = [
        ("FlowJAX", None, "the Python module jax is missing"),
        ("zuko", None, fell),
        ("zuko compiled", None, fell),
        ("nflows", Some("log_prob"), "no such thing"),
        ("Pyro", None, fell),
    ];
    assert_eq!(left_out.collect::<Vec<_>>(), expected);

    let is_theirs = |cell: &&Value| cell["library"] == "nflows";
    let theirs = list(&report, "cells").iter().find(is_theirs).unwrap();
    assert_eq!(theirs["version"], "9");
    assert_eq!(number(&theirs["per_cpu_second"], "median"), 0.05);
    assert_eq!(number(&theirs["per_second"], "median"), 0.04);
    let [ratio] = list(&report, "ratios") else { panic!("{report}") };
    assert_eq!((&ratio["library"], &ratio["task"]), (&"nflows".into(), &"train".into()));
    assert_spread(ratio, "per_cpu_second");
    assert_spread(ratio, "per_second");
}

#[cfg(target_os = "linux")]
#[test]
fn the_memory_of_every_depth_is_told_beside_what_is_expected() {
    let folder = Folder::new();
    let peaks = folder.json("bench --memory --threads 1 --json");
    let [first, rest @ ..] = peaks.as_array().unwrap().as_slice() else { panic!("{peaks}") };
    assert_eq!(first["depth"], 5);
    assert_eq!(first["expected_bytes"], first["peak_bytes"]);
    assert_eq!(rest.iter().map(|peak| number(peak, "depth")).collect::<Vec<_>>(), [10.0, 20.0]);
    for peak in rest {
        let layers = number(peak, "depth") - 5.0;
        let expected = number(first, "peak_bytes") + layers * 4.0 * 8.0 * number(peak, "batch");
        assert_eq!(number(peak, "expected_bytes"), expected);
    }
}
