//! A node on this machine: its sensor's bus is a mock, its port a vector of bytes.

mod choice;
mod faults;
mod lines;
mod support;
