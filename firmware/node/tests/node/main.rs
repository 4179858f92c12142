//! A node on this machine: its sensor's bus is a mock, its port a vector of bytes.

mod awaited;
mod choice;
mod faults;
// That of the slots' own tests: it obeys the rules of flash.
#[path = "../../../../slots/tests/support/mod.rs"]
mod flash;
mod lines;
mod support;
mod update;
