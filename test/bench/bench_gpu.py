#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Measures Lathe on the GPU of this machine, beside what the device does at best and beside the peers that are installed, and
writes docs/gpu.md: `make bench-gpu`. How it goes: docs/gpu.md. With `--device cuda-emulator` the whole way is gone with small
models, whose times mean nothing and are not written into the documentation.
"""
import argparse
import datetime
import fnmatch
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import decoders
import report as pages
import weights
import workloads

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", "build"))
BUILD = BUILD if BUILD.is_absolute() else ROOT / BUILD
LATHE, PRODUCTS = BUILD / "bin/lathe", BUILD / "bin/lathe_bench_cuda"
FOLDER = BUILD / "bench-gpu"
MODELS = ROOT / "test/bench/models"
TINY = ROOT / "test/models/data"
PAGE = ROOT / "docs/gpu.md"
BEGIN, END = "<!-- make bench-gpu: begin -->", "<!-- make bench-gpu: end -->"

# (rows, columns, inner): the largest is the measured peak, the others are BERT-base's of 32 sequences of 128 tokens, and of one.
SHAPES = [(8192, 8192, 8192), (4096, 3072, 768), (4096, 768, 3072), (4096, 768, 768), (128, 3072, 768), (128, 768, 768)]
TINY_SHAPES = [(32, 48, 64), (5, 7, 3)]
# (name, model, dimensions)
RUNS = [
    ("BERT-base b1 s128", "bert", {"batch": 1, "sequence": 128}),
    ("BERT-base b32 s128", "bert", {"batch": 32, "sequence": 128}),
]
TINY_RUNS = [("tiny BERT b2 s5", "bert", {"batch": 2, "sequence": 5})]
# (name, model, tokens of the prompt, tokens after it, flags)
DECODERS = [
    ("GPT-2 b1 at 128", "gpt2", 128, 128, ()),
    ("Qwen2-0.5B b1 at 128", "qwen2", 128, 128, ()),
    ("Qwen2-0.5B b1 at 128, int4", "qwen2", 128, 128, ("--int4",)),
]
TINY_DECODERS = [("tiny Llama b1 at 3", "llama", 3, 4, ())]
# Of a public shape, with weights that decoders.py makes: (name, shape, tokens of the prompt, tokens after it, flags)
SHAPED = [
    ("Llama-1B-like b1 at 128", "llama-1b", 128, 128, ()),
    ("Llama-1B-like b1 at 128, int4", "llama-1b", 128, 128, ("--int4",)),
    ("Llama-8B-like b1 at 128", "llama-8b", 128, 128, ()),
    ("Llama-8B-like b1 at 128, int4", "llama-8b", 128, 128, ("--int4",)),
]
TINY_SHAPED = [("tiny Llama-like b1 at 3", "llama-tiny", 3, 4, ()), ("tiny Llama-like b1 at 3, int4", "llama-tiny", 3, 4, ("--int4",))]
PRECISION = "f16"


class Failed(Exception):
    """The measurement can't go on; the text is for the user."""


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def output_of(*command):
    """Standard output of a tool, which has to succeed."""
    result = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode:
        raise Failed(result.stderr.strip() or f"'{command[0]}' ended with code {result.returncode}")
    return result.stdout


def compiled(model, path, flags, tiny):
    """An artifact of a model for CUDA."""
    artifact = FOLDER / f"{'tiny-' if tiny else ''}{model}{''.join(flags)}.lathe"
    output_of(LATHE, "compile", path, "-o", artifact, "--quiet", "--target", "cuda", "--precision", PRECISION, *flags)
    return artifact


def onnx_file(model, tiny):
    return TINY / f"{model}.onnx" if tiny else weights.write(MODELS / f"{model}.onnx", FOLDER / model)


class OnnxRuntime:
    """Median milliseconds by an execution provider; inputs and outputs lie on the device."""

    PROVIDERS = {
        "ONNX Runtime, TensorRT, fp16": ("TensorrtExecutionProvider", {"trt_fp16_enable": "1"}),
        "ONNX Runtime, CUDA, f32 with TF32": ("CUDAExecutionProvider", {"use_tf32": "1"}),
    }

    @staticmethod
    def available():
        try:
            import onnxruntime
        except ImportError:
            return {}
        there = onnxruntime.get_available_providers()
        return {name: provider for name, provider in OnnxRuntime.PROVIDERS.items() if provider[0] in there}

    @staticmethod
    def measure(path, dims, provider, iterations):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=[provider])
        if provider[0] not in session.get_providers():
            raise Failed(f"ONNX Runtime has no {provider[0]} after all: its libraries are not found")
        declared, outputs = workloads.declared_inputs(path, dims)
        binding = session.io_binding()
        for name, array in workloads.make_inputs(declared).items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
        for name in outputs:
            binding.bind_output(name, "cuda")

        def run():
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return median_ms(run, iterations)

    @staticmethod
    def tokens_per_s(path, shape, prompt, count, provider="CUDAExecutionProvider", device="cuda"):
        """Tokens a second of single steps behind a prompt, whose caches stay on the device."""
        import numpy as np
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=[provider])
        if provider not in session.get_providers():
            raise Failed(f"ONNX Runtime has no {provider} after all: its libraries are not found")
        caches = [f"{number}.{part}" for number in range(shape.layers) for part in ("key", "value")]
        empty = np.zeros((1, shape.key_heads, 0, shape.head), np.float16)
        past, length, milliseconds = {name: onnxruntime.OrtValue.ortvalue_from_numpy(empty, device, 0) for name in caches}, 0, []
        for step in range(count + 1):
            fresh = prompt if step == 0 else 1
            at = np.arange(length, length + fresh, dtype=np.int64)[None]
            length += fresh
            binding = session.io_binding()
            for name, array in (("input_ids", at % shape.vocabulary), ("position_ids", at), ("attention_mask", np.ones((1, length), np.int64))):
                binding.bind_cpu_input(name, array)
            for name in caches:
                binding.bind_ortvalue_input(f"past_key_values.{name}", past[name])
            binding.bind_output("logits", "cpu")
            for name in caches:
                binding.bind_output(f"present.{name}", device)
            start = time.perf_counter()
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            milliseconds.append((time.perf_counter() - start) * 1e3)
            past = dict(zip(caches, binding.get_outputs()[1:]))
        return 1e3 / sorted(milliseconds[1:])[count // 2]


def median_ms(run, iterations):
    for _ in range(10):
        run()
    times = []
    for _ in range(iterations):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[len(times) // 2]


def torch_products(shapes):
    """Milliseconds of torch.matmul by (type, shape), where there is torch that works on the device."""
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    found = {}
    for name, dtype in (("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16)):
        for m, n, k in shapes:
            a, b = (torch.ones(shape, dtype=dtype, device="cuda") for shape in ((m, k), (k, n)))
            out = torch.empty((m, n), dtype=dtype, device="cuda")
            count = int(min(500, max(5, 2e12 / (2 * m * n * k))))

            def run():
                for _ in range(count):
                    torch.matmul(a, b, out=out)
                torch.cuda.synchronize()

            found[name, (m, n, k)] = median_ms(run, 4) / count
    return found


def decoder(report, name, artifact, prompt, count, common):
    """What a decoder does a second, and which share of the rate of copies that is."""
    own = json.loads(output_of(LATHE, "bench", artifact, "--prompt", prompt, "--generate", count, *common))
    bytes_per_s = own["decode_tokens_per_s"] * own["read_bytes"]
    keys = ("prefill_tokens_per_s", "decode_tokens_per_s", "read_bytes")
    return {"name": name, **{key: own[key] for key in keys}, "percent_of_copies": 100 * bytes_per_s / (report["copy_gb_s"] * 1e9)}


def measure(args):
    """The report: what the device is, products, runs and decoders, and what was not measured."""
    tiny = args.device == "cuda-emulator"
    wanted = lambda name: fnmatch.fnmatchcase(name, args.only)
    shapes = TINY_SHAPES if tiny else SHAPES
    say("the device's copies and products")
    report = json.loads(output_of(PRODUCTS, args.device, *(",".join(map(str, shape)) for shape in shapes)))
    report.update(date=datetime.date.today().isoformat(), device_name=args.device, runs=[], decoders=[], skipped=[])
    peers = {} if tiny else torch_products(shapes)
    for product in report["products"]:
        product["torch_ms"] = peers.get((product["type"], (product["m"], product["n"], product["k"])))
    providers = {} if tiny else OnnxRuntime.available()
    if not tiny:  # peers know no emulated device
        missing = [f"{name}: not installed (onnxruntime-gpu)" for name in OnnxRuntime.PROVIDERS if name not in providers]
        report["skipped"] += missing + ([] if peers else ["torch: not installed, or without CUDA"])
    iterations = 1 if tiny else args.iterations
    common = ("--device", args.device, "--iterations", iterations, "--json")
    for name, model, dims in TINY_RUNS if tiny else RUNS:
        if not wanted(name):
            continue
        say(name)
        path = onnx_file(model, tiny)
        flags = [part for key, value in workloads.with_totals(dims).items() for part in ("--dim", f"{key}={value}")]
        own = json.loads(output_of(LATHE, "bench", compiled(model, path, (), tiny), *flags, *common))
        times = {peer: OnnxRuntime.measure(path, dims, provider, iterations) for peer, provider in providers.items()}
        report["runs"].append({"name": name, "own_ms": own["median_ms"], "peers_ms": times})
    for name, model, prompt, count, flags in TINY_DECODERS if tiny else DECODERS:
        if wanted(name):
            say(name)
            artifact = compiled(model, onnx_file(model, tiny), ("--generate", "on", *flags), tiny)
            report["decoders"].append(decoder(report, name, artifact, prompt, count, common))
    for name, model, prompt, count, flags in TINY_SHAPED if tiny else SHAPED:
        if wanted(name):
            say(name)
            artifact = compiled(model, decoders.write(model, FOLDER / model), ("--generate", "on", *flags), False)
            report["decoders"].append(decoder(report, name, artifact, prompt, count, common))
            artifact.unlink()  # several GiB
            if "CUDAExecutionProvider" in (provider for provider, _ in providers.values()) and not flags:
                path = decoders.write(model, FOLDER / model, "f16")
                report["decoders"][-1]["peer_tokens_per_s"] = OnnxRuntime.tokens_per_s(path, decoders.SHAPES[model], prompt, count)
    return report


def tflops(product, key):
    return 2e-9 * product["m"] * product["n"] * product["k"] / product[key] if product.get(key) else None


def number(value, digits=1):
    return "–" if value is None else f"{value:.{digits}f}"


def render(report):
    """The tables of the documentation."""
    driver, library = report["driver"], report["cublaslt"]
    lines = [
        f"{report['date']}, {report['device']} (compute capability {report['capability'] / 10:.1f}), driver for CUDA {driver // 1000}.{driver % 1000 // 10}, cuBLASLt {library}; `make bench-gpu`.",
        "",
        f"Copies on the device read and write {report['copy_gb_s']:.0f} GB/s.",
        "",
    ]
    peaks = {}
    for product in report["products"]:
        peaks[product["type"]] = max(peaks.get(product["type"], 0), tflops(product, "best_ms"))
    rows = [
        [
            f"{product['type']} {product['m']}×{product['k']} by {product['k']}×{product['n']}",
            number(tflops(product, "own_ms")),
            number(tflops(product, "best_ms")),
            str(product["algorithms"]),
            number(tflops(product, "torch_ms")),
            number(product["best_ms"] / product["own_ms"], 2),
            f"{100 * tflops(product, 'own_ms') / peaks[product['type']]:.0f} %",
        ]
        for product in report["products"]
    ]
    header = ["Product", "Lathe, TFLOP/s", "cuBLASLt's best", "of algorithms", "torch", "Lathe / best", "of the measured peak"]
    lines += [pages.table(header, rows, "lrrrrrr"), ""]
    names = sorted({peer for run in report["runs"] for peer in run["peers_ms"]})
    rows = [[run["name"], number(run["own_ms"], 3), *(number(run["peers_ms"].get(name), 3) for name in names)] for run in report["runs"]]
    lines += [pages.table([f"Model, {PRECISION}", "Lathe, ms", *names], rows, "lr" + "r" * len(names)), ""]
    rows = [
        [
            decoder["name"],
            number(decoder["prefill_tokens_per_s"], 0),
            number(decoder["decode_tokens_per_s"], 0),
            number(decoder["read_bytes"] / 2**20),
            number(decoder["percent_of_copies"], 0) + " %",
            number(decoder.get("peer_tokens_per_s"), 0),
        ]
        for decoder in report["decoders"]
    ]
    header = [f"Decoder, {PRECISION}", "prompt, tokens/s", "after it, tokens/s", "MiB read a token", "of the rate of copies", "ONNX Runtime, CUDA, f16, tokens/s"]
    lines += [pages.table(header, rows, "lrrrrr"), ""]
    if report["skipped"]:
        lines += ["Not measured:", "", *(f"- {text}" for text in sorted(report["skipped"])), ""]
    return "\n".join(lines)


def page_with(text, generated):
    """The page with what lies between the markers replaced."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise Failed(f"{PAGE.name}: expected one line '{BEGIN}' and after it one line '{END}'")
    return text[: text.index(BEGIN) + len(BEGIN)] + "\n" + generated + text[text.index(END) :]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", choices=("cuda", "cuda-emulator"), default="cuda", help="where (cuda); the emulator only tries the way out")
    parser.add_argument("--iterations", type=int, default=50, help="runs of each model (50)")
    parser.add_argument("--only", default="*", metavar="GLOB", help="of models and decoders those whose names match; writes no documentation unless all do")
    parser.add_argument("--json", type=Path, help="also write the report there")
    args = parser.parse_args()
    if args.iterations < 1:
        parser.error("--iterations: expected a number from 1 on")
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        report = measure(args)
        generated = render(report)
        if args.json:
            pages.write_whole(args.json, json.dumps(report, indent=1) + "\n")
        if args.device == "cuda" and args.only == "*":
            pages.write_whole(PAGE, page_with(PAGE.read_text(), generated))
            say(f"wrote {PAGE.relative_to(ROOT)}")
        print(generated)
    except (Failed, OSError, ValueError) as error:
        sys.exit(f"bench_gpu.py: error: {error}")


if __name__ == "__main__":
    main()
