//! Pyro's transforms give the same numbers: values, log determinants and gradients.
//!
//! Golden vectors of Pyro 1.9.2 lie in `tests/goldens`; `FLUXLET_GOLDENS=FOLDER` takes another
//! folder with a manifest of the same form, where a type that is not known here fails by name.
//! Our `forward` is Pyro's T, x → y; our `inverse` its T⁻¹, v → u.
//!
//! Where Pyro is not followed: a value less than 1e-6 above a knot is counted to the bin on the
//! knot's left, so its log determinant is off by up to 0.04 there. We take the bin that the value
//! is in. At such values y and u are compared to 1e-7. For the rest, and for the sums over rows, our
//! bin's contribution, by an independent formula (`common::oracle`), is exchanged for that of Pyro's
//! bin by the same formula, through the network where one gives the spline: no number is left out. In
//! `f32` the reference's log determinants are moved by that same difference.
//!
//! What is left out: in `f32`, the rows that the manifest calls fuzzy, in which rounding decides on
//! which side of that slack a value lies; `x_back`, which is T⁻¹ of y again; and the moving averages
//! that batch normalisation keeps for itself in training. In `f32` gradients are not compared.
//!
//! Lone networks and batch statistics in `f32` come without a reference in `f64`: there Pyro's own
//! results are the reference, and nothing is added for their error.

mod common;

#[path = "pyro/batch_statistics.rs"]
mod batch_statistics;
#[path = "pyro/bins.rs"]
mod bins;
#[path = "pyro/block.rs"]
mod block;
#[path = "pyro/conditioned.rs"]
mod conditioned;
#[path = "pyro/ledger.rs"]
mod ledger;
#[path = "pyro/lone_networks.rs"]
mod lone_networks;
#[path = "pyro/networks.rs"]
mod networks;
#[path = "pyro/static_layers.rs"]
mod static_layers;
#[path = "pyro/transform.rs"]
mod transform;

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use block::Block;
use common::goldens::{Golden, cases};
use fluxlet::math::Real;
use ledger::Ledger;

/// The layers of a transform, or `None` where we have none.
fn blocks<R: Real>(golden: &Golden, like: R) -> Option<Vec<Block<R>>> {
    static_layers::blocks(golden, like).or_else(|| conditioned::blocks(golden, like))
}

/// Checks a case; `None` where its type is not known here.
fn check(golden: &Golden, ledger: &mut Ledger) -> Option<()> {
    let double = match golden.entry["dtype"].as_str() {
        Some("float64") => true,
        Some("float32") => false,
        other => panic!("{}: type of number {other:?}", golden.id()),
    };
    match (golden.kind(), double) {
        ("BatchNormTrain", true) => batch_statistics::check_f64(golden, ledger),
        ("BatchNormTrain", false) => batch_statistics::check_f32(golden, ledger),
        (kind, true) if kind.ends_with("NN") => lone_networks::check_f64(golden, ledger)?,
        (kind, false) if kind.ends_with("NN") => lone_networks::check_f32(golden, ledger)?,
        (_, true) => transform::check_f64(golden, &blocks(golden, 0.0)?, ledger),
        (_, false) => {
            let exact = blocks(golden, 0.0)?;
            transform::check_f32(golden, &blocks(golden, 0.0)?, &exact, ledger);
        }
    }
    Some(())
}

#[test]
fn pyro_agrees() {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let folder = env::var_os("FLUXLET_GOLDENS").map_or(own, PathBuf::from);
    let mut ledger = Ledger::new();
    let mut unknown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut checked = 0;
    for (path, entry) in cases(&folder) {
        let golden = Golden::read(&path, entry);
        ledger.open(golden.kind(), golden.entry["dtype"].as_str().unwrap_or("?"));
        match check(&golden, &mut ledger) {
            Some(()) => checked += 1,
            None => {
                let dim = &golden.entry["config"]["dim"];
                let kind = golden.kind();
                let kind =
                    if dim.is_null() { kind.to_owned() } else { format!("{kind}, dim {dim}") };
                unknown.entry(kind).or_default().push(golden.id().to_owned());
            }
        }
    }
    println!("{checked} cases of {} agree", folder.display());
    ledger.report();
    assert!(unknown.is_empty(), "types that are not known here: {unknown:#?}");
}
