//! A device that is not there: a sensor played from a file, scored and told as on a board.

use std::path::Path;
use std::process::Command;

use super::{Bench, Board, Scorer};

/// A node with one model inside, built for one board.
pub struct Node(Scorer);

impl Node {
    /// Builds it with the model file, its sensor played from `readings`, rows of three numbers in g.
    pub fn build(
        bench: &Bench,
        board: Board,
        model: &Path,
        readings: &[f32],
    ) -> anyhow::Result<Self> {
        let node = bench.loaded(board, "node", model)?;
        node.write_rows(readings)?;
        Ok(Self(node))
    }

    /// The command that starts it on a terminal, which plays a serial line, and has it play its readings
    /// again and again.
    pub fn on_line(&self, terminal: &Path) -> Command {
        let mut command = self.0.qemu();
        command.arg("-semihosting-config");
        let terminal = terminal.display();
        command.arg(format!("enable=on,target=native,arg=node,arg=rows.bin,arg=s,arg={terminal}"));
        command
    }

    /// The command that starts it, from its first reading; with `record` it tells them.
    pub fn command(&self, record: bool) -> Command {
        let mut command = self.0.qemu();
        let record = if record { ",arg=r" } else { "" };
        command.arg("-semihosting-config");
        command.arg(format!("enable=on,target=native,arg=node,arg=rows.bin{record}"));
        command
    }
}
