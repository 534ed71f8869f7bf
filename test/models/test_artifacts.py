# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What compiled models are, beyond their outputs: instruction sets, repeatability, phases, load time, memory."""
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from support import assert_close, make_inputs


def run(path, inputs, **options):
    import lathe

    return lathe.load(path, **options).session(threads=2).run(inputs)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_avx2_only(name, artifact, oracle):
    path = artifact(name, "--target", "cpu:avx2")
    inputs = make_inputs(name, 3, 33, padded=True)
    assert_close(run(path, inputs), oracle(name, inputs))


@pytest.mark.parametrize("name", ["minilm", "bert", "gpt2"])
def test_every_instruction_set_in_one_artifact(name, artifact, oracle):
    import lathe

    inputs = make_inputs(name, 2, 33)
    references = oracle(name, inputs)
    sets = [code["isa"] for code in lathe.load(artifact(name)).manifest["code"]]
    assert "avx2" in sets
    for isa in sets:
        try:
            module = lathe.load(artifact(name), isa=isa)
        except lathe.Error as error:
            assert error.status == lathe.Status.UNSUPPORTED_DEVICE  # this machine has no such instructions
            continue
        assert module.isa == isa
        assert_close(module.session(threads=2).run(inputs), references)


def test_reference_backend(lathe_tool, artifact, oracle):
    if "reference" not in lathe_tool("compile", "--help").stdout:
        pytest.skip("the compiler does not offer --target reference")
    inputs = make_inputs("bert", 2, 7, padded=True)
    assert_close(run(artifact("bert", "--target", "reference"), inputs), oracle("bert", inputs))


@pytest.mark.parametrize("name", ["bert", "gpt2", "minilm"])
def test_same_bytes_twice(name, lathe_tool, onnx_path, artifact, tmp_path):
    again = tmp_path / "again.lathe"
    lathe_tool.ok("compile", onnx_path(name), "-o", again)
    assert again.read_bytes() == artifact(name).read_bytes()


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_phases_are_readable(name, lathe_tool, onnx_path, build, tmp_path):
    folder = tmp_path / "phases"
    lathe_tool.ok("compile", onnx_path(name), "-o", tmp_path / "m.lathe", "--dump-ir", folder)
    files = sorted(folder.glob("*.mlir"))
    assert len(files) >= 3
    assert all(re.match(r"\d+", path.name) for path in files), files
    for path in files:
        result = subprocess.run([build / "bin" / "lathe-opt", path, "-o", "/dev/null"], capture_output=True, text=True)
        assert result.returncode == 0, f"{path.name}: {result.stderr[:2000]}"


def test_load_time_and_memory(lathe_tool, artifact):
    weights = json.loads(lathe_tool.ok("inspect", artifact("minilm"), "--json"))["weights_bytes"]
    bench = ["bench", artifact("minilm"), "--json", "--dim", "batch=1", "--dim", "sequence=128", "--threads", 2]
    reports = [json.loads(lathe_tool.ok(*bench, "--iterations", 3)) for _ in range(3)]
    assert min(report["load_ms"] for report in reports) < 100
    assert min(report["peak_rss_bytes"] for report in reports) < 1.5 * weights


# Loads and runs an artifact, then waits, so that its memory can be looked at.
HOLD = """
import sys
import lathe, numpy as np
session = lathe.load(sys.argv[1]).session(threads=1)
ids = np.arange(128, dtype=np.int64)[None] * 200
session.run({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)})
print("ready", flush=True)
sys.stdin.readline()
"""


def mapped_bytes(pid, path):
    """Sums of the fields of /proc/PID/smaps over the mappings of a file, in bytes."""
    sums, inside = {}, False
    with open(f"/proc/{pid}/smaps") as lines:
        for line in lines:
            header = re.match(r"[0-9a-f]+-[0-9a-f]+ ", line)
            if header:
                inside = line.rstrip().endswith(str(path))
            elif inside and line.endswith(" kB\n"):
                key, value = line.split(":")
                sums[key] = sums.get(key, 0) + 1024 * int(value.split()[0])
    return sums


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def test_processes_share_weights(lathe_tool, artifact, build):
    path = artifact("minilm")
    weights = json.loads(lathe_tool.ok("inspect", path, "--json"))["weights_bytes"]
    environment = {"PYTHONPATH": str(build / "python"), "PATH": "/usr/bin:/bin"}
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for _ in range(2)
    ]
    try:
        assert [holder.stdout.readline() for holder in holders] == ["ready\n"] * 2
        for holder in holders:
            mapped = mapped_bytes(holder.pid, path)
            # The file's pages are the kernel's page cache: none was written, so none became this process's own, and
            # no copy was made elsewhere.
            assert mapped["Size"] > weights, mapped
            assert mapped["Private_Dirty"] == mapped["Anonymous"] == 0, mapped
            assert anonymous_bytes(holder.pid) < weights / 2
            # Not every file system's pages are counted. The layers' weights are used by every run; of the embedding
            # table, only the rows of the tokens.
            if mapped["Rss"]:
                assert mapped["Rss"] > weights / 4, mapped
    finally:
        for holder in holders:
            holder.communicate("\n", timeout=30)


def test_run_and_expect(lathe_tool, artifact, oracle, tmp_path):
    """Tensors travel as .npz; --expect compares them."""
    inputs = make_inputs("bert", 2, 7)
    references = oracle("bert", inputs)
    np.savez(tmp_path / "in.npz", **inputs)
    np.savez(tmp_path / "ref.npz", **references)
    arguments = ["run", artifact("bert"), "--inputs", tmp_path / "in.npz"]
    lathe_tool.ok(*arguments, "--outputs", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as outputs:
        assert_close(dict(outputs), references)
    lathe_tool.ok(*arguments, "--expect", tmp_path / "ref.npz", "--rtol", "2e-4", "--atol", "0")
    references["output_1"] = references["output_1"] + 1
    np.savez(tmp_path / "ref.npz", **references)
    assert lathe_tool(*arguments, "--expect", tmp_path / "ref.npz").returncode == 4
