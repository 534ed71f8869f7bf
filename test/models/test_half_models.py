# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models that compute in f16 throughout are near to the same ones in f32: as near as f16 is, and as ONNX Runtime comes."""
import json

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.transformers.float16 import convert_float_to_float16
from support import DECODERS, DEVICE, MODELS, make_inputs

SHAPES = [(1, 1), (2, 7), (3, 33), (1, 128)]
# Of the largest number: weights and inputs are rounded to 11 bits; on devices what products read, too.
SHARES = {"cpu": 4e-3, DEVICE: 1e-2}


@pytest.fixture(scope="module")
def half(onnx_path, tmp_path_factory):
    """half(name): the path of a model whose tensors of f32 are f16."""
    folder, made = tmp_path_factory.mktemp("half"), {}

    def get(name):
        if name not in made:
            made[name] = folder / f"{name}.onnx"
            onnx.save(convert_float_to_float16(onnx.load(onnx_path(name)), disable_shape_infer=True), made[name])
        return made[name]

    return get


def narrowed(inputs):
    return {name: value.astype(np.float16) if value.dtype == np.float32 else value for name, value in inputs.items()}


def distances(outputs, references):
    """How far each output is from its reference, as a share of the largest number."""
    assert set(outputs) == set(references)
    for name, reference in references.items():
        output = outputs[name].astype(np.float64)
        assert outputs[name].dtype == np.float16 and output.shape == reference.shape, name
        finite = np.isfinite(reference)
        if finite.any():
            yield name, np.abs(output[finite] - reference[finite]).max() / np.abs(reference[finite]).max()


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"minilm"}))
def test_models(name, half, oracle, tmp_path):
    import lathe

    path = lathe.compile(half(name), tmp_path / "m.lathe", target="cpu:avx2,cuda:sm_80")
    peer = onnxruntime.InferenceSession(str(half(name)), providers=["CPUExecutionProvider"])
    names = [output.name for output in peer.get_outputs()]
    for device, share in SHARES.items():
        session = lathe.load(path, device=device, verify=True).session(threads=2)
        for shape in SHAPES if device == "cpu" else SHAPES[:2]:
            inputs = make_inputs(name, *shape, past=3 if name in DECODERS else 0)
            reference = oracle(name, inputs)
            found = dict(distances(session.run(narrowed(inputs)), reference))
            theirs = dict(distances(dict(zip(names, peer.run(None, narrowed(inputs)))), reference))
            for output, distance in found.items():
                assert distance <= share, (device, shape, output)
                assert device != "cpu" or distance <= 1.5 * theirs[output] + 5e-4, (shape, output, theirs[output])


def test_nothing(half, tmp_path):
    """Batches and sequences of no rows."""
    import lathe

    for name, shapes in (("bert", [(0, 5)]), ("llama", [(0, 5), (2, 0)])):
        session = lathe.load(lathe.compile(half(name), tmp_path / "m.lathe")).session(threads=1)
        for shape in shapes:
            for output in session.run(narrowed(make_inputs(name, *shape))).values():
                assert output.dtype == np.float16 and output.shape[0] == shape[0]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_text(name, half, onnx_path, tmp_path):
    """Steps with a cache give the logits of the whole text, near to those of the model in f32."""
    import lathe

    tokens = np.random.default_rng(3).integers(5, 900, (2, 12))
    logits = []
    for path in (half(name), onnx_path(name)):
        generator = lathe.load(lathe.compile(path, tmp_path / "m.lathe", generate="on")).generator()
        generator.begin(2)
        logits.append(np.stack([generator.append(tokens[:, :5])] + [generator.append(tokens[:, i : i + 1]) for i in range(5, 12)]))
    assert np.abs(logits[0] - logits[1]).max() <= 5e-3 * np.abs(logits[1]).max()


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_compressed(name, half, oracle, lathe_tool, tmp_path):
    """Weights become codes as those of f32 do."""
    import lathe

    report = tmp_path / "report.json"
    lathe_tool.ok("compile", half(name), "-o", tmp_path / "m.lathe", "--int8", "--report", report)
    assert json.loads(report.read_text())["compression"]["layers"]
    inputs = make_inputs(name, 2, 9)
    outputs = lathe.load(tmp_path / "m.lathe").session(threads=1).run(narrowed(inputs))
    for output, distance in distances(outputs, oracle(name, inputs)):
        assert distance <= 5e-2, output


def with_codes(path, block=32):
    """The model with weights of MatMul as 4 bits in blocks (MatMulNBits), and the same with what these stand for as f32."""
    coded, plain = onnx.load(path), onnx.load(path)
    for model in (coded, plain):
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type != "MatMul" or node.input[1] not in stored:
                continue
            weight = onnx.numpy_helper.to_array(stored[node.input[1]]).astype(np.float32)
            k, n = weight.shape
            blocks = np.zeros((n, -(-k // block) * block), np.float32)
            blocks[:, :k] = weight.T
            blocks = blocks.reshape(n, -1, block)
            scales = np.maximum(np.abs(blocks).max(-1) / 7, 1e-4).astype(np.float16)
            codes = np.clip(np.rint(blocks / scales[..., None].astype(np.float32)) + 8, 0, 15).astype(np.uint8)
            if model is plain:
                numbers = ((codes.astype(np.float32) - 8) * scales[..., None]).reshape(n, -1)[:, :k].T
                stored[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(numbers.astype(np.float16), node.input[1]))
                continue
            name = node.name
            model.graph.initializer.extend([onnx.numpy_helper.from_array(codes[..., ::2] | codes[..., 1::2] << 4, f"{name}.codes"),
                                            onnx.numpy_helper.from_array(scales.reshape(-1), f"{name}.scales")])
            node.op_type, node.domain = "MatMulNBits", "com.microsoft"
            node.input[:] = [node.input[0], f"{name}.codes", f"{name}.scales"]
            node.attribute.extend([onnx.helper.make_attribute(key, value) for key, value in (("K", k), ("N", n), ("bits", 4), ("block_size", block))])
    coded.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return coded, plain


def test_codes_in_models_of_f16(half, tmp_path, lathe_tool):
    """What generators of models for GPUs write: f16 throughout, with weights of 4 bits. Products read the codes on both devices."""
    import lathe

    coded, plain = with_codes(half("llama"))
    onnx.save(coded, tmp_path / "m.onnx")
    report = tmp_path / "report.json"
    lathe_tool.ok("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.lathe", "--target", "cpu:avx2,cuda:sm_80", "--generate", "on", "--report", report)
    assert all("dense" not in kernel for kernel in json.loads(report.read_text())["kernels"])
    peer = onnxruntime.InferenceSession(plain.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in peer.get_outputs()]
    for device in SHARES:
        session = lathe.load(tmp_path / "m.lathe", device=device).session(threads=2)
        for shape in [(1, 1), (2, 9), (1, 0), (2, 40)]:
            inputs = narrowed(make_inputs("llama", *shape, past=2))
            if shape[1] == 0:
                session.run(inputs)
                continue
            reference = {name: value.astype(np.float32) for name, value in zip(names, peer.run(None, inputs))}
            for output, distance in distances(session.run(inputs), reference):
                assert distance <= 1e-2, (device, shape, output)


def to_bf16(path):
    """A model of f16 as one of bf16, which ONNX Runtime does not run."""
    model = onnx.load(path)

    def change(tensor):
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            values = onnx.numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
            name, dims = tensor.name, list(tensor.dims)
            tensor.CopyFrom(onnx.TensorProto(name=name, dims=dims, data_type=onnx.TensorProto.BFLOAT16, raw_data=values.tobytes()))

    for tensor in model.graph.initializer:
        change(tensor)
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = onnx.TensorProto.BFLOAT16
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                change(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT16:
                attribute.i = onnx.TensorProto.BFLOAT16
    return model


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_bf16(name, half, oracle, tmp_path):
    import lathe

    onnx.save(to_bf16(half(name)), tmp_path / "m.onnx")
    path = lathe.compile(tmp_path / "m.onnx", tmp_path / "m.lathe", target="cpu,cuda:sm_80")
    for device in SHARES:
        session = lathe.load(path, device=device).session(threads=2)
        for shape in SHAPES[:2]:
            inputs = make_inputs(name, *shape, past=3 if name in DECODERS else 0)
            given = {key: value.astype(ml_dtypes.bfloat16).view(np.uint16) if value.dtype == np.float32 else value for key, value in inputs.items()}
            reference = oracle(name, inputs)
            for output, value in session.run(given).items():
                wanted = reference[output]
                assert value.dtype == np.uint16 and value.shape == wanted.shape
                assert np.abs(value.view(ml_dtypes.bfloat16).astype(np.float32) - wanted).max() <= 3e-2 * np.abs(wanted).max(), (device, shape, output)


@pytest.mark.parametrize("wide", [False, True])
def test_attention_of_f32(wide, lathe_tool, tmp_path):
    """Attention that the model has in f32 is not rounded; that of f16 may be."""
    from onnx import TensorProto, helper

    nodes = [helper.make_node("MatMul", ["x", "w"], ["q"], name="product")]
    cast = [helper.make_node("Cast", ["q"], ["wide"], to=TensorProto.FLOAT)] if wide else []
    nodes += [*cast, helper.make_node("Attention", ["wide" if wide else "q"] * 3, ["y"], q_num_heads=2, kv_num_heads=2)]
    weight = onnx.numpy_helper.from_array(np.eye(16, dtype=np.float16), "w")
    shape = ["batch", "sequence", 16]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT if wide else TensorProto.FLOAT16, shape)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT16, shape)], outputs, [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), tmp_path / "m.onnx")
    lathe_tool.ok("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.lathe", "--target", "cuda:sm_80", "--dump-ir", tmp_path / "ir")
    calls = [line for path in (tmp_path / "ir").glob("*select.mlir") for line in path.read_text().splitlines() if "kernel.attention" in line]
    assert len(calls) == 1 and ("arithmetic = f16" in calls[0]) != wide, calls
