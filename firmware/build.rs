//! Embeds the model, sizes its buffers and gives each board its memory layout.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

const SELF_TEST_MODEL: &str = "models/self-test.flx";
/// Each image and the folder of its board.
const IMAGES: [(&str, &str); 4] = [
    ("qemu-m4f", "qemu-m4f"),
    ("qemu-m0", "qemu-m0"),
    ("bare-m4f", "qemu-m4f"),
    ("bare-m0", "qemu-m0"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    embed_model(&root)?;
    if env::var("CARGO_CFG_TARGET_OS")? == "none" {
        link_boards(&root);
        show_information_logs();
    }
    Ok(())
}

fn embed_model(root: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=FLUXLET_MODEL");
    let path =
        env::var_os("FLUXLET_MODEL").map_or_else(|| root.join(SELF_TEST_MODEL), PathBuf::from);
    let path = fs::canonicalize(&path).map_err(|e| format!("model {}: {e}", path.display()))?;
    println!("cargo:rerun-if-changed={}", path.display());
    println!("cargo:rustc-env=FLUXLET_MODEL={}", path.display());

    // A model that a board would refuse fails here, where the reason can be read.
    let bytes = fs::read(&path)?;
    let model = fluxlet::Model::new_checked(&bytes)
        .map_err(|e| format!("model {}: {e}", path.display()))?;
    let lengths = format!(
        "/// Numbers in one row of input.\npub const INPUT_LEN: usize = {};\n\
         /// Numbers of working memory that a score needs.\npub const WORK_LEN: usize = {};\n",
        model.input_len(),
        model.work_len(),
    );
    fs::write(Path::new(&env::var("OUT_DIR")?).join("lengths.rs"), lengths)?;
    Ok(())
}

fn link_boards(root: &Path) {
    for (image, board) in IMAGES {
        let folder = root.join("boards").join(board);
        println!("cargo:rerun-if-changed={}", folder.join("memory.x").display());
        // cortex-m-rt's script includes `memory.x` from the search path of the one binary.
        println!("cargo:rustc-link-arg-bin={image}=-L{}", folder.display());
        println!("cargo:rustc-link-arg-bin={image}=-Tlink.x");
        println!("cargo:rustc-link-arg-bin={image}=-Tdefmt.x");
    }
}

/// defmt alone shows errors only, and its macros read the level while this package compiles.
fn show_information_logs() {
    println!("cargo:rerun-if-env-changed=DEFMT_LOG");
    if env::var_os("DEFMT_LOG").is_none() {
        println!("cargo:rustc-env=DEFMT_LOG=info");
    }
}
