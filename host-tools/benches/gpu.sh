#!/usr/bin/env bash
# Every check and timing of a GPU, in one call of some minutes.
#
#   host-tools/benches/gpu.sh [GPU] [PYTHON]
#
# GPU is gpu:0 unless another is named, as `fluxlet doctor` lists them. With a PYTHON that has torch and the
# peers (peers/README.md), the same steps in zuko, nflows and Pyro follow, on torch's first CUDA device.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

gpu=${1:-gpu:0}
python=${2:-}

cargo build --release -p fluxlet-tools
fluxlet=target/release/fluxlet

echo "== The devices"
"$fluxlet" doctor

echo "== Every layer against f64, and models side by side"
FLUXLET_GPU_REQUIRED=1 cargo test --release -p fluxlet-gpu -- --nocapture --test-threads 1
FLUXLET_GPU_REQUIRED=1 cargo test --release -p fluxlet-tools --test gpu -- --nocapture --test-threads 1

echo "== Speed"
"$fluxlet" bench --device "$gpu" ${python:+--peers --python "$python"}
