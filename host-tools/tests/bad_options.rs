//! Options and places that cannot be: one sentence, exit code 2, no panic and no file.

mod support;

use support::Folder;
use support::data;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(60, 1)));
    folder.ok("train x.csv -o run --epochs 1");
    folder
}

#[test]
fn a_configuration_that_cannot_be_is_pointed_at() {
    let folder = folder();
    for (text, place, reason) in [
        ("[flow]\nlayer = 3\n", "line 2, column 1", "unknown field `layer`, expected one of "),
        ("[flows]\nlayers = 3\n", "line 1, column 2", "unknown field `flows`, expected one of "),
        (
            "[flow]\nbins = \"eight\"\n",
            "line 2, column 8",
            "invalid type: string \"eight\", expected ",
        ),
        (
            "[flow]\n\nspline = \"cubic\"\n",
            "line 3, column 10",
            "unknown variant `cubic`, expected ",
        ),
        ("[train]\nbatch = -1\n", "line 2, column 9", "invalid value: integer `-1`, expected "),
        ("[train\n", "line 1, column 7", ""),
    ] {
        folder.write("c.toml", text);
        let said = folder.fails("train x.csv -o new --config c.toml");
        let expected = format!("failed to read c.toml: {place}: {reason}");
        assert!(said.starts_with(&expected), "{text:?}: {said}");
    }
    folder.write("c.toml", [0xff, 0xfe, 0x00]);
    let said = folder.fails("train x.csv -o new --config c.toml");
    assert_eq!(said, "failed to read c.toml: stream did not contain valid UTF-8");
}

#[test]
fn a_number_out_of_range_names_the_range() {
    let folder = folder();
    for (options, expected) in [
        ("--threads 0", "--threads must be at least 1"),
        ("--layers 0", "layers = 0, 1 to 64 are possible"),
        ("--layers 65", "layers = 65, 1 to 64 are possible"),
        ("--bins 0", "bins = 0, 1 to 256 are possible"),
        ("--reflections 0", "reflections = 0, 1 to 256 are possible"),
        ("--components 257", "components = 257, at most 256 are possible"),
        ("--epochs 0", "epochs = 0, at least 1 is needed"),
        ("--false-alarm-rate 0", "false_alarm_rate = 0, it must lie between 0 and 1"),
        ("--false-alarm-rate NaN", "false_alarm_rate = NaN, it must lie between 0 and 1"),
        ("--warm-up 1", "warm_up = 1, it must be at least 0 and below 1"),
        ("--average 1", "average = 1, it must be at least 0 and below 1"),
        ("--weight-decay 0.1", "weight_decay is of AdamW: it needs optimiser = \"adamw\""),
        (
            "--optimiser adamw --weight-decay 1.5",
            "weight_decay = 1.5, it must be at least 0 and below 1",
        ),
        (
            "--schedule plateau --patience 10",
            "plateau_patience = 10, it must be below patience = 10, at which the run stops",
        ),
        ("--window 4", "a window of 4 readings has no 6 octave bands"),
    ] {
        let said = folder.fails(&format!("train x.csv -o new {options}"));
        assert_eq!(said, format!("failed to train: {expected}"), "{options}");
    }
    for (text, expected) in [
        ("[data]\nheld_out = 1.0\n", "held_out = 1, it must lie between 0 and 1"),
        ("[data]\nheld_out = nan\n", "held_out = NaN, it must lie between 0 and 1"),
        ("[train]\nbatch = 0\n", "batch = 0, at least 1 is needed"),
        ("[train]\nlearning_rate = inf\n", "learning_rate = inf, it must lie between 0 and 1"),
        ("[train]\nclip = nan\n", "clip = NaN, it must be above 0"),
        ("[train]\npatience = 0\n", "patience = 0, at least 1 is needed"),
        ("[train]\nplateau_factor = 1.0\n", "plateau_factor = 1, it must lie between 0 and 1"),
        ("[train]\nplateau_patience = 0\n", "plateau_patience = 0, at least 1 is needed"),
    ] {
        folder.write("c.toml", text);
        let said = folder.fails("train x.csv -o new --config c.toml");
        assert_eq!(said, format!("failed to train: {expected}"), "{text:?}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = folder();
    for (line, expected) in [
        ("train x.csv -o x.csv", "write to the folder x.csv: not a directory"),
        ("train x.csv -o x.csv/run", "write to the folder x.csv/run: not a directory"),
        ("score run/model.flx x.csv -o run", "write run: Is a directory (os error 21)"),
        ("score run/model.flx x.csv -o no/s.csv", "write no/s.csv: No such file or directory"),
        ("score run/model.flx x.csv -o x.csv/s.csv", "write x.csv/s.csv: Not a directory"),
        ("sample run/model.flx -n 3 -o run", "write run: Is a directory (os error 21)"),
        ("sample run/model.flx -n 3 -o no/s.npy", "write no/s.npy: No such file or directory"),
    ] {
        let said = folder.fails(line);
        assert!(said.starts_with(&format!("failed to {expected}")), "fluxlet {line}: {said}");
    }
}

#[test]
fn a_folder_in_the_place_of_a_result_leaves_no_half_of_a_run() {
    let folder = folder();
    for name in ["model.flx", "history.csv"] {
        let run = folder.path(&format!("taken-{name}"));
        std::fs::create_dir_all(run.join(name)).unwrap();
        let said = folder.fails(&format!("train x.csv -o taken-{name} --epochs 1"));
        let expected = format!("failed to write taken-{name}/{name}: it is a folder");
        assert_eq!(said, expected);
    }
}

#[test]
fn what_clap_refuses_ends_in_code_2_without_a_panic() {
    let folder = folder();
    for line in [
        "",
        "trian x.csv",
        "train x.csv",
        "train x.csv -o new --bins many",
        "train x.csv -o new --rotation fourier",
        "train x.csv -o new --threads -1",
        "train x.csv -o new --checkpoint-every -1",
        "train x.csv -o new --schedule linear",
        "train",
        "sample run/model.flx",
        "sample run/model.flx -n -3",
        "eval run/model.flx x.csv --label a --labels y.npy",
        "verify run/model.flx --target m9",
    ] {
        let before = folder.entries();
        let ran = folder.run(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "fluxlet {line}");
        assert!(!ran.stderr.contains("panicked"), "fluxlet {line}: {}", ran.stderr);
        assert!(ran.stderr.contains("--help"), "fluxlet {line}: {}", ran.stderr);
        assert_eq!(folder.entries(), before, "fluxlet {line}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    use std::process::{Command, Stdio};
    let folder = folder();
    for line in [
        "inspect run/model.flx",
        "inspect run/model.flx --json",
        "eval run/model.flx x.csv",
        "eval run/model.flx x.csv --json",
        "score run/model.flx x.csv",
        "sample run/model.flx -n 20000",
        "train x.csv -o again --epochs 1",
        "train x.csv -o again --epochs 1 --json",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        // Closed before the command starts: its first write meets a broken pipe.
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_fluxlet"))
            .args(line.split_whitespace())
            .current_dir(folder.path(""))
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "fluxlet {line}");
    }
}
