//! The `fluxlet` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    fluxlet_tools::commands::run().unwrap_or_else(|error| {
        anstream::eprintln!("{}: failed to {error:#}", fluxlet_tools::report::bad("error"));
        ExitCode::from(2)
    })
}
