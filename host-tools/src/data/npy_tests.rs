//! Tests of the NPY reader.

use super::super::testing::{Folder, npy, npy_with};
use super::super::{Dataset, read};
use super::*;

fn parse(bytes: &[u8]) -> Result<Dataset, String> {
    parse_with(bytes, &Columns::default())
}

fn parse_with(bytes: &[u8], columns: &Columns) -> Result<Dataset, String> {
    let folder = Folder::new();
    let path = folder.file("x.npy", bytes);
    read(&path, columns).map_err(|error| folder.plain(&error))
}

fn labels(bytes: &[u8]) -> Result<Vec<bool>, String> {
    let folder = Folder::new();
    let path = folder.file("y.npy", bytes);
    read_labels(&path).map_err(|error| folder.plain(&error))
}

fn f8(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn every_real_dtype_is_read_in_both_byte_orders() {
    let cases: [(&str, Vec<u8>); 14] = [
        ("<f4", [1.0_f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (">f4", [1.0_f32, 2.0].iter().flat_map(|v| v.to_be_bytes()).collect()),
        ("<f8", f8(&[1.0, 2.0])),
        (">f8", [1.0_f64, 2.0].iter().flat_map(|v| v.to_be_bytes()).collect()),
        ("|i1", vec![1, 2]),
        ("|u1", vec![1, 2]),
        ("<i2", vec![1, 0, 2, 0]),
        (">i2", vec![0, 1, 0, 2]),
        ("<u2", vec![1, 0, 2, 0]),
        ("<i4", vec![1, 0, 0, 0, 2, 0, 0, 0]),
        (">u4", vec![0, 0, 0, 1, 0, 0, 0, 2]),
        ("<i8", [1_i64, 2].iter().flat_map(|v| v.to_le_bytes()).collect()),
        (">i8", [1_i64, 2].iter().flat_map(|v| v.to_be_bytes()).collect()),
        ("<u8", [1_u64, 2].iter().flat_map(|v| v.to_le_bytes()).collect()),
    ];
    for (descr, data) in cases {
        let table = parse(&npy(descr, "(1, 2)", &data)).unwrap().table;
        assert_eq!(table.values, [1.0, 2.0], "{descr}");
        assert_eq!((table.width, &table.names[..]), (2, &["c1".into(), "c2".into()][..]));
    }
    assert_eq!(parse(&npy("|b1", "(2,)", &[0, 1])).unwrap().table.values, [0.0, 1.0]);
}

#[test]
fn fortran_order_is_turned_into_rows() {
    let header = "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }\n";
    let table = parse(&npy_with(header, &f8(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]))).unwrap().table;
    assert_eq!(table.row(0), [1.0, 2.0, 3.0]);
    assert_eq!(table.row(1), [4.0, 5.0, 6.0]);
}

#[test]
fn a_one_dimensional_array_is_one_column() {
    let table = parse(&npy("<f8", "(3,)", &f8(&[1.0, f64::NAN, f64::INFINITY]))).unwrap().table;
    assert_eq!((table.rows(), table.width), (3, 1));
    assert!(table.values[1].is_nan());
    assert_eq!(table.values[2], f32::INFINITY);
}

#[test]
fn label_and_excluded_columns_are_taken_out() {
    // The excluded column holds what f32 doesn't.
    let bytes = npy("<f8", "(2, 3)", &f8(&[1.0, 1e300, 0.0, 2.0, 1e300, 1e-60]));
    let columns = Columns { label: Some("c3"), exclude: &["2".into()], ..Columns::default() };
    let data = parse_with(&bytes, &columns).unwrap();
    assert_eq!(data.table.names, ["c1"]);
    assert_eq!(data.table.values, [1.0, 2.0]);
    assert_eq!(data.labels, Some(vec![false, true]));
}

#[test]
fn a_number_outside_the_range_of_f32_is_named() {
    assert_eq!(
        parse(&npy("<f8", "(2, 2)", &f8(&[1.0, 2.0, 3.0, -1e39]))),
        Err("read x.npy: row 2, column c2: -1e39 is outside the range of a 32-bit float".into())
    );
}

#[test]
fn other_ranks_are_named() {
    for (shape, len) in [("(1, 2, 1)", 2), ("()", 1)] {
        assert_eq!(
            parse(&npy("<f8", shape, &f8(&vec![0.0; len]))),
            Err(format!("read x.npy: the array has shape {shape}, wanted is (rows, columns)"))
        );
    }
    assert_eq!(
        labels(&npy("|u1", "(2, 1)", &[0, 1])),
        Err("read y.npy: the array has shape (2, 1), wanted is (rows,)".into())
    );
}

#[test]
fn other_dtypes_are_named() {
    for (descr, shown) in [("<c8", "'<c8'"), ("|O", "'|O'"), ("<U3", "'<U3'"), ("<f2", "'<f2'")] {
        assert_eq!(
            parse(&npy(descr, "(1,)", &[0; 16])),
            Err(format!(
                "read x.npy: the array has dtype {shown}; supported are bool, int8 to int64, \
                 uint8 to uint64, float32 and float64"
            ))
        );
    }
    let header = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n";
    let error = parse(&npy_with(header, &[0; 4])).unwrap_err();
    assert!(error.contains("has dtype [('a', '<f4'), ];"), "{error}");
}

#[test]
fn a_file_cut_short_names_both_sizes_before_anything_is_allocated() {
    assert_eq!(
        parse(&npy("<f4", "(2, 2)", &[0; 15])),
        Err("read x.npy: the file is cut short: shape (2, 2) needs 16 bytes, 15 are there".into())
    );
    let error = parse(&npy("<f4", "(1000000000, 1000000000)", &[0; 4])).unwrap_err();
    assert!(error.contains("needs 4000000000000000000 bytes, 4 are there"), "{error}");
}

#[test]
fn an_overflowing_shape_is_an_error() {
    let shape = "(10000000000, 10000000000)";
    let error = parse(&npy("<f4", shape, &[0; 4])).unwrap_err();
    assert!(error.starts_with("read x.npy: the "), "{error}");
}

#[test]
fn empty_arrays_are_errors() {
    for shape in ["(0, 2)", "(3, 0)", "(0,)", "(0, 1000000000000000000)"] {
        assert_eq!(
            parse(&npy("<f4", shape, &[])),
            Err(format!(
                "read x.npy: the array has shape {shape}, wanted is (rows, columns) with at least \
                 one of each"
            ))
        );
    }
    assert_eq!(parse(b""), Err("read x.npy: the file is empty".into()));
}

#[test]
fn damaged_headers_are_errors() {
    let damaged = |bytes: &[u8]| parse(bytes).unwrap_err();
    assert_eq!(
        damaged(b"\x93NUMPY\x01\x00\xff\x00{'desc"),
        "read x.npy: the NPY header is damaged: it is cut short"
    );
    assert_eq!(
        damaged(b"PK\x03\x04 an npz archive"),
        "read x.npy: the NPY header is damaged: the file does not start with \\x93NUMPY"
    );
    assert_eq!(
        damaged(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"),
        "read x.npy: the NPY header is damaged: it claims 4294967295 bytes"
    );
    assert_eq!(
        damaged(&npy_with(&"(".repeat(60_000), &[])),
        "read x.npy: the NPY header is damaged: it has 60000 opening brackets"
    );
    let header = "{'descr': '<f4', 'shape': (1,), }\n";
    assert_eq!(
        damaged(&npy_with(header, &[0; 4])),
        "read x.npy: the NPY header is damaged: dict is missing key 'fortran_order'"
    );
}

#[test]
fn no_damaged_byte_makes_the_reader_panic() {
    let whole = npy("<f4", "(2, 2)", &[0; 16]);
    for at in 0..whole.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = parse(&bytes);
        }
        assert!(parse(&whole[..at]).is_err());
    }
}

#[test]
fn labels_are_read_from_every_usual_dtype() {
    let wanted = Ok(vec![false, true, true]);
    assert_eq!(labels(&npy("|b1", "(3,)", &[0, 1, 1])), wanted);
    assert_eq!(labels(&npy("|u1", "(3,)", &[0, 1, 9])), wanted);
    assert_eq!(labels(&npy("|i1", "(3,)", &[0, 1, 0xff])), wanted);
    assert_eq!(labels(&npy("<i4", "(3,)", &[0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0])), wanted);
    let i8s = [0_i64, -1, 1 << 40].map(i64::to_le_bytes).concat();
    assert_eq!(labels(&npy("<i8", "(3,)", &i8s)), wanted);
    let f4s = [0.0_f32, 1.0, -0.5].map(f32::to_le_bytes).concat();
    assert_eq!(labels(&npy("<f4", "(3,)", &f4s)), wanted);
    assert_eq!(labels(&npy("<f8", "(3,)", &f8(&[-0.0, 1.0, 1e-300]))), wanted);
    assert_eq!(labels(&npy("|b1", "(0,)", &[])), Ok(vec![]));
}

#[test]
fn a_label_that_is_not_a_number_is_named() {
    assert_eq!(
        labels(&npy("<f8", "(2,)", &f8(&[0.0, f64::NAN]))),
        Err("read y.npy: row 2, column c1: \"nan\" is not a label; labels are numbers (0 is \
             normal) or true and false"
            .into())
    );
}
