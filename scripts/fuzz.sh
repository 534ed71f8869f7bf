#!/usr/bin/env bash
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
#
# Runs the fuzz targets of build-fuzz side by side. FUZZ_SECONDS: how long (default 600); TARGETS: which of them;
# FUZZ_TIMEOUT: seconds that one input may take (default 20; more where the machine does other work). The corpus
# is kept in build-fuzz/corpus; what crashes, hangs or leaks is written to build-fuzz/findings, and becomes a file of
# test/fuzz/regressions/ with its repair.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-600}
build=${FUZZ_BUILD:-build-fuzz}
export ASAN_OPTIONS=allow_user_poisoning=0 UBSAN_OPTIONS=print_stacktrace=1
targets=${TARGETS:-import passes artifact checkpoint npz tokenizer recipe}
mkdir -p "$build/findings"
# shellcheck disable=SC2086 # names, one a word
"${PYTHON:-build/venv/bin/python}" test/fuzz/seeds.py "$build/seeds" $targets

run() { # target, suffix of its files
  local target=$1 suffix=$2
  mkdir -p "$build/corpus/$target"
  cp test/fuzz/regressions/*."$suffix" "$build/seeds/$target/" 2>/dev/null || true
  "$build/bin/lathe_fuzz_$target" -max_total_time="$seconds" -timeout="${FUZZ_TIMEOUT:-20}" -report_slow_units="${FUZZ_TIMEOUT:-20}" -rss_limit_mb=2048 -malloc_limit_mb=1024 -max_len=65536 \
    -print_final_stats=1 -artifact_prefix="$build/findings/$target-" "$build/corpus/$target" "$build/seeds/$target" \
    >"$build/$target.log" 2>&1
}

status=0 pids=()
declare -A suffixes=([import]=onnx [passes]=mlir [artifact]=lathe [checkpoint]=safetensors [npz]=npz
  [tokenizer]=tokenizer [recipe]=json)
for target in $targets; do
  run "$target" "${suffixes[$target]}" &
  pids+=("$target:$!")
done
for entry in "${pids[@]}"; do
  if wait "${entry#*:}"; then
    echo "fuzz ${entry%%:*}: nothing found; $(grep -h 'stat::number_of_executed_units' "$build/${entry%%:*}.log" || true)"
  else
    status=1
    echo "fuzz ${entry%%:*}: FAILED; the end of $build/${entry%%:*}.log:"
    tail -n 40 "$build/${entry%%:*}.log"
  fi
done
exit $status
