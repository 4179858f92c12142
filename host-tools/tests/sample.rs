//! `fluxlet sample`: rows like those of training.

mod support;

use support::data::{self, Rows};
use support::{Folder, column, models, parse_csv};

/// A folder with a model of 2000 Gaussian rows in `run/model.flx`.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(2000, 1)));
    folder.ok("train x.csv -o run --epochs 10");
    folder
}

#[test]
fn the_same_seed_draws_the_same_rows_in_every_format() {
    let folder = folder();
    let text = folder.ok("sample run/model.flx -n 40 --seed 3");
    let (header, cells) = parse_csv(&text);
    assert_eq!(header, ["a", "b", "c"]);
    assert_eq!(cells.len(), 40);
    assert_eq!(folder.ok("sample run/model.flx -n 40 --seed 3 -o s.csv"), "");
    assert_eq!(folder.text("s.csv"), text);
    folder.ok("sample run/model.flx -n 40 --seed 3 -o s.npy");
    let bytes = folder.read("s.npy");
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    assert_eq!(array.shape(), [40, 3]);
    let written: Vec<f32> = cells.concat().iter().map(|cell| cell.parse().unwrap()).collect();
    assert_eq!(array.into_vec::<f32>().unwrap(), written);
    assert_ne!(folder.ok("sample run/model.flx -n 40 --seed 4"), text);
    // More rows begin with the fewer ones.
    assert!(folder.ok("sample run/model.flx -n 50 --seed 3").starts_with(&text));
}

#[test]
fn no_rows_are_a_header_and_an_empty_array() {
    let folder = folder();
    assert_eq!(folder.ok("sample run/model.flx -n 0"), "a,b,c\n");
    folder.ok("sample run/model.flx -n 0 -o s.npy");
    let bytes = folder.read("s.npy");
    assert_eq!(npyz::NpyFile::new(&bytes[..]).unwrap().shape(), [0, 3]);
}

#[test]
fn sampled_rows_have_the_moments_of_the_training_rows() {
    let folder = folder();
    let (_, cells) = parse_csv(&folder.ok("sample run/model.flx -n 20000"));
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, (values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt())
    };
    for (j, expected) in (0..3).map(|j| {
        let values: Vec<f64> = data::gaussian(2000, 1).iter().map(|row| row[j].into()).collect();
        (j, moments(&values))
    }) {
        let (mean, deviation) = moments(&column(&cells, j));
        // 1600 rows trained, 20,000 were drawn: the mean has a deviation of 1/√1600 = 0.025 of
        // the column's, the deviation one of 1/√3200 = 0.018; three of them each.
        assert!((mean - expected.0).abs() < 0.075 * expected.1, "{j}: {mean} for {expected:?}");
        let ratio = deviation / expected.1;
        assert!((ratio - 1.0).abs() < 0.055, "{j}: {deviation} for {expected:?}");
    }
}

#[test]
fn samples_are_as_probable_as_rows_of_the_same_density() {
    let folder = folder();
    folder.ok("sample run/model.flx -n 20000 --seed 8 -o own.npy");
    folder.write("fresh.npy", data::npy(&data::gaussian(20_000, 9)));
    let [own, fresh] = ["own", "fresh"].map(|name| {
        folder.json(&format!("eval run/model.flx {name}.npy --json"))["nll"].as_f64().unwrap()
    });
    // On its own samples the model's mean NLL is its entropy; on rows of the truth it is higher
    // by what the model misses, some hundredths of a nat, and 0.012 is the error of the means.
    assert!(own < fresh + 0.04 && fresh < own + 0.15, "{own} and {fresh}");
    // A sample is scored at the very rows that were written: none is improbable by rounding.
    let evaluation = folder.json("eval run/model.flx own.npy --json");
    assert!(evaluation["false_alarms"].as_f64().unwrap() < 0.04, "{evaluation}");
}

#[test]
fn two_clusters_are_drawn_as_often_as_they_were_seen() {
    let folder = Folder::new();
    let rows: Rows<2> = data::normals::<2>(1000, 2)
        .into_iter()
        .enumerate()
        .map(|(i, [a, b])| if i % 4 == 0 { [a - 8.0, b] } else { [a + 8.0, b] })
        .collect();
    folder.write("x.npy", data::npy(&rows));
    folder.ok("train x.npy -o run --epochs 20");
    let (_, cells) = parse_csv(&folder.ok("sample run/model.flx -n 4000"));
    let left = column::<f32>(&cells, 0).iter().filter(|x| **x < 0.0).count() as f64 / 4000.0;
    // Deviation of a share of a quarter among 800 training rows: 0.015; three of them.
    assert!((left - 0.25).abs() < 0.046, "{left}");
}

#[test]
fn a_model_of_windows_draws_its_features() {
    let folder = Folder::new();
    folder.write("model.flx", models::with_all_sections());
    let (header, cells) = parse_csv(&folder.ok("sample model.flx -n 5"));
    let expected: Vec<String> = (1..=12).map(|i| format!("c{i}")).collect();
    assert_eq!((header, cells.len()), (expected, 5));
}
