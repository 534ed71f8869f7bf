#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Goes on with texts from Python.

    generate.py --model model.lathe "def main" "class"

The artifact carries its tokenizer, from lathe compile --tokenizer, or it is given by --tokenizer. The first text is printed as it comes; all of them then are generated side by side.
"""
import argparse
import time

import lathe

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", required=True, help="artifact of a decoder, from lathe compile")
parser.add_argument("--tokenizer", help="tokenizer.json (default: the one that the artifact carries)")
parser.add_argument("--max-new-tokens", type=int, default=64)
parser.add_argument("--temperature", type=float, default=0.8, help="0 for the most probable words")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("prompts", nargs="+")
arguments = parser.parse_args()

model = lathe.load(arguments.model, tokenizer=arguments.tokenizer)
settings = {
    "max_new_tokens": arguments.max_new_tokens,
    "temperature": arguments.temperature,
    "seed": arguments.seed,
}

print(f"> {arguments.prompts[0]}", end="")
for piece in model.generate(arguments.prompts[0], stream=True, **settings):
    print(piece, end="", flush=True)
print()

begin = time.perf_counter()
results = model.generate(arguments.prompts, return_dict_in_generate=True, **settings)
seconds = time.perf_counter() - begin
tokens = sum(len(result.ids) for result in results)
for prompt, result in zip(arguments.prompts, results):
    print(f"{prompt!r}: {result.text!r} ({result.finish_reason})")
print(f"{tokens} tokens in {seconds:.2f} s")
