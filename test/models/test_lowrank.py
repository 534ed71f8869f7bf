# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models of low rank: as ONNX in ONNX Runtime and as artifacts they give what the dense product of the factors gives."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import make_inputs

import lathe

SHAPES = [(1, 1), (2, 7), (3, 33)]


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def compare(name, plain, artifact, dense, shapes, *past):
    reference, model, original = session(plain), lathe.load(artifact).session(), session(dense)
    for batch, sequence in shapes:
        inputs = make_inputs(name, batch, sequence, *past)
        outputs = model.run(inputs)
        for value, expected, whole in zip(reference.get_outputs(), reference.run(None, inputs), original.run(None, inputs)):
            got, scale = outputs[value.name], np.abs(expected).max(initial=0)
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3 * scale, err_msg=f"{batch} x {sequence}: {value.name}")
            assert not got.size or value.name != reference.get_outputs()[0].name or np.abs(got - whole).max() > 1e-5 * scale


@pytest.mark.parametrize("name", ["bert", "bert_legacy", "gpt2", "llama", "roberta"])
def test_round_trip(name, lathe_tool, onnx_path, tmp_path):
    """Linear layers, embeddings and tied heads."""
    source, plain, artifact, report = onnx_path(name), tmp_path / "l.onnx", tmp_path / "l.lathe", tmp_path / "r.json"
    lathe_tool.ok("lowrank", source, "-o", plain, "--ratio", "0.3")
    lathe_tool.ok("lowrank", source, "-o", artifact, "--ratio", "0.3", "--report", report)
    onnx.checker.check_model(str(plain), full_check=True)
    compression = json.loads(report.read_text())["compression"]
    done = [layer for layer in compression["layers"] if "rank" in layer]
    assert len(done) >= 10 and all(layer["ratio"] >= 0.3 for layer in done)
    assert name not in ("gpt2", "llama", "roberta", "bert") or any("table" in layer["kind"] for layer in done)
    shapes = SHAPES + ([(2, 0)] if name in ("gpt2", "llama") else [])
    compare(name, plain, artifact, source, shapes, *((5,) if name in ("gpt2", "llama") else ()))


FORMS = [
    ["kronecker", "--ratio", "0.95"],
    ["kronecker", "--rank", "3", "--block", "8"],
    ["kronecker", "--ratio", "0.3"],
    ["tensor-train", "--rank", "3"],
    ["tensor-train", "--energy", "0.6", "--cores", "2"],
    ["tensor-train", "--ratio", "0.8", "--cores", "4"],
    ["circulant", "--block", "8"],
    ["circulant", "--ratio", "0.5"],
]


@pytest.mark.parametrize("name, flags", [("llama", flags) for flags in FORMS] + [("bert", FORMS[0]), ("bert", FORMS[3]), ("bert", FORMS[6])], ids=lambda value: "".join(value).replace("--", "-"))
def test_forms(name, flags, lathe_tool, onnx_path, tmp_path):
    """Other forms than two factors, of layers, tables and tied heads: where the parts are multiplied by one after another, and where the weight is made of them at each run."""
    source, plain, artifact, report = onnx_path(name), tmp_path / "l.onnx", tmp_path / "l.lathe", tmp_path / "r.json"
    lathe_tool.ok("lowrank", source, "-o", plain, "--method", *flags)
    lathe_tool.ok("lowrank", source, "-o", artifact, "--method", *flags, "--report", report)
    onnx.checker.check_model(str(plain), full_check=True)
    compression = json.loads(report.read_text())["compression"]
    done = [layer for layer in compression["layers"] if "rank" in layer]
    assert len(done) >= 5 and all(layer["ratio"] > 0 and 0 < layer["energy_kept"] <= 1 for layer in done)
    if "--ratio" in flags:
        assert all(layer["ratio"] >= float(flags[2]) for layer in done)
    compare(name, plain, artifact, source, SHAPES + ([(2, 0)] if name == "llama" else []), *((5,) if name == "llama" else ()))


def product_model(path, weight, ids=False):
    """x [batch, sequence, k] times a weight, or rows of it."""
    k, n = weight.shape
    nodes = [helper.make_node("Gather", ["w", "x"], ["y"], name="lookup") if ids else helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    x = helper.make_tensor_value_info("x", TensorProto.INT64 if ids else TensorProto.FLOAT, ["batch", "sequence"] if ids else ["batch", "sequence", k])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "sequence", n])
    graph = helper.make_graph(nodes, "one", [x], [y], [numpy_helper.from_array(weight.astype(np.float32), "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def of_structure(method, rows):
    """A weight of 48 x 64 that a method has to find again exactly, of a product or a table."""
    random = np.random.default_rng(4)
    if method == "kronecker":
        return sum(np.kron(random.normal(size=(6, 8)), random.normal(size=(8, 8))) for _ in range(2))
    if method == "circulant":
        first = random.normal(size=(6, 8, 8))
        at = (np.arange(8)[:, None] - np.arange(8)) % 8
        return first[:, :, at].transpose(1, 3, 0, 2).reshape(64, 48).T.copy()
    first, last = (4, 3) if rows else (3, 4)  # the largest part of outputs comes first, of inputs last
    cores = random.normal(size=(first, 4, 3)), random.normal(size=(3, 4, 4, 3)), random.normal(size=(3, last, 4))
    return np.einsum("iar,rjbs,skc->ijkabc", *cores).reshape(48, 64)


@pytest.mark.parametrize("flags", [["kronecker", "--rank", "2", "--block", "8"], ["circulant", "--block", "8"], ["tensor-train", "--rank", "6"]], ids=lambda flags: flags[0])
@pytest.mark.parametrize("rows", [False, True])
def test_a_weight_of_the_form_is_kept(flags, rows, lathe_tool, tmp_path):
    """Exactly but for rounding; products and lookups, at any shape, also of negative indices."""
    weight = of_structure(flags[0], rows)
    source, artifact, plain, report = product_model(tmp_path / "m.onnx", weight, rows), tmp_path / "m.lathe", tmp_path / "p.onnx", tmp_path / "r.json"
    lathe_tool.ok("lowrank", source, "-o", artifact, "--method", *flags, "--report", report)
    lathe_tool.ok("lowrank", source, "-o", plain, "--method", *flags)
    (layer,) = json.loads(report.read_text())["compression"]["layers"]
    assert layer["energy_kept"] == pytest.approx(1, abs=1e-6) and layer["bytes_after"] < layer["bytes_before"]
    module, reference = lathe.load(artifact).session(), session(plain)
    random = np.random.default_rng(1)
    for shape in ((1, 1), (3, 5), (2, 0), (0, 4)):
        x = random.integers(-48, 48, size=shape) if rows else random.normal(size=(*shape, 48)).astype(np.float32)
        expected = weight[x] if rows else x @ weight
        got = module.run({"x": x})["y"]
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(weight).max() * 8)
        if got.size:
            np.testing.assert_allclose(reference.run(None, {"x": x})[0], expected, rtol=0, atol=1e-4 * np.abs(weight).max() * 8)
    if rows:
        for wrong in (48, -49, 1000):
            with pytest.raises(lathe.Error):
                module.run({"x": np.array([[wrong]])})


def test_factors_are_the_dense_weight(lathe_tool, onnx_path, tmp_path):
    """The artifact computes what the model does whose weights are the products of the factors."""
    source, factored, dense, artifact = onnx_path("bert"), tmp_path / "l.onnx", tmp_path / "d.onnx", tmp_path / "l.lathe"
    flags = ["--rank", "9", "--tensors", "val_*"]
    report = tmp_path / "r.json"
    lathe_tool.ok("lowrank", source, "-o", factored, *flags)
    lathe_tool.ok("lowrank", source, "-o", artifact, *flags, "--report", report)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(factored).graph.initializer}
    model = onnx.load(source)
    replaced = 0
    for tensor in model.graph.initializer:
        if tensor.name + ".u" not in values:
            continue
        u, v, weight = values[tensor.name + ".u"], values[tensor.name + ".v"], numpy_helper.to_array(tensor)
        product = u @ v if u.shape[0] == weight.shape[0] and v.shape[1] == weight.shape[1] else v @ u
        assert product.shape == weight.shape and min(u.shape) == 9
        assert np.linalg.matrix_rank(product) == 9 and 0 < np.abs(product - weight).max()
        tensor.CopyFrom(numpy_helper.from_array(product.astype(np.float32), tensor.name))
        replaced += 1
    assert replaced == sum("rank" in layer for layer in json.loads(report.read_text())["compression"]["layers"]) > 0
    onnx.save(model, dense)
    inputs = make_inputs("bert", 2, 9, padded=True)
    outputs, expected = lathe.load(artifact).session().run(inputs), session(dense)
    for value, reference in zip(expected.get_outputs(), expected.run(None, inputs)):
        np.testing.assert_allclose(outputs[value.name], reference, rtol=0, atol=1e-4 * np.abs(reference).max())


@pytest.mark.parametrize(
    "steps",
    [
        [{"step": "lowrank", "ratio": 0.3}, {"step": "quantize", "bits": 4, "group_size": 16}],
        [{"step": "lowrank", "energy": 0.8}, {"step": "quantize", "bits": 8, "mode": "dynamic"}],
        [{"step": "lowrank", "rank": 5, "residual": True}, {"step": "quantize", "bits": 4, "group_size": 16, "tensors": ["*.r"]}],
        [{"step": "lowrank", "method": "tensor-train", "rank": 3}, {"step": "quantize", "bits": 8}],
        [{"step": "lowrank", "method": "circulant", "block": 4, "exclude": ["*head*", "*embed*"]}, {"step": "quantize", "bits": 8}],
        [{"step": "rotate"}, {"step": "lowrank", "rank": 20, "exclude": ["*embed*"]}, {"step": "quantize", "bits": 8}],
    ],
)
def test_combined(steps, lathe_tool, onnx_path, tmp_path):
    source, plain, artifact, recipe = onnx_path("llama"), tmp_path / "l.onnx", tmp_path / "l.lathe", tmp_path / "r.json"
    recipe.write_text(json.dumps({"steps": steps}))
    lathe_tool.ok("compile", source, "-o", artifact, "--recipe", recipe)
    lathe_tool.ok("compile", source, "-o", plain, "--recipe", recipe, "--emit", "onnx")
    onnx.checker.check_model(str(plain), full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    reference = onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
    model = lathe.load(artifact).session()
    for batch, sequence in SHAPES:
        inputs = make_inputs("llama", batch, sequence, 5)
        outputs = model.run(inputs)
        for value, expected in zip(reference.get_outputs(), reference.run(None, inputs)):
            allowed = (2e-2 if any(step.get("mode") == "dynamic" for step in steps) else 1e-3) * np.abs(expected).max()
            np.testing.assert_allclose(outputs[value.name], expected, rtol=0, atol=allowed, err_msg=value.name)


def test_sixteen_bits(lathe_tool, tmp_path):
    """Factors of a weight that is stored in 16 bits are, too."""
    weight = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float16)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["batch", n])] for name, n in (("x", 40), ("y", 60))]
    graph = helper.make_graph(nodes, "half", *values, [numpy_helper.from_array(weight, "w")])
    source, artifact, report = tmp_path / "m.onnx", tmp_path / "m.lathe", tmp_path / "r.json"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), source)
    lathe_tool.ok("lowrank", source, "-o", artifact, "--rank", "12", "--report", report)
    (layer,) = json.loads(report.read_text())["compression"]["layers"]
    assert layer["bytes_before"] == 40 * 60 * 2 and layer["bytes_after"] == 12 * 100 * 2
    p, squares, q = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
    dense = (p[:, :12] * squares[:12]) @ q[:12]
    x = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float16)
    np.testing.assert_allclose(lathe.load(artifact).session().run({"x": x})["y"], x @ dense, rtol=0, atol=3e-2)


@pytest.mark.parametrize("flags", [["kronecker", "--rank", "2", "--block", "8"], ["circulant", "--block", "8"], ["tensor-train", "--rank", "6"]], ids=lambda flags: flags[0])
@pytest.mark.parametrize("target", ["cpu", "reference"])
def test_forms_of_sixteen_bits(flags, target, lathe_tool, tmp_path):
    """Stored in as many bits as the weight; the reference backend computes the same."""
    weight = (of_structure(flags[0], False) / 8).astype(np.float16)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["batch", n])] for name, n in (("x", 48), ("y", 64))]
    graph = helper.make_graph(nodes, "half", *values, [numpy_helper.from_array(weight, "w")])
    source, artifact, report = tmp_path / "m.onnx", tmp_path / "m.lathe", tmp_path / "r.json"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), source)
    recipe = tmp_path / "recipe.json"
    step = {"step": "lowrank", "method": flags[0], **{flags[i][2:]: int(flags[i + 1]) for i in range(1, len(flags), 2)}}
    recipe.write_text(json.dumps({"steps": [step]}))
    lathe_tool.ok("compile", source, "-o", artifact, "--recipe", recipe, "--target", target, "--report", report)
    (layer,) = json.loads(report.read_text())["compression"]["layers"]
    assert layer["bytes_before"] == 48 * 64 * 2 and layer["bytes_after"] < layer["bytes_before"] and layer["energy_kept"] > 0.999
    x = np.random.default_rng(1).normal(size=(5, 48)).astype(np.float16)
    expected = x.astype(np.float32) @ weight.astype(np.float32)
    np.testing.assert_allclose(lathe.load(artifact).session().run({"x": x})["y"], expected, rtol=0, atol=1e-2 * np.abs(expected).max())


def test_a_single_row_of_a_table(lathe_tool, tmp_path):
    """What can't read factors keeps its weight, with the reason."""
    table = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "i"], ["y"], name="lookup")],
        "row",
        [helper.make_tensor_value_info("i", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [20])],
        [numpy_helper.from_array(table, "table")],
    )
    source, artifact, report = tmp_path / "m.onnx", tmp_path / "m.lathe", tmp_path / "r.json"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), source)
    lathe_tool.ok("lowrank", source, "-o", artifact, "--rank", "3", "--report", report)
    (layer,) = json.loads(report.read_text())["compression"]["layers"]
    assert "single row" in layer["reason"]
    np.testing.assert_array_equal(lathe.load(artifact).session().run({"i": np.array(4)})["y"], table[4])


@pytest.fixture(scope="module")
def perplexity(lathe_tool, tmp_path_factory):
    """Of the trained Llama of the examples, over a part of its held-out tokens."""
    from test_examples import EXAMPLES

    folder = tmp_path_factory.mktemp("lm")
    tokens = np.load(EXAMPLES / "text_generation" / "heldout.npy")
    np.save(folder / "judge.npy", tokens[: 48 * 256])
    np.save(folder / "calib.npy", tokens[-64 * 256 :])

    def of(method, *flags):
        artifact = folder / "l.lathe"
        data = () if method == "svd" else ("--calib", folder / "calib.npy")
        lathe_tool.ok("lowrank", EXAMPLES / "text_generation" / "lm.onnx", "-o", artifact, "--method", method, *flags, *data, "--exclude", "*head*", "--target", "cpu:avx2")
        return json.loads(lathe_tool.ok("perplexity", artifact, "--tokens", folder / "judge.npy", "--json"))["perplexity"]

    return of


def test_methods_by_perplexity(perplexity):
    """What looks at outputs loses less than what looks at magnitudes, and that less than what looks at weights alone."""
    plain, scaled, whitened = (perplexity(method, "--ratio", "0.2") for method in ("svd", "asvd", "svd-llm"))
    assert whitened < scaled < plain
    assert perplexity("svd-llm", "--ratio", "0.2", "--allocation", "auto") < whitened


def convolutions(path, extent):
    """Two convolutions after another, of two dimensions with strides and pads, or of one; spatial extents are symbolic."""
    random = np.random.default_rng(3)
    shapes = [(24, 16, 3, 3), (20, 24, 5, 2)] if len(extent) == 2 else [(24, 16, 3), (20, 24, 4)]
    axes = [f"s{i}" for i in range(len(extent))]
    weights = [numpy_helper.from_array(random.normal(size=shape).astype(np.float32) / 12, f"w{i}") for i, shape in enumerate(shapes)]
    bias = numpy_helper.from_array(random.normal(size=24).astype(np.float32), "b")
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b"], ["h"], name="first", pads=[1] * (2 * len(extent)), strides=[2] + [1] * (len(extent) - 1)),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "w1"], ["y"], name="second", dilations=[1] * len(extent)),
    ]
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16, *axes])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "convolutions", *values, [*weights, bias])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize("method", ["tucker", "tensor-train", "cp"])
@pytest.mark.parametrize("extent", [(19, 14), (37,)])
def test_convolutions(extent, method, lathe_tool, tmp_path):
    """A convolution as three smaller ones: artifact, ONNX, and the model with the weight that they stand for agree."""
    source, plain, artifact, report = convolutions(tmp_path / "m.onnx", extent), tmp_path / "t.onnx", tmp_path / "t.lathe", tmp_path / "r.json"
    flags = ["--method", method, "--ratio", "0.5"]
    lathe_tool.ok("lowrank", source, "-o", artifact, *flags, "--report", report)
    lathe_tool.ok("lowrank", source, "-o", plain, *flags)
    onnx.checker.check_model(str(plain), full_check=True)
    layers = json.loads(report.read_text())["compression"]["layers"]
    assert [layer["method"] for layer in layers] == [method] * 2 and all(0.5 <= layer["ratio"] < 0.65 for layer in layers)
    factors = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(plain).graph.initializer}
    model, energies = onnx.load(source), []
    for tensor in model.graph.initializer[:2]:
        weight, (u, core, v) = numpy_helper.to_array(tensor), (factors[f"{tensor.name}.{part}"] for part in ("u", "window" if method == "cp" else "core", "v"))
        # What the exporter has transposed is told by its shape.
        u = u if u.shape[1] == weight.shape[1] else u.T
        v = v if v.shape[0] == weight.shape[0] else v.T
        core = core if core.shape[0] == v.shape[1] else core.T
        if method == "cp":
            dense = np.einsum("or,re,rc->oce", v, core, u).reshape(weight.shape)
        else:
            dense = np.einsum("op,pqe,qc->oce", v, core.reshape(v.shape[1], u.shape[0], -1), u).reshape(weight.shape)
        energies.append((dense**2).sum() / (weight**2).sum())
        tensor.CopyFrom(numpy_helper.from_array(dense.astype(np.float32), tensor.name))
    assert [layer["energy_kept"] for layer in layers] == pytest.approx(energies, rel=1e-4)
    onnx.save(model, tmp_path / "dense.onnx")
    run, reference, dense = lathe.load(artifact).session(), session(plain), session(tmp_path / "dense.onnx")
    for batch, shape in ((1, extent), (3, extent), (2, tuple(n + 5 for n in extent))):
        x = np.random.default_rng(batch).normal(size=(batch, 16, *shape)).astype(np.float32)
        got, (expected,), (whole,) = run.run({"x": x})["y"], reference.run(None, {"x": x}), dense.run(None, {"x": x})
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(got, whole, rtol=0, atol=1e-4 * np.abs(whole).max())


def test_tucker_and_codes(lathe_tool, tmp_path):
    """Factors of convolutions are layers for later steps."""
    source, recipe, report = convolutions(tmp_path / "m.onnx", (19, 14)), tmp_path / "recipe.json", tmp_path / "r.json"
    recipe.write_text(json.dumps({"steps": [{"step": "lowrank", "method": "tucker", "energy": 0.6}, {"step": "quantize", "bits": 8}]}))
    lathe_tool.ok("compile", source, "-o", tmp_path / "t.lathe", "--recipe", recipe, "--report", report)
    layers = {layer["weight"]: layer for layer in json.loads(report.read_text())["compression"]["layers"]}
    assert all(layers[f"w{i}"]["energy_kept"] >= 0.6 for i in range(2))
    assert all(layers[f"w{i}.{part}"]["format"].startswith("int8") for i in range(2) for part in ("u", "core", "v"))
    x = np.random.default_rng(1).normal(size=(2, 16, 12, 9)).astype(np.float32)
    lathe.load(tmp_path / "t.lathe").session().run({"x": x})
