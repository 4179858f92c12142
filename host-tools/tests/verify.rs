//! `fluxlet verify` and `fluxlet cost`: an emulated device computes this computer's bits.

mod support;

use fluxlet::bijection::{Layer, Shape};
use fluxlet::conditioner::Numbers;
use fluxlet::{Base, Model};
use fluxlet_tools::device::{Bench, Board};
use fluxlet_tools::export;
use fluxlet_tools::stack::Stack;
use fluxlet_tools::train::{FlowConfig, Kind};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use support::data;
use support::models::{EDGES, every_layer, odd_input, random_weights, with_all_sections};
use support::{Folder, Ran};

/// Runs a command that must succeed; setting up the boards may talk on standard error.
fn report(folder: &Folder, line: &str) -> Value {
    let Ran { code, stdout, stderr } = folder.run(line);
    assert_eq!(code, Some(0), "fluxlet {line}: {stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// What `verify --json` says where all rows agree on both boards.
fn equal(rows: usize) -> Value {
    equal_on(&["m4f", "m0"], rows)
}

fn equal_on(targets: &[&str], rows: usize) -> Value {
    let board = |target: &&str| json!({ "target": target, "rows": rows, "equal": rows, "first_difference": null });
    targets.iter().map(board).collect()
}

#[test]
fn a_trained_model_has_the_same_bits_on_both_boards() {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(400, 1)));
    folder.ok("train x.csv -o run --epochs 5");
    assert_eq!(report(&folder, "verify run/model.flx x.csv --json"), equal(400));
    assert_eq!(report(&folder, "verify run/model.flx --json"), equal(1000));
    let Ran { code, stdout, .. } = folder.run("verify run/model.flx x.csv --target m0");
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "Cortex-M0   400 of 400 rows agree: bit-identical\n")
    );
}

#[test]
fn every_layer_has_the_same_bits_on_every_board_whatever_the_input() {
    const DIM: usize = 12;
    let folder = Folder::new();
    let stack = every_layer(DIM);
    folder.write("model.flx", stack.pack(&random_weights(&stack, 1.0, 21), &[]));
    let mut rng = ChaCha8Rng::seed_from_u64(22);
    let mut rows: Vec<[f32; DIM]> = EDGES.map(|edge| [edge; DIM]).to_vec();
    // Each edge alone, in another column each time, in a row of ordinary numbers.
    let ordinary = data::normals::<DIM>(EDGES.len(), 23);
    for (i, (mut row, edge)) in ordinary.into_iter().zip(EDGES).enumerate() {
        row[i % DIM] = edge;
        rows.push(row);
    }
    rows.extend(data::normals::<DIM>(500, 24));
    while rows.len() < 2000 {
        rows.push(odd_input(DIM, &mut rng).try_into().unwrap());
    }
    folder.write("odd.npy", data::npy(&rows));
    let every = ["m4f", "m0", "m7", "m33", "m55", "rv32imc", "rv32imafc"];
    let targets: String = every.iter().map(|target| format!(" --target {target}")).collect();
    let report = report(&folder, &format!("verify model.flx odd.npy --json{targets}"));
    assert_eq!(report, equal_on(&every, 2000));
}

#[test]
fn no_image_of_a_rotation_stack_can_panic() {
    let folder = Folder::new();
    let stack = FlowConfig { components: 1, ..FlowConfig::default() }.stack(8, 0, false).unwrap();
    folder.write("model.flx", stack.pack(&random_weights(&stack, 0.5, 31), &[]));
    let bench = Bench::set_up().unwrap();
    for board in Board::ALL {
        let panics = bench.panics(board, &folder.path("model.flx")).unwrap();
        assert_eq!(panics, Vec::<String>::new(), "{}", board.name());
    }
}

#[test]
fn no_image_of_a_stack_with_networks_can_panic() {
    let folder = Folder::new();
    let bench = Bench::set_up().unwrap();
    for kind in [Kind::Coupling, Kind::Autoregressive] {
        let flow = FlowConfig { kind, hidden: vec![8, 8], components: 1, ..FlowConfig::default() };
        let stack = flow.stack(4, 0, false).unwrap();
        let plain = stack.pack(&random_weights(&stack, 0.1, 32), &[]);
        let inputs = data::normals::<4>(50, 33).concat();
        for numbers in Numbers::ALL {
            let model = Model::new_checked(&plain).unwrap();
            let exported = export::export(&model, numbers, &inputs).unwrap();
            folder.write("model.flx", exported.bytes);
            for board in Board::USUAL {
                let panics = bench.panics(board, &folder.path("model.flx")).unwrap();
                let image = format!("{kind:?} in {} on {}", numbers.name(), board.name());
                assert_eq!(panics, Vec::<String>::new(), "{image}");
            }
        }
    }
}

#[test]
fn single_kernels_have_the_same_bits_on_every_board() {
    let folder = Folder::new();
    let report = report(&folder, "cost --kernels --json --target m4f --target m55");
    let kernels = report.as_array().unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_string();
    let lines = kernels.iter().map(|row| text(row, "name") + ": " + &text(row, "digest") + "\n");
    let printed = include_str!("../../firmware/kernels.out");
    assert_eq!(lines.collect::<String>(), printed.repeat(2));
    assert!(kernels.iter().all(|row| row["instructions"].as_u64().unwrap() > 0));
}

#[test]
fn features_have_the_same_bits_on_both_boards() {
    let folder = Folder::new();
    folder.write("model.flx", with_all_sections());
    let mut stream = data::normals::<2>(32 * 60, 25);
    // Still, loud, huge, broken: a window each.
    stream[..32].fill([0.25, -0.0]);
    stream[32..64].iter_mut().for_each(|row| *row = row.map(|x| x * 1e6));
    stream[64..96].iter_mut().for_each(|row| *row = row.map(|x| x * 1e38));
    stream[96..128].iter_mut().for_each(|row| *row = row.map(|x| x * 1e-42));
    stream[130] = [f32::NAN, f32::INFINITY];
    folder.write("x.npy", data::npy(&stream));
    assert_eq!(report(&folder, "verify model.flx x.npy --json"), equal(60));
}

#[test]
fn a_model_that_a_board_has_no_room_for_is_refused_in_one_line() {
    let folder = Folder::new();
    let spline = (Layer::RationalQuadratic, Shape::new(64, 400, 0));
    let stack = Stack { dim: 64, context: 0, layers: vec![spline], base: Base::Normal };
    folder.write("model.flx", stack.pack(&random_weights(&stack, 1.0, 27), &[]));
    let Ran { code, stdout, stderr } = folder.run("verify model.flx --target m0");
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    let said = stderr.lines().last().unwrap();
    assert!(said.contains("Cortex-M0: the model, 30"), "{stderr}");
    assert!(said.ends_with("more than this board's memory; --target chooses another"), "{stderr}");
}

#[test]
fn the_cost_of_a_model_is_measured_on_both_boards() {
    let folder = Folder::new();
    let stack = every_layer(4);
    let model = stack.pack(&random_weights(&stack, 1.0, 26), &[]);
    folder.write("model.flx", &model);
    let costs = report(&folder, "cost model.flx --json");
    let costs = costs.as_array().unwrap();
    assert_eq!([&costs[0]["target"], &costs[1]["target"]], ["m4f", "m0"]);
    for cost in costs {
        let number = |key: &str| cost[key].as_u64().unwrap();
        assert_eq!(number("model_bytes"), model.len() as u64, "{cost}");
        let mean = number("instructions_mean");
        assert!(mean > 0 && mean <= number("instructions_max"), "{cost}");
        // A microbit has 256 KB of flash and 16 KB of memory.
        assert!((1..200_000).contains(&number("code_bytes")), "{cost}");
        assert!((1..16_384).contains(&number("stack_bytes")), "{cost}");
        assert_eq!(number("static_ram_bytes"), 0, "{cost}");
    }
    let means = [0, 1].map(|board: usize| costs[board]["instructions_mean"].as_u64().unwrap());
    assert!(means[0] < means[1], "floats in software take more instructions: {means:?}");
}

/// A compiler that no longer made vectors of the loop would leave it slower than one number at a time.
#[test]
fn splines_take_four_numbers_at_once_where_there_are_vectors_for_it() {
    let folder = Folder::new();
    let layers = vec![(Layer::RationalQuadratic, Shape::new(16, 12, 0)); 4];
    let stack = Stack { dim: 16, context: 0, layers, base: Base::Normal };
    folder.write("model.flx", stack.pack(&random_weights(&stack, 1.0, 28), &[]));
    let costs = report(&folder, "cost model.flx --json --target m33 --target m55");
    let [m33, m55] = [0, 1].map(|board: usize| costs[board]["instructions_mean"].as_u64().unwrap());
    assert!(m55 * 2 < m33, "{m55} instructions on the M55, {m33} on the M33");
}
