//! What a device tells in lines of text, and how they reach this computer.

mod line;
mod plot;
mod stream;
mod update;

pub use line::{Alarm, Line};
pub use plot::Plot;
pub use stream::{Next, Stream};
pub use update::give;
