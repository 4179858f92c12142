//! Trains, packs, scores and verifies fluxlet models; the library behind the `fluxlet` command.
pub use fluxlet_backend as backend;
pub use fluxlet_backend::stack;

pub mod bench;
pub mod chip;
pub mod commands;
pub mod data;
pub mod device;
pub mod explain;
pub mod export;
pub mod import;
pub mod inspect;
pub mod metrics;
pub mod node;
pub mod output;
pub mod processor;
pub mod programmer;
pub mod report;
pub mod score;
pub mod train;
pub mod uf2;
