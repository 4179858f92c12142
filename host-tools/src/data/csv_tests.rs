//! Tests of the CSV reader.

use super::super::testing::Folder;
use super::super::{Dataset, read};
use super::*;

fn parse(text: impl AsRef<[u8]>) -> Result<Dataset, String> {
    parse_with(text, None, &[])
}

fn parse_with(
    text: impl AsRef<[u8]>,
    label: Option<&str>,
    exclude: &[&str],
) -> Result<Dataset, String> {
    let exclude: Vec<String> = exclude.iter().map(|name| name.to_string()).collect();
    let folder = Folder::new();
    let path = folder.file("x.csv", text.as_ref());
    read(&path, &Columns { label, exclude: &exclude, ..Columns::default() })
        .map_err(|error| folder.plain(&error))
}

fn table(text: impl AsRef<[u8]>) -> (Vec<String>, Vec<f32>) {
    let table = parse(text).unwrap().table;
    assert_eq!(table.width, table.names.len());
    (table.names, table.values)
}

#[test]
fn a_header_is_told_from_numbers() {
    assert_eq!(table("a,b\n1,2\n3,4\n").0, ["a", "b"]);
    assert_eq!(table("1,2\n3,4").0, ["c1", "c2"]);
    assert_eq!(table("1,2\n3,4").1, [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(table("1,NA\n3,4").0, ["c1", "c2"]);
    // An index column without a name, as pandas writes it.
    assert_eq!(table(",a\n0,1\n").0, ["c1", "a"]);
}

#[test]
fn the_delimiter_is_detected() {
    for text in ["a,b\n1,2\n", "a;b\n1;2\n", "a\tb\n1\t2\n", "\"a,;\",b\n1,2\n"] {
        let (names, values) = table(text);
        assert_eq!((names.len(), values), (2, vec![1.0, 2.0]), "{text:?}");
    }
    assert_eq!(table("a\n1\n2\n").1, [1.0, 2.0]);
    assert_eq!(
        parse("a;b\n1,5;2,5\n"),
        Err("read x.csv: line 2, column a: \"1,5\" is not a number; to leave the column out, \
             use --exclude a"
            .into())
    );
}

#[test]
fn byte_order_mark_carriage_returns_quotes_and_blank_lines_are_no_obstacle() {
    let (names, values) = table("\u{feff}\"a, b\",c\r\n\r\n 1 ,\"2\"\r\n  \r\n3,4\r\n\r\n");
    assert_eq!(names, ["a, b", "c"]);
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn missing_and_infinite_cells_are_kept() {
    let (_, values) = table("a,b,c,d,e,f\n,NA,nan,inf,-inf,+1.5e-3\n");
    assert!(values[..3].iter().all(|value| value.is_nan()));
    assert_eq!(values[3..], [f32::INFINITY, f32::NEG_INFINITY, 1.5e-3]);
    assert!(table("a\n\"\"\n1\n").1[0].is_nan());
}

#[test]
fn labels_are_numbers_or_truth_values() {
    let data = parse_with("a,y\n1,0\n2,1\n3,-2.5\n4,0.0\n5,1e-60\n", Some("y"), &[]).unwrap();
    assert_eq!(data.labels, Some(vec![false, true, true, false, true]));
    assert_eq!(data.table.values, [1.0, 2.0, 3.0, 4.0, 5.0]);
    let data = parse_with("1,true\n2,False\n", Some("2"), &[]).unwrap();
    assert_eq!(data.labels, Some(vec![true, false]));
    assert_eq!(data.table.names, ["c1"]);
    assert_eq!(parse("1\n").unwrap().labels, None);
}

#[test]
fn a_label_that_is_missing_or_text_is_named() {
    let wrong = |cell: &str| parse_with(format!("a,y\n1,0\n\n2,{cell}\n"), Some("y"), &[]);
    for (cell, shown) in [("", "\"\""), ("nan", "\"nan\""), ("attack", "\"attack\"")] {
        assert_eq!(
            wrong(cell),
            Err(format!(
                "read x.csv: line 4, column y: {shown} is not a label; labels are numbers (0 \
                 is normal) or true and false"
            ))
        );
    }
}

#[test]
fn excluded_columns_are_never_parsed() {
    let data = parse_with(b"t,a\n\xff\xfe,1\nx,2\n", None, &["t"]).unwrap();
    assert_eq!(data.table.names, ["a"]);
    assert_eq!(data.table.values, [1.0, 2.0]);
}

#[test]
fn text_is_named_with_its_line_and_the_way_out() {
    let long = "w".repeat(50);
    assert_eq!(
        parse(format!("a,b\r\n1,2\r\n\r\n3,{long}\r\n")),
        Err(format!(
            "read x.csv: line 4, column b: \"{}…\" is not a number; to leave the column out, \
             use --exclude b",
            "w".repeat(40)
        ))
    );
}

#[test]
fn the_line_of_a_record_after_a_quoted_line_break_is_right() {
    let error = parse_with("t,a\n\"x\ny\",1\nz,q\n", None, &["t"]).unwrap_err();
    assert!(error.starts_with("read x.csv: line 4, column a: \"q\""), "{error}");
}

#[test]
fn a_number_too_large_for_f32_is_named() {
    assert_eq!(
        parse("a\n1\n-3.5e38\n"),
        Err("read x.csv: line 3, column a: -3.5e38 is outside the range of a 32-bit float".into())
    );
    assert_eq!(table("a\n3.4028235e38\n1e-60\n").1, [f32::MAX, 0.0]);
}

#[test]
fn a_ragged_row_names_both_sizes() {
    assert_eq!(
        parse("a,b\n1,2\n3\n"),
        Err("read x.csv: line 3 has 1 columns, the header has 2".into())
    );
    assert_eq!(
        parse("1,2\n3,4,5\n"),
        Err("read x.csv: line 2 has 3 columns, the first line has 2".into())
    );
}

#[test]
fn empty_files_and_lone_headers_are_told_apart() {
    for text in ["", "\n\r\n", "\u{feff}", "  \n"] {
        assert_eq!(parse(text), Err("read x.csv: the file is empty".into()), "{text:?}");
    }
    assert_eq!(
        parse("a,b\n\n"),
        Err("read x.csv: there are no rows of data below the column names (a, b)".into())
    );
}

#[test]
fn bytes_that_are_no_text_are_named() {
    assert_eq!(parse(b"a,b\n1,\xb5\n"), Err("read x.csv: line 2 is not UTF-8 text".into()));
    assert_eq!(parse(b"a,\xb5\n1,2\n"), Err("read x.csv: line 1 is not UTF-8 text".into()));
}
