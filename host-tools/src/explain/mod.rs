//! Explains layers and training.

pub mod measured;
pub mod shape;
