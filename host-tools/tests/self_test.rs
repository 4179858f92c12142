//! What the firmware's images print when they test themselves, against what stands beside them.

use std::fs;
use std::path::Path;

use fluxlet_tools::device::{Bench, Board};

#[test]
fn boards_print_what_stands_beside_their_images() {
    let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware");
    let bench = Bench::set_up().unwrap();
    for (board, name) in [(Board::M4f, "qemu-m4f"), (Board::M0, "qemu-m0")] {
        let scorer = bench.build(board, &firmware.join("models/self-test.flx")).unwrap();
        let path = firmware.join("src/bin").join(name).with_extension("out");
        let expected = fs::read_to_string(&path).unwrap();
        let printed = scorer.self_test().unwrap().join("\n") + "\n";
        // The depth of the stack is the compiler's affair; the rest is the same everywhere.
        let lasting = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with("peak stack "));
            lines.map(str::to_string).collect()
        };
        assert_eq!(lasting(&printed), lasting(&expected), "{name} printed:\n{printed}");
    }
}
