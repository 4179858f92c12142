//! What the firmware's image prints when it tests itself, the same on every board.

use std::fs;
use std::path::Path;

use fluxlet_tools::device::{Bench, Board};

#[test]
fn every_board_prints_what_stands_beside_the_image() {
    let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware");
    let bench = Bench::set_up().unwrap();
    for model in ["self-test", "numbers"] {
        let expected = fs::read_to_string(firmware.join(format!("{model}.out"))).unwrap();
        for board in Board::ALL {
            let path = firmware.join(format!("models/{model}.flx"));
            let scorer = bench.build(board, &path).unwrap();
            let printed = scorer.self_test().unwrap();
            // The depth of the stack is the compiler's affair; the rest is the same everywhere.
            let lasting: Vec<&String> =
                printed.iter().filter(|line| !line.starts_with("peak stack ")).collect();
            assert_eq!(lasting, expected.lines().collect::<Vec<_>>(), "{}", board.name());
        }
    }
}
