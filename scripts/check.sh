#!/usr/bin/env bash
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
#
# Runs every test of a finished build and ends with one summary line. `make check` builds first.
# ONLY: names of the suites to run, such as ONLY="lit cli" (default: all).
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
jobs=${JOBS:-$(nproc)}
python=$build/venv/bin/python
results=$build/test-results
only=${ONLY:-}

rm -rf "$results"
mkdir -p "$results"
results=$(cd "$results" && pwd)

# suite NAME command…: the command writes $results/NAME.xml; its status is kept for the summary, which trusts neither
# alone: a runner that crashes, or that leaves no results, is a failure.
suite() {
  local name=$1 status=0 start=$SECONDS
  shift
  if [ -n "$only" ] && [[ " $only " != *" $name "* ]]; then return; fi
  printf '\n==> tests: %s\n' "$name"
  "$@" >"$results/$name.log" 2>&1 || status=$?
  tail -n 40 "$results/$name.log" | cut -c 1-400
  printf '%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - start))" >>"$results/suites.tsv"
}

py() {
  local name=$1
  shift
  "$python" -m pytest -q -ra --tb=short -p no:cacheprovider --continue-on-collection-errors --junitxml="$results/$name.xml" "$@"
}

sanitizers() {
  cmake --preset asan-ubsan >"$results/asan-configure.log" 2>&1 || { cat "$results/asan-configure.log"; return 1; }
  cmake --build build-asan --parallel "$jobs" >"$results/asan-build.log" 2>&1 || { tail -n 40 "$results/asan-build.log"; return 1; }
  # LLVM's headers mark memory as unused that its library, which is not instrumented, then uses.
  ASAN_OPTIONS=allow_user_poisoning=0 OMP_WAIT_POLICY=passive UBSAN_OPTIONS=print_stacktrace=1 ctest --test-dir build-asan -j "$jobs" --output-on-failure --no-tests=error \
    --output-junit "$results/sanitizers.xml"
}

# The tests about threads, under the thread sanitizer. The library of products is called for pieces
# that one thread computes, and its pool never runs, so nothing needs to be suppressed.
threads() {
  cmake --preset tsan -DLATHE_TOOL="$PWD/$build/bin/lathe" >"$results/tsan-configure.log" 2>&1 || { cat "$results/tsan-configure.log"; return 1; }
  cmake --build build-tsan --parallel "$jobs" --target lathe_generation_tests lathe_runtime_tests >"$results/tsan-build.log" 2>&1 ||
    { tail -n 40 "$results/tsan-build.log"; return 1; }
  TSAN_OPTIONS=halt_on_error=1 OMP_WAIT_POLICY=passive ctest --test-dir build-tsan -j "$jobs" --output-on-failure --no-tests=error --timeout 300 \
    -R '^(ThreadPool|Session|KvCache|Models/ConcurrentGeneration|generation)\.' --output-junit "$results/threads.xml"
}

export PYTHONPATH=$PWD/$build/python PYTHONDONTWRITEBYTECODE=1 LATHE_BUILD=$PWD/$build

suite tools py tools test/tools
suite lit "$build/venv/bin/lit" -s -v -j "$jobs" --xunit-xml-output "$results/lit.xml" "$build/test/lit"
suite unit ctest --test-dir "$build" -j "$jobs" --output-on-failure --no-tests=error --output-junit "$results/unit.xml"
suite cli py cli -n "$jobs" --dist loadfile test/cli
suite conformance py conformance test/conformance
suite models py models -n "$jobs" --dist loadfile test/models
suite sanitizers sanitizers
suite threads threads

printf '\n'
exec "$python" scripts/summary.py "$results"
