//! `fluxlet flash`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, ensure};
use fluxlet::Model;
use fluxlet_slots::{HEADER_BYTES, Header, Room, Slot, newest};

use crate::chip::{Chip, Facts};
use crate::{node, output, uf2};

/// Put a model into a device's flash, beside the one that it runs.
///
/// The device has two slots for models and runs the newer one; the firmware stays as it is. Both
/// slots are read first, and the new model takes the place of the one that does not run: a cable
/// pulled at the wrong moment leaves the old model running. A model that the device would refuse is
/// refused here.
///
/// probe-rs reads and writes, for an ESP32 espflash; neither is part of fluxlet. A Pico that shows itself
/// as a drive can't be read: `--uf2` writes a file for slot a (or `--slot-address`), to be copied
/// there. Its model counts as newer than every earlier one, for the number that says so is the time.
///
/// A device whose image takes models over its own serial line needs no programmer: `--port`. It checks the
/// model itself, and goes on with the old one where it refuses the new one or the line is cut.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Packed model
    model: PathBuf,
    /// Microcontroller
    #[arg(long, value_enum, required_unless_present = "port")]
    chip: Option<Chip>,
    /// Serial port of a device that takes models over its line
    #[arg(long, conflicts_with_all = ["chip", "slot_address", "uf2", "dry_run"])]
    port: Option<PathBuf>,
    /// Bits a second of the serial port
    #[arg(long, value_name = "N", default_value_t = 115_200, requires = "port")]
    baud: u32,
    /// Write to the slot at this address and read nothing before
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    slot_address: Option<u32>,
    /// Write a UF2 file instead of the flash
    #[arg(long, value_name = "FILE.uf2")]
    uf2: Option<PathBuf>,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

fn address(text: &str) -> Result<u32, String> {
    let digits = text.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => digits.parse(),
    }
    .map_err(|error| error.to_string())
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let bytes = super::read_model(&args.model)?;
    let model = super::model(&bytes);
    match (&args.port, args.chip) {
        (None, Some(chip)) => flash(args, &bytes, &model, chip.facts()),
        (Some(port), _) => give(port, args.baud, &bytes, &model),
        (None, None) => Ok(()),
    }
    .with_context(|| format!("flash {}", args.model.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Gives the model to the device on a serial port.
fn give(port: &Path, baud: u32, bytes: &[u8], model: &Model) -> anyhow::Result<()> {
    let slot = node::give(&mut node::Stream::port(port, baud)?, bytes, model)?;
    anstream::println!("the device runs it from slot {slot}");
    Ok(())
}

fn flash(args: &Args, bytes: &[u8], model: &Model, facts: Facts) -> anyhow::Result<()> {
    fits(model, &facts)?;
    let address = args.slot_address.map(|address| aligned(address, &facts)).transpose()?;
    if args.dry_run {
        describe(args, model, &facts);
    }
    match &args.uf2 {
        Some(path) => {
            let family = facts.uf2_family;
            let family = family.with_context(|| format!("{} takes no UF2 files", facts.name))?;
            let address = address.unwrap_or(facts.slots.start);
            write_uf2(path, &uf2::pack(&image(bytes, now()), address, family), args.dry_run)
        }
        None if args.dry_run => {
            tell(&facts, address);
            Ok(())
        }
        None => write(&facts, bytes, address),
    }
}

/// Refuses what the device would refuse.
fn fits(model: &Model, facts: &Facts) -> anyhow::Result<()> {
    let Facts { name, flash_bytes, ram_bytes, slots, .. } = *facts;
    let (bytes, room) = (model.byte_len(), slots.model_room() as usize);
    ensure!(
        bytes <= room,
        "the model has {bytes} bytes, a slot of {name} has room for {room} (of {flash_bytes} of flash)"
    );
    let work = work_bytes(model);
    ensure!(
        work <= ram_bytes as usize,
        "the model needs {work} bytes of memory for its input and its work, {name} has {ram_bytes}"
    );
    Ok(())
}

/// Memory that scoring takes beside the stack.
fn work_bytes(model: &Model) -> usize {
    4 * (model.input_len() + model.work_len())
}

/// An address that a slot can be at.
fn aligned(address: u32, facts: &Facts) -> anyhow::Result<u32> {
    let Facts { name, flash, flash_bytes, erase_bytes, slots, .. } = *facts;
    let end = flash + flash_bytes;
    ensure!(
        (flash..=end - slots.slot_bytes).contains(&address),
        "--slot-address {address:#x}: no slot of {} bytes fits there, the flash of {name} is \
         {flash:#x} to {end:#x}",
        slots.slot_bytes
    );
    ensure!(
        (address - flash).is_multiple_of(erase_bytes),
        "--slot-address {address:#x}: {name} erases {erase_bytes} bytes at a time, a slot begins at a \
         multiple of them"
    );
    Ok(address)
}

/// The bytes of a slot with a model.
fn image(model: &[u8], sequence: u32) -> Vec<u8> {
    let header = Header::new(&super::model(model), sequence);
    [&header.to_bytes()[..], model].concat()
}

/// Seconds since 1970, modulo 2³²: a sequence number later than those of earlier models.
fn now() -> u32 {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs() as u32)
}

fn describe(args: &Args, model: &Model, facts: &Facts) {
    let Facts { name, flash, flash_bytes, ram_bytes, slots, .. } = *facts;
    let [a, b] = [Slot::A, Slot::B].map(|slot| slots.slot(slot).start);
    let (bytes, work) = (model.byte_len(), work_bytes(model));
    anstream::println!(
        "model  {}: {bytes} bytes, checksum {:08x}, {work} bytes of memory",
        args.model.display(),
        model.checksum()
    );
    anstream::println!(
        "chip   {name}: {flash_bytes} bytes of flash at {flash:#x}, {ram_bytes} of RAM"
    );
    anstream::println!("slots  a at {a:#x}, b at {b:#x}, {} bytes each", slots.slot_bytes);
    anstream::println!("image  {} bytes: header and model", HEADER_BYTES + bytes);
}

fn write_uf2(path: &Path, file: &[u8], dry_run: bool) -> anyhow::Result<()> {
    if dry_run {
        anstream::println!("write  {}, {} bytes", path.display(), file.len());
        return Ok(());
    }
    output::write_atomically(path, |sink| sink.write_all(file))?;
    anstream::println!(
        "wrote {}: start the board with BOOTSEL held down and copy it to the drive that shows up",
        path.display()
    );
    Ok(())
}

/// Writes the image to the slot at `address`, or to the spare one.
fn write(facts: &Facts, model: &[u8], address: Option<u32>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let programmer = facts.programmer;
    let (address, sequence) = match address {
        Some(address) => (address, now()),
        None => {
            let read = |slot| -> anyhow::Result<Vec<u8>> {
                let path = folder.path().join("slot.bin");
                let start = facts.slots.slot(slot).start;
                programmer.run(&programmer.read(start, facts.slots.slot_bytes, &path))?;
                Ok(fs::read(path)?)
            };
            let (slot, sequence) = spare([&read(Slot::A)?, &read(Slot::B)?]);
            (facts.slots.slot(slot).start, sequence)
        }
    };
    let path = folder.path().join("image.bin");
    fs::write(&path, image(model, sequence))?;
    programmer.run(&programmer.write(address, &path))?;
    programmer.reset().map_or(Ok(()), |line| programmer.run(&line))?;
    anstream::println!("wrote {} bytes to {address:#x}", HEADER_BYTES + model.len());
    Ok(())
}

/// Tells what [`write`] runs.
fn tell(facts: &Facts, address: Option<u32>) {
    let Facts { programmer, slots, .. } = *facts;
    let [a, b] = [Slot::A, Slot::B].map(|slot| slots.slot(slot).start);
    let image = Path::new("image.bin");
    match address {
        Some(address) => anstream::println!("run    {}", programmer.write(address, image)),
        None => {
            for (start, file) in [(a, "a.bin"), (b, "b.bin")] {
                let line = programmer.read(start, slots.slot_bytes, Path::new(file));
                anstream::println!("run    {line}");
            }
            anstream::println!("run    {}   where b runs, or none", programmer.write(a, image));
            anstream::println!("   or  {}   where a runs", programmer.write(b, image));
        }
    }
    if let Some(line) = programmer.reset() {
        anstream::println!("run    {line}");
    }
}

/// Which slot does not run, by the bytes of both, and a later sequence number than either has.
fn spare(slots: [&[u8]; 2]) -> (Slot, u32) {
    let running = newest(slots, Room::UNLIMITED);
    let spare = running.map_or(Slot::A, |running| running.slot.other());
    let headers = slots.into_iter().filter_map(Header::read);
    let latest = headers.reduce(|a, b| if b.is_later_than(a) { b } else { a });
    let sequence = match latest {
        // A clock that was set back.
        Some(latest) if !(Header { sequence: now(), ..latest }).is_later_than(latest) => {
            latest.sequence.wrapping_add(1)
        }
        _ => now(),
    };
    (spare, sequence)
}
