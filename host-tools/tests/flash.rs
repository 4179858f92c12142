//! `fluxlet flash`: what it would do, what it does with a programmer, and what it refuses.

mod support;

use std::path::PathBuf;
use std::process::Command;

use fluxlet::bijection::{Layer, Shape};
use fluxlet::{Base, Model};
use fluxlet_slots::{Header, Room, Slot, newest, read};
use fluxlet_tools::stack::Stack;
use support::Folder;
use support::models::{fix_checksum, random_weights};

/// A model of one spline over `dim` numbers.
fn model(dim: usize, bins: usize, seed: u64) -> Vec<u8> {
    let layers = vec![(Layer::RationalQuadratic, Shape::new(dim, bins, 0))];
    let stack = Stack { dim, context: 0, layers, base: Base::Normal };
    stack.pack(&random_weights(&stack, 1.0, seed), &[])
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("model.flx", model(3, 4, 1));
    folder
}

#[test]
fn a_dry_run_tells_every_command() {
    let folder = folder();
    let bytes = folder.read("model.flx");
    let checksum = Model::new_checked(&bytes).unwrap().checksum();
    let model =
        format!("model  model.flx: 208 bytes, checksum {checksum:08x}, 24 bytes of memory\n");
    let said = folder.ok("flash model.flx --chip rp2040 --dry-run");
    let expected = "\
chip   rp2040: 2097152 bytes of flash at 0x10000000, 270336 of RAM
slots  a at 0x101c0000, b at 0x101e0000, 131072 bytes each
image  240 bytes: header and model
run    probe-rs read --chip RP2040 b32 0x101c0000 32768 --format binary --output a.bin
run    probe-rs read --chip RP2040 b32 0x101e0000 32768 --format binary --output b.bin
run    probe-rs download --chip RP2040 --binary-format bin --base-address 0x101c0000 image.bin   where b runs, or none
   or  probe-rs download --chip RP2040 --binary-format bin --base-address 0x101e0000 image.bin   where a runs
run    probe-rs reset --chip RP2040
";
    assert_eq!(said, format!("{model}{expected}"));
    let said = folder.ok("flash model.flx --chip esp32c3 --slot-address 0x3e_0000 --dry-run");
    let expected = "\
chip   esp32c3: 4194304 bytes of flash at 0x0, 409600 of RAM
slots  a at 0x3c0000, b at 0x3e0000, 131072 bytes each
image  240 bytes: header and model
run    espflash write-bin --chip esp32c3 0x3e0000 image.bin
";
    assert_eq!(said, format!("{model}{expected}"));
    let said = folder.ok("flash model.flx --chip rp2350 --uf2 model.uf2 --dry-run");
    assert!(said.ends_with("write  model.uf2, 8192 bytes\n"), "{said}");
    assert_eq!(folder.entries(), ["model.flx"]);
}

/// Runs `fluxlet flash` with a programmer that keeps a chip's flash in a file.
///
/// It understands what probe-rs and espflash understand of a command line, no more.
#[cfg(unix)]
fn flash(folder: &Folder, line: &str) -> (Option<i32>, String, String) {
    use std::os::unix::fs::PermissionsExt;
    let script = r#"#!/bin/sh
echo "$(basename "$0") $*" | sed 's|/[^ ]*/||g' >> log
case "$(basename "$0") $1" in
"probe-rs read") dd if=flash.bin of="${10}" bs=65536 skip=$((($5 - 0x10000000) / 65536)) count=$(($6 * 4 / 65536)) ;;
"probe-rs download") [ -e broken ] && exit 3; dd if="$8" of=flash.bin bs=65536 seek=$((($7 - 0x10000000) / 65536)) conv=notrunc ;;
"espflash read-flash") dd if=flash.bin of="$6" bs=65536 skip=$(($4 / 65536)) count=$(($5 / 65536)) ;;
"espflash write-bin") dd if="$5" of=flash.bin bs=65536 seek=$(($4 / 65536)) conv=notrunc ;;
esac 2>/dev/null
"#;
    for name in ["probe-rs", "espflash"] {
        std::fs::create_dir_all(folder.path("bin")).unwrap();
        folder.write(&format!("bin/{name}"), script);
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(&format!("bin/{name}")), executable).unwrap();
    }
    let path = std::env::var_os("PATH").unwrap();
    let paths = std::env::split_paths(&path);
    let paths: Vec<PathBuf> = [folder.path("bin")].into_iter().chain(paths).collect();
    let output = Command::new(env!("CARGO_BIN_EXE_fluxlet"))
        .args(line.split(' '))
        .current_dir(folder.path(""))
        .env("PATH", std::env::join_paths(paths).unwrap())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
#[cfg(unix)]
fn models_take_turns_in_the_two_slots() {
    for (chip, flash_bytes) in [("rp2040", 2 << 20), ("esp32c3", 4 << 20)] {
        let folder = folder();
        folder.write("flash.bin", vec![0xff; flash_bytes]);
        let slots = flash_bytes - 0x4_0000;
        let mut latest: Option<Header> = None;
        for (seed, slot) in [(1, Slot::A), (2, Slot::B), (3, Slot::A), (4, Slot::B)] {
            let new = model(3, 4, seed);
            folder.write("model.flx", &new);
            let (code, stdout, stderr) = flash(&folder, &format!("flash model.flx --chip {chip}"));
            assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
            let contents = folder.read("flash.bin");
            let [a, b] = [slots, slots + 0x2_0000].map(|at| &contents[at..at + 0x2_0000]);
            let running = newest([a, b], Room::UNLIMITED).unwrap();
            assert_eq!(running.slot, slot, "{chip} {seed}");
            assert_eq!(running.model.checksum(), Model::new_checked(&new).unwrap().checksum());
            // Within one second the time is no later, and the number still is.
            assert!(latest.is_none_or(|latest| running.header.is_later_than(latest)));
            latest = Some(running.header);
            assert!(contents[..slots].iter().all(|byte| *byte == 0xff));
        }
    }
}

#[test]
#[cfg(unix)]
fn a_programmer_is_called_as_the_dry_run_says() {
    let folder = folder();
    folder.write("flash.bin", vec![0xff; 2 << 20]);
    flash(&folder, "flash model.flx --chip rp2040");
    let expected = "\
probe-rs read --chip RP2040 b32 0x101c0000 32768 --format binary --output slot.bin
probe-rs read --chip RP2040 b32 0x101e0000 32768 --format binary --output slot.bin
probe-rs download --chip RP2040 --binary-format bin --base-address 0x101c0000 image.bin
probe-rs reset --chip RP2040
";
    assert_eq!(folder.text("log"), expected);
}

#[test]
#[cfg(unix)]
fn a_slot_whose_model_is_broken_is_the_spare_one() {
    let folder = folder();
    folder.write("flash.bin", vec![0xff; 2 << 20]);
    for _ in 0..2 {
        flash(&folder, "flash model.flx --chip rp2040");
    }
    // b is the newer one; broken, it leaves a running, and the next model takes its place.
    let mut contents = folder.read("flash.bin");
    contents[0x1e_0000 + 100] ^= 1;
    folder.write("flash.bin", &contents);
    let (_, stdout, _) = flash(&folder, "flash model.flx --chip rp2040");
    assert_eq!(stdout, "wrote 240 bytes to 0x101e0000\n");
}

#[test]
#[cfg(unix)]
fn a_programmer_that_fails_or_is_missing_is_named() {
    let folder = folder();
    folder.write("flash.bin", vec![0xff; 2 << 20]);
    folder.write("broken", "");
    let (code, _, stderr) =
        flash(&folder, "flash model.flx --chip rp2040 --slot-address 0x101d0000");
    assert_eq!(code, Some(2));
    let expected = "error: failed to flash model.flx: `probe-rs download --chip RP2040 --binary-format \
                    bin --base-address 0x101d0000 ";
    assert!(stderr.starts_with(expected), "{stderr}");
    assert!(stderr.ends_with("image.bin` ended with exit status: 3\n"), "{stderr}");
    for (chip, program, package) in
        [("nrf52840", "probe-rs", "probe-rs-tools"), ("esp32c3", "espflash", "espflash")]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_fluxlet"))
            .args(["flash", "model.flx", "--chip", chip])
            .current_dir(folder.path(""))
            .env("PATH", folder.path("nothing"))
            .output()
            .unwrap();
        let expected = format!(
            "error: failed to flash model.flx: {program} is not installed; `cargo install {package} \
             --locked` installs it\n"
        );
        assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn a_uf2_file_holds_the_slot() {
    let folder = folder();
    for (chip, family, options, address) in [
        ("rp2040", 0xe48b_ff56, "", 0x101c_0000),
        ("rp2350", 0xe48b_ff57, "", 0x103c_0000),
        ("rp2040", 0xe48b_ff56, " --slot-address 0x101e0000", 0x101e_0000),
    ] {
        folder.ok(&format!("flash model.flx --chip {chip} --uf2 model.uf2{options}"));
        let (slot, families) = uf2_decode::convert_from_uf2(&folder.read("model.uf2")).unwrap();
        assert_eq!(families.into_iter().collect::<Vec<_>>(), [(family, address)]);
        assert_eq!(slot.len(), 4096);
        let stored = read(Slot::A, &slot, Room::UNLIMITED).unwrap();
        let model = folder.read("model.flx");
        assert_eq!(stored.model.checksum(), Model::new_checked(&model).unwrap().checksum());
        // Seconds since 1970: some day after this test was written.
        assert!(stored.header.sequence > 1_760_000_000);
        assert!(slot[32 + model.len()..].iter().all(|byte| *byte == 0xff));
    }
    let said = folder.fails("flash model.flx --chip nrf52840 --uf2 other.uf2");
    assert_eq!(said, "failed to flash model.flx: nrf52840 takes no UF2 files");
}

#[test]
fn what_the_device_would_refuse_is_refused_here() {
    let folder = folder();
    let good = folder.read("model.flx");
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        fix_checksum(&mut bytes);
        bytes
    };
    let mut damaged = good.clone();
    damaged[60] ^= 4;
    for (bytes, reason) in [
        (
            changed(4, 2),
            "read model.flx: the model has format version 2, this reader knows version 1",
        ),
        (
            changed(20, 0x7e),
            "read model.flx: layer 0 has the unknown code 0x7e: a newer version wrote this model",
        ),
        (damaged, "read model.flx: the model is damaged: its checksum does not fit its bytes"),
        (
            good[..100].to_vec(),
            "read model.flx: the model has 100 bytes instead of 208: it was cut short",
        ),
        (
            model(64, 200, 5),
            "flash model.flx: the model has 154396 bytes, a slot of stm32f401 has room for 131040 \
             (of 524288 of flash)",
        ),
    ] {
        folder.write("model.flx", &bytes);
        for options in ["", " --dry-run"] {
            let said = folder.fails(&format!("flash model.flx --chip stm32f401{options}"));
            assert_eq!(said, format!("failed to {reason}"));
        }
    }
}

#[test]
fn a_model_that_needs_more_memory_than_the_chip_has_is_refused() {
    let folder = Folder::new();
    // Windows of 24,576 numbers: small in flash, large in memory.
    let window = fluxlet::features::Window { channels: 24, window: 1024, bands: 2, floor: 1e-6 };
    let layers = vec![(Layer::Affine, Shape::new(window.feature_len(), 0, 0))];
    let stack = Stack { dim: window.feature_len(), context: 0, layers, base: Base::Normal };
    let mut features = vec![0; window.payload_len()];
    let mut dct = vec![0.0; (features.len() - 12) / 4];
    window.write(&mut dct, &mut features);
    let sections: [([u8; 4], &[u8]); 1] = [(fluxlet::model::tag::FEATURES, &features)];
    let bytes = stack.pack(&random_weights(&stack, 0.5, 3), &sections);
    folder.write("model.flx", &bytes);
    let model = Model::new_checked(&bytes).unwrap();
    let work = 4 * (model.input_len() + model.work_len());
    assert!((98_304..131_072).contains(&work), "{work}");
    let said = folder.fails("flash model.flx --chip stm32f401 --dry-run");
    let expected = format!(
        "failed to flash model.flx: the model needs {work} bytes of memory for its input and its work, \
         stm32f401 has 98304"
    );
    assert_eq!(said, expected);
    folder.ok("flash model.flx --chip nrf52840 --dry-run");
}

#[test]
fn an_address_where_no_slot_can_be_is_refused() {
    let folder = folder();
    for (chip, address, reason) in [
        ("rp2040", "0x0ffff000", "no slot of 131072 bytes fits there"),
        ("rp2040", "0x101e1000", "no slot of 131072 bytes fits there"),
        ("rp2040", "0x101c0100", "rp2040 erases 4096 bytes at a time"),
        ("stm32f411", "0x08050000", "stm32f411 erases 131072 bytes at a time"),
        ("esp32c3", "4294967295", "no slot of 131072 bytes fits there"),
    ] {
        let line = format!("flash model.flx --chip {chip} --slot-address {address} --dry-run");
        let said = folder.fails(&line);
        assert!(said.contains(reason), "{said}");
    }
    let ran = folder.run("flash model.flx --chip rp2040 --slot-address here");
    assert_eq!(ran.code, Some(2));
    let ran = folder.run("flash model.flx --chip z80");
    assert!(ran.stderr.contains("nrf52840"), "{}", ran.stderr);
}
