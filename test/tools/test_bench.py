# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""test/bench: what is made of measurements, and the models' weights. Nothing is measured here."""
import argparse
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
sys.path.insert(0, str(BENCH))
import bench  # noqa: E402
import bursts  # noqa: E402
import merging  # noqa: E402
import report as reports  # noqa: E402
import weights  # noqa: E402
import workloads  # noqa: E402


def figures(median, least, error=0.0):
    return {
        "median_ms": median,
        "min_ms": least,
        "load_ms": 12.0,
        "first_run_ms": 99.0,
        "load_rss_bytes": 300 << 20,
        "run_rss_bytes": 250 << 20,
        "file_bytes": 100 << 20,
        "max_abs_error": error,
        "max_rel_error": error,
    }


def make_report():
    peers = {"onnxruntime": figures(20.0, 10.0), "openvino": figures(16.0, 12.0)}
    entry = {"name": "BERT-base b1 s128", "model": "bert", "precision": "f32", "target": 0.85, "work": {"f32": 2_000_000_000}}
    entry.update(weights_bytes=200 << 20, read_bytes=200 << 20, read_limit="dram_gb_s", runtimes={"lathe": figures(12.0, 9.0), **peers})
    alone = {**entry, "name": "ViT-base b1", "model": "vit", "work": None, "target": None}
    alone["runtimes"] = {"lathe": figures(1234.5, 1000.0)}
    low = {**entry, "precision": "bf16", "target": 0.4, "work": {"bf16": 2_000_000_000}}
    compiled = {"compile_s": 9.0, "compile_rss_bytes": 900 << 20, "file_bytes": 1 << 20, "weights_bytes": 1 << 20, "load_ms": 40.0}
    limits = {"fma_avx2_gflops": 100.0, "fma_avx512_gflops": 250.0, "amx_bf16_gflops": None, "dram_gb_s": 20.0, "fork_join_us": 0.5}
    return {
        "date": "2026-11-21 12:00 UTC",
        "command": "make bench",
        "versions": {"lathe": "0.1.0", "onnxruntime": "1.31.0"},
        "notes": ["a note"],
        "skipped": ["swin, bf16: no"],
        "machine": {"processor": "A processor", "threads": 2, "limits": limits},
        "compile": {"bert f32": compiled},
        "entries": [entry, low, alone],
        "overhead": {"name": "a model", "run_us": 50.0, "kernels_us": 42.0, "goal_us": 20},
    }


@pytest.mark.parametrize(
    "work, weights_bytes, expected",
    [
        ({"f32": 2_500_000_000}, 0, 10.0),
        ({"f32": 2_500_000}, 200_000_000, 10.0),  # reading takes longer
        ({"f64": 2_500_000_000}, 0, 20.0),
        ({"bf16": 2_500_000_000, "i8": 2_500_000_000}, 0, 20.0),  # without AMX and VNNI: as f32
        ({}, 0, None),
        (None, 1000, None),
    ],
)
def test_limit(work, weights_bytes, expected):
    limits = {"fma_avx2_gflops": 100.0, "fma_avx512_gflops": 250.0, "amx_bf16_gflops": None, "dram_gb_s": 20.0}
    found = reports.limit_ms(work, weights_bytes, limits)
    assert found == (None if expected is None else pytest.approx(expected))


def test_limit_of_reads():
    limits = {"l3_gb_s": 40.0, "dram_gb_s": 20.0}
    assert reports.limit_ms({}, 40_000_000, limits) == pytest.approx(2)
    assert reports.limit_ms({}, 40_000_000, limits, "l3_gb_s") == pytest.approx(1)


def test_limit_takes_the_best_there_is():
    work = {"bf16": 1_000_000_000}
    assert reports.limit_ms(work, 0, {"amx_bf16_gflops": 1000.0, "fma_avx2_gflops": 100.0}) == pytest.approx(1)
    assert reports.limit_ms(work, 0, {"fma_avx2_gflops": 100.0}) == pytest.approx(10)
    assert reports.limit_ms(work, 0, {"dram_gb_s": 20.0}) is None


def test_ratio_to_the_best_peer():
    runtimes = make_report()["entries"][0]["runtimes"]
    assert reports.ratios(runtimes) == (pytest.approx(0.9), pytest.approx(0.75))  # 9/10 of one, 12/16 of the other
    assert reports.ratios({"lathe": figures(1, 1)}) == (None, None)
    assert reports.ratios({"openvino": figures(1, 1)}) == (None, None)


def test_verdict():
    assert reports.verdict(0.85, 0.85) == "yes"
    assert reports.verdict(0.9, 0.75) == "no, 20 % above"
    assert reports.verdict(None, 0.75) == "" and reports.verdict(0.5, None) == ""


def test_bounds():
    report = make_report()
    found = {what: (value, limit) for what, value, limit, _ in reports.bounds(report)}
    assert found["load BERT-base, f32"] == (40.0, 50)
    assert found["compile BERT-base, f32"] == (9.0, 8)
    assert found["resident memory while BERT-base runs, to its weights, bf16"] == (pytest.approx(1.25), 1.25)
    del report["entries"][1]
    assert {what: value for what, value, _, _ in reports.bounds(report)}[
        "resident memory while BERT-base runs, to its weights, bf16"
    ] is None


def rows_of(text):
    """Cells of the tables' rows; all rows of a table are equally long."""
    rows, width = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = [cell.strip() for cell in line[1:-1].split("|")]
        assert width in (None, len(cells)), line
        width = len(cells)
        rows.append(cells)
    return rows


def test_render():
    report = make_report()
    before = json.dumps(report)
    text = reports.render(report)
    assert json.dumps(report) == before
    rows = {(row[0], row[1]): row for row in rows_of(text) if row[0].startswith(("BERT", "ViT")) and "/" in row[3]}
    assert rows["BERT-base b1 s128", "f32"][2:] == [
        "10.49", "12.00 / 9.00 (117 %)", "20.00 / 10.00 (105 %)", "16.00 / 12.00 (87 %)", "0.90", "0.75", "0.85", "no, 6 % above"
    ]  # fmt: skip
    assert rows["ViT-base b1", "f32"][2:] == ["", "1,234 / 1,000", "", "", "", "", "", ""]
    assert "8.0 µs of 50.0 µs are between kernels (goal: 20 µs: reached)" in text
    for part in ("A processor", "2026-11-21", "make bench", "onnxruntime 1.31.0", "- a note", "- swin, bf16: no", "dram 20 GB/s"):
        assert part in text


def test_generated_part():
    text = f"before\n{reports.BEGIN}\nold\n{reports.END}\nafter\n"
    once = reports.replace_generated(text, "new\n")
    assert once == f"before\n{reports.BEGIN}\nnew\n{reports.END}\nafter\n"
    assert reports.replace_generated(once, "new\n") == once
    for broken in ("nothing", text + text, f"{reports.END}\n{reports.BEGIN}\n"):
        with pytest.raises(ValueError, match="expects one line"):
            reports.replace_generated(broken, "new\n")


def test_page_has_its_markers():
    assert "kept" in reports.replace_generated(bench.PAGE.read_text(), "kept\n")


def test_page_is_what_its_data_say():
    page = bench.PAGE.read_text()
    assert reports.replace_generated(page, reports.render(json.loads(bench.DATA.read_text()))) == page


def test_merge():
    """What is measured again takes the place of what was, with the limits and the versions of its own run; the rest stays."""
    earlier, later = make_report(), make_report()
    later.update(date="2026-11-22 13:00 UTC", command="scripts/bench.sh --only x --merge", overhead=None, compile={}, skipped=[])
    later["machine"]["limits"]["fma_avx512_gflops"] = 500.0
    later["versions"]["lathe"] = "0.2.0"
    del later["entries"][2], later["entries"][0]
    later["entries"][0]["runtimes"]["lathe"] = figures(5.0, 4.0)
    added = {**later["entries"][0], "name": "Swin-tiny b1", "model": "swin"}
    later["entries"].append(added)
    before = json.dumps([earlier, later])
    merged = merging.merge(earlier, later)
    assert json.dumps([earlier, later]) == before
    assert [(entry["name"], entry["precision"], entry["run"]) for entry in merged["entries"]] == [
        ("BERT-base b1 s128", "f32", 0), ("BERT-base b1 s128", "bf16", 1), ("ViT-base b1", "f32", 0), ("Swin-tiny b1", "bf16", 1)
    ]  # fmt: skip
    assert merged["overhead"] == {**earlier["overhead"], "run": 0} and merged["compile"]["bert f32"]["run"] == 0
    assert merged["skipped"] == []  # it was measured this time
    text = reports.render(merged)
    rows = {(row[0], row[1]): row for row in rows_of(text) if "/" in row[3] and row[0] != "Work"}
    assert rows["BERT-base b1 s128", "f32"][2] == "10.49" and rows["BERT-base b1 s128", "f32"][-1] == "a"
    assert rows["BERT-base b1 s128", "bf16"][-1] == "b"
    for part in ("**Run a.** Measured on 2026-11-21", "**Run b.** Measured on 2026-11-22 13:00 UTC by `scripts", "lathe 0.2.0", "lathe 0.1.0"):
        assert part in text
    # All of it once more: the runs of which nothing is left are forgotten.
    again = merging.merge(merged, {**make_report(), "date": "2026-11-23 09:00 UTC"})
    assert [run["date"] for run in again["runs"]] == ["2026-11-22 13:00 UTC", "2026-11-23 09:00 UTC"]
    assert [entry["run"] for entry in again["entries"]] == [1, 1, 1, 0]


def test_write_whole(tmp_path, monkeypatch):
    path = tmp_path / "page.md"
    reports.write_whole(path, "first")

    def full(*_):
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError):
            reports.write_whole(path, "second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_select():
    everything = workloads.select()
    assert len(everything) == sum(len(workload.precisions) for workload in workloads.WORKLOADS)
    assert {precision for _, precision in everything} == set(workloads.PRECISIONS)
    assert all(model in {path.stem for path in (BENCH / "models").iterdir()} | {workloads.MINILM} for model in
               {workload.model for workload in workloads.WORKLOADS})  # fmt: skip
    assert [workload.name for workload, _ in workloads.select(bench.pattern("b8.*f32"))] == ["BERT-base b8 s128"]
    assert {workload.model for workload, _ in workloads.select(quick=True)} == {workloads.MINILM}
    assert workloads.select(bench.pattern("nothing")) == []


def test_inputs_of_a_decoder():
    dims = {"batch": 2, "sequence": 3, "past_sequence": 5}
    declared, outputs = workloads.declared_inputs(BENCH / "models/gpt2.onnx", dims)
    inputs = workloads.make_inputs(declared, past=5)
    assert inputs["input_ids"].shape == (2, 3) and inputs["attention_mask"].shape == (2, 8)
    np.testing.assert_array_equal(inputs["position_ids"], [[5, 6, 7]] * 2)
    assert inputs["past_key_values.0.key"].shape == (2, 12, 5, 64) and inputs["past_key_values.0.key"].dtype == np.float32
    assert "logits" in outputs
    np.testing.assert_array_equal(workloads.make_inputs(declared, past=5)["input_ids"], inputs["input_ids"])
    with pytest.raises(ValueError, match="total_sequence"):
        workloads.declared_inputs(BENCH / "models/gpt2.onnx", {"batch": 2, "sequence": 3})


def test_weights(tmp_path):
    graph = tmp_path / "graph.onnx"
    names = {"norm.weight": [4], "norm.bias": [4], "linear.weight": [300, 200]}
    tensors, offset = [], 0
    for name, dims in names.items():
        tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=dims)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="graph.onnx.data")
        tensor.external_data.add(key="offset", value=str(offset))
        offset += 4 * int(np.prod(dims))
        tensors.append(tensor)
    onnx.save_model(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], tensors)), graph)
    model = weights.write(graph, tmp_path / "out")
    data = np.fromfile(tmp_path / "out/graph.onnx.data", np.float32)
    assert data.size == 60008 and (data[:4] == 1).all() and (data[4:8] == 0).all()
    assert abs(data[8:].std() - 0.02) < 1e-3 and abs(data[8:].mean()) < 1e-3
    # What is complete is left alone, what is not is written again.
    stamp = (tmp_path / "out/graph.onnx.data").stat().st_mtime_ns
    assert weights.write(graph, tmp_path / "out") == model
    assert (tmp_path / "out/graph.onnx.data").stat().st_mtime_ns == stamp
    (tmp_path / "out/graph.onnx.data").unlink()
    weights.write(graph, tmp_path / "out")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out/graph.onnx.data", np.float32), data)
    assert not list((tmp_path / "out").glob("*.unfinished"))


def test_weights_refuse_what_they_cannot_make():
    tensor = onnx.TensorProto(name="ids", data_type=onnx.TensorProto.INT64, dims=[3])
    with pytest.raises(ValueError, match="'ids'"):
        weights.values(tensor)


@pytest.mark.parametrize(
    "run_ms, expected", [(0.0, (14, 2)), (10, (14, 2)), (150, (6, 2)), (300, (3, 1)), (9000, (3, 1))]
)
def test_bursts_are_as_long_as_they_may_be(run_ms, expected):
    assert bursts.runs_of_burst(run_ms, 14, 1000) == expected


def test_a_process_that_ends_says_why(tmp_path):
    setup = {"runtime": "lathe", "model": str(tmp_path / "none.lathe"), "precision": "f32", "threads": 1}
    setup.update(inputs=[], outputs=[], past=0)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with pytest.raises(bursts.RuntimeFailed, match="lathe ended with code 1: .*none.lathe"):
        bursts.Runtime(setup, tmp_path / "log", environment)


def test_a_stopped_process_can_be_closed(tmp_path):
    runtime = object.__new__(bursts.Runtime)
    import subprocess

    runtime._process = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    runtime._process.send_signal(signal.SIGSTOP)
    runtime.close()
    assert runtime._process.returncode == -signal.SIGKILL


def test_arguments():
    def parse(*given):
        return bench.arguments(argparse.ArgumentParser(), given)

    assert parse().write and parse("--bursts", "3").write
    assert parse("--only", "x", "--merge").write and parse("--precision", "f32", "--merge").write
    assert not parse("--only", "x", "--merge", "--no-write").write and not parse("--quick", "--merge").write
    for part in (["--quick"], ["--only", "x"], ["--peers", ""], ["--precision", "f32"], ["--no-write"]):
        assert not parse(*part).write, part
    for wrong in (["--only", "("], ["--peers", "other"], ["--bursts", "0"], ["--count", "2"], ["--precision", "f8"]):
        with pytest.raises(SystemExit):
            parse(*wrong)
