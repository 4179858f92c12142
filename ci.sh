#!/usr/bin/env bash
# The checks of this repository, the same on a laptop and in CI.
#
#   ./ci.sh [JOB...]       fmt  clippy  doc  msrv  firmware  test; no argument or `all`: each of them
#
# A job that lacks something installs it or fails and names it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly JOBS=(fmt clippy doc msrv firmware test)
# The target of each core that QEMU emulates.
readonly EMULATED=(
    thumbv7em-none-eabihf thumbv6m-none-eabi thumbv8m.main-none-eabihf
    riscv32imc-unknown-none-elf riscv32imafc-unknown-none-elf
)
# Each folder of firmware/boards and its target.
readonly BOARDS=(
    pico=thumbv6m-none-eabi
    pico2=thumbv8m.main-none-eabihf
    nrf52840-dk=thumbv7em-none-eabihf
    nucleo-f411re=thumbv7em-none-eabihf
    esp32-c3=riscv32imc-unknown-none-elf
)
# Boards whose images may have panics of the core's, and how many: esp-hal checks clocks, pins and
# interrupts wherever it is called, its own start among it.
declare -rA PANICS=([esp32-c3]=3)

die() {
    echo "ci: error: $*" >&2
    exit 1
}

# component NAME COMMAND: a part of the toolchain that not every installation has.
component() {
    cargo "$2" --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null || die "cargo $2 is missing, and so is rustup, which could add it"
    rustup component add "$1" || die "cargo $2 is missing and rustup could not add it"
    cargo "$2" --version >/dev/null || die "cargo $2 does not run"
}

# in_firmware COMMAND...: with the environment that the boards' builds need.
in_firmware() {
    local environment
    environment=$(firmware/setup.sh)
    (
        cd firmware
        while IFS= read -r variable; do
            [[ -z $variable ]] || export "${variable?}"
        done <<<"$environment"
        "$@"
    )
}

job_fmt() {
    component rustfmt fmt
    cargo fmt --all --check
    (cd firmware && cargo fmt --all --check)
    (cd firmware/boards && cargo fmt --all --check)
    (cd firmware/boards/esp32-c3 && cargo fmt --check)
}

# on_boards ARGUMENTS...: cargo with these in the folder of each board, for its target. A board's
# features are its own, not those that a workspace's members want together.
on_boards() {
    local board
    for board in "${BOARDS[@]}"; do
        (cd "boards/${board%=*}" && cargo "$1" --target "${board#*=}" "${@:2}")
    done
}

lint_boards() {
    local target lint=(clippy) deny=(-- -D warnings)
    if [[ -n ${RUSTC:-} ]]; then
        # Clippy belongs to the toolchain in PATH, and that one has no `core` for the boards.
        echo "ci: no clippy for the boards on this machine: they are checked with rustc's lints alone"
        lint=(check) deny=()
        export RUSTFLAGS=-Dwarnings
    fi
    for target in "${EMULATED[@]}"; do
        cargo "${lint[@]}" --target-dir target/lint --target "$target" --bins "${deny[@]}"
    done
    # The real boards' binaries are built in the job `firmware`; to check their HALs once more takes minutes.
}

job_clippy() {
    component clippy clippy
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p fluxlet --features defmt -- -D warnings
    cargo clippy -p fluxlet --no-default-features -- -D warnings
    (cd firmware && cargo clippy --workspace --lib --examples --tests -- -D warnings)
    in_firmware lint_boards
}

job_doc() {
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps
}

rust_versions() {
    local manifest
    for manifest in Cargo.toml firmware/Cargo.toml firmware/boards/{,esp32-c3/}Cargo.toml; do
        cargo metadata --no-deps --format-version 1 --manifest-path "$manifest" |
            grep -o '"rust_version":[^,}]*'
    done
}

job_msrv() {
    local stated minimum version
    stated=$(rust_versions | sort -u)
    [[ $stated =~ ^\"rust_version\":\"([0-9.]+)\"$ ]] ||
        die "the manifests state different versions of Rust, or none: $stated"
    minimum=${BASH_REMATCH[1]}
    version=$(rustc --version | cut -d' ' -f2)
    [[ $(printf '%s\n' "$minimum" "$version" | sort -V | head -n 1) == "$minimum" ]] ||
        die "rustc is $version, the manifests want $minimum"
    if [[ $version == "$minimum" || $version == "$minimum".* ]]; then
        echo "ci: rustc is $version, the oldest that is promised: the job \`test\` proves it"
        return
    fi
    command -v rustup >/dev/null || die "rustc is $version; rustup is missing, which would bring $minimum"
    rustup run "$minimum" rustc --version >/dev/null 2>&1 ||
        rustup toolchain install --profile minimal "$minimum" || die "Rust $minimum could not be installed"
    rustup run "$minimum" cargo check --workspace --all-targets --target-dir target/msrv
}

build_boards() {
    local target
    for target in "${EMULATED[@]}"; do
        cargo build --release --target "$target" --bin scorer --bin bare --bin kernels
        # With its first model, which needs no more: the whole catalogue beside it is too much for 256 kB.
        FLUXLET_MODEL=$PWD/models/starter.flx cargo build --release --target "$target" --bin node \
            --no-default-features --features fluxlet/affine
        cargo build --release --target "$target" --manifest-path ../slots/Cargo.toml --target-dir target
    done
    if [[ -n ${RUSTC:-} ]]; then
        echo "ci: the real boards are not built: their HALs want a toolchain of rustup's with the boards' targets"
        return
    fi
    on_boards build --release --target-dir "$PWD/target"
    count_panics
}

# An image holds the core's panics where a check of a slice or a number is left that could fail. Their
# names stand among its symbols, and among what a debugger reads, which tells nothing.
count_panics() {
    local board image libraries objcopy symbols panics
    libraries=$(rustc --print sysroot)/lib
    objcopy=$(rustc --print target-libdir)/../bin/rust-objcopy
    symbols=$(mktemp)
    for board in "${BOARDS[@]}"; do
        image=target/${board#*=}/release/fluxlet-${board%=*}
        LD_LIBRARY_PATH=$libraries "$objcopy" --strip-debug "$image" "$symbols"
        panics=$(grep -aoE 'core9panicking[[:alnum:]_]+' "$symbols" | sort -u) || true
        echo "ci: $(wc -w <<<"$panics") panics in $image"
        (($(wc -w <<<"$panics") <= ${PANICS[${board%=*}]:-0})) || die "which of these are new? $panics"
    done
    rm "$symbols"
}

job_firmware() {
    in_firmware build_boards
}

has_gpu() {
    compgen -G "/usr/share/vulkan/icd.d/*.json" >/dev/null || compgen -G "/etc/vulkan/icd.d/*.json" >/dev/null
}

# The tests of the GPU need one, or Mesa's program that stands in for it; without either they are skipped.
prepare_gpu() {
    [[ $(uname) == Linux ]] || return 0
    if ! has_gpu && command -v apt-get >/dev/null; then
        echo "ci: installing Mesa's software GPU"
        local root=(env DEBIAN_FRONTEND=noninteractive)
        [[ $(id -u) == 0 ]] || root=(sudo -n "${root[@]}")
        "${root[@]}" apt-get -qq update >/dev/null || true
        "${root[@]}" apt-get -qq install -y --no-install-recommends mesa-vulkan-drivers libvulkan1 >/dev/null ||
            echo "ci: it could not be installed: the tests of the GPU are skipped"
    fi
    if has_gpu; then export FLUXLET_GPU_REQUIRED=1; fi
}

job_test() {
    prepare_gpu
    (cd firmware && cargo test --workspace --lib --tests)
    cargo test --release
    cargo test -p fluxlet --no-default-features --features affine --test left_out
}

main() {
    local job jobs=("$@")
    if [[ $# == 0 || $* == all ]]; then jobs=("${JOBS[@]}"); fi
    command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs"
    for job in "${jobs[@]}"; do
        [[ " ${JOBS[*]} " == *" $job "* ]] || die "there is no job \`$job\`; the jobs are ${JOBS[*]}, all"
    done
    for job in "${jobs[@]}"; do
        echo "ci: $job"
        SECONDS=0
        "job_$job"
        echo "ci: $job passed in $SECONDS s"
    done
}

main "$@"
