#!/usr/bin/env bash
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
#
# Installs the peers (test/bench/requirements.txt) into an environment of their own under the build folder and compares
# with them: `make bench`. Arguments go to test/bench/bench.py.
# BUILD: the build folder (default: build).
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
venv=$build/bench-venv
stamp=$venv/.lathe-installed

if [ ! -x "$build/bin/lathe" ]; then
  echo "scripts/bench.sh: error: $build/bin/lathe is not there: run 'make build' before" >&2
  exit 2
fi
wanted=$(cat test/bench/requirements.txt scripts/bench.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ] || [ ! -x "$venv/bin/python" ]; then
  echo "==> installing onnxruntime, openvino and matplotlib into $venv (test/bench/requirements.txt)"
  # As for $build/venv: Debian's Python where there is one, and the list is complete.
  python=/usr/bin/python3
  [ -x "$python" ] || python=python3
  "$python" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r test/bench/requirements.txt || {
    echo "scripts/bench.sh: error: the packages of test/bench/requirements.txt could not be installed" >&2
    exit 1
  }
  "$venv/bin/python" -c 'import matplotlib.pyplot, numpy, onnx, onnxruntime, openvino'
  echo "$wanted" >"$stamp"
fi
export BUILD=$build PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" test/bench/bench.py "$@"
