# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The forecast of memory is what a run takes."""
import json
import os
import subprocess
from pathlib import Path

import pytest

LATHE = Path(os.environ.get("LATHE_BUILD", Path(__file__).resolve().parents[2] / "build")) / "bin" / "lathe"


def run_lathe(*arguments, code=0):
    result = subprocess.run([str(LATHE), *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == code, result.stderr
    return result.stdout if code == 0 else result.stderr


@pytest.mark.parametrize(
    "name, dims",
    [
        ("minilm", {"batch": 1, "sequence": 128}),
        ("minilm", {"batch": 16, "sequence": 128}),
        ("bert", {"batch": 64, "sequence": 128}),
        ("gpt2", {"batch": 16, "sequence": 64, "past_sequence": 64, "total_sequence": 128}),
    ],
    ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value.values())),
)
def test_forecast(name, dims, artifact):
    flags = [part for key, value in dims.items() for part in ("--dim", f"{key}={value}")] + ["--threads", 2, "--json"]
    memory = json.loads(run_lathe("inspect", artifact(name), *flags))["memory"]
    measured = json.loads(run_lathe("bench", artifact(name), *flags, "--warmup", 1, "--iterations", 1))["peak_rss_bytes"]
    assert memory["dims"] == dims and memory["threads"] == 2 and memory["complete"]
    parts = [value for key, value in memory.items() if key.endswith("_bytes") and key != "peak_bytes"]
    assert memory["peak_bytes"] == sum(parts)
    assert memory["peak_bytes"] == pytest.approx(measured, rel=0.05)


def test_forecast_grows_with_dimensions(artifact):
    def arena(batch):
        report = run_lathe("inspect", artifact("bert"), "--dim", f"batch={batch}", "--dim", "sequence=32", "--json")
        return json.loads(report)["memory"]["arena_bytes"]

    assert 0 == arena(0) or arena(0) < arena(1)
    assert arena(64) == pytest.approx(64 * arena(1), rel=0.2)  # slots are rounded up


def test_tables_that_are_looked_up(artifact):
    manifest = json.loads(run_lathe("inspect", artifact("bert"), "--json"))
    assert "memory" not in manifest
    text = run_lathe("inspect", artifact("bert"), "--dim", "batch=2")
    for line in ("memory         batch = 2, sequence = 1", "arena", "at most"):
        assert line in text


def test_errors(artifact, onnx_path):
    assert "'other'" in run_lathe("inspect", artifact("bert"), "--dim", "other=2", code=2)
    assert "name=number" in run_lathe("inspect", artifact("bert"), "--dim", "batch", code=2)
    assert "expected a .lathe file" in run_lathe("inspect", onnx_path("bert"), "--dim", "batch=2", code=2)
    assert "sequence" in run_lathe("inspect", artifact("bert"), "--dim", "sequence=100000", code=2)
