//! Tests of the Parquet reader, on files made by the writer of the same crate.

use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::super::testing::{Folder, parquet_bytes};
use super::super::{Dataset, read};
use super::*;

/// One column chunk: its values, and its definition levels where it has any.
enum Chunk {
    Bool(Vec<bool>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>, Option<Vec<i16>>),
    Bytes(Vec<&'static str>),
    /// A list column: values, definition and repetition levels.
    List(Vec<i32>, Vec<i16>, Vec<i16>),
}

/// A file with one row group for each list of chunks.
fn file(schema: &str, compression: Compression, groups: Vec<Vec<Chunk>>) -> Vec<u8> {
    let schema = parse_message_type(&format!("message m {{ {schema} }}")).unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut bytes = Vec::new();
    let mut file =
        SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties)).unwrap();
    for chunks in groups {
        let mut group = file.next_row_group().unwrap();
        for chunk in chunks {
            let mut column = group.next_column().unwrap().unwrap();
            write(column.untyped(), chunk);
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    file.close().unwrap();
    bytes
}

fn write(writer: &mut ColumnWriter, chunk: Chunk) {
    match (writer, chunk) {
        (ColumnWriter::BoolColumnWriter(w), Chunk::Bool(v)) => w.write_batch(&v, None, None),
        (ColumnWriter::Int32ColumnWriter(w), Chunk::I32(v)) => w.write_batch(&v, None, None),
        (ColumnWriter::Int64ColumnWriter(w), Chunk::I64(v)) => w.write_batch(&v, None, None),
        (ColumnWriter::FloatColumnWriter(w), Chunk::F32(v)) => w.write_batch(&v, None, None),
        (ColumnWriter::DoubleColumnWriter(w), Chunk::F64(v, levels)) => {
            w.write_batch(&v, levels.as_deref(), None)
        }
        (ColumnWriter::ByteArrayColumnWriter(w), Chunk::Bytes(v)) => {
            let v: Vec<ByteArray> = v.into_iter().map(ByteArray::from).collect();
            w.write_batch(&v, None, None)
        }
        (ColumnWriter::Int32ColumnWriter(w), Chunk::List(v, definition, repetition)) => {
            w.write_batch(&v, Some(&definition), Some(&repetition))
        }
        _ => panic!("the chunk does not fit the schema"),
    }
    .unwrap();
}

fn parse(bytes: &[u8]) -> Result<Dataset, String> {
    parse_with(bytes, None, &[])
}

fn parse_with(bytes: &[u8], label: Option<&str>, exclude: &[&str]) -> Result<Dataset, String> {
    let exclude: Vec<String> = exclude.iter().map(|name| name.to_string()).collect();
    let folder = Folder::new();
    let path = folder.file("x.parquet", bytes);
    read(&path, &Columns { label, exclude: &exclude, ..Columns::default() })
        .map_err(|error| folder.plain(&error))
}

const PLAIN: Compression = Compression::UNCOMPRESSED;

#[test]
fn every_number_type_is_read() {
    let schema = "required boolean b; required int32 i; required int64 l; required float f; \
                  required double d; required int32 s (INTEGER(8,true)); \
                  required int32 u (INTEGER(32,false)); required int64 v (UINT_64);";
    let bytes = file(
        schema,
        PLAIN,
        vec![vec![
            Chunk::Bool(vec![true, false]),
            Chunk::I32(vec![-1, 2]),
            Chunk::I64(vec![-3, 4]),
            Chunk::F32(vec![0.5, f32::NEG_INFINITY]),
            Chunk::F64(vec![0.25, -8.0], None),
            Chunk::I32(vec![-5, 6]),
            Chunk::I32(vec![-1, 7]),
            Chunk::I64(vec![-1, 8]),
        ]],
    );
    let table = parse(&bytes).unwrap().table;
    assert_eq!(table.names, ["b", "i", "l", "f", "d", "s", "u", "v"]);
    let (u32_max, u64_max) = (4_294_967_295_u32 as f32, u64::MAX as f32);
    assert_eq!(table.row(0), [1.0, -1.0, -3.0, 0.5, 0.25, -5.0, u32_max, u64_max]);
    assert_eq!(table.row(1), [0.0, 2.0, 4.0, f32::NEG_INFINITY, -8.0, 6.0, 7.0, 8.0]);
}

#[test]
fn nulls_become_nan() {
    let data = parse_with(&parquet_bytes(), Some("y"), &[]).unwrap();
    assert_eq!(data.table.names, ["a"]);
    assert_eq!((data.table.values[0], data.table.values[2]), (1.0, 3.0));
    assert!(data.table.values[1].is_nan());
    assert_eq!(data.labels, Some(vec![false, true, false]));
}

#[test]
fn row_groups_longer_than_a_batch_are_joined_in_every_compression() {
    let rows = BATCH + 100;
    for compression in [PLAIN, Compression::SNAPPY, Compression::ZSTD(Default::default())] {
        let group = |from: usize| {
            let up: Vec<i32> = (from..from + rows).map(|i| i as i32).collect();
            let down = up.iter().map(|&i| -f64::from(i)).collect();
            vec![Chunk::I32(up), Chunk::F64(down, None)]
        };
        let bytes =
            file("required int32 i; required double d;", compression, vec![group(0), group(rows)]);
        let table = parse(&bytes).unwrap().table;
        assert_eq!(table.rows(), 2 * rows);
        assert!((0..2 * rows).all(|i| table.row(i) == [i as f32, -(i as f32)]));
    }
}

#[test]
fn members_of_a_struct_are_named_by_their_path() {
    let schema = "optional group g { optional double x; }";
    let levels = Some(vec![2, 1, 0]);
    let bytes = file(schema, PLAIN, vec![vec![Chunk::F64(vec![1.5], levels)]]);
    let table = parse(&bytes).unwrap().table;
    assert_eq!(table.names, ["g.x"]);
    assert_eq!(table.values[0], 1.5);
    assert!(table.values[1].is_nan() && table.values[2].is_nan());
}

#[test]
fn columns_of_another_type_are_named_unless_excluded() {
    let cases = [
        ("required binary t (UTF8);", Chunk::Bytes(vec!["x"]), "BYTE_ARRAY (UTF8)"),
        ("required binary t;", Chunk::Bytes(vec!["x"]), "BYTE_ARRAY"),
        ("required int32 t (DATE);", Chunk::I32(vec![1]), "INT32 (DATE)"),
        ("required int32 t (DECIMAL(9,2));", Chunk::I32(vec![1]), "INT32 (DECIMAL)"),
        ("required int64 t (TIMESTAMP(NANOS,true));", Chunk::I64(vec![1]), "INT64 (TIMESTAMP)"),
        ("required int64 t (TIMESTAMP_MILLIS);", Chunk::I64(vec![1]), "INT64 (TIMESTAMP_MILLIS)"),
        ("required int64 t (TIME(NANOS,true));", Chunk::I64(vec![1]), "INT64 (TIME)"),
        ("repeated int32 t;", Chunk::List(vec![1, 2], vec![1, 1], vec![0, 1]), "list"),
    ];
    for (column, chunk, kind) in cases {
        let schema = format!("{column} required int32 a;");
        let bytes = file(&schema, PLAIN, vec![vec![chunk, Chunk::I32(vec![7])]]);
        assert_eq!(
            parse(&bytes),
            Err(format!(
                "read x.parquet: column t has type {kind}; supported are BOOLEAN, INT32, INT64, \
                 FLOAT and DOUBLE; to leave the column out, use --exclude t"
            ))
        );
        assert_eq!(parse_with(&bytes, None, &["t"]).unwrap().table.values, [7.0]);
    }
}

#[test]
fn a_number_outside_the_range_of_f32_is_named() {
    let bytes = file("required double d;", PLAIN, vec![vec![Chunk::F64(vec![1.0, 1e39], None)]]);
    assert_eq!(
        parse(&bytes),
        Err("read x.parquet: row 2, column d: 1e39 is outside the range of a 32-bit float".into())
    );
}

#[test]
fn a_null_label_is_named() {
    assert_eq!(
        parse_with(&parquet_bytes(), Some("a"), &[]),
        Err("read x.parquet: row 2, column a: \"nan\" is not a label; labels are numbers (0 is \
             normal) or true and false"
            .into())
    );
}

#[test]
fn files_without_rows_are_errors() {
    let no_rows =
        Err("read x.parquet: there are no rows of data below the column names (d)".into());
    assert_eq!(parse(&file("required double d;", PLAIN, vec![])), no_rows);
    let empty_group = vec![vec![Chunk::F64(vec![], None)]];
    assert_eq!(parse(&file("required double d;", PLAIN, empty_group)), no_rows);
    assert_eq!(parse(b""), Err("read x.parquet: the file is empty".into()));
}

#[test]
fn a_damaged_file_is_named_in_the_readers_words() {
    let error = parse(b"PAR1 and nothing more").unwrap_err();
    assert!(error.starts_with("read x.parquet: the Parquet file is damaged: "), "{error}");
    let whole = parquet_bytes();
    let error = parse(&whole[..whole.len() - 1]).unwrap_err();
    assert!(error.starts_with("read x.parquet: the Parquet file is damaged: "), "{error}");
}

#[test]
fn no_damaged_byte_makes_the_reader_panic() {
    let chunks = || vec![Chunk::F64(vec![1.0, 2.0, 2.0], None), Chunk::I32(vec![3, 4, 3])];
    let schema = "required double d; required int32 i;";
    for compression in [PLAIN, Compression::SNAPPY] {
        let whole = file(schema, compression, vec![chunks(), chunks()]);
        for at in 0..whole.len() {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let _ = parse(&bytes);
            }
        }
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "cut to {len} bytes");
        }
    }
}
