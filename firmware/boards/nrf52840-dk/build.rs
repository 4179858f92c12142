//! Tells the linker where the slots are; the chip's memory it has from the HAL.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=slots.x");
    println!("cargo:rustc-link-search={}", env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=-Tslots.x");
}
