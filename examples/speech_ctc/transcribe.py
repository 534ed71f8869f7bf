#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Writes down what is said in a recording, with a CTC model (wav2vec2, hubert, wavlm…) compiled by Lathe.

    build/bin/lathe compile wav2vec2.onnx -o wav2vec2.lathe
    build/venv/bin/python examples/speech_ctc/transcribe.py wav2vec2.lathe vocab.json speech.wav

The model has one input [batch, samples] of 16 000 samples a second and one output [batch, frames, tokens]; vocab.json is
the one that comes with models of Hugging Face. Recordings are of 16 bits.
"""
import argparse
import itertools
import json
import sys
import time
import wave
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build" / "python"))

import numpy as np  # noqa: E402

import lathe  # noqa: E402

RATE = 16000
BLANKS = ("<pad>", "[PAD]", "<blank>", "<ctc_blank>")


def read_wav(path):
    """Samples from -1 to 1, of one channel."""
    with wave.open(str(path), "rb") as file:
        if file.getframerate() != RATE or file.getsampwidth() != 2:
            found = f"{8 * file.getsampwidth()} bits at {file.getframerate()} samples a second"
            raise SystemExit(f"{path}: expected 16 bits at {RATE} samples a second, got {found}")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return samples.mean(axis=1).astype(np.float32) / 32768


def normalized(samples):
    """Zero mean and unit variance, as the models were trained with; silence stays silence."""
    return ((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)).astype(np.float32)


def ctc_greedy(logits, blank):
    """The most probable token of every frame [frames, tokens]; repeated ones once, then without blanks."""
    best = logits.argmax(axis=-1).tolist()
    return [token for token, _ in itertools.groupby(best) if token != blank]


class Vocabulary:
    def __init__(self, path):
        tokens = json.loads(Path(path).read_text())
        self.texts = {number: text for text, number in tokens.items()}
        known = [tokens[name] for name in BLANKS if name in tokens]
        if not known:
            raise SystemExit(f"{path}: expected one of {', '.join(BLANKS)}, which stands for no sound, got none")
        self.blank = known[0]

    def decode(self, tokens):
        """Words are parted by |; names in brackets are no text."""
        texts = (self.texts.get(token, "") for token in tokens)
        return "".join(" " if text == "|" else text for text in texts if text[:1] not in ("<", "[")).strip()


def main():
    parser = argparse.ArgumentParser(description="Write down what is said in a recording.")
    parser.add_argument("model", help="compiled model (.lathe)")
    parser.add_argument("vocabulary", help="vocab.json: the number of every token")
    parser.add_argument("sounds", nargs="+", metavar="sound", help="recordings (.wav)")
    parser.add_argument("--threads", type=int, default=0, help="threads (default: every processor)")
    arguments = parser.parse_args()
    vocabulary = Vocabulary(arguments.vocabulary)
    session = lathe.load(arguments.model).session(threads=arguments.threads)
    for path in arguments.sounds:
        samples = read_wav(path)
        if not len(samples):
            raise SystemExit(f"{path}: expected a sound, got none")
        start = time.perf_counter()
        (logits,) = session.run({"input_values": normalized(samples)[None]}).values()
        milliseconds = (time.perf_counter() - start) * 1e3
        print(f"{path}: {vocabulary.decode(ctc_greedy(logits[0], vocabulary.blank))}")
        print(f"  {len(samples) / RATE:.2f} s in {milliseconds:.0f} ms")


if __name__ == "__main__":
    main()
