//! `fluxlet record`: readings of a device as CSV, whole or not at all.

mod support;

use std::process::Command;

use support::{Folder, Ran, data};

const TOLD: &[u8] = b"ple 3 4\nmodel 7b36ad6b 3 a\nsample 0.1 -1 1e-3\nscore 0 -4.0 0.3 none -\n\
    sample 1 2 3\r\nsample 1 2\n\xff\xff\nsample 16777216 -0 0.30000001\nsample 4 5 6";

#[test]
fn readings_become_rows_and_nothing_else_does() {
    let folder = Folder::new();
    let Ran { code, stdout, stderr } = folder.piped("record - -o x.csv", TOLD);
    let said = "\
wrote x.csv: 3 readings of 3 numbers
note: 4 lines were not understood; readings may be missing
";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), said, ""));
    assert_eq!(folder.text("x.csv"), "x,y,z\n0.1,-1,0.001\n1,2,3\n16777216,-0,0.3\n");
    assert_eq!(folder.entries(), ["x.csv"]);
}

#[test]
fn a_count_ends_the_recording_and_names_are_given() {
    let folder = Folder::new();
    let Ran { code, stdout, .. } = folder.piped("record - -o x.csv -n 2 --names a,b,c", TOLD);
    assert_eq!(code, Some(0), "{stdout}");
    assert_eq!(folder.text("x.csv"), "a,b,c\n0.1,-1,0.001\n1,2,3\n");
    folder.piped("record - -o one.csv", b"sample 1\nsample 2\n");
    assert_eq!(folder.text("one.csv"), "c1\n1\n2\n");
}

#[test]
fn what_is_recorded_can_be_trained_on() {
    let folder = Folder::new();
    let rows = data::normals::<3>(300, 7);
    let lines: String = rows.iter().map(|[x, y, z]| format!("sample {x} {y} {z}\n")).collect();
    folder.piped("record - -o x.csv", lines.as_bytes());
    folder.ok("train x.csv -o run --epochs 1");
    let expected: String = rows.iter().map(|[x, y, z]| format!("{x},{y},{z}\n")).collect();
    assert_eq!(folder.text("x.csv"), format!("x,y,z\n{expected}"));
}

#[test]
fn without_a_reading_there_is_no_file_and_a_reason() {
    let folder = Folder::new();
    for (input, reason) in [
        (&b""[..], "no reading came"),
        (b"score 0 -4.0 0.3 none -\n", "no reading came"),
        (b"\xff\nxx\n", "no reading came; 2 lines were not understood"),
        (
            b"refused the model reads 4 channels, the sensor has 3\n",
            "no reading came; the device refused a model: the model reads 4 channels, the sensor has 3",
        ),
        (b"sample 1 2\n", "a reading has 2 numbers, --names has 3"),
    ] {
        let Ran { code, stdout, stderr } = folder.piped("record - -o x.csv --names a,b,c", input);
        let expected = format!("error: failed to record from standard input: {reason}\n");
        assert_eq!((code, stdout.as_str(), stderr), (Some(2), "", expected));
        assert_eq!(folder.entries(), [""; 0]);
    }
    let ran = folder.piped("record - -o no/x.csv", b"sample 1\n");
    assert!(
        ran.stderr.starts_with("error: failed to write no/x.csv: No such file"),
        "{}",
        ran.stderr
    );
    for line in [
        "record -",
        "record - -o x.csv -n 0",
        "record - -o x.csv --seconds soon",
        "record -o x.csv",
    ] {
        assert_eq!(folder.run(line).code, Some(2), "{line}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_keeps_what_came_and_tells_the_device_to_stop() {
    let folder = Folder::new();
    let (near, _far, path) = support::serial_line();
    let child = folder.start(&format!("record --port {} -o x.csv", path.display()));
    let mut command = [0];
    near.read_exact(&mut command).unwrap();
    assert_eq!(command, *b"r");
    near.write_all(b"sample 1 2 3\nsample 4 5 6\nsample 7 8").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let Ran { code, stdout, stderr } = Ran::wait(child);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(folder.text("x.csv"), "x,y,z\n1,2,3\n4,5,6\n");
    // It may have asked again before the first reading came.
    while command == *b"r" {
        near.read_exact(&mut command).unwrap();
    }
    assert_eq!(command, *b"s");
}

#[test]
fn an_emulated_device_is_recorded() {
    let folder = Folder::new();
    let rows = data::normals::<3>(200, 9);
    folder.write("normal.csv", data::csv("x,y,z", &rows));
    folder.ok("train normal.csv -o run --epochs 1");
    // In steps of the sensor, 4 mg.
    let readings: Vec<[f32; 3]> = (0..40)
        .map(|i| [0.004 * i as f32, -0.004 * i as f32, 1.0 - 0.1 * (i % 3) as f32])
        .collect();
    folder.write("x.csv", data::csv("x,y,z", &readings));
    let ran = folder.run("record --qemu run/model.flx x.csv -o seen.csv");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let (names, cells) = support::parse_csv(&folder.text("seen.csv"));
    assert_eq!((names, cells.len()), (["x", "y", "z"].map(str::to_string).to_vec(), 40));
    for (cells, reading) in cells.iter().zip(&readings) {
        for (cell, expected) in cells.iter().zip(reading) {
            let seen: f32 = cell.parse().unwrap();
            assert!((seen - expected).abs() <= 0.01, "{seen} {expected}");
        }
    }
}
