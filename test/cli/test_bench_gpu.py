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
    assert all(decoder["decode_tokens_per_s"] > 0 and decoder["read_bytes"] > 0 for decoder in report["decoders"])
    assert "| f16 32×64 by 64×48 |" in result.stdout and "emulated GPU" in result.stdout


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
    text = bench_gpu.render(report)
    assert "driver for CUDA 12.4" in text
    assert "| f16 1000×1000 by 1000×1000 | 100.0 | 200.0 | 3 | – | 0.50 | 50 % |" in text
    assert "| M | 1.500 | 3.000 |" in text and "| N | 2.500 | – |" in text and "| D | 10 | 5 | 1.0 | 60 % |" in text
    page = f"before\n{bench_gpu.BEGIN}\nold\n{bench_gpu.END}\nafter\n"
    assert bench_gpu.page_with(page, "new\n") == page.replace("old", "new")
    bench_gpu.page_with((ROOT / "docs/gpu.md").read_text(), "new\n")
    with pytest.raises(bench_gpu.Failed, match="expected one line"):
        bench_gpu.page_with("nothing\n", "new\n")
