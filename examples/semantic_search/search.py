#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Ranks sentences by their meaning, with all-MiniLM-L6-v2 compiled by Lathe.

    build/venv/bin/python examples/semantic_search/search.py --query "how do I sleep better" "a sentence" "another"

Without a query or sentences it uses built-in ones. The model is compiled by `make demo`.
"""
import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build" / "python"))

import numpy as np  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

import lathe  # noqa: E402

SENTENCES = [
    "The cat curled up on the warm windowsill and fell asleep.",
    "Going to bed at the same time every evening helps against insomnia.",
    "The central bank raised interest rates by a quarter of a point.",
    "Add two eggs and a cup of flour, then stir until smooth.",
    "The striker scored twice in the last ten minutes of the match.",
    "Water boils at a lower temperature high in the mountains.",
    "The train to Lisbon leaves from platform four at noon.",
    "Our puppy chews on every shoe it can find.",
    "Regular exercise lowers the risk of heart disease.",
    "A compiler translates a program into machine code.",
    "The painting was sold at auction for two million dollars.",
    "Heavy rain flooded the streets of the old town last night.",
]
QUERIES = ["How can I sleep better?", "pets at home", "news about the economy"]


class Encoder:
    """Sentences to unit vectors."""

    def __init__(self, model, tokenizer, threads=0):
        start = time.perf_counter()
        self.module = lathe.load(model)
        self.session = self.module.session(threads=threads)
        self.load_ms = (time.perf_counter() - start) * 1e3
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        # The tokens of one batch are padded to its longest sentence; the mask says which are padding.
        self.tokenizer.enable_padding()
        self.tokenizer.enable_truncation(max_length=256)

    def __call__(self, sentences):
        """Returns the vectors [sentences, 384] and the milliseconds that the model took."""
        encoded = self.tokenizer.encode_batch(list(sentences))
        inputs = {
            "input_ids": np.array([e.ids for e in encoded], np.int64),
            "attention_mask": np.array([e.attention_mask for e in encoded], np.int64),
            "token_type_ids": np.array([e.type_ids for e in encoded], np.int64),
        }
        start = time.perf_counter()
        vectors = self.session.run(inputs)["sentence_embedding"]
        milliseconds = (time.perf_counter() - start) * 1e3
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), milliseconds


def main():
    parser = argparse.ArgumentParser(description="Rank sentences by their meaning.")
    parser.add_argument("sentences", nargs="*", metavar="sentence", help="sentences to rank (default: built-in ones)")
    parser.add_argument("--query", action="append", help="what to look for (repeatable; default: built-in ones)")
    parser.add_argument("--top", type=int, default=0, metavar="N", help="show the N best (default: 3, or all of your own)")
    parser.add_argument("--threads", type=int, default=0, help="threads (default: every processor)")
    parser.add_argument("--model", default=str(ROOT / "build/demo/minilm.lathe"))
    parser.add_argument("--tokenizer", default=str(ROOT / "build/demo/tokenizer.json"))
    args = parser.parse_args()

    sentences = args.sentences or SENTENCES
    queries = args.query or QUERIES
    top = args.top if args.top > 0 else (len(sentences) if args.sentences else 3)
    for path in (args.model, args.tokenizer):
        if not Path(path).exists():
            sys.exit(f"search.py: error: '{path}' does not exist: run 'make demo' first")
    try:
        encode = Encoder(args.model, args.tokenizer, args.threads)
        encode(queries)  # The first run of a shape also prepares its kernels.
        vectors, milliseconds = encode(sentences)
    except lathe.Error as error:
        sys.exit(f"search.py: error: {error}")
    print(f"model loaded in {encode.load_ms:.1f} ms; {len(sentences)} sentences embedded in {milliseconds:.1f} ms")
    for query in queries:
        vector, milliseconds = encode([query])
        scores = vectors @ vector[0]
        print(f'\n"{query}"   ({milliseconds:.1f} ms)')
        for index in np.argsort(-scores, kind="stable")[:top]:
            print(f"  {scores[index]:6.3f}  {sentences[index]}")


if __name__ == "__main__":
    main()
