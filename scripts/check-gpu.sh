#!/usr/bin/env bash
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
#
# The tests of CUDA that `make check` runs on the emulator, on the GPU of this machine. `make check-gpu` builds first.
# ARGS: for pytest, such as ARGS="-k bert".
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
python=$build/venv/bin/python

if ! found=$("$python" scripts/find_gpu.py); then
  cat >&2 <<'TEXT'
make check-gpu: nothing was tested. It wants
  - a machine with an NVIDIA GPU of compute capability 8.0 or above (A100, L4, RTX 30 or newer),
  - its driver (libcuda.so.1), which in a container `--gpus all` hands in,
  - cuBLASLt (libcublasLt.so.12 or .13) where the dynamic linker finds it, as the CUDA toolkit installs it.
`make check` tests the same programs on an emulated GPU, on any machine.
TEXT
  exit 1
fi
echo "==> tests of CUDA on $found"
export PYTHONPATH=$PWD/$build/python PYTHONDONTWRITEBYTECODE=1 LATHE_BUILD=$PWD/$build LATHE_TEST_DEVICE=cuda
exec "$python" -m pytest -q -ra --tb=short -p no:cacheprovider \
  test/models/test_cuda.py test/models/test_cuda_compile.py test/models/test_cuda_types.py test/conformance/test_conformance.py::test_families_on_a_device ${ARGS:-}
