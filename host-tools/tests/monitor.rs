//! `fluxlet monitor`: what a device tells, from a pipe, a serial port, a probe and QEMU.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Folder, Ran, data};

/// What a device tells from its start on, with noise before, between and behind its lines.
const TOLD: &[u8] = b"\xff\x00\xfe half a li\n\
    model 7B36AD6B 600 b\n\
    score 0 -4.0265 0.31 none -\r\n\
    score 1 -99.5 0.001 improbable x\n\
    sco\x80re 2 -4.0 0.3 none -\n\
    fault 2 no-answer\n\
    score 3 -1e+30 - not-finite 2\n\
    sample 0.5 -1 0.25\n\
    refused the model has 9 bytes, a slot has room for 8\n\
    score 4 -4.0 0.3 no";

#[test]
fn lines_are_shown_and_noise_is_counted() {
    let Ran { code, stdout, stderr } = Folder::new().piped("monitor -", TOLD);
    let expected = "\
model 7b36ad6b, 600 inputs, slot b
       0  log_prob      -4.0265  p 0.3100
       1  log_prob     -99.5000  p 0.0010  improbable: x
       2  fault: no-answer
       3  log_prob   -1.0000e30  not finite: 2
sample 0.5 -1 0.25
the device refused a model: the model has 9 bytes, a slot has room for 8
scores 3, alarms 2, faults 1, lines not understood 3
";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), expected, ""));
}

/// The lines of `--json`.
fn parse(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn machines_get_a_line_of_json_for_each() {
    let Ran { code, stdout, stderr } = Folder::new().piped("monitor - --json", TOLD);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines = parse(&stdout);
    assert_eq!(
        lines[0],
        json!({ "line": "model", "checksum": "7b36ad6b", "inputs": 600, "slot": "b" })
    );
    let alarm = &lines[2];
    assert_eq!((&alarm["line"], &alarm["window"]), (&json!("score"), &json!(1)));
    assert_eq!((&alarm["alarm"], &alarm["channel"]), (&json!("improbable"), &json!("x")));
    assert_eq!(lines[3], json!({ "line": "fault", "window": 2, "kind": "no-answer" }));
    assert_eq!((&lines[4]["p_value"], &lines[4]["alarm"]), (&Value::Null, &json!("not-finite")));
    assert_eq!(lines[5], json!({ "line": "sample", "values": [0.5, -1.0, 0.25] }));
    let end = json!({ "line": "end", "scores": 3, "alarms": 2, "faults": 1, "noise": 3 });
    assert_eq!((lines.len(), &lines[7]), (8, &end));
}

#[test]
fn nothing_but_noise_is_no_error() {
    let noise: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(i) / 7 + i) as u8).collect();
    for input in [&noise[..], b"", b"\n\n\r\n", &[b'x'; 5000]] {
        let Ran { code, stdout, stderr } = Folder::new().piped("monitor -", input);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(
            stdout.starts_with("scores 0, alarms 0, faults 0, lines not understood "),
            "{stdout}"
        );
    }
}

#[test]
fn a_device_must_be_named_once() {
    let folder = Folder::new();
    for line in [
        "monitor",
        "monitor x",
        "monitor - --port p",
        "monitor --probe RP2040",
        "monitor --elf x",
        "monitor - --elf x",
        "monitor - --baud 9600",
        "monitor --qemu model.flx",
    ] {
        let ran = folder.run(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{line}");
        assert!(ran.stderr.contains("--help"), "{line}: {}", ran.stderr);
    }
    let said = folder.fails("monitor --port no/port");
    assert!(said.starts_with("failed to open no/port: No such file"), "{said}");
    let said = folder.fails("monitor --qemu model.flx x.csv");
    assert!(said.starts_with("failed to read model.flx: No such file"), "{said}");
}

#[test]
#[cfg(unix)]
fn a_probe_is_read_by_probe_rs_and_a_missing_one_says_how_to_install_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.write("probe-rs", "#!/bin/sh\necho \"refused $*\"\necho score 1 -2 0.5 none -\n");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path("probe-rs"), executable).unwrap();
    let run = |path: &str| {
        Command::new(env!("CARGO_BIN_EXE_fluxlet"))
            .args(["monitor", "--probe", "RP2040", "--elf", "node.elf"])
            .env("PATH", path)
            .output()
            .unwrap()
    };
    let output = run(&format!("{}:{}", folder.path("").display(), std::env::var("PATH").unwrap()));
    let expected = "\
the device refused a model: attach --no-timestamps --no-location --chip RP2040 node.elf
       1  log_prob      -2.0000  p 0.5000
scores 1, alarms 0, faults 0, lines not understood 0
";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    let output = run("/nowhere");
    let expected = "error: failed to run probe-rs: it is not installed; `cargo install probe-rs-tools \
                    --locked` installs it\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
#[cfg(target_os = "linux")]
fn a_device_on_a_serial_port_is_asked_for_its_model_and_shown_until_ctrl_c() {
    let (near, _far, path) = support::serial_line();
    let child = Command::new(env!("CARGO_BIN_EXE_fluxlet"))
        .args(["monitor", "--port", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = [0];
    near.read_exact(&mut asked).unwrap();
    assert_eq!(asked, *b"m");
    near.write_all(b"noise\nmodel 00000001 3 built-in\nscore 0 -1.5 0.9 none -\n").unwrap();
    // What was written is read before the signal is looked at, or a little later.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let expected = "\
model 00000001, 3 inputs, slot built-in
       0  log_prob      -1.5000  p 0.9000
scores 1, alarms 0, faults 0, lines not understood 1
";
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stdout).unwrap().as_str()),
        (Some(0), expected)
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_shows_a_plot() {
    let (near, _far, path) = support::serial_line();
    let terminal = std::fs::File::options().write(true).open(path).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fluxlet"))
        .args(["monitor", "-"])
        .stdin(Stdio::piped())
        .stdout(terminal)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(TOLD).unwrap();
    // The picture is larger than what the terminal holds unread.
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let is_whole = |text: &[u8]| String::from_utf8_lossy(text).contains("lines not understood 3");
    while !is_whole(&text) {
        let read = near.read(&mut buffer).unwrap();
        text.extend(&buffer[..read]);
    }
    assert!(child.wait().unwrap().success());
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("┤") && text.contains("−log p") && text.contains("\x1b[31m"), "{text}");
}

#[test]
fn an_emulated_device_is_monitored() {
    let folder = Folder::new();
    // Near what the model learned, and then far outside.
    let mut rows: Vec<[f32; 3]> = data::normals::<3>(400, 5);
    folder.write("normal.csv", data::csv("x,y,z", &rows));
    folder.ok("train normal.csv -o run --epochs 3");
    rows.truncate(50);
    rows.iter_mut().skip(40).for_each(|row| *row = row.map(|x| 1.5 + 0.1 * x));
    rows.iter_mut().take(40).for_each(|row| *row = row.map(|x| x.clamp(-1.9, 1.9)));
    folder.write("x.csv", data::csv("x,y,z", &rows));
    let Ran { code, stdout, stderr } = folder.run("monitor --qemu run/model.flx x.csv --json");
    assert_eq!(code, Some(0), "{stderr}");
    let lines = parse(&stdout);
    assert_eq!((&lines[0]["line"], &lines[0]["slot"]), (&json!("model"), &json!("built-in")));
    let end = lines.last().unwrap();
    assert_eq!((&end["scores"], &end["noise"]), (&json!(50), &json!(0)), "{stdout}");
}
