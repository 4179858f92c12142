//! Links with the layout that the HAL has for the chip.

fn main() {
    println!("cargo:rustc-link-arg-bins=-Tlinkall.x");
}
