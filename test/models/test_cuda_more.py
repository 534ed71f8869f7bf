# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""all-MiniLM-L6-v2, and the models that other tests compare on the processor, for CUDA on its emulator (or on LATHE_TEST_DEVICE).

LATHE_LARGE=1 adds batches and lengths of real use, which take minutes on the emulator.
"""
import os

import numpy as np
import onnx
import pytest
from export.inputs import SIZES, random_inputs
from support import DEVICE, assert_close, make_inputs
from test_exported_models import MODELS, Info, merged_inputs
from test_quantized_models import OTHERS, oracle_of, vectors

LARGE = [(1, 128), (2, 512), (8, 128), (32, 64)] if os.environ.get("LATHE_LARGE") else []


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 19), (5, 3), (1, 65), (0, 4), *LARGE], ids=str)
def test_minilm(shape, emulated, oracle):
    """Sentences of several lengths in a batch, padded."""
    inputs = make_inputs("minilm", *shape, padded=True)
    try:
        references = oracle("minilm", inputs)
    except Exception as error:  # ONNX Runtime has an exception class for each status
        if shape[0]:
            raise
        pytest.skip(f"ONNX Runtime does not run it: {str(error)[:80]}")
    assert_close(emulated("minilm").run(inputs), references)


@pytest.mark.parametrize("name", MODELS)
def test_exported(name, emulated, oracle, onnx_path):
    kind, form = MODELS[name]
    infos = [Info(value) for value in onnx.load(onnx_path(name)).graph.input]
    about = {"kind": kind, "form": form, "dims": {i.name: i.dims for i in infos}}
    about["ranges"] = {"input_ids": 95, "decoder_input_ids": 95, "token_type_ids": 2}
    compared = 0
    for size in (SIZES[0], SIZES[1], SIZES[5]):
        size = {"height": 32 + size["sequence"], "width": 64 + size["past_sequence"], **size}
        inputs = random_inputs(infos, about, size, seed=0)
        try:
            references = oracle(name, inputs)
        except Exception:  # ONNX Runtime has an exception class for each status
            if size["batch"] and name != "deepseek_v3":  # which exports as many experts as the example's tokens had
                raise
            continue
        assert_close(emulated(name).run(inputs), references)
        compared += 1
    assert compared


@pytest.mark.parametrize("with_cache", [True, False])
def test_merged_decoder(with_cache, emulated, oracle):
    """The branches of an `If`, of which the host reads which one to take."""
    inputs = merged_inputs(with_cache, 2, 3, 4)
    references = oracle("bloom_merged", inputs)
    assert_close(emulated("bloom_merged").run(inputs), references)


@pytest.mark.parametrize("name", OTHERS)
def test_quantized(name, artifact, onnx_path, tmp_path):
    """Graphs that quantizers wrote; steps of rounding decide otherwise here and there."""
    import lathe

    model = vectors(onnx.load(onnx_path(name)))
    onnx.save(model, tmp_path / "model.onnx")
    oracle = oracle_of(tmp_path / "model.onnx")
    session = lathe.load(artifact(name, "--target", "cuda:sm_80"), device=DEVICE).session(threads=2)
    for batch, length in ((1, 1), (3, 7)):
        inputs = OTHERS[name](np.random.default_rng([batch, length]), batch, length)
        outputs = session.run(inputs)
        for info, expected in zip(oracle.get_outputs(), oracle.run(None, inputs)):
            assert outputs[info.name].shape == expected.shape
            error = np.abs(outputs[info.name] - expected).max() / np.abs(expected).max()
            assert error <= 2e-2, f"{info.name}: {error:.3g}"


def test_many_tensors(tmp_path):
    """More tensors than a kernel has room for as arguments, one behind the other."""
    import lathe
    from onnx import TensorProto, helper

    count = 60
    nodes = [helper.make_node("Mul", [f"x{i}", f"y{i}"], [f"m{i}"]) for i in range(count)]
    nodes += [helper.make_node("Concat", [f"m{i}" for i in range(count)], ["all"], axis=1), helper.make_node("Relu", ["all"], ["z"])]
    inputs = [helper.make_tensor_value_info(f"{name}{i}", TensorProto.FLOAT, ["batch", 1 + i % 3, 2, 3]) for name in "xy" for i in range(count)]
    outputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 2 * count, 2, 3])]
    graph = helper.make_graph(nodes, "many", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "m.onnx")
    session = lathe.load(lathe.compile(tmp_path / "m.onnx", tmp_path / "m.lathe", target="cuda:sm_80"), device=DEVICE).session()
    for batch in (1, 3, 0):
        random = np.random.default_rng(batch)
        given = {i.name: random.standard_normal((batch, 1 + int(i.name[1:]) % 3, 2, 3), dtype=np.float32) for i in inputs}
        expected = np.concatenate([given[f"x{i}"] * given[f"y{i}"] for i in range(count)], axis=1)
        np.testing.assert_allclose(session.run(given)["z"], np.maximum(expected, 0), rtol=1e-6)
