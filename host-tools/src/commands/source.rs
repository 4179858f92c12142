//! Where a device's lines come from, on the command line.

use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;

use crate::data::{self, Columns};
use crate::device::{Bench, Board, Node};
use crate::node::Stream;

/// Channels of the emulated device's sensor.
const CHANNELS: usize = 3;

/// Which device.
#[derive(clap::Args, Clone, Debug)]
#[command(group(clap::ArgGroup::new("device").required(true).args(["stdin", "port", "probe", "qemu"])))]
pub(super) struct SourceArgs {
    /// `-`: the device's lines are on standard input
    #[arg(value_name = "-", value_parser = ["-"])]
    stdin: Option<String>,
    /// Serial port that the device is on, such as /dev/ttyACM0 or COM3
    #[arg(long, value_name = "PORT")]
    port: Option<PathBuf>,
    /// Bits a second of the serial port
    #[arg(
        long,
        value_name = "N",
        default_value_t = 115_200,
        conflicts_with_all = ["stdin", "probe", "qemu"]
    )]
    baud: u32,
    /// Chip behind a debug probe, by its name in probe-rs; it can't be sent commands
    #[arg(long, value_name = "CHIP", requires = "elf")]
    probe: Option<String>,
    /// The image that it runs
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stdin", "port", "qemu"])]
    elf: Option<PathBuf>,
    /// Emulate a device that runs this model, its sensor played from a file of three columns, in g
    #[arg(long, num_args = 2, value_names = ["MODEL", "DATA"])]
    qemu: Option<Vec<PathBuf>>,
}

impl SourceArgs {
    /// Begins to listen. An emulated device records from its start if it is to record.
    pub(super) fn open(&self, record: bool) -> anyhow::Result<Stream> {
        if let Some(path) = &self.port {
            return Stream::port(path, self.baud);
        }
        if let (Some(chip), Some(elf)) = (&self.probe, &self.elf) {
            let mut command = Command::new("probe-rs");
            command.args(["attach", "--no-timestamps", "--no-location", "--chip", chip]).arg(elf);
            return Stream::program(
                &mut command,
                "`cargo install probe-rs-tools --locked` installs it",
            );
        }
        let Some([model, readings]) = self.qemu.as_deref() else { return Ok(Stream::stdin()) };
        super::read_model(model)?;
        let columns = Columns::default();
        let table = data::read(readings, &columns)?.table;
        ensure!(
            table.width == CHANNELS,
            "read {}: it has {} columns, the sensor has {CHANNELS} channels",
            readings.display(),
            table.width
        );
        let node = Node::build(&Bench::set_up()?, Board::M4f, model, &table.values)?;
        Stream::emulated(node, record)
    }
}
