//! Trains, packs, scores and verifies fluxlet models; the library behind the `fluxlet` command.
pub mod data;
pub mod metrics;
pub mod output;
pub mod backend;
pub mod stack;
pub mod score;
pub mod train;
pub mod commands;
pub mod device;
pub mod inspect;
pub mod report;
