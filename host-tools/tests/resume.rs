//! Runs that are stopped, killed or out of disk: nothing is lost, and a resumed run ends in the very
//! bits of one that nobody disturbed.
#![cfg(unix)]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use support::data;
use support::{Folder, RESULTS};

const STATE: &str = "run/resume.state";

/// Options of a run in which every part of the state is at work.
const OPTIONS: &str = "--flow coupling --layers 2 --hidden 12,12 --components 2 --epochs 25 \
     --batch 64 --optimiser adamw --schedule plateau --patience 20 --average 0.9";

/// A folder with 300 rows in `x.csv`, and the results of an undisturbed run in `whole`.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(300, 1)));
    folder.write("c.toml", "[train]\nplateau_patience = 2\n");
    folder.ok(&format!("train x.csv -o whole --config c.toml {OPTIONS}"));
    folder
}

/// Starts the run, or goes on with it, in a process of its own; every step is saved.
fn start(folder: &Folder, resume: bool) -> Child {
    let line = if resume {
        "train --resume run".to_string()
    } else {
        format!("train x.csv -o run --config c.toml {OPTIONS}")
    };
    command(&line).current_dir(folder.path("")).spawn().unwrap()
}

fn command(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fluxlet"));
    command.args(line.split_whitespace()).args(["--checkpoint-every", "0"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits until the process has saved a state that is not the one from before.
fn wait_for_a_state(folder: &Folder, child: &mut Child) {
    let read = || fs::read(folder.path(STATE)).ok();
    let before = read();
    while read().is_none_or(|now| Some(now) == before) {
        assert_eq!(child.try_wait().unwrap(), None, "the run ended before it was disturbed");
        sleep(Duration::from_millis(1));
    }
}

/// Has the run stopped by Ctrl-C after some step.
fn stop(folder: &Folder, resume: bool) -> Output {
    let mut child = start(folder, resume);
    wait_for_a_state(folder, &mut child);
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

fn assert_as_whole(folder: &Folder) {
    folder.assert_same_run("whole", "run", &RESULTS);
    let left = folder.entries().into_iter().filter(|name| name.starts_with("run/"));
    assert_eq!(left.count(), 1 + RESULTS.len(), "the folder and four files are left");
}

#[test]
fn a_run_that_is_killed_three_times_ends_in_the_same_bits() {
    let folder = folder();
    for kill in 0..3 {
        let mut child = start(&folder, kill > 0);
        wait_for_a_state(&folder, &mut child);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
    // Another number of threads on the way changes nothing.
    folder.ok("train --resume run --threads 3");
    assert_as_whole(&folder);
}

#[test]
fn ctrl_c_stops_a_run_with_code_130_and_it_goes_on_from_there() {
    let folder = folder();
    for resume in [false, true] {
        let Output { status, stdout, stderr } = stop(&folder, resume);
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(130), "{said}");
        assert!(stdout.is_empty());
        assert!(said.starts_with("stopped after "), "{said}");
        assert!(said.ends_with("to continue: fluxlet train --resume run\n"), "{said}");
        assert!(!folder.path("run/model.flx").exists());
    }
    let said = folder.ok("train --resume run");
    assert!(said.ends_with("wrote run/model.flx\n"), "{said}");
    assert_as_whole(&folder);
}

#[test]
fn a_finished_run_has_nothing_to_resume() {
    let folder = folder();
    let before = folder.read("whole/model.flx");
    let said = folder.ok("train --resume whole");
    let expected = "nothing to resume: the run is finished, its model is whole/model.flx\n";
    assert_eq!(said, expected);
    assert_eq!(folder.json("train --resume whole --json")["finished"], true);
    assert!(folder.read("whole/model.flx") == before);
    let said = folder.fails("train --resume nowhere");
    assert!(said.starts_with("failed to resume nowhere: there is neither a checkpoint"), "{said}");
}

#[test]
fn an_unfinished_run_is_not_overwritten_unasked() {
    let folder = folder();
    stop(&folder, false);
    let line = format!("train x.csv -o run --config c.toml {OPTIONS}");
    let said = folder.fails(&line);
    assert!(
        said.contains("run: it holds an unfinished run; continue it with --resume run"),
        "{said}"
    );
    folder.ok(&format!("{line} --restart"));
    assert_as_whole(&folder);
}

#[test]
fn data_that_have_changed_or_gone_are_refused_and_the_run_is_kept() {
    let folder = folder();
    stop(&folder, false);
    let (data, state) = (folder.text("x.csv"), folder.read(STATE));
    let lines: Vec<&str> = data.lines().collect();
    let changed = [
        (lines[..lines.len() - 1].join("\n"), "it had 300 rows and has 299"),
        (data.replacen("a,b,c", "a,b,z", 1), "its columns were a, b, c and are a, b, z"),
        (data.replacen("-2", "-3", 1), "some of its numbers are others"),
    ];
    for (text, expected) in changed {
        folder.write("x.csv", text);
        let said = folder.fails("train --resume run");
        assert!(said.starts_with("failed to resume the run: "), "{said}");
        assert!(said.ends_with(&format!("x.csv has changed since it began: {expected}")), "{said}");
    }
    fs::remove_file(folder.path("x.csv")).unwrap();
    let said = folder.fails("train --resume run");
    assert!(said.ends_with("x.csv: No such file or directory (os error 2)"), "{said}");
    assert!(folder.read(STATE) == state);
    // They may have moved: what counts is what is in them.
    folder.write("elsewhere.csv", data);
    folder.ok("train elsewhere.csv --resume run");
    let history = |run: &str| folder.read(&format!("{run}/history.csv"));
    assert!(history("run") == history("whole"));
}

#[test]
fn a_full_disk_is_an_error_that_leaves_the_last_state() {
    let folder = folder();
    stop(&folder, false);
    let (entries, state) = (folder.entries(), folder.read(STATE));
    let program = env!("CARGO_BIN_EXE_fluxlet");
    let limited = format!("ulimit -f 8; exec '{program}' train --resume run --checkpoint-every 0");
    let Output { status, stderr, .. } =
        Command::new("sh").args(["-c", &limited]).current_dir(folder.path("")).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    assert_eq!(said, "error: failed to write run/resume.state: File too large (os error 27)\n");
    assert_eq!(folder.entries(), entries);
    assert!(folder.read(STATE) == state);
    folder.ok("train --resume run");
    assert_as_whole(&folder);
}

#[test]
fn a_damaged_state_is_named() {
    let folder = folder();
    stop(&folder, false);
    let mut state = folder.read(STATE);
    let middle = state.len() / 2;
    state[middle] ^= 0x10;
    folder.write(STATE, state);
    let said = folder.fails("train --resume run");
    let expected = "failed to read run/resume.state: it is damaged, or no unfinished run";
    assert_eq!(said, expected);
}

#[test]
fn what_is_trained_cannot_be_changed_on_the_way() {
    let folder = Folder::new();
    for option in ["--seed 3", "--label a", "--config c.toml", "-o other", "--restart"] {
        let ran = folder.run(&format!("train --resume run {option}"));
        assert_eq!(ran.code, Some(2), "{option}");
        assert!(ran.stderr.contains("cannot be used with"), "{option}: {}", ran.stderr);
    }
}
