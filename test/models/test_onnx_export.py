# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models written back as ONNX (`lathe compile --emit onnx`): the checker accepts them, ONNX Runtime gives what it gives of the original at
several sizes, and they are read and compiled again."""
import pathlib

import numpy as np
import onnx
import onnxruntime
import pytest
from export.inputs import SIZES, random_inputs
from support import assert_close
from test_quantized_models import ROUNDED, vectors

import lathe

DATA = pathlib.Path(__file__).parent / "data"
MODELS = sorted(path.stem for path in DATA.glob("*.onnx"))
# Of which the values in between are rounded to integers.
QUANTIZED = {"bert_nncf", "vit_nncf", "qat"}


def onnx_session(path, level=onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(session, inputs):
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))


def make_inputs(session, size, seed):
    infos = session.get_inputs()
    dims = {info.name: info.shape for info in infos}
    flat = {dim for shape in dims.values() for dim in shape}
    kind = "decoder" if "total_sequence" in flat or "position_ids" in dims else "text"
    about = {"kind": kind, "form": "cache" if "past_sequence" in flat else "plain", "dims": dims, "ranges": {"token_type_ids": 2}}
    about["ranges"].update({"input_ids": 95, "decoder_input_ids": 95})
    size = {"height": 32 + size["sequence"], "width": 64 + size["past_sequence"], "n": size["sequence"], **size}
    plain = [info for info in infos if info.type != "tensor(bool)"]
    inputs = random_inputs(plain, about, size, seed)
    for info in infos:
        if info.type == "tensor(bool)":
            inputs[info.name] = np.full(info.shape, seed % 2 == 0)
    return inputs


@pytest.fixture(scope="module")
def exported(onnx_path, tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("exported"), {}

    def get(name):
        if name not in done:
            path = lathe.compile(onnx_path(name), folder / f"{name}.onnx", emit="onnx")
            original = onnx_path(name)
            if name in QUANTIZED:
                original = folder / f"{name}_vectors.onnx"
                onnx.save(vectors(onnx.load(onnx_path(name))), original)
            done[name] = (path, onnx_session(original), onnx_session(path))
        return done[name]

    return get


def compare(name, outputs, references):
    """Within a few integer steps where values are rounded to integers in between."""
    if name not in QUANTIZED:
        assert_close(outputs, references)
        return
    for key, reference in references.items():
        assert outputs[key].shape == reference.shape and outputs[key].dtype == reference.dtype, key
        if reference.size:
            assert np.abs(outputs[key] - reference).max() <= ROUNDED * np.abs(reference).max(), key


@pytest.mark.parametrize("name", MODELS)
def test_is_plain_onnx(name, exported, onnx_path):
    path, original, written = exported(name)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain for opset in model.opset_import} == {""}
    before = onnx.load(onnx_path(name)).graph
    for old, new in ((before.input, model.graph.input), (before.output, model.graph.output)):
        assert [value.name for value in old] == [value.name for value in new]
    for old, new in zip(before.input, model.graph.input):
        assert old.type == new.type, old.name
    names = [node.name for node in model.graph.node]
    assert len(names) == len(set(names)) and all(names)


@pytest.mark.parametrize("name", MODELS)
def test_equals_original(name, exported):
    _, original, written = exported(name)
    compared = 0
    for seed, size in enumerate(SIZES):
        inputs = make_inputs(original, size, seed)
        try:
            references = run(original, inputs)
        except Exception:  # ONNX Runtime has an exception class for each status
            continue
        compare(name, run(written, inputs), references)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("name", MODELS)
def test_is_read_again(name, exported, tmp_path):
    path, _, written = exported(name)
    artifact = lathe.compile(path, tmp_path / "again.lathe", generate="off")
    session = lathe.load(artifact).session(threads=1)
    inputs = make_inputs(written, SIZES[1], 0)
    compare(name, session.run(inputs), run(written, inputs))
