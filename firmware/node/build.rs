//! Embeds the model of an image that keeps none elsewhere.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

const STARTER_MODEL: &str = "../models/starter.flx";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=FLUXLET_MODEL");
    let path = env::var_os("FLUXLET_MODEL").map_or(STARTER_MODEL.into(), PathBuf::from);
    let path = fs::canonicalize(&path).map_err(|e| format!("model {}: {e}", path.display()))?;
    println!("cargo:rerun-if-changed={}", path.display());
    println!("cargo:rustc-env=FLUXLET_MODEL={}", path.display());
    // What is no model at all fails here, where the reason can be read.
    fluxlet::Model::new_checked(&fs::read(&path)?)
        .map_err(|e| format!("model {}: {e}", path.display()))?;
    Ok(())
}
