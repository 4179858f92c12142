//! Rows kept in a file instead of memory: the same run, and what can go wrong with the file.

mod support;

use serde_json::Value;
use support::data::{self, Rows};
use support::{Folder, RESULTS};

/// 600 rows of a direction, a load of five steps, a constant, a wave, and a label.
fn machine() -> Rows<5> {
    let normals = data::normals::<2>(600, 5).into_iter().enumerate();
    let row = |(i, [a, b]): (usize, [f32; 2])| {
        let wind = (360.0 + 30.0 * a).rem_euclid(360.0);
        let wave = (0.3 * i as f64).sin() as f32 + 0.1 * b;
        [wind, (i % 5) as f32, 3.5, wave, f32::from(i % 50 == 49)]
    };
    normals.map(row).collect()
}

#[test]
fn where_the_rows_are_kept_never_shows_in_the_result() {
    let folder = Folder::new();
    let rows = machine();
    let names = ["wind", "load", "fixed", "wave", "bad"];
    folder.write("x.csv", data::csv(&names.join(","), &rows));
    folder.write("x.npy", data::npy(&rows));
    folder.write("x.parquet", data::parquet(names, &rows));
    folder.write("ten.csv", data::csv("a,b,c", &data::gaussian(10, 5)));
    for (file, options) in [
        ("x.csv", "--label bad --angle wind=0:360 --bounded wave=-2:2"),
        ("x.npy", "--label 5 --exclude 3"),
        ("x.parquet", "--label bad --flow coupling --context load,wind --hidden 8 --layers 1"),
        ("x.csv", "--label bad --window 8 --config bands.toml"),
        ("ten.csv", ""),
    ] {
        folder.write("bands.toml", "[data]\nbands = 2\n");
        let train = format!("train {file} {options} --epochs 3 --json");
        let memory = folder.json(&format!("{train} -o memory"));
        let before = folder.entries();
        let mut stream = folder.json(&format!("{train} -o stream --stream"));
        println!("{file} {options}");
        folder.assert_same_run("memory", "stream", &RESULTS);
        let kept = |note: &Value| note.to_string().contains("training rows were kept in a file");
        let notes = stream["notes"].as_array_mut().unwrap();
        assert_eq!(notes.extract_if(.., |note| kept(note)).count(), 1, "{file} {options}");
        assert_eq!(stream, memory);
        std::fs::remove_dir_all(folder.path("stream")).unwrap();
        assert_eq!(folder.entries(), before, "the file is gone");
    }
}

#[test]
fn what_is_wrong_with_the_rows_is_said_as_ever() {
    let folder = Folder::new();
    let rows = data::gaussian(5000, 8);
    let mut late = rows.clone();
    late[4999][1] = f32::NAN;
    folder.write("late.npy", data::npy(&late));
    folder.write("late.parquet", data::parquet(["a", "b", "c"], &late));
    let whole = data::npy(&rows);
    folder.write("half.npy", &whole[..whole.len() / 2]);
    folder.write("constant.csv", data::csv("a,b", &[[3.5, -1.0]; 30]));
    folder.write("nine.npy", data::npy(&rows[..9]));
    for (line, expected) in [
        ("late.npy", "use late.npy: row 5000 of the data, column c2: NaN is not finite"),
        ("late.parquet", "use late.parquet: row 5000 of the data, column b: NaN is not finite"),
        (
            "half.npy",
            "read half.npy: the file is cut short: shape (5000, 3) needs 60000 bytes, 29936 are there",
        ),
        (
            "constant.csv",
            "train on constant.csv: every column is constant in the normal rows, there is nothing to \
             learn",
        ),
        ("nine.npy", "train on nine.npy: it has 9 normal rows, at least 10 are needed"),
        ("gone.npy", "read gone.npy: No such file or directory (os error 2)"),
    ] {
        let said = folder.fails(&format!("train {line} -o new --stream"));
        assert_eq!(said, format!("failed to {expected}"));
    }
}

#[cfg(unix)]
mod limits {
    use std::io::Write;
    use std::process::Command;

    use super::*;

    /// Runs the command in a shell that has set limits first; what it says on standard error.
    fn limited(folder: &Folder, limits: &str, line: &str) -> (Option<i32>, String) {
        let script = format!("{limits} && exec \"$0\" {line}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_fluxlet")]).current_dir(folder.path(""));
        let output = shell.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    #[test]
    fn a_disk_that_fills_up_is_an_error_that_leaves_nothing() {
        let folder = Folder::new();
        folder.write("x.npy", data::npy(&data::gaussian(50_000, 9)));
        let before = folder.entries();
        // No file may grow beyond 100 blocks of 512 or 1024 bytes; the rows need 600 kB.
        let limits = "trap '' XFSZ && ulimit -f 100";
        let said = limited(&folder, limits, "train x.npy -o run --stream");
        let expected = "error: failed to keep rows in a file in .: File too large (os error 27)\n";
        assert_eq!(said, (Some(2), expected.to_string()));
        assert_eq!(folder.entries(), before);
    }

    #[test]
    fn more_rows_than_memory_are_trained_on() {
        let folder = Folder::new();
        // Four million rows of eight bytes, 128 MB as the trainer's numbers.
        let mut state = 1_u64;
        let mut file = std::fs::File::create(folder.path("x.npy")).unwrap();
        file.write_all(&data::npy_head("|u1", "(4000000, 8)")).unwrap();
        for _ in 0..4000 {
            let next = |_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            let rows: Vec<u8> = (0..8000).map(next).collect();
            file.write_all(&rows).unwrap();
        }
        // Memory that is no file's: 180 MB, of which the shuffle's reach takes 64.
        let train = "train x.npy -o run --stream --threads 1 --layers 1 --bins 2 --components 1 \
                     --steps 3";
        let (code, said) = limited(&folder, "ulimit -d 180000", train);
        assert_eq!((code, said.as_str()), (Some(0), ""));
        let report = folder.json("inspect run/model.flx --json");
        assert_eq!(report["dim"], 8);
    }

    #[test]
    fn more_rows_than_can_be_counted_are_refused_unread() {
        let folder = Folder::new();
        folder.write("x.npy", data::npy_head("|u1", "(4294967296, 1)"));
        let file = std::fs::File::options().write(true).open(folder.path("x.npy")).unwrap();
        // A hole, of which the disk keeps nothing.
        file.set_len((1 << 32) + 128).unwrap();
        assert_eq!(
            folder.fails("train x.npy -o run"),
            "failed to train on x.npy: it has more than 4294967295 rows, no more can be counted"
        );
    }
}
