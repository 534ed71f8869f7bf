# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Inputs that do not fit, and outputs that cannot be written."""
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
from cli_support import INTERNAL, OK, OUTSIDE_TOLERANCE, OVER_BUDGET, USAGE, check_failure

GOOD = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_good_run(lathe_tool, linear_artifact, npz, tmp_path):
    lathe_tool.ok("run", linear_artifact, "--inputs", npz(x=GOOD), "--outputs", tmp_path / "y.npz")
    expected = GOOD @ np.arange(12, dtype=np.float32).reshape(4, 3) + 1
    with np.load(tmp_path / "y.npz") as outputs:
        np.testing.assert_allclose(outputs["y"], expected, rtol=1e-6)
    np.save(tmp_path / "x.npy", GOOD)
    lathe_tool.ok("run", linear_artifact, "--input", f"x=@{tmp_path / 'x.npy'}", "--outputs", tmp_path / "y.npz")


@pytest.mark.parametrize(
    "inputs, words",
    [
        ({"z": GOOD}, ["z", "x"]),
        ({"x": GOOD, "z": GOOD}, ["z"]),
        ({"x": GOOD[0]}, ["x", "dimensions"]),
        ({"x": GOOD[None]}, ["x", "dimensions"]),
        ({"x": GOOD.astype(np.float64)}, ["x", "f64", "f32"]),
        ({"x": GOOD.astype(np.int64)}, ["x", "i64", "f32"]),
        ({"x": GOOD[:, :3].copy()}, ["x", "3", "4"]),
        ({}, ["x"]),
        ({"x": np.ones((5, 4), np.float32)}, ["batch", "5", "4"]),
        ({"x": np.ones((0, 4), np.float32)}, ["batch", "0", "1"]),
    ],
    ids=["name", "extra", "rank-1", "rank-3", "f64", "i64", "size", "none", "above-range", "below-range"],
)
def test_wrong_input(inputs, words, lathe_tool, linear_artifact, npz, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    result = lathe_tool("run", linear_artifact, "--inputs", npz(**inputs), "--outputs", folder / "y.npz")
    check_failure(result, USAGE, *words)
    assert list(folder.iterdir()) == []


def test_range_holds_for_bench(lathe_tool, linear_artifact):
    check_failure(lathe_tool("bench", linear_artifact, "--dim", "batch=5"), USAGE, "batch")
    check_failure(lathe_tool("bench", linear_artifact, "--dim", "length=5"), USAGE, "length", "batch")
    check_failure(lathe_tool("bench", linear_artifact, "--dim", "batch=min(3"), USAGE, "batch=min(3", "name=number")
    check_failure(lathe_tool("profile", linear_artifact, "--dim", "batch=5"), USAGE, "batch")
    check_failure(lathe_tool("profile"), USAGE, "artifact")


@pytest.mark.parametrize(
    "content", [None, b"", b"text\n" * 50, b"PK\x03\x04" + bytes(50)], ids=["missing", "empty", "text", "zip"]
)
def test_unreadable_inputs(content, lathe_tool, linear_artifact, tmp_path):
    path = tmp_path / "in.npz"
    if content is not None:
        path.write_bytes(content)
    check_failure(lathe_tool("run", linear_artifact, "--inputs", path), USAGE, "in.npz")


def test_outside_tolerance(lathe_tool, linear_artifact, npz, tmp_path):
    np.savez(tmp_path / "ref.npz", y=np.zeros((2, 3), np.float32))
    result = lathe_tool("run", linear_artifact, "--inputs", npz(x=GOOD), "--expect", tmp_path / "ref.npz")
    assert result.returncode == OUTSIDE_TOLERANCE and "y" in result.stdout + result.stderr


def test_memory_budget(lathe_tool, linear_artifact, npz):
    result = lathe_tool("run", linear_artifact, "--inputs", npz(x=GOOD), "--memory-budget", 10)
    check_failure(result, OVER_BUDGET, "budget")


@pytest.fixture
def writers(lathe_tool, linear_onnx, linear_artifact, npz, tmp_path_factory):
    """The commands that write a file: writers(path) runs each, and gives the results one after another."""
    inputs, other = npz(x=GOOD), tmp_path_factory.mktemp("other") / "m.lathe"

    def run(path):
        yield lathe_tool("compile", linear_onnx, "-o", path)
        yield lathe_tool("compile", linear_onnx, "-o", path, "--emit", "onnx")
        yield lathe_tool("compile", linear_onnx, "-o", other, "--report", path)
        yield lathe_tool("run", linear_artifact, "--inputs", inputs, "--outputs", path)
        yield lathe_tool("profile", linear_artifact, "--inputs", inputs, "--trace", path)

    return run


@pytest.mark.parametrize("where", ["nowhere/out", "a_file/out", "a_folder"])
def test_unwritable_path(where, writers, tmp_path):
    (tmp_path / "a_file").write_text("keep")
    (tmp_path / "a_folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for result in writers(tmp_path / where):
        check_failure(result, INTERNAL, str(tmp_path / where))
    assert sorted(tmp_path.rglob("*")) == before


def test_links_are_followed(writers, tmp_path):
    """What a link leads to is replaced, not the link; and what is no file is not replaced at all."""
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to("target")
    os.mkfifo(pipe)
    target.write_text("old")
    for result in writers(link):
        assert result.returncode == OK and link.is_symlink() and target.read_bytes() != b"old", result.stderr
        target.write_text("old")
    for result in writers(pipe):
        check_failure(result, INTERNAL, str(pipe), "not a regular file")
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".npz") == ["link", "pipe", "target"]


def test_failed_compile_keeps_the_old_output(lathe_tool, tmp_path):
    (tmp_path / "text.onnx").write_text("no model\n" * 50)
    (tmp_path / "m.lathe").write_text("old")
    assert lathe_tool("compile", tmp_path / "text.onnx", "-o", tmp_path / "m.lathe").returncode == 3
    assert (tmp_path / "m.lathe").read_text() == "old"


@pytest.fixture
def small_disk(tmp_path):
    """A file system that is nearly full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "lathe-test", str(folder)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a file system of 1 MiB needs root")
    try:
        # 4 KiB remain: room for the beginning of a file.
        (folder / "filler").write_bytes(bytes((1 << 20) - 8192))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(lathe_tool, linear_onnx, artifact, small_disk, npz):
    check_failure(lathe_tool("compile", linear_onnx, "-o", small_disk / "m.lathe"), INTERNAL, "m.lathe")
    inputs = {name: np.ones((2, 64), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    result = lathe_tool("run", artifact("bert"), "--inputs", npz(**inputs), "--outputs", small_disk / "y.npz")
    check_failure(result, INTERNAL, "y.npz")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_full_standard_output(lathe_tool, linear_artifact, npz):
    command = [str(lathe_tool.path), "run", str(linear_artifact), "--inputs", str(npz(x=GOOD))]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    check_failure(result, INTERNAL, "standard output")


def test_reports_are_json(lathe_tool, linear_artifact):
    report = json.loads(lathe_tool.ok("inspect", linear_artifact, "--json"))
    assert report["inputs"] == [{"name": "x", "type": "f32", "shape": ["batch", 4]}]
    assert report["outputs"] == [{"name": "y", "type": "f32", "shape": ["batch", 3]}]
    assert report["file_bytes"] == linear_artifact.stat().st_size
    assert {"weights_bytes", "recipe", "devices"} <= set(report)
    report = json.loads(lathe_tool.ok("bench", linear_artifact, "--json", "--dim", "batch=2", "--iterations", 2))
    keys = {"median_ms", "min_ms", "p90_ms", "load_ms", "peak_rss_bytes", "iterations", "threads", "dims"}
    assert keys <= set(report) and report["dims"] == {"batch": 2}
    # Twelve multiplications and additions a row, and weights of a few bytes.
    assert json.loads(lathe_tool.ok("inspect", linear_artifact, "--json"))["work"] == {"f32": "24*batch"}
    assert 0 < report["limit_ms"] < 1 and report["percent_of_limit"] == pytest.approx(100 * report["limit_ms"] / report["median_ms"])


def test_limits_of_the_machine(lathe_tool, linear_artifact):
    report = json.loads(lathe_tool.ok("bench", "--limits", "--json", "--threads", 1))
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    there = {
        "fma_avx2_gflops": "avx2",
        "fma_avx512_gflops": "avx512f",
        "vnni_int8_gops": "avx512_vnni",
        "avx512_bf16_gflops": "avx512_bf16",
        "amx_bf16_gflops": "amx_bf16",
        "amx_int8_gops": "amx_int8",
    }
    for key, flag in there.items():
        assert (report[key] is not None) == (flag in flags) and (report[key] is None or report[key] > 0.1), key
    for key in ("l2_gb_s", "l3_gb_s", "dram_gb_s", "fork_join_us"):
        assert report[key] > 0
    text = lathe_tool.ok("bench", "--limits", "--threads", 1)
    assert "1 thread, the best" in text and "GFLOP/s" in text
    check_failure(lathe_tool("bench"), USAGE, "--limits")
    check_failure(lathe_tool("bench", "--limits", linear_artifact), USAGE, "without an artifact")


def test_target_of_products(lathe_tool, linear_onnx, tmp_path):
    """Tiles multiply beside the code for AVX-512."""
    lathe_tool.ok("compile", linear_onnx, "-o", tmp_path / "m.lathe", "--target", "cpu:amx,avx2")
    assert sorted(json.loads(lathe_tool.ok("inspect", tmp_path / "m.lathe", "--json"))["instruction_sets"]) == ["avx2", "avx512"]
    check_failure(lathe_tool("compile", linear_onnx, "-o", tmp_path / "n.lathe", "--target", "cpu:sse2"), USAGE, "which amx uses too, got 'sse2'")


def test_profile(lathe_tool, linear_artifact, tmp_path):
    trace = tmp_path / "trace.json"
    options = ["--dim", "batch=3", "--iterations", 200, "--json"]
    report = json.loads(lathe_tool.ok("profile", linear_artifact, *options, "--trace", trace))
    assert report["run_ms"] == pytest.approx(report["kernels_ms"] + report["between_ms"]) and report["between_ms"] > 0
    assert sum(row["ms"] for row in report["rows"]) == pytest.approx(report["kernels_ms"])
    assert [row["calls"] for row in report["rows"]] == [1] * len(report["rows"]) and report["dims"] == {"batch": 3}
    events = json.loads(trace.read_text())["traceEvents"]
    assert sorted(event["name"] for event in events) == sorted(row["name"] for row in report["rows"])
    assert all(event["ph"] == "X" and event["dur"] > 0 for event in events) and events[0]["ts"] == 0
    nodes = json.loads(lathe_tool.ok("profile", linear_artifact, *options, "--by", "node"))
    assert {row["name"] for row in nodes["rows"]} == {node for row in report["rows"] for node in row["nodes"]}
    assert sum(row["ms"] for row in nodes["rows"]) == pytest.approx(nodes["kernels_ms"])
    text = lathe_tool.ok("profile", linear_artifact, "--top", 1)
    assert "between kernels" in text and "a run" in text
    check_failure(lathe_tool("profile", linear_artifact, "--by", "magic"), USAGE, "--by")
    check_failure(lathe_tool("profile", linear_artifact, "--trace", tmp_path), INTERNAL, "not a regular file")
    check_failure(lathe_tool("profile", linear_artifact, "--trace", "/proc/none/trace.json"), INTERNAL, "cannot write")
