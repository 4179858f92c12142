//! Bad input gives one sentence that names the file, the place and what was expected; exit code 2,
//! no panic and no file.

mod support;

use support::Folder;
use support::data::{self, Rows};

/// A folder with data of three columns and a model of them.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(60, 1)));
    folder.ok("train x.csv -o run --epochs 1 --components 1");
    folder.write("model.flx", folder.read("run/model.flx"));
    folder
}

/// Asserts what each command says.
fn check(folder: &Folder, cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(folder.fails(line), format!("failed to {expected}"), "fluxlet {line}");
    }
}

#[test]
fn a_missing_file_is_named_by_every_command() {
    let folder = folder();
    let gone = "No such file or directory (os error 2)";
    for (line, file) in [
        ("train no.csv -o new", "no.csv"),
        ("train no.parquet -o new", "no.parquet"),
        ("train x.csv -o new --config no.toml", "no.toml"),
        ("score model.flx no.npy", "no.npy"),
        ("score no.flx x.csv", "no.flx"),
        ("eval model.flx no", "no"),
        ("eval model.flx x.csv --labels no.npy", "no.npy"),
        ("eval no.flx x.csv", "no.flx"),
        ("sample no.flx -n 3 -o new.csv", "no.flx"),
        ("inspect no.flx", "no.flx"),
        ("verify no.flx", "no.flx"),
        ("verify model.flx no.csv", "no.csv"),
        ("cost no.flx", "no.flx"),
    ] {
        check(&folder, &[(line, &format!("read {file}: {gone}"))]);
    }
}

#[test]
fn a_file_of_no_known_format_is_refused() {
    let folder = folder();
    folder.write("x.json", "{\"a\": [1, 2, 3]}");
    folder.write("empty", "");
    let formats = "unknown format; supported are CSV (.csv, .tsv, .txt), NumPy (.npy) and Parquet \
                   (.parquet, .pq)";
    check(
        &folder,
        &[
            ("train x.json -o new", &format!("read x.json: {formats}")),
            ("score model.flx x.json", &format!("read x.json: {formats}")),
            ("score model.flx empty", "read empty: the file is empty"),
            ("train run -o new", "read run: Is a directory (os error 21)"),
            (
                "train run/history.csv/x.csv -o new",
                "read run/history.csv/x.csv: Not a directory (os error 20)",
            ),
        ],
    );
}

#[test]
fn cells_that_are_no_numbers_are_pointed_at() {
    let folder = folder();
    let rows = data::csv("a,b,c", &data::gaussian(20, 2));
    folder.write("text.csv", rows.clone() + "1,off,3\n");
    folder.write("ragged.csv", rows.clone() + "1,2\n");
    folder.write("long.csv", rows.clone() + "1,2,3,4\n");
    folder.write("nan.csv", rows.clone() + "1,2,nan\n");
    folder.write("infinite.csv", rows.clone() + "1,-inf,3\n");
    folder.write("missing.csv", rows.clone() + ",2,3\n");
    folder.write("huge.csv", rows + "1e39,2,3\n");
    let text = "read text.csv: line 22, column b: \"off\" is not a number; to leave the column \
                out, use --exclude b";
    let not_finite = |place: &str| format!("use {place} is not finite");
    check(
        &folder,
        &[
            ("train text.csv -o new", text),
            ("score model.flx text.csv -o new.csv", text),
            ("train ragged.csv -o new", "read ragged.csv: line 22 has 2 columns, the header has 3"),
            ("eval model.flx long.csv", "read long.csv: line 22 has 4 columns, the header has 3"),
            ("train nan.csv -o new", &not_finite("nan.csv: row 21 of the data, column c: NaN")),
            (
                "train infinite.csv -o new",
                &not_finite("infinite.csv: row 21 of the data, column b: -inf"),
            ),
            (
                "train missing.csv -o new",
                &not_finite("missing.csv: row 21 of the data, column a: NaN"),
            ),
            (
                "train huge.csv -o new",
                "read huge.csv: line 22, column a: 1e39 is outside the range of a 32-bit float",
            ),
        ],
    );
}

#[test]
fn damaged_arrays_and_tables_are_refused() {
    let folder = folder();
    let rows = data::gaussian(20, 3);
    let array = data::npy(&rows);
    folder.write("short.npy", &array[..array.len() - 4]);
    folder.write("head.npy", &array[..9]);
    folder.write("text.npy", "a,b,c\n1,2,3\n");
    folder.write("deep.npy", data::npy_labels(&[1; 20]));
    let mut table = data::parquet(["a", "b", "c"], &rows);
    folder.write("cut.parquet", &table[..table.len() / 2]);
    let middle = table.len() / 2;
    table[middle..middle + 40].fill(0xff);
    folder.write("bad.parquet", &table);
    let short = "read short.npy: the file is cut short: shape (20, 3) needs 240 bytes, 236 are \
                 there";
    check(
        &folder,
        &[
            ("train short.npy -o new", short),
            ("train head.npy -o new", "read head.npy: the NPY header is damaged: it is cut short"),
            (
                "train text.npy -o new",
                "read text.npy: the NPY header is damaged: the file does not start with \\x93NUMPY",
            ),
            (
                "score model.flx deep.npy",
                "read deep.npy: it has 1 input columns, the model wants 3",
            ),
            ("eval model.flx x.csv --labels short.npy", short),
        ],
    );
    for file in ["cut.parquet", "bad.parquet"] {
        let said = folder.fails(&format!("train {file} -o new"));
        let expected = format!("failed to read {file}: the Parquet file is damaged: ");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn files_without_enough_rows_are_refused() {
    let folder = folder();
    folder.write("empty.csv", "");
    folder.write("bands.toml", "[data]\nbands = 2\n");
    folder.write("blank.csv", "\n  \n");
    folder.write("header.csv", "a,b,c\n");
    folder.write("five.csv", data::csv("a,b,c", &data::gaussian(5, 1)));
    folder.write("nine.csv", data::csv("a,b,c", &data::gaussian(9, 1)));
    let labelled: Rows<2> = (0..20).map(|i| [i as f32, f32::from(i > 5)]).collect();
    folder.write("labelled.csv", data::csv("a,bad", &labelled));
    folder.write("y.npy", data::npy_labels(&[0; 59]));
    let few = |file: &str, found: usize| {
        format!("train on {file}: it has {found} normal rows, at least 10 are needed")
    };
    check(
        &folder,
        &[
            ("train empty.csv -o new", "read empty.csv: the file is empty"),
            ("train blank.csv -o new", "read blank.csv: the file is empty"),
            (
                "train header.csv -o new",
                "read header.csv: there are no rows of data below the column names (a, b, c)",
            ),
            (
                "score model.flx header.csv",
                "read header.csv: there are no rows of data below the column names (a, b, c)",
            ),
            ("train five.csv -o new", &few("five.csv", 5)),
            ("train nine.csv -o new", &few("nine.csv", 9)),
            ("train labelled.csv -o new --label bad", &few("labelled.csv", 6)),
            ("train x.csv -o new --window 7 --config bands.toml", &few("x.csv", 8)),
            (
                "train x.csv -o new --window 61",
                "cut x.csv into windows: a window has 61 rows, the data has 60",
            ),
            (
                "eval model.flx x.csv --labels y.npy",
                "read y.npy: it has 59 labels, the data have 60 rows",
            ),
        ],
    );
}

#[test]
fn constant_columns_alone_are_refused() {
    let folder = folder();
    folder.write("constant.csv", data::csv("a,b", &[[3.5, -1.0]; 30]));
    let expected = "train on constant.csv: every column is constant in the normal rows, there is \
                    nothing to learn";
    check(&folder, &[("train constant.csv -o new", expected)]);
    let mut labelled = vec![[3.5, 0.0]; 30];
    labelled.extend([[4.5, 1.0]; 30]);
    folder.write("constant.csv", data::csv("a,bad", &labelled));
    check(&folder, &[("train constant.csv -o new --label bad", expected)]);
}

#[test]
fn columns_that_do_not_fit_are_named() {
    let folder = folder();
    let rows = data::gaussian(20, 4);
    let two: Rows<2> = rows.iter().map(|&[a, b, _]| [a, b]).collect();
    let four: Rows<4> = rows.iter().map(|&[a, b, c]| [a, b, c, 0.0]).collect();
    folder.write("two.csv", data::csv("a,b", &two));
    folder.write("other.csv", data::csv("a,b,d", &rows));
    folder.write("four.npy", data::npy(&four));
    folder.write("three.npy", data::npy(&rows));
    folder.ok("train three.npy -o array --epochs 1");
    let missing =
        |what: &str| format!("read x.csv: there is no column {what}; the columns are a, b, c");
    check(
        &folder,
        &[
            ("train x.csv -o new --label kind", &missing("kind")),
            ("train x.csv -o new --exclude kind", &missing("kind")),
            ("train x.csv -o new --exclude 4", &missing("4")),
            ("eval model.flx x.csv --label kind", &missing("kind")),
            (
                "train x.csv -o new --label a --exclude b,c",
                "read x.csv: no column of data is left without the label and the excluded ones; \
                 the columns are a, b, c",
            ),
            ("score model.flx two.csv", "read two.csv: there is no column c; the columns are a, b"),
            (
                "score model.flx other.csv",
                "read other.csv: there is no column c; the columns are a, b, d",
            ),
            (
                "score model.flx x.csv --exclude a",
                "read x.csv: it has 2 input columns, the model wants 3",
            ),
            (
                "score model.flx four.npy",
                "read four.npy: it has 4 input columns, the model wants 3",
            ),
            (
                "score array/model.flx four.npy",
                "read four.npy: it has 4 input columns, the model wants 3",
            ),
            (
                "score array/model.flx two.csv",
                "read two.csv: it has 2 input columns, the model wants 3",
            ),
        ],
    );
}
