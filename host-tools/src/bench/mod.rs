//! Speed and memory of training, scoring and sampling: as a share of what the machine could do, and
//! beside other libraries.
//!
//! A share is a count of floating-point operations, over seconds, over the machine's own
//! multiply-add rate, which is measured first. Other libraries run the scripts of `benches/peers`,
//! each in a process of its own, in turns with this one. Rates are told per second and per
//! CPU-second; the latter hardly moves on a machine that has other things to do.

mod clock;
mod flows;
mod gpu;
mod limit;
mod memory;
mod ours;
mod peers;
mod report;
mod run;

pub use clock::{Spread, Timing};
pub use flows::{Flow, Task};
pub use gpu::{Compared, GpuReport, OnGpu, on_gpu};
pub use limit::Limit;
pub use memory::{Error as MemoryError, Peak, peak, peaks};
pub use ours::start;
pub use peers::Error as PeerError;
pub use report::{Cell, LeftOut, Ratio, Report};
pub use run::{Plan, run};
