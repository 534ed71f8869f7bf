#!/usr/bin/env bash
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
#
# Measures on the GPU of this machine and writes docs/gpu.md: `make bench-gpu`. Arguments go to test/bench/bench_gpu.py;
# with `--device cuda-emulator` no GPU is needed, and nothing is learnt.
# BUILD: the build folder (default: build). PYTHON: where peers are installed (default: that of the build folder).
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
python=${PYTHON:-$build/venv/bin/python}

if [[ " $* " != *" cuda-emulator "* && " $* " != *"=cuda-emulator "* && " $* " != *" --help "* ]]; then
  if ! found=$("$python" scripts/find_gpu.py); then
    cat >&2 <<'TEXT'
make bench-gpu: nothing was measured. It wants
  - a machine with an NVIDIA GPU of compute capability 8.0 or above (A100, L4, RTX 30 or newer) that does nothing else,
  - its driver (libcuda.so.1), which in a container `--gpus all` hands in,
  - cuBLASLt (libcublasLt.so.12 or .13) where the dynamic linker finds it, as the CUDA toolkit installs it,
  - for comparisons a Python with onnxruntime-gpu, tensorrt and torch, numpy and onnx: PYTHON=/path/to/python make bench-gpu.
`make bench-gpu ARGS="--device cuda-emulator"` goes the same way on any machine with small models; its times mean nothing.
TEXT
    exit 1
  fi
  echo "==> measuring on $found" >&2
fi
export BUILD=$build PYTHONDONTWRITEBYTECODE=1
exec "$python" test/bench/bench_gpu.py "$@"
