//! Data that the tests train on, and the formats that they write it in.

use std::sync::Arc;

use npyz::WriterBuilder;
use parquet::data_type::{DoubleType, FloatType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Rows of D numbers.
pub(crate) type Rows<const D: usize> = Vec<[f32; D]>;

/// Independent standard normals.
pub(crate) fn normals<const D: usize>(rows: usize, seed: u64) -> Rows<D> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..rows).map(|_| core::array::from_fn(|_| rng.sample(StandardNormal))).collect()
}

/// A correlated Gaussian with means 5, −20, 0.3: x = mean + L z for the factor L of [`FACTOR`].
pub(crate) fn gaussian(rows: usize, seed: u64) -> Rows<3> {
    let dot = |l: [f32; 3], z: [f32; 3]| l[0] * z[0] + l[1] * z[1] + l[2] * z[2];
    let place = |z| core::array::from_fn(|i| [5.0, -20.0, 0.3][i] + dot(FACTOR[i], z));
    normals(rows, seed).into_iter().map(place).collect()
}

/// Lower triangular factor of [`gaussian`]'s covariance.
pub(crate) const FACTOR: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [3.0, 4.0, 0.0], [0.1, -0.1, 0.05]];

/// Entropy of [`gaussian`] in nats: ½ D ln 2πe + Σ ln Lᵢᵢ.
pub(crate) fn gaussian_entropy() -> f64 {
    let half = 0.5 * (core::f64::consts::TAU * core::f64::consts::E).ln();
    (0..3).map(|i| half + f64::from(FACTOR[i][i]).ln()).sum()
}

/// Two half circles of radius 1 that reach into one another, blurred by σ = 0.1.
pub(crate) fn moons(rows: usize, seed: u64) -> Rows<2> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..rows)
        .map(|i| {
            let (y, x) = rng.random_range(0.0..core::f64::consts::PI).sin_cos();
            let (x, y) = if i % 2 == 0 { (x, y) } else { (1.0 - x, 0.5 - y) };
            let [a, b]: [f64; 2] = core::array::from_fn(|_| rng.sample(StandardNormal));
            [(x + 0.1 * a) as f32, (y + 0.1 * b) as f32]
        })
        .collect()
}

/// CSV with these column names; without a header where there are none.
pub(crate) fn csv<const D: usize>(names: &str, rows: &[[f32; D]]) -> String {
    let mut text = String::from(names);
    if !names.is_empty() {
        text.push('\n');
    }
    for row in rows {
        text.push_str(&row.map(|x| x.to_string()).join(","));
        text.push('\n');
    }
    text
}

/// A 2-D array.
pub(crate) fn npy<T, const D: usize>(rows: &[[T; D]]) -> Vec<u8>
where
    T: npyz::AutoSerialize + Copy,
{
    write_npy(&[rows.len() as u64, D as u64], rows.as_flattened())
}

/// A 1-D array of labels.
pub(crate) fn npy_labels(labels: &[u8]) -> Vec<u8> {
    write_npy(&[labels.len() as u64], labels)
}

/// What stands before the data of an array in C order, 128 bytes.
pub(crate) fn npy_head(descr: &str, shape: &str) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut head = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    head.extend(format!("{text:<117}\n").bytes());
    head
}

fn write_npy<T: npyz::AutoSerialize + Copy>(shape: &[u64], values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut array = options.writer(&mut bytes).begin_nd().unwrap();
    array.extend(values.iter().copied()).unwrap();
    array.finish().unwrap();
    bytes
}

/// A Parquet file whose first column is of 64-bit floats, the others of 32-bit ones.
pub(crate) fn parquet<const D: usize>(names: [&str; D], rows: &[[f32; D]]) -> Vec<u8> {
    let kind = |j: usize| if j == 0 { "double" } else { "float" };
    let fields: String = (0..D).map(|j| format!("required {} {};", kind(j), names[j])).collect();
    let schema = parse_message_type(&format!("message rows {{ {fields} }}")).unwrap();
    let mut bytes = Vec::new();
    let mut file =
        SerializedFileWriter::new(&mut bytes, Arc::new(schema), Default::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    for j in 0..D {
        let mut writer = group.next_column().unwrap().unwrap();
        let values: Vec<f32> = rows.iter().map(|row| row[j]).collect();
        let written = if j == 0 {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            writer.typed::<DoubleType>().write_batch(&values, None, None)
        } else {
            writer.typed::<FloatType>().write_batch(&values, None, None)
        };
        written.unwrap();
        writer.close().unwrap();
    }
    group.close().unwrap();
    file.close().unwrap();
    bytes
}
