#!/usr/bin/env bash
# Makes this machine able to build the firmware, run it in QEMU and count its instructions.
#
#   firmware/setup.sh          prints KEY=VALUE lines on stdout, progress on stderr
#
# A caller puts the printed variables into the environment of `cargo build`; it may read them line
# by line, values are never quoted. Running it again costs a fraction of a second.
set -euo pipefail

readonly TARGETS=(
    thumbv7em-none-eabihf thumbv6m-none-eabi thumbv8m.main-none-eabihf
    riscv32imc-unknown-none-elf riscv32imafc-unknown-none-elf
)
readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/fluxlet
# The distribution's compiler is called by its full path: `rustc` in PATH may be rustup's.
readonly DISTRO_RUSTC=/usr/bin/rustc
readonly DISTRO_CARGO=/usr/bin/cargo

scratch=()
trap 'rm -rf "${scratch[@]}"' EXIT

say() { echo "setup: $*" >&2; }

die() {
    echo "setup: error: $*" >&2
    exit 1
}

# --- Packages -------------------------------------------------------------------------------------

root_command() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi
}

can_install() {
    command -v apt-get >/dev/null && { [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null; }
}

# install WHAT_FOR PACKAGE...
install() {
    local purpose=$1
    shift
    can_install || die "$purpose: install these packages (Debian names) and run this again: $*"
    say "installing $*"
    local log
    log=$(mktemp)
    scratch+=("$log")
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    # A fresh machine has no package lists; an outdated list names files that are gone.
    root_command "${apt[@]}" update >"$log" 2>&1 || say "package lists could not be refreshed"
    root_command "${apt[@]}" install -y --no-install-recommends "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        die "$purpose: the packages could not be installed: $*"
    }
}

# --- Compiler -------------------------------------------------------------------------------------

has_all_targets() {
    local rustc=$1 target
    command -v "$rustc" >/dev/null || return 1
    for target in "${TARGETS[@]}"; do
        compgen -G "$("$rustc" --print target-libdir --target "$target")/libcore-*.rlib" >/dev/null ||
            return 1
    done
}

rustup_adds_targets() {
    command -v rustup >/dev/null || return 1
    say "asking rustup for ${TARGETS[*]}"
    # Behind some firewalls a download hangs instead of failing.
    timeout 120 rustup target add "${TARGETS[@]}" >/dev/null 2>&1 && has_all_targets rustc
}

host_triple() { "$1" -vV | sed -n 's/^host: //p'; }

# Named after what is in it, so that one with fewer targets is not taken for it.
sysroot_path() {
    local version targets
    version=$("$DISTRO_RUSTC" --version | cut -d' ' -f2)
    targets=$(cksum <<<"${TARGETS[*]}" | cut -d' ' -f1)
    echo "$CACHE/sysroot-$version-$targets"
}

distro_toolchain_is_complete() {
    [[ -x $DISTRO_RUSTC && -x $DISTRO_CARGO ]] || return 1
    local sysroot
    sysroot=$("$DISTRO_RUSTC" --print sysroot)
    [[ -e $sysroot/lib/rustlib/src/rust/library/core/src/lib.rs ]]
}

# A sysroot is the distribution's compiler plus `core` and `alloc` for our targets. Cargo then
# treats it as any stable toolchain; nothing unstable reaches the firmware's own build.
build_sysroot() {
    local destination=$1 work sysroot target host vendor
    mkdir -p "$CACHE"
    work=$(mktemp -d "$CACHE/building.XXXXXX")
    scratch+=("$work")
    sysroot=$work/sysroot
    host=$(host_triple "$DISTRO_RUSTC")
    # Cargo resolves all of the standard library although it builds little of it; the packages
    # bring those dependencies along.
    vendor=$("$DISTRO_RUSTC" --print sysroot)/lib/rustlib/src/rust/library/vendor

    mkdir -p "$work/empty/src" "$sysroot/bin" "$sysroot/lib/rustlib"
    printf '[package]\nname = "empty"\nedition = "2024"\n\n[workspace]\n' >"$work/empty/Cargo.toml"
    echo '#![no_std]' >"$work/empty/src/lib.rs"

    for target in "${TARGETS[@]}"; do
        say "building core for $target, once"
        # Bitcode in the libraries lets fat LTO reach into `core`. The unstable switch is confined
        # to this one build. The search path keeps rustup's proxies and wrappers out of it.
        (
            cd "$work/empty"
            env -u RUSTUP_TOOLCHAIN -u RUSTC_WRAPPER -u RUSTC_WORKSPACE_WRAPPER -u LD_LIBRARY_PATH \
                -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET \
                PATH=/usr/bin:/bin RUSTC="$DISTRO_RUSTC" RUSTC_BOOTSTRAP=1 \
                RUSTFLAGS=-Cembed-bitcode=yes CARGO_TARGET_DIR="$work/target" \
                "$DISTRO_CARGO" -Zbuild-std=core,alloc build --quiet --offline --release \
                --config 'source.crates-io.replace-with = "distro"' \
                --config "source.distro.directory = '$vendor'" --target "$target"
        ) >&2 || die "core could not be built for $target"
        mkdir -p "$sysroot/lib/rustlib/$target/lib"
        cp "$work/target/$target/release/deps/"lib{core,compiler_builtins,alloc}-*.rlib \
            "$sysroot/lib/rustlib/$target/lib/"
    done

    # Build scripts and procedural macros run here, with the distribution's own `std`.
    ln -s "$("$DISTRO_RUSTC" --print sysroot)/lib/rustlib/$host" "$sysroot/lib/rustlib/$host"
    cat >"$sysroot/bin/rustc" <<SCRIPT
#!/bin/sh
exec $DISTRO_RUSTC --sysroot "$destination" "\$@"
SCRIPT
    chmod +x "$sysroot/bin/rustc"

    # Renamed only now, so that an interrupted run leaves nothing half-made; where another run
    # finished first, its result is as good as this one.
    mv -T "$sysroot" "$destination" 2>/dev/null || has_all_targets "$destination/bin/rustc" ||
        die "$destination is in the way; remove it and run this again"
}

# Distributions ship rustc without the linker that rustup's toolchains carry.
find_linker() {
    local candidate
    if command -v rustc >/dev/null; then
        candidate=$(rustc --print sysroot)/lib/rustlib/$(host_triple rustc)/bin/rust-lld
        [[ ! -x $candidate ]] || { echo "$candidate"; return; }
    fi
    for candidate in rust-lld ld.lld; do
        ! command -v "$candidate" || return 0
    done
    return 1
}

print_sysroot_environment() {
    local linker target
    find_linker >/dev/null || install "a linker for the boards" lld
    linker=$(find_linker) || die "no linker for the boards was found: install lld"
    echo "RUSTC=$1/bin/rustc"
    for target in "${TARGETS[@]}"; do
        target=${target^^}
        echo "CARGO_TARGET_${target//[-.]/_}_LINKER=$linker"
    done
}

provide_compiler() {
    has_all_targets rustc && return
    if ! { distro_toolchain_is_complete && has_all_targets "$(sysroot_path)/bin/rustc"; }; then
        rustup_adds_targets && return
        distro_toolchain_is_complete ||
            install "a compiler for ${TARGETS[*]}" rustc-web cargo-web rust-web-src
        distro_toolchain_is_complete || die "the installed packages hold no Rust sources"
        has_all_targets "$(sysroot_path)/bin/rustc" || build_sysroot "$(sysroot_path)"
    fi
    print_sysroot_environment "$(sysroot_path)"
}

# --- QEMU -----------------------------------------------------------------------------------------

provide_qemu() {
    command -v qemu-system-arm >/dev/null || install "an emulator for the boards" qemu-system-arm
    command -v qemu-system-riscv32 >/dev/null ||
        install "an emulator for RISC-V boards" qemu-system-misc
}

provide_plugin() {
    local source=$HERE/qemu/instructions.c plugin built
    # Named after its source, so that a changed source is never taken for an old build.
    plugin=$CACHE/instructions-$(cksum <"$source" | cut -d' ' -f1).so
    if [[ ! -e $plugin ]]; then
        command -v cc >/dev/null || install "a C compiler for the QEMU plugin" gcc libc6-dev
        say "compiling the QEMU plugin"
        mkdir -p "$CACHE"
        built=$(mktemp "$CACHE/building.XXXXXX")
        scratch+=("$built")
        cc -std=c11 -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden \
            -o "$built" "$source" || die "the QEMU plugin does not compile"
        chmod 755 "$built"
        mv "$built" "$plugin"
    fi
    echo "FLUXLET_QEMU_PLUGIN=$plugin"
}

provide_compiler
provide_qemu
provide_plugin
