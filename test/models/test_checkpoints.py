# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Checkpoints in safetensors take the place of a model's weights: equal to ONNX Runtime with the dense weights that codes stand for."""
import json

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from checkpoints import FloatLayer, Layer, llama_modules, named_like, weights_of, write_safetensors
from onnx import TensorProto, helper, numpy_helper
from support import assert_close, make_inputs

import lathe

NORMS = [f"model.layers.{i}.{norm}_layernorm.weight" for i in range(2) for norm in ("input", "post_attention")]


@pytest.fixture
def llama(onnx_path):
    return onnx.load(onnx_path("llama"))


def replaced(model, values):
    """A copy with other values of initializers, for the oracle."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[tensor.name], dtype=np.float32), tensor.name))
    return copy


def check(model, expected, folder, shapes=((1, 7), (2, 33), (3, 1)), past=4, like="llama", **options):
    """Compiles `model` with options and compares with ONNX Runtime's results of `expected`."""
    onnx.save(model, folder / "model.onnx")
    report = folder / "report.json"
    options = {"target": "cpu:avx2", "generate": "off", "report": report, **options}
    session = lathe.load(lathe.compile(folder / "model.onnx", folder / "model.lathe", **options)).session(threads=2)
    oracle = onnxruntime.InferenceSession(expected.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch, length in shapes:
        inputs = make_inputs(like, batch, length, past=past)
        inputs = {info.name: inputs[info.name] for info in oracle.get_inputs()}
        names = [output.name for output in oracle.get_outputs()]
        assert_close(session.run(inputs), dict(zip(names, oracle.run(names, inputs))))
    return json.loads(report.read_text())


def quantized(model, bits, group, symmetric=False, reordered=False):
    """Layers by module, and the dense weights that they stand for by initializer."""
    weights, random = weights_of(model), np.random.default_rng(0)
    layers, dense, orders = {}, {}, {}
    for module, node in llama_modules(model).items():
        weight = weights[node.input[1]]
        # As GPTQ finds it, one order belongs to one input.
        part = module.split(".")[4]
        place = module.split(".")[2], {"q_proj": "x", "k_proj": "x", "v_proj": "x", "gate_proj": "h", "up_proj": "h"}.get(part, part)
        order = orders.setdefault(place, random.permutation(len(weight))) if reordered else None
        layers[module] = Layer(weight, bits, group, symmetric, order)
        dense[node.input[1]] = layers[module].dense
    return layers, dense


def gptq_folder(folder, layers, version=1):
    """A folder as AutoGPTQ and GPTQModel write it."""
    folder.mkdir(exist_ok=True)
    tensors = {name: array for module, layer in layers.items() for name, array in layer.gptq(module, version).items()}
    # Tools write every norm, of which exporters keep equal ones once, and tables that the model computes.
    tensors.update({name: np.ones(64, np.float16) for name in NORMS})
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
    write_safetensors(folder / "model.safetensors", tensors)
    first = next(iter(layers.values()))
    says = {"bits": first.bits, "group_size": first.asked, "desc_act": bool(np.any(np.diff(first.index) < 0))}
    says.update(quant_method="gptq", checkpoint_format="gptq" if version == 1 else "gptq_v2")
    (folder / "quantize_config.json").write_text(json.dumps(says))
    return folder


@pytest.mark.parametrize(
    "style, bits, group, symmetric, reordered, version",
    [
        ("scopes", 4, 32, False, False, 1),
        ("metadata", 4, 32, True, True, 1),
        ("names", 4, 16, False, True, 2),
        ("values", 4, 32, True, False, 2),
        ("scopes", 3, 32, False, False, 1),
        ("names", 3, 32, True, True, 1),
        ("metadata", 2, 16, False, False, 2),
        ("names", 8, -1, False, False, 1),
        ("scopes", 8, 64, True, False, 1),  # of 160 inputs the last group has 32
    ],
)
def test_gptq(llama, tmp_path, style, bits, group, symmetric, reordered, version):
    layers, dense = quantized(llama, bits, group, symmetric, reordered)
    expected = replaced(llama, dense)
    folder = gptq_folder(tmp_path / "checkpoint", layers, version)
    report = check(named_like(llama, style), expected, tmp_path, weights=folder)
    # Products read the codes: no kernel makes them dense.
    made = dense_at_runs(report)
    # Columns are picked once for products that share their input.
    assert len(made) == (8 if reordered else 0), made


@pytest.mark.parametrize("style, group, symmetric", [("scopes", 32, False), ("names", -1, False), ("metadata", 32, True)])
def test_awq(llama, tmp_path, style, group, symmetric):
    layers, dense = quantized(llama, 4, group, symmetric)
    expected = replaced(llama, dense)
    tensors = {name: array for module, layer in layers.items() for name, array in layer.awq(module).items()}
    # Scaling changes norms, too; this one is all of the model's, which are equal.
    norm = np.linspace(0.5, 1.5, 64).astype(np.float16)
    tensors.update({name: norm for name in NORMS + ["model.norm.weight"]})
    expected = replaced(expected, {"model.model.layers.0.input_layernorm.weight": norm})
    config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": config}))
    path = write_safetensors(tmp_path / "awq.safetensors", tensors)
    check(named_like(llama, style), expected, tmp_path, weights=path)


@pytest.mark.parametrize(
    "style, bits, group, symmetric, reordered",
    [("scopes", 4, 32, True, False), ("names", 4, 16, False, True), ("metadata", 8, -1, True, False), ("values", 3, 32, False, False)],
)
def test_compressed_tensors(llama, tmp_path, style, bits, group, symmetric, reordered):
    layers, dense = quantized(llama, bits, group, symmetric, reordered)
    expected = replaced(llama, dense)
    tensors = {name: array for module, layer in layers.items() for name, array in layer.compressed(module, symmetric).items()}
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "version": "0.12.2", "config_groups": {}}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    path = write_safetensors(tmp_path / "model.safetensors", tensors)
    check(named_like(llama, style), expected, tmp_path, weights=path)


def dense_at_runs(report):
    """Weights that kernels make dense at each run."""
    generated = [node for kernel in report["kernels"] if kernel["kind"] == "generated" for node in kernel["nodes"]]
    return [node for node in generated if node.endswith("_proj.weight")]


@pytest.mark.parametrize("style, group, symmetric", [("scopes", -1, True), ("names", -1, False), ("metadata", 32, True), ("values", 32, False)])
def test_bytes(llama, tmp_path, style, group, symmetric):
    """compressed-tensors' codes of a byte, W8A8 and W8A16: how activations are rounded is no weight."""
    layers, dense = quantized(llama, 8, group, symmetric)
    expected = replaced(llama, dense)
    tensors = {name: array for module, layer in layers.items() for name, array in layer.bytes(module, symmetric).items()}
    tensors.update({f"{module}.input_scale": np.ones(1, np.float32) for module in layers})
    weights = {"num_bits": 8, "type": "int", "strategy": "channel" if group < 0 else "group", "group_size": None if group < 0 else group}
    config = {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"group_0": {"weights": weights}}}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    path = write_safetensors(tmp_path / "model.safetensors", tensors)
    assert not dense_at_runs(check(named_like(llama, style), expected, tmp_path, weights=path))


@pytest.mark.parametrize(
    "style, outputs, inputs, shape, options",
    [
        ("scopes", 0, 0, (), {}),
        ("names", 0, 0, (1,), {"scale_dtype": ml_dtypes.bfloat16}),
        ("metadata", 1, 0, None, {"scale_dtype": ml_dtypes.bfloat16}),
        ("scopes", 1, 0, None, {"dtype": ml_dtypes.float8_e5m2}),
        ("names", 24, 32, None, {}),  # of 64 outputs the last block has 16
        ("scopes", 24, 32, None, {}),
    ],
)
def test_floats_of_bytes(llama, tmp_path, style, outputs, inputs, shape, options):
    """compressed-tensors' 'float-quantized', and 'fp8' with a scale for each block."""
    weights = weights_of(llama)
    nodes = llama_modules(llama)
    layers = {module: FloatLayer(weights[node.input[1]], outputs, inputs, **options) for module, node in nodes.items()}
    expected = replaced(llama, {node.input[1]: layers[module].dense for module, node in nodes.items()})
    config = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    if inputs:
        config = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [outputs, inputs]}
    scale = "weight_scale_inv" if inputs else "weight_scale"
    tensors = {name: array for module, layer in layers.items() for name, array in layer.bytes(module, scale, shape).items()}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    path = write_safetensors(tmp_path / "model.safetensors", tensors)
    assert not dense_at_runs(check(named_like(llama, style), expected, tmp_path, weights=path))


@pytest.mark.parametrize("style, group, symmetric", [("scopes", 32, False), ("names", -1, False), ("metadata", 32, True)])
def test_awq_gemv(llama, tmp_path, style, group, symmetric):
    layers, dense = quantized(llama, 4, group, symmetric)
    expected = replaced(llama, dense)
    tensors = {name: array for module, layer in layers.items() for name, array in layer.gemv(module).items()}
    config = {"zero_point": True, "q_group_size": group, "w_bit": 4, "version": "GEMV"}
    (tmp_path / "quant_config.json").write_text(json.dumps(config))
    path = write_safetensors(tmp_path / "awq.safetensors", tensors)
    assert not dense_at_runs(check(named_like(llama, style), expected, tmp_path, weights=path))


@pytest.mark.parametrize("group, method", [(32, "gptq"), (-1, "gptq"), (64, "awq"), (-1, "awq")])
def test_marlin(tmp_path, group, method):
    """Four bits in tiles as the kernel of that name reads them; AWQ has other names for them."""
    random = np.random.default_rng(0)
    weights = {"fc1": random.normal(size=(128, 192)).astype(np.float32), "fc2": random.normal(size=(192, 64)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", [x, f"onnx::{name}"], [y], f"/{name}/MatMul") for name, x, y in (("fc1", "x", "h"), ("fc2", "h", "y"))]
    layers = {name: Layer(weight, 4, group, True) for name, weight in weights.items()}
    names = ("B", "s") if method == "gptq" else ("qweight", "scales")
    tensors = {name: array for module, layer in layers.items() for name, array in layer.marlin(module, names).items()}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", extent]) for name, extent in (("x", 128), ("y", 64))]
    graph = helper.make_graph(nodes, "small", infos[:1], infos[1:], [numpy_helper.from_array(weight, f"onnx::{name}") for name, weight in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    config = {"quant_method": method, "bits": 4, "group_size": group, "desc_act": False, "sym": True}
    config["checkpoint_format" if method == "gptq" else "version"] = "marlin"
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    path = write_safetensors(tmp_path / "model.safetensors", tensors)
    session = lathe.load(lathe.compile(tmp_path / "m.onnx", tmp_path / "m.lathe", weights=path, target="cpu:avx2")).session()
    for rows in (1, 7, 0):
        x = random.normal(size=(rows, 128)).astype(np.float32)
        expected = x @ layers["fc1"].dense @ layers["fc2"].dense
        np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=0, atol=2e-6 * np.abs(expected).max(initial=1))


@pytest.mark.parametrize("dtype, style", [(np.float32, "scopes"), (np.float16, "names"), (ml_dtypes.bfloat16, "values")])
def test_plain_tensors_in_shards(llama, tmp_path, dtype, style):
    """Other values of every weight; as modules have them, [outputs, inputs]."""
    random = np.random.default_rng(1)
    weights, values, tensors = weights_of(llama), {}, {}

    def near(name):
        value = weights[name] * (1 + 0.1 * random.standard_normal(weights[name].shape))
        values[name] = value.astype(dtype).astype(np.float32)
        return value.astype(dtype)

    for module, node in llama_modules(llama).items():
        tensors[f"{module}.weight"] = near(node.input[1]).T.copy()
    tensors["model.embed_tokens.weight"] = near("model.model.embed_tokens.weight")
    tensors["model.norm.weight"] = tensors[NORMS[0]] = near("model.model.layers.0.input_layernorm.weight")
    head = [node for node in llama.graph.node if node.op_type == "MatMul"][-1].input[1]
    tensors["lm_head.weight"] = near(head).T.copy()
    expected = replaced(llama, values)
    names = sorted(tensors)
    index = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-{number}.safetensors"
        write_safetensors(tmp_path / file, {name: tensors[name] for name in part})
        index.update({name: file for name in part})
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    # The head is named by its values alone.
    report = check(named_like(llama, style), expected, tmp_path, weights=tmp_path)
    assert report["checkpoint"]["dense"] == 17 and report["checkpoint"]["kept"] == 0
    # Products and lookups read the matrices where they lie; a kernel of nothing but parameters would turn or widen one.
    assert not [kernel for kernel in report["kernels"] if kernel["nodes"] and set(kernel["nodes"]) <= set(tensors)]


def test_tied_head(onnx_path, tmp_path):
    """The exporter has transposed the table of tokens for the head, which checkpoints don't have apart."""
    model = onnx.load(onnx_path("gpt2_legacy"))
    weights = weights_of(model)
    table = (np.random.default_rng(3).standard_normal((997, 64)) * 0.05).astype(np.float16)
    head = model.graph.node[-1].input[1] if model.graph.node[-1].op_type == "MatMul" else "onnx::MatMul_670"
    np.testing.assert_array_equal(weights[head].T, weights["model.transformer.wte.weight"])
    expected = replaced(model, {"model.transformer.wte.weight": table.astype(np.float32), head: table.T.astype(np.float32)})
    path = write_safetensors(tmp_path / "ckpt.safetensors", {"transformer.wte.weight": table})
    report = check(model, expected, tmp_path, weights=path, like="gpt2")
    assert report["checkpoint"] == {"quantized": 0, "dense": 2, "kept": 8}


def test_weights_of_the_model_need_not_be_there(llama, tmp_path):
    """What the checkpoint replaces is not looked for in the model's own file of weights."""
    layers, dense = quantized(llama, 4, 32)
    expected = replaced(llama, dense)
    folder = gptq_folder(tmp_path / "checkpoint", layers)
    model = named_like(llama, "scopes")
    for tensor in model.graph.initializer:
        if tensor.name.startswith("onnx::MatMul"):
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="missing.data")
    check(model, expected, tmp_path, weights=folder, shapes=((1, 3),))


def test_export(llama, tmp_path, lathe_tool):
    """Written as ONNX, the model needs the checkpoint no more."""
    layers, dense = quantized(llama, 4, 32, reordered=True)
    expected = replaced(llama, dense)
    folder = gptq_folder(tmp_path / "checkpoint", layers)
    onnx.save(named_like(llama, "scopes"), tmp_path / "model.onnx")
    out = tmp_path / "out.onnx"
    lathe_tool.ok("compile", tmp_path / "model.onnx", "-o", out, "--emit", "onnx", "--weights", folder)
    onnx.checker.check_model(out)
    results = []
    options = onnxruntime.SessionOptions()  # optimized, ONNX Runtime rounds what int4 weights are multiplied with
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for model in (out, expected.SerializeToString()):
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        results.append(dict(zip(names, session.run(names, make_inputs("llama", 2, 5, past=3)))))
    assert_close(*results)
