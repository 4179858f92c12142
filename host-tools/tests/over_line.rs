//! `fluxlet flash --port`: a device in QEMU gets models over its own line, some of which it refuses.

#![cfg(target_os = "linux")]

mod support;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fluxlet::bijection::{Layer, Shape};
use fluxlet::model::tag;
use fluxlet::{Base, Model};
use fluxlet_tools::device::{Bench, Board, Node};
use fluxlet_tools::stack::Stack;
use serial2::SerialPort;
use support::models::random_weights;
use support::{Folder, data};

/// A model of one layer for the three channels, with a text of that many bytes.
fn model(layer: Layer, bins: usize, seed: u64, text: usize) -> Vec<u8> {
    let layers = vec![(layer, Shape::new(3, bins, 0))];
    let stack = Stack { dim: 3, context: 0, layers, base: Base::Normal };
    let text = vec![b'x'; text];
    stack.pack(&random_weights(&stack, 0.2, seed), &[(tag::PROVENANCE, &text)])
}

/// How a device tells that it runs a model from a slot.
fn told(model: &[u8], slot: &str) -> String {
    format!("model {:08x} 3 {slot}\n", Model::new_checked(model).unwrap().checksum())
}

/// A device, and the line to it.
struct Device {
    program: Child,
    /// The end of the line that commands and models are given to.
    port: String,
    /// Everything that the device told.
    told: Arc<Mutex<String>>,
    /// Bytes that go through to the device before the line is cut.
    passing: Arc<AtomicUsize>,
    _node: Node,
    _ends: [SerialPort; 2],
}

impl Device {
    fn start(folder: &Folder, board: Board, model: &str) -> Self {
        let readings = data::normals::<3>(100, 5).into_iter().flatten().map(|x| 0.3 * x);
        let readings: Vec<f32> = readings.collect();
        let bench = Bench::set_up().unwrap();
        let node = Node::build(&bench, board, &folder.path(model), &readings).unwrap();
        let (device, device_end, terminal) = support::serial_line();
        let (host, host_end, port) = support::serial_line();
        // A read gives at once what there is.
        let raw = ["raw", "-echo", "min", "0", "time", "0", "-F"];
        assert!(Command::new("stty").args(raw).arg(&terminal).status().unwrap().success());
        let program = node.on_line(&terminal).stdout(Stdio::null()).spawn().unwrap();
        let told = Arc::new(Mutex::new(String::new()));
        let passing = Arc::new(AtomicUsize::new(usize::MAX));
        let mut ends = [device, host];
        for end in &mut ends {
            end.set_read_timeout(Duration::from_secs(600)).unwrap();
            // Where nobody listens, lines are lost.
            end.set_write_timeout(Duration::from_millis(1)).unwrap();
        }
        let ends = Arc::new(ends);
        thread::spawn({
            let (ends, told) = (ends.clone(), told.clone());
            move || {
                pass(&ends[0], &ends[1], |bytes| {
                    told.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
                    bytes.len()
                })
            }
        });
        thread::spawn({
            let passing = passing.clone();
            move || {
                pass(&ends[1], &ends[0], |bytes| {
                    let left = passing.load(Ordering::Relaxed);
                    passing.store(left.saturating_sub(bytes.len()), Ordering::Relaxed);
                    bytes.len().min(left)
                })
            }
        });
        let port = port.display().to_string();
        Self { program, port, told, passing, _node: node, _ends: [device_end, host_end] }
    }

    /// Waits until the device has told `line` and then a score; forgets what it told.
    fn scores_after(&self, line: &str) {
        let start = Instant::now();
        loop {
            let mut told = self.told.lock().unwrap();
            if let Some((_, behind)) = told.split_once(line)
                && behind.contains("\nscore ") | behind.starts_with("score ")
            {
                told.clear();
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "no {line:?} in {told:.2000}");
            drop(told);
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Passes on what comes, as many bytes of each piece as `count` says, until the line is gone.
fn pass(from: &SerialPort, to: &SerialPort, mut count: impl FnMut(&[u8]) -> usize) {
    let mut bytes = [0; 1024];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        let passing = count(&bytes[..len]);
        let _ = to.write_all(&bytes[..passing]);
    }
}

/// Gives a device models that it takes, and others that it cannot; `room` is that of a slot.
fn a_device_takes_models_and_keeps_the_old_one_where_it_cannot(board: Board, room: usize) {
    let folder = Folder::new();
    let affine = |seed| model(Layer::Affine, 0, seed, 400);
    let (first, second, third) = (affine(1), affine(2), affine(3));
    folder.write("first.flx", &first);
    folder.write("second.flx", &second);
    folder.write("third.flx", &third);
    folder.write("spline.flx", model(Layer::RationalQuadratic, 4, 1, 0));
    folder.write("large.flx", model(Layer::Affine, 0, 1, 70_000));
    let device = Device::start(&folder, board, "first.flx");
    device.scores_after(&told(&first, "built-in"));

    let flash = |file: &str| folder.run(&format!("flash {file} --port {}", device.port));
    let refused = |file: &str, reason: &str| {
        let ran = flash(file);
        let said = format!("error: failed to flash {file}: the device refuses it: {reason}\n");
        assert_eq!((ran.code, ran.stderr), (Some(2), said));
        device.scores_after(&told(&first, "built-in"));
    };
    let bytes = folder.read("large.flx").len();
    refused("large.flx", &format!("the model has {bytes} bytes, a slot has room for {room}"));
    let left_out = "the model needs \"rational-quadratic\", which was left out of this build";
    refused("spline.flx", left_out);
    device.passing.store(300, Ordering::Relaxed);
    let total = second.len();
    let reason = format!("the model has 256 bytes instead of {total}: it was cut short");
    refused("second.flx", &reason);
    device.passing.store(usize::MAX, Ordering::Relaxed);

    for (file, model, slot) in [("second.flx", &second, "a"), ("third.flx", &third, "b")] {
        let ran = flash(file);
        let said = format!("the device runs it from slot {slot}\n");
        assert_eq!((ran.code, ran.stdout), (Some(0), said), "{}", ran.stderr);
        device.scores_after(&told(model, slot));
    }
}

#[test]
fn over_its_line_a_device_takes_models_into_memory_that_plays_a_flash() {
    a_device_takes_models_and_keeps_the_old_one_where_it_cannot(Board::M4f, 65_504);
}

#[test]
fn over_its_line_a_device_takes_models_into_its_chip_s_own_flash() {
    a_device_takes_models_and_keeps_the_old_one_where_it_cannot(Board::M0, 16_352);
}
