# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""`make bench-gpu`: the whole way on the emulator, and what it says where there is no GPU."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/bench-gpu.sh"


def bench(build, *arguments):
    environment = {**os.environ, "BUILD": str(build), "PYTHON": sys.executable}
    command = [SCRIPT, *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture
def bench_gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "test/bench"))
    import bench_gpu

    return bench_gpu


def test_the_whole_way_on_the_emulator(build, tmp_path):
    page = (ROOT / "docs/gpu.md").read_bytes()
    result = bench(build, "--device", "cuda-emulator", "--json", tmp_path / "report.json")
    assert result.returncode == 0, result.stderr
    assert (ROOT / "docs/gpu.md").read_bytes() == page  # times of the emulator are no documentation
    report = json.loads((tmp_path / "report.json").read_text())
    assert {product["type"] for product in report["products"]} == {"f32", "f16", "bf16"}
    for product in report["products"]:
        assert product["own_ms"] > 0 and product["best_ms"] > 0 and product["algorithms"] > 0
    assert report["copy_gb_s"] > 0 and report["runs"][0]["own_ms"] > 0
    names = [decoder["name"] for decoder in report["decoders"]]
    assert names == ["tiny Llama b1 at 3", "tiny Llama-like b1 at 3", "tiny Llama-like b1 at 3, int4"]
    assert all(decoder["decode_tokens_per_s"] > 0 and decoder["read_bytes"] > 0 for decoder in report["decoders"])
    assert "| f16 32×64 by 64×48 |" in result.stdout and "emulated GPU" in result.stdout


def test_steps_by_onnx_runtime(bench_gpu, tmp_path):
    path = bench_gpu.decoders.write("llama-tiny", tmp_path, "f16")
    shape = bench_gpu.decoders.SHAPES["llama-tiny"]
    assert bench_gpu.OnnxRuntime.tokens_per_s(path, shape, 3, 2, "CPUExecutionProvider", "cpu") > 0


def test_generated_decoders(tmp_path, monkeypatch):
    """Both graphs of a shape read one file, whose tensors lie apart and fit it, and give the same."""
    monkeypatch.syspath_prepend(str(ROOT / "test/bench"))
    import decoders
    import numpy as np
    import onnx
    import onnxruntime

    shape, logits, data = decoders.SHAPES["llama-tiny"], [], []
    for arithmetic, dtype in (("f32", np.float32), ("f16", np.float16)):
        path = decoders.write("llama-tiny", tmp_path, arithmetic)
        data.append((tmp_path / "weights.bin").stat().st_mtime_ns)
        onnx.checker.check_model(str(path), full_check=True)
        feeds = {"input_ids": np.array([[1, 5, 9]]), "attention_mask": np.ones((1, 3), np.int64), "position_ids": np.array([[0, 1, 2]])}
        for number in range(shape.layers):
            for part in ("key", "value"):
                feeds[f"past_key_values.{number}.{part}"] = np.zeros((1, shape.key_heads, 0, shape.head), dtype)
        logits.append(onnxruntime.InferenceSession(str(path)).run(["logits"], feeds)[0].astype(np.float32))
    assert data[0] == data[1]
    np.testing.assert_allclose(logits[0], logits[1], atol=2e-3)
    large = decoders.Graph(decoders.SHAPES["llama-8b"], "f16", "weights.bin")
    large.build()
    assert 2 * 8.0e9 < large.bytes < 2 * 8.1e9
    pool = np.arange(5)
    assert np.concatenate(list(decoders.numbers(8, 9, pool))).tolist() == [3, 4, 0, 1, 2, 3, 4, 0, 1]


@pytest.mark.skipif(any(os.path.exists(f"/usr/lib/{folder}/libcuda.so.1") for folder in ("x86_64-linux-gnu", "wsl/lib", "")), reason="there is a GPU's driver")
def test_without_a_gpu(build):
    result = bench(build)
    assert result.returncode == 1 and result.stdout == ""
    assert "nothing was measured" in result.stderr and "libcuda.so.1" in result.stderr and "--device cuda-emulator" in result.stderr


def test_products_that_are_none(build):
    tool = build / "bin/lathe_bench_cuda"
    for arguments in ([], ["gpu"], ["cuda-emulator", "1,2"], ["cuda-emulator", "1,2,3,"], ["cuda-emulator", "0,1,1"]):
        result = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60)
        assert result.returncode == 2 and result.stderr.startswith("usage: "), arguments


def test_tables(bench_gpu):
    """Ratios and shares of what was measured, a dash for what was not, and only what lies between the markers."""
    product = {"type": "f16", "n": 1000, "k": 1000, "algorithms": 3, "torch_ms": None}
    report = {
        "date": "2026-01-02", "device": "X", "capability": 90, "driver": 12040, "cublaslt": 120400, "copy_gb_s": 2000.0, "skipped": ["torch: no"],
        "products": [{**product, "m": 1000, "best_ms": 0.01, "own_ms": 0.02}, {**product, "m": 10, "best_ms": 0.001, "own_ms": 0.001}],
        "runs": [{"name": "M", "own_ms": 1.5, "peers_ms": {"P": 3.0}}, {"name": "N", "own_ms": 2.5, "peers_ms": {}}],
        "decoders": [{"name": "D", "prefill_tokens_per_s": 10.0, "decode_tokens_per_s": 5.0, "read_bytes": 1 << 20, "percent_of_copies": 60.0}],
    }
    report["decoders"].append({**report["decoders"][0], "name": "E", "peer_tokens_per_s": 4.0})
    text = bench_gpu.render(report)
    assert "driver for CUDA 12.4" in text
    assert "| f16 1000×1000 by 1000×1000 | 100.0 | 200.0 | 3 | – | 0.50 | 50 % |" in text
    assert "| M | 1.500 | 3.000 |" in text and "| N | 2.500 | – |" in text and "| D | 10 | 5 | 1.0 | 60 % | – |" in text and "| E | 10 | 5 | 1.0 | 60 % | 4 |" in text
    page = f"before\n{bench_gpu.BEGIN}\nold\n{bench_gpu.END}\nafter\n"
    assert bench_gpu.page_with(page, "new\n") == page.replace("old", "new")
    bench_gpu.page_with((ROOT / "docs/gpu.md").read_text(), "new\n")
    with pytest.raises(bench_gpu.Failed, match="expected one line"):
        bench_gpu.page_with("nothing\n", "new\n")
