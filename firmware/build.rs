//! Embeds the model, sizes its buffers and gives each board its memory layout.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

const SELF_TEST_MODEL: &str = "models/self-test.flx";
const IMAGES: [&str; 4] = ["scorer", "bare", "kernels", "node"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    embed_model(&root)?;
    if env::var("CARGO_CFG_TARGET_OS")? == "none" {
        link_board(&root)?;
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

/// Links for the board that `FLUXLET_BOARD` names, a folder of `qemu/`; without it for one that
/// has the target's core.
fn link_board(root: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=FLUXLET_BOARD");
    let target = env::var("TARGET")?;
    let board = env::var("FLUXLET_BOARD").unwrap_or_else(|_| {
        let name = match &*target {
            "thumbv6m-none-eabi" => "m0",
            "thumbv8m.main-none-eabihf" => "m33",
            "riscv32imc-unknown-none-elf" => "rv32imc",
            "riscv32imafc-unknown-none-elf" => "rv32imafc",
            _ => "m4f",
        };
        name.into()
    });
    let folder = root.join("qemu").join(&board);
    if !folder.is_dir() {
        return Err(format!("board {board}: there is no folder {}", folder.display()).into());
    }
    println!("cargo:rerun-if-changed={}", folder.display());
    for image in IMAGES {
        // Either runtime's script finds `memory.x` in the search path; that of RISC-V has to be told.
        println!("cargo:rustc-link-arg-bin={image}=-L{}", folder.display());
        if target.starts_with("riscv") {
            println!("cargo:rustc-link-arg-bin={image}=-Tmemory.x");
        }
        println!("cargo:rustc-link-arg-bin={image}=-Tlink.x");
        if image != "bare" {
            println!("cargo:rustc-link-arg-bin={image}=-Tdefmt.x");
        }
    }
    // Of the emulated chips one has a flash that can be written to.
    println!("cargo:rustc-check-cfg=cfg(nvmc)");
    if folder.join("slots.x").exists() {
        println!("cargo:rustc-cfg=nvmc");
        println!("cargo:rustc-link-arg-bin=node=-Tslots.x");
    }
    Ok(())
}

/// defmt alone shows errors only, and its macros read the level while this package compiles.
fn show_information_logs() {
    println!("cargo:rerun-if-env-changed=DEFMT_LOG");
    if env::var_os("DEFMT_LOG").is_none() {
        println!("cargo:rustc-env=DEFMT_LOG=info");
    }
}
