//! `fluxlet score` and `fluxlet eval`: the core's own numbers, and what they tell of anomalies.

mod support;

use fluxlet::{Alarm, Model};
use support::data::{self, Rows};
use support::{Folder, column, models, parse_csv};

/// A folder with a model of 400 Gaussian rows in `run/model.flx`.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(400, 1)));
    folder.ok("train x.csv -o run --epochs 5");
    folder
}

#[test]
fn the_columns_hold_the_bits_of_the_core() {
    let folder = folder();
    let mut rows = data::gaussian(200, 2);
    rows.extend([[1e30, -3.4e38, 1e-40], [5.0, -20.0, 1e9], [0.0, -0.0, 0.0]]);
    folder.write("new.csv", data::csv("a,b,c", &rows));
    assert_eq!(folder.ok("score run/model.flx new.csv -o scores.csv"), "");
    let text = folder.text("scores.csv");
    assert_eq!(text, folder.ok("score run/model.flx new.csv"));
    let (header, cells) = parse_csv(&text);
    assert_eq!(header, ["log_prob", "score", "p_value", "alarm"]);
    assert_eq!(cells.len(), rows.len());

    let bytes = folder.read("run/model.flx");
    let model = Model::new_checked(&bytes).unwrap();
    let mut work = vec![0.0; model.work_len()];
    let [log_probs, scores, p_values] = [0, 1, 2].map(|j| column::<f32>(&cells, j));
    let alarms: Vec<u8> = column(&cells, 3);
    for (i, row) in rows.iter().enumerate() {
        let reading = fluxlet::read(&model, row, &mut work);
        assert_eq!(log_probs[i].to_bits(), reading.log_prob.to_bits(), "row {i}");
        assert_eq!(scores[i].to_bits(), reading.score().to_bits(), "row {i}");
        assert_eq!(p_values[i].to_bits(), reading.p_value.to_bits(), "row {i}");
        assert_eq!(alarms[i], u8::from(reading.alarm == Alarm::Improbable), "row {i}");
        assert!(p_values[i] > 0.0 && p_values[i] <= 1.0, "row {i}: {}", p_values[i]);
    }
    // Rows like those of training are no alarm, but for about one in a hundred.
    assert!(alarms[..200].iter().filter(|alarm| **alarm == 1).count() < 12);
    assert_eq!(alarms[200..202], [1, 1]);
}

#[test]
fn a_reading_that_is_not_finite_is_an_alarm_of_its_own_kind() {
    let folder = folder();
    folder.write(
        "odd.csv",
        "a,b,c\n5,-20,0.3\nNaN,-20,0.3\n5,inf,0.3\n5,-inf,0.3\n5,,0.3\nNA,-20,0.3\n",
    );
    let (_, cells) = parse_csv(&folder.ok("score run/model.flx odd.csv"));
    assert_eq!(column::<u8>(&cells, 3), [0, 2, 2, 2, 2, 2]);
    let log_probs: Vec<f32> = column(&cells, 0);
    assert!(log_probs[0] > -20.0);
    assert!(log_probs[1..].iter().all(|log_prob| *log_prob == fluxlet::LOG_PROB_MIN));
    let p_values: Vec<f32> = column(&cells, 2);
    // The smallest p-value of 80 held-out rows.
    assert!(p_values[1..].iter().all(|p| *p == 1.0 / 81.0), "{p_values:?}");

    let evaluation = folder.json("eval run/model.flx odd.csv --json");
    assert_eq!((&evaluation["rows"], &evaluation["not_finite"]), (&6.into(), &5.into()));
    assert!((evaluation["nll"].as_f64().unwrap() + f64::from(log_probs[0])).abs() < 1e-6);
}

#[test]
fn eval_is_the_mean_of_the_scores() {
    let folder = folder();
    folder.write("new.csv", data::csv("a,b,c", &data::gaussian(500, 3)));
    let evaluation = folder.json("eval run/model.flx new.csv --json");
    assert_eq!(evaluation["rows"], 500);
    assert!(evaluation["auroc"].is_null() && evaluation["aupr"].is_null(), "{evaluation}");
    let (_, cells) = parse_csv(&folder.ok("score run/model.flx new.csv"));
    let scores: Vec<f32> = column(&cells, 1);
    let mean = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / 500.0;
    assert!((evaluation["nll"].as_f64().unwrap() - mean).abs() < 1e-9);
    assert!(folder.ok("eval run/model.flx new.csv").starts_with("rows          500\nNLL"));
}

#[test]
fn planted_anomalies_are_found_with_labels_from_a_column_or_a_file() {
    let folder = folder();
    let labels: Vec<u8> = (0..300).map(|i| u8::from(i % 6 == 0)).collect();
    let rows: Rows<4> = data::gaussian(300, 4)
        .into_iter()
        .zip(&labels)
        // c follows a and b; an anomaly breaks that, although each number stays an ordinary one.
        .map(|([a, b, c], label)| [a, b, c + f32::from(*label), f32::from(*label)])
        .collect();
    folder.write("labelled.csv", data::csv("a,b,c,bad", &rows));
    let narrow: Rows<3> = rows.iter().map(|&[a, b, c, _]| [a, b, c]).collect();
    folder.write("plain.csv", data::csv("a,b,c", &narrow));
    folder.write("y.npy", data::npy_labels(&labels));
    let by_column = folder.json("eval run/model.flx labelled.csv --label bad --json");
    let by_number = folder.json("eval run/model.flx labelled.csv --label 4 --json");
    let by_file = folder.json("eval run/model.flx plain.csv --labels y.npy --json");
    assert_eq!(by_column, by_file);
    assert_eq!(by_column, by_number);
    assert_eq!((&by_file["rows"], &by_file["anomalies"]), (&300.into(), &50.into()));
    assert!(by_file["auroc"].as_f64().unwrap() > 0.99, "{by_file}");
    assert!(by_file["aupr"].as_f64().unwrap() > 0.97, "{by_file}");
    assert!(by_file["detected"].as_f64().unwrap() > 0.8, "{by_file}");
    // The mean is that of the normal rows.
    let normal: Rows<3> =
        narrow.iter().zip(&labels).filter(|(_, y)| **y == 0).map(|(r, _)| *r).collect();
    folder.write("normal.csv", data::csv("a,b,c", &normal));
    let normal = folder.json("eval run/model.flx normal.csv --json");
    assert_eq!(normal["nll"], by_file["nll"]);
}

#[test]
fn columns_are_found_by_their_names() {
    let folder = folder();
    let rows = data::gaussian(50, 5);
    folder.write("plain.csv", data::csv("a,b,c", &rows));
    let turned: Rows<3> = rows.iter().map(|&[a, b, c]| [c, a, b]).collect();
    folder.write("turned.csv", data::csv("c,a,b", &turned));
    let text: String = rows.iter().map(|[a, b, c]| format!("fan,{b},{a},99,on,{c}\n")).collect();
    folder.write("more.csv", format!("machine,b,a,age,state,c\n{text}"));
    folder.write("turned.parquet", data::parquet(["c", "a", "b"], &turned));
    // An array has no names: its columns are taken in the order of training.
    folder.write("array.npy", data::npy(&rows));
    folder.write("headless.csv", data::csv("", &rows));
    let expected = folder.ok("score run/model.flx plain.csv");
    for file in ["turned.csv", "more.csv", "turned.parquet", "array.npy", "headless.csv"] {
        assert_eq!(folder.ok(&format!("score run/model.flx {file}")), expected, "{file}");
    }
}

#[test]
fn a_label_column_of_the_training_data_needs_no_exclusion_later() {
    let folder = Folder::new();
    let rows: Rows<4> =
        data::gaussian(200, 6).into_iter().map(|[a, b, c]| [a, 0.0, b, c]).collect();
    folder.write("x.csv", data::csv("a,bad,b,c", &rows));
    folder.ok("train x.csv -o run --epochs 2 --label bad");
    let plain = folder.ok("score run/model.flx x.csv");
    assert_eq!(folder.ok("score run/model.flx x.csv --label bad"), plain);
    assert_eq!(folder.ok("score run/model.flx x.csv --exclude bad"), plain);
}

#[test]
fn a_model_of_windows_scores_windows() {
    let folder = Folder::new();
    let bytes = models::with_all_sections();
    folder.write("model.flx", &bytes);
    let stream = data::normals::<2>(32 * 9 + 5, 7);
    folder.write("x.npy", data::npy(&stream));
    let (_, cells) = parse_csv(&folder.ok("score model.flx x.npy"));
    let model = Model::new_checked(&bytes).unwrap();
    let expected: Vec<f32> = stream
        .as_flattened()
        .chunks_exact(64)
        .map(|window| models::log_prob(&model, window))
        .collect();
    assert_eq!(column::<f32>(&cells, 0), expected);
    // A window is an anomaly if one of its instants is.
    let labels: Vec<u8> = (0..stream.len()).map(|t| u8::from(t == 40)).collect();
    let labelled: Rows<3> =
        stream.iter().zip(labels).map(|(&[a, b], y)| [a, b, y.into()]).collect();
    folder.write("y.csv", data::csv("left,right,bad", &labelled));
    let evaluation = folder.json("eval model.flx y.csv --label bad --json");
    assert_eq!((&evaluation["rows"], &evaluation["anomalies"]), (&9.into(), &1.into()));
}
