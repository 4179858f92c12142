//! Any bytes are refused as a model or are one that is safe to evaluate.

mod support;

use fluxlet::{LOG_PROB_MIN, Model};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::models::{
    EDGES, every_layer, fix_checksum, odd_input, random_weights, with_all_sections,
};
use support::{Folder, data};

/// Evaluates a model that was accepted: numbers only, whatever the input.
fn evaluate(model: &Model, inputs: usize, rng: &mut ChaCha8Rng, what: &str) {
    let mut work = vec![0.0; model.work_len()];
    for _ in 0..inputs {
        let input = odd_input(model.input_len(), rng);
        let reading = fluxlet::read(model, &input, &mut work);
        let log_prob = reading.log_prob;
        assert!(
            log_prob.is_finite() && log_prob >= LOG_PROB_MIN,
            "{what}: {log_prob} of {input:?}"
        );
        let p = reading.p_value;
        assert!(p > 0.0 && p <= 1.0, "{what}: p-value {p} of {input:?}");
    }
    let mut noise: Vec<f32> = (0..model.dim()).map(|_| rng.random_range(-4.0..4.0)).collect();
    fluxlet::sample(model, &mut noise, rng.random(), &mut vec![0.0; model.scratch_len()]);
}

fn without_sections(dim: usize, spread: f64) -> Vec<u8> {
    let stack = every_layer(dim);
    stack.pack(&random_weights(&stack, spread, 3), &[])
}

#[test]
fn the_untouched_models_are_accepted() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for bytes in [with_all_sections(), without_sections(1, 0.5), without_sections(6, 8.0)] {
        evaluate(&Model::new_checked(&bytes).unwrap(), 2000, &mut rng, "untouched");
        let mut again = bytes.clone();
        fix_checksum(&mut again);
        assert!(again == bytes, "the test's checksum is that of the writer");
    }
}

#[test]
fn a_model_cut_at_any_length_is_refused() {
    let bytes = with_all_sections();
    for len in 0..bytes.len() {
        assert!(Model::new_checked(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_model_cut_at_any_length_is_refused_with_a_header_that_agrees() {
    let bytes = with_all_sections();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut accepted = 0;
    for len in 20..bytes.len() {
        let mut cut = bytes[..len].to_vec();
        cut[12..16].copy_from_slice(&(len as u32).to_le_bytes());
        fix_checksum(&mut cut);
        if let Ok(model) = Model::new_checked(&cut) {
            accepted += 1;
            evaluate(&model, 5, &mut rng, "cut");
        }
    }
    // Only between two of the five sections is a cut model whole.
    assert_eq!(accepted, 5);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut bytes = with_all_sections();
    for bit in 0..8 * bytes.len() {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Model::new_checked(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(Model::new_checked(&bytes).is_ok());
}

#[test]
fn random_bytes_are_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for round in 0..20_000 {
        let mut bytes = vec![0; rng.random_range(0..200)];
        rng.fill_bytes(&mut bytes);
        assert!(Model::new_checked(&bytes).is_err(), "round {round}");
    }
}

#[test]
fn random_bytes_behind_a_sound_header_are_refused_or_safe() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut accepted = 0;
    for round in 0..100_000 {
        let mut bytes = vec![0; rng.random_range(24..120)];
        rng.fill_bytes(&mut bytes);
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(b"FLXM");
        bytes[4..6].copy_from_slice(&1_u16.to_le_bytes());
        bytes[6..8].copy_from_slice(&rng.random_range(0..4_u16).to_le_bytes());
        bytes[8..10].fill(0);
        bytes[10..12].copy_from_slice(&rng.random_range(0..3_u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&len.to_le_bytes());
        bytes[20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x80, 0x81][rng.random_range(0..12)];
        fix_checksum(&mut bytes);
        if let Ok(model) = Model::new_checked(&bytes) {
            accepted += 1;
            evaluate(&model, 5, &mut rng, &format!("round {round}"));
        }
    }
    assert!(accepted < 1000, "{accepted} of random bytes were models");
}

/// Changes some bytes: any byte, a whole weight to an edge, or a count of the header.
fn mutate(bytes: &mut [u8], weights: usize, rng: &mut ChaCha8Rng) {
    for _ in 0..rng.random_range(1..6) {
        match rng.random_range(0..8) {
            0 => bytes[rng.random_range(6..weights)] = rng.random(),
            1 => {
                let place = rng.random_range(weights..bytes.len());
                bytes[place] = rng.random();
            }
            2 => {
                let place = rng.random_range(weights..bytes.len());
                bytes[place] ^= 1 << rng.random_range(0..8);
            }
            choice => {
                let place = weights + 4 * rng.random_range(0..(bytes.len() - weights) / 4);
                let old = f32::from_le_bytes(bytes[place..place + 4].try_into().unwrap());
                let new = match choice {
                    3 => EDGES[rng.random_range(0..EDGES.len())],
                    4 => -old,
                    5 => old * 1e30,
                    6 => old * 1e-30,
                    _ => f32::from_bits(rng.random()),
                };
                bytes[place..place + 4].copy_from_slice(&new.to_le_bytes());
            }
        }
    }
}

#[test]
fn a_model_changed_with_its_checksum_is_refused_or_safe() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for original in [with_all_sections(), without_sections(3, 1.0), without_sections(1, 6.0)] {
        let weights = 20 + 4 * 14;
        let mut accepted = 0;
        for round in 0..10_000 {
            let mut bytes = original.clone();
            mutate(&mut bytes, weights, &mut rng);
            fix_checksum(&mut bytes);
            if let Ok(model) = Model::new_checked(&bytes) {
                accepted += 1;
                evaluate(&model, 6, &mut rng, &format!("round {round}"));
            }
        }
        // The test means nothing where all are refused, or all are accepted.
        assert!((100..9_000).contains(&accepted), "{accepted} were accepted");
    }
}

#[test]
fn a_damaged_model_is_refused_by_every_command() {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(60, 1)));
    folder.ok("train x.csv -o run --epochs 1 --components 1");
    let bytes = folder.read("run/model.flx");
    let len = bytes.len();
    let mut flipped = bytes.clone();
    flipped[len / 2] ^= 0x10;
    folder.write("flipped.flx", &flipped);
    let mut later = bytes.clone();
    later[4] = 2;
    folder.write("later.flx", &later);
    let mut unknown = bytes.clone();
    unknown[20] = 0x77;
    fix_checksum(&mut unknown);
    folder.write("unknown.flx", &unknown);
    let mut weight = bytes.clone();
    weight[48..52].copy_from_slice(&f32::NAN.to_le_bytes());
    fix_checksum(&mut weight);
    folder.write("weight.flx", &weight);
    folder.write("long.flx", [&bytes[..], b"\n"].concat());
    let size = |found: usize| format!("the model has {found} bytes instead of {len}: ");
    let cases = [
        ("flipped", "the model is damaged: its checksum does not fit its bytes".to_string()),
        ("later", "the model has format version 2, this reader knows version 1".into()),
        ("unknown", "layer 0 has the unknown code 0x77: a newer version wrote this model".into()),
        ("weight", "layer 0 has weights that no such layer can have".into()),
        ("long", size(len + 1) + "bytes were added"),
    ];
    for (name, expected) in cases {
        for line in [
            "score M x.csv -o new.csv",
            "eval M x.csv",
            "sample M -n 1 -o new.npy",
            "inspect M",
            "verify M",
            "cost M",
        ] {
            let file = format!("{name}.flx");
            let said = folder.fails(&line.replace('M', &file));
            assert_eq!(said, format!("failed to read {file}: {expected}"), "{line}");
        }
    }
    for cut in [0, 1, 2, 4, 19, 20, 21, 36, len / 2, len - 1] {
        folder.write("cut.flx", &bytes[..cut]);
        let said = folder.fails("score cut.flx x.csv");
        assert!(
            said.starts_with(&format!("failed to read cut.flx: the model has {cut} bytes")),
            "{said}"
        );
        assert!(said.ends_with("it was cut short"), "{said}");
    }
    let foreign = "failed to read x.csv: not a fluxlet model: it does not begin with \"FLXM\"";
    assert_eq!(folder.fails("inspect x.csv"), foreign);
}
