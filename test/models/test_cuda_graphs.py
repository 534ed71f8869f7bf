# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Steps of generation on the emulator are launched as CUDA graphs, and how many kernels they take."""
import json
import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def counts(build):
    """counts(artifact): what the run of a prompt and each of the steps behind it asked of the device: launches, products, calls, graphs."""

    def get(path, sequences=1, prompt=3, steps=70, **environment):
        command = [build / "bin/lathe_cuda_counts", path, str(sequences), str(prompt), str(steps)]
        result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return get


@pytest.mark.parametrize(
    "name, flags, sequences, steps",
    [("llama", (), 1, 70), ("gpt2", ("--kv-cache", "int8"), 3, 12), ("llama", ("--int4",), 1, 12), ("llama", ("--int8",), 2, 12)],
)
def test_steps_are_graphs(name, flags, sequences, steps, artifact, counts):
    """From the second on a step is one graph, whose positions, counts and pages the device's memory has: through a page's end, and with several sequences, caches of integers and weights of integers."""
    runs = counts(artifact(name, "--target", "cuda:sm_80", "--generate", "on", *flags), sequences, steps=steps)
    kernels = runs[-1]["launches"]
    assert kernels > 0 and runs[0]["calls"] == runs[0]["launches"]
    assert [run["graphs"] for run in runs[:3]] == [0, 0, 1]
    assert all(run["launches"] == kernels for run in runs[2:])
    alone = [step for step, run in enumerate(runs) if step > 2 and (run["calls"] or run["graphs"] != 1)]
    assert not alone, alone


def test_steps_without_graphs(artifact, counts):
    """The same kernels, each launched by itself, where the user says so."""
    path = artifact("llama", "--target", "cuda:sm_80", "--generate", "on")
    graph = counts(path, steps=4)[-1]
    alone = counts(path, steps=4, LATHE_CUDA_NO_GRAPHS="1")[-1]
    assert (alone["graphs"], alone["calls"]) == (0, alone["launches"])
    assert (alone["launches"], alone["products"]) == (graph["launches"], graph["products"])


@pytest.mark.parametrize("name, flags, sequences", [("llama", ("--int4",), 1), ("llama", ("--int8",), 3), ("llama", (), 2), ("qwen2", ("--int4",), 1), ("gpt2", ("--int4",), 1), ("llama", ("--precision", "f16"), 2), ("gpt2", ("--precision", "bf16"), 1)])
def test_neighbours_share_kernels(name, flags, sequences, artifact, counts):
    """A step takes fewer kernels than it has calls, and each call is a kernel where the user says so."""
    path = artifact(name, "--target", "cuda:sm_80", "--generate", "on", *flags)
    fused, apart = counts(path, sequences, steps=4), counts(path, sequences, steps=4, LATHE_CUDA_NO_FUSION="1")
    assert fused[-1]["launches"] < apart[-1]["launches"]
    assert fused[-1]["products"] == apart[-1]["products"]
    assert fused[-1]["graphs"] == 1


@pytest.mark.parametrize("arithmetic, flags", [("f32", ()), ("f32", ("--precision", "f16")), ("f32", ("--int4",)), ("f16", ()), ("f16", ("--int4",))])
def test_a_layer_is_six_kernels(arithmetic, flags, lathe_tool, counts, tmp_path, monkeypatch):
    """One more layer in the middle of a decoder is six kernels of a step, of which none is the library's."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "bench"))
    import decoders

    steps = []
    for layers in (2, 3):
        monkeypatch.setitem(decoders.SHAPES, "llama-tiny", decoders.SHAPES["llama-tiny"]._replace(layers=layers))
        model, path = decoders.write("llama-tiny", tmp_path / str(layers), arithmetic), tmp_path / f"{layers}.lathe"
        result = lathe_tool("compile", model, "-o", path, "--target", "cuda:sm_80", "--generate", "on", *flags)
        assert result.returncode == 0, result.stderr
        steps.append(counts(path, steps=4)[-1])
    assert steps[1]["launches"] - steps[0]["launches"] == 6
    assert steps[1]["products"] == 0


@pytest.mark.parametrize("name, flags", [("llama", ("--int4",)), ("llama", ()), ("llama", ("--precision", "f16")), ("llama", ("--precision", "bf16")), ("gpt2", ("--precision", "f16"))])
def test_shared_kernels_give_the_same(name, flags, artifact, monkeypatch):
    """Logits of steps, by kernels that are shared and by each on its own."""
    import lathe
    import numpy as np

    path = artifact(name, "--target", "cuda:sm_80", "--generate", "on", *flags)

    def logits():
        generator = lathe.load(path, device="cuda-emulator").generator(threads=1)
        generator.begin(2)
        steps = [generator.append(np.array([[1, 5, 9], [4, 2, 7]]))]
        steps += [generator.append(np.array([[3 + i], [11 + i]])) for i in range(4)]
        return np.stack([np.asarray(step).reshape(2, -1) for step in steps])

    shared = logits()
    monkeypatch.setenv("LATHE_CUDA_NO_FUSION", "1")
    np.testing.assert_allclose(shared, logits(), rtol=1e-4, atol=1e-4)
