# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Heads, neurons and channels that are taken away: what is left is the model in which products multiply them by zero, as plain ONNX and as
an artifact, at all sizes."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from checkpoints import write_safetensors
from export.inputs import SIZES
from onnx import helper, numpy_helper
from test_onnx_export import make_inputs, onnx_session, run
from test_transforms import vary

import lathe

HEADS = ["bart", "bert", "bert_legacy", "bert_opset23", "distilbert", "gpt2", "gpt2_legacy", "gpt2_nocache", "llama", "llama_opset23", "mistral", "qwen2", "roberta",
         "t5", "vit", "whisper"]
# Of the largest value of an output.
EXACT = 2e-5


@pytest.fixture(scope="module")
def varied(onnx_path, tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("varied"), {}

    def get(name):
        if name not in done:
            done[name] = vary(onnx_path(name), folder / f"{name}.onnx")
        return done[name]

    return get


def prune(lathe_tool, source, folder, step, *flags):
    """The model as an artifact and as ONNX, and what the report tells."""
    recipe, report = folder / "recipe.json", folder / "report.json"
    recipe.write_text(json.dumps({"version": 1, "steps": [{"step": "prune", **step}]}))
    for name, more in (("pruned.lathe", []), ("pruned.onnx", ["--emit", "onnx"])):
        lathe_tool.ok("compile", source, "-o", folder / name, "--recipe", recipe, "--report", report, *more, *flags)
    return folder / "pruned.lathe", folder / "pruned.onnx", json.loads(report.read_text())["compression"]["structured"]


def contraction(node):
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    return 1 if node.op_type == "Conv" or attributes.get("transB") else 0


def mask(source, target, told):
    """The model whose products with constant matrices multiply what went by zero."""
    model = onnx.load(source)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for entry in told:
        for node in model.graph.node:
            if node.name not in entry["readers"]:
                continue
            name = node.input[1]
            values = numpy_helper.to_array(weights[name]).copy()
            axis = contraction(node)
            width = values.shape[axis] // entry["before"]
            gone = [unit * width + column for unit in entry["removed"] for column in range(width)]
            values[(slice(None),) * axis + (gone,)] = 0
            weights[name].CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, target)
    return target


def cut(values, shape, told):
    """What is left of a cache: of heads along the axis whose extent changed."""
    for axis, (before, after) in enumerate(zip(values.shape, shape)):
        if isinstance(after, int) and before != after:
            entry = next(entry for entry in told if entry["after"] == after and entry["before"] == before)
            values = np.take(values, [unit for unit in range(before) if unit not in entry["removed"]], axis)
    return values


def shapes(values):
    return {value.name: value.shape for value in values}


def assert_equal(outputs, references):
    assert outputs.keys() == references.keys()
    for key, reference in references.items():
        assert outputs[key].shape == reference.shape, key
        if reference.size:
            assert np.abs(outputs[key] - reference).max() <= EXACT * np.abs(reference).max(), key


def assert_is_masked(artifact, exported, source, told, folder):
    onnx.checker.check_model(onnx.load(exported), full_check=True)
    masked, written = onnx_session(mask(source, folder / "masked.onnx", told)), onnx_session(exported)
    session = lathe.load(artifact).session(threads=1)
    before = after = 0
    for path in (source, exported):
        before, after = after, sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(path).graph.initializer)
    assert after < before
    compared = 0
    for number, size in enumerate(SIZES):
        inputs = make_inputs(masked, size, number)
        try:
            references = run(masked, inputs)
        except Exception:  # ONNX Runtime has an exception class for each status
            continue
        changed = {name: [entry] for entry in told for name in entry.get("interface", [])}
        smaller = {name: cut(values, shapes(written.get_inputs())[name], changed.get(name, [])) for name, values in inputs.items()}
        references = {name: cut(values, shapes(written.get_outputs())[name], changed.get(name, [])) for name, values in references.items()}
        assert_equal(run(written, smaller), references)
        assert_equal(session.run(smaller), references)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_those_masked(name, varied, lathe_tool, tmp_path):
    source = varied(name)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "heads", "sparsity": 0.25})
    assert told and all("reason" not in entry for entry in told)
    for entry in told:
        assert entry["after"] == entry["before"] * 3 // 4 and len(entry["removed"]) == entry["before"] // 4
        assert entry["bytes_after"] == pytest.approx(entry["bytes_before"] * 3 / 4, abs=512)
        # Heads of keys stay, unless each query head has its own.
        assert ("interface" in entry) == (name in ("gpt2", "gpt2_legacy"))
    assert_is_masked(artifact, exported, source, told, tmp_path)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "llama_opset23"])
def test_heads_go_with_their_keys(name, varied, lathe_tool, tmp_path):
    source = varied(name)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "heads", "sparsity": 0.5, "grouped_queries": "together"})
    for entry in told:
        assert (entry["before"], entry["after"]) == (2, 1) and len(entry["interface"]) == 4
        assert entry["bytes_after"] * 2 == entry["bytes_before"]
    assert_is_masked(artifact, exported, source, told, tmp_path)


@pytest.mark.parametrize("name", HEADS + ["swin", "swin_legacy"])
def test_neurons_are_those_masked(name, varied, lathe_tool, tmp_path):
    source = varied(name)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "neurons", "sparsity": 0.25, "exclude": ["*patch*", "*Conv_571"]})
    done = [entry for entry in told if "reason" not in entry]
    assert done and all(entry["after"] % 16 == 0 for entry in done)
    assert_is_masked(artifact, exported, source, told, tmp_path)


@pytest.mark.parametrize("name", ["swin", "swin_legacy"])
def test_heads_with_a_bias_for_each(name, varied, lathe_tool, tmp_path):
    source = varied(name)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "heads", "sparsity": 0.5})
    assert all(entry["after"] * 2 == entry["before"] for entry in told)
    assert_is_masked(artifact, exported, source, told, tmp_path)


def mask_stream(source, target, entry):
    """The model of which channels of the stream are zero, in what writes them and in what reads them."""
    model = onnx.load(source)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def zero(name, axis):
        values = numpy_helper.to_array(weights[name]).copy()
        values[(slice(None),) * axis + (entry["removed"],)] = 0
        weights[name].CopyFrom(numpy_helper.from_array(values, name))

    for node in model.graph.node:
        names = [name for name in node.input if name in entry["weights"]]
        if node.op_type == "Gather" and names:
            zero(names[0], 1)
        elif node.op_type in ("MatMul", "Gemm") and names:
            reads = node.name in entry["readers"]
            zero(names[0], contraction(node) if reads else 1 - contraction(node))
            if len(node.input) > 2 and not reads:
                zero(node.input[2], 0)
    onnx.save(model, target)
    return target


@pytest.mark.parametrize("name", ["llama_nocache", "llama", "qwen2", "gpt2"])
def test_channels_are_those_masked(name, varied, lathe_tool, tmp_path):
    """Norms divide by the root of all channels' mean square, also of those that went; means of layer norms count them, too."""
    source = varied(name)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "channels", "sparsity": 0.25})
    [entry] = [entry for entry in told if "reason" not in entry]
    assert (entry["before"], entry["after"]) == (64, 48)
    masked, written = onnx_session(mask_stream(source, tmp_path / "masked.onnx", entry)), onnx_session(exported)
    session = lathe.load(artifact).session(threads=1)
    onnx.checker.check_model(onnx.load(exported), full_check=True)
    for number, size in enumerate(SIZES):
        inputs = make_inputs(masked, size, number)
        references = run(masked, inputs)
        assert_equal(run(written, inputs), references)
        assert_equal(session.run(inputs), references)


def test_channels_that_are_given_out_stay(varied, lathe_tool, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps({"version": 1, "steps": [{"step": "prune", "pattern": "channels"}]}))
    result = lathe_tool("compile", varied("bert"), "-o", tmp_path / "m.lathe", "--recipe", tmp_path / "recipe.json")
    assert result.returncode == 2 and "no channels can go" in result.stderr and "output 'output_0' has them" in result.stderr
    assert not (tmp_path / "m.lathe").exists()


def samples(session, folder, count=2):
    folder = folder / "samples"
    folder.mkdir()
    for number in range(count):
        np.savez(folder / f"{number}.npz", **make_inputs(session, SIZES[2 - number % 2], number))
    return folder


@pytest.mark.parametrize("name", ["llama_nocache", "llama", "gpt2", "bert", "vit", "t5"])
def test_layers_are_those_masked(name, varied, lathe_tool, tmp_path):
    source = varied(name)
    reference = onnx_session(source)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "layers", "sparsity": 0.25 if name == "t5" else 0.5},
                                     "--calib", samples(reference, tmp_path))
    [entry] = [entry for entry in told if entry["removed"]]
    assert len(told) == (4 if name == "t5" else 2) and entry["bytes_after"] == 0
    assert entry["cost"] == min(other["cost"] for other in told)
    onnx.checker.check_model(onnx.load(exported), full_check=True)
    names = {tensor.name for tensor in onnx.load(exported).graph.initializer}
    assert not names & set(entry["weights"])
    if name in ("bert", "t5"):
        return  # of norms behind sums; of a bias that another layer computes
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        users = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in entry["weights"]]
        biases = {node.input[2] for node in users if len(node.input) > 2}
        outputs = {node.output[0] for node in users if node.op_type == "MatMul"}
        biases |= {other for node in model.graph.node if node.op_type == "Add" and outputs & set(node.input) for other in node.input}
        if tensor.name in entry["weights"] or tensor.name in biases:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
    onnx.save(model, tmp_path / "masked.onnx")
    masked, written, session = onnx_session(tmp_path / "masked.onnx"), onnx_session(exported), lathe.load(artifact).session(threads=1)
    for number, size in enumerate(SIZES):
        inputs = make_inputs(masked, size, number)
        kept = {name: values for name, values in inputs.items() if name in shapes(written.get_inputs())}
        references = {name: values for name, values in run(masked, inputs).items() if name in shapes(written.get_outputs())}
        assert_equal(run(written, kept), references)
        assert_equal(session.run(kept), references)


@pytest.mark.parametrize("pattern", ["heads", "neurons"])
def test_fitting_makes_errors_smaller(pattern, varied, lathe_tool, tmp_path):
    """On the data that it is fitted to, what is left is nearer to the model, the more is fitted."""
    source = varied("bert")
    reference = onnx_session(source)
    calib, errors = samples(reference, tmp_path, 16), []
    inputs = make_inputs(reference, SIZES[2], 0)
    expected = run(reference, inputs)["output_0"]
    for method, refit in (("magnitude", False), ("activation", False), ("activation", True), ("reconstruction", False)):
        step = {"pattern": pattern, "sparsity": 0.5, "method": method, "refit": refit}
        _, exported, told = prune(lathe_tool, source, tmp_path, step, "--calib", calib)
        assert all(0 < entry["cost"] < 1 for entry in told)
        errors.append(np.square(run(onnx_session(exported), inputs)["output_0"] - expected).mean())
    assert errors[1] < errors[0] and max(errors[2:]) < 0.8 * errors[1]


def test_steps_that_follow_find_what_is_left(varied, lathe_tool, tmp_path):
    """Heads, then neurons, then codes of 8 bits: each step sees the shapes that the one before has left."""
    recipe = {"version": 1, "steps": [{"step": "prune", "pattern": "heads"}, {"step": "prune", "pattern": "neurons", "scope": "global"},
                                      {"step": "quantize", "bits": 8}]}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    lathe_tool.ok("compile", varied("llama"), "-o", tmp_path / "m.lathe", "--recipe", tmp_path / "recipe.json", "--report", tmp_path / "r.json")
    told = json.loads((tmp_path / "r.json").read_text())["compression"]
    shapes = {(layer["inputs"], layer["outputs"]) for layer in told["layers"]}
    assert (48, 64) in shapes and (64, 48) in shapes  # queries and their outputs
    left = sum(entry["after"] for entry in told["structured"] if entry["pattern"] == "neurons")
    assert left == sum(layer["inputs"] for layer in told["layers"] if layer["inputs"] not in (48, 64)) or left == 240
    session = lathe.load(tmp_path / "m.lathe").session(threads=1)
    inputs = make_inputs(onnx_session(varied("llama")), SIZES[1], 0)
    assert session.run(inputs)["logits"].shape == (2, 7, 997)


def test_streams_without_norms_are_no_neurons(lathe_tool, tmp_path):
    """Residual blocks without norms lose neurons between their products, and the stream's channels only where these are asked for."""
    random = np.random.default_rng(0)
    weights, nodes, x = {"first": (24, 32), "last": (32, 8)}, [helper.make_node("MatMul", ["x", "first"], ["s0"], "first")], "s0"
    for i in range(2):
        weights.update({f"up{i}": (32, 64), f"down{i}": (64, 32)})
        nodes += [helper.make_node("MatMul", [x, f"up{i}"], [f"u{i}"], f"up{i}"), helper.make_node("Relu", [f"u{i}"], [f"r{i}"]),
                  helper.make_node("MatMul", [f"r{i}", f"down{i}"], [f"d{i}"], f"down{i}"), helper.make_node("Add", [f"d{i}", x], [f"s{i + 1}"])]
        x = f"s{i + 1}"
    nodes.append(helper.make_node("MatMul", [x, "last"], ["y"], "last"))
    infos = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", columns]) for name, columns in (("x", 24), ("y", 8))]
    tensors = [numpy_helper.from_array(random.normal(size=shape).astype(np.float32) / 6, name) for name, shape in weights.items()]
    graph = helper.make_graph(nodes, "stream", infos[:1], infos[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), tmp_path / "m.onnx")
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    for pattern, units, places in (("neurons", 64, 2), ("channels", 32, 1)):
        artifact, exported, told = prune(lathe_tool, tmp_path / "m.onnx", tmp_path, {"pattern": pattern, "sparsity": 0.5})
        told = [entry for entry in told if "reason" not in entry]  # inputs of the model stay
        assert [(entry["before"], entry["after"]) for entry in told] == [(units, units // 2)] * places
        masked = {name: value.copy() for name, value in values.items()}
        for entry in told:
            for reader in entry["readers"]:
                masked[reader][entry["removed"]] = 0
        for rows in (1, 5, 0):
            x = random.normal(size=(rows, 24)).astype(np.float32)
            stream = x @ masked["first"]
            for i in range(2):
                stream = stream + np.maximum(stream @ masked[f"up{i}"], 0) @ masked[f"down{i}"]
            expected = stream @ masked["last"]
            for got in (lathe.load(artifact).session().run({"x": x})["y"], run(onnx_session(exported), {"x": x})["y"]):
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_gradients_score_neurons(lathe_tool, tmp_path):
    """What a loss does not change by goes, and gradients of wrong names, shapes and numbers are told."""
    random = np.random.default_rng(0)
    first, second = random.normal(size=(24, 64)).astype(np.float32), random.normal(size=(64, 8)).astype(np.float32)
    useless = np.sort(random.permutation(64)[:32])
    first[:, useless] *= 3  # by magnitude they would stay
    inputs = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", columns]) for name, columns in (("x", 24), ("y", 8))]
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h"], name="up"), helper.make_node("Relu", ["h"], ["r"], name="relu"),
             helper.make_node("MatMul", ["r", "second"], ["y"], name="down")]
    weights = {"first": first, "second": second}
    graph = helper.make_graph(nodes, "neurons", inputs[:1], inputs[1:], [numpy_helper.from_array(value, name) for name, value in weights.items()])
    model = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), model)
    gradients = {name: random.normal(size=value.shape).astype(np.float32) for name, value in weights.items()}
    gradients["first"][:, useless] = 0
    gradients["second"][useless] = 0
    file = write_safetensors(tmp_path / "g.safetensors", gradients)
    command = ["prune", model, "-o", tmp_path / "p.onnx", "--pattern", "neurons", "--sparsity", "0.5", "--method", "taylor"]
    lathe_tool.ok(*command, "--gradients", file, "--report", tmp_path / "r.json")
    (entry,) = [part for part in json.loads((tmp_path / "r.json").read_text())["compression"]["structured"] if part["removed"]]
    assert entry["removed"] == useless.tolist() and entry["cost"] == 0 and entry["method"] == "taylor"
    x = random.normal(size=(5, 24)).astype(np.float32)
    kept = np.setdiff1d(np.arange(64), useless)
    expected = np.maximum(x @ first[:, kept], 0) @ second[kept]
    np.testing.assert_allclose(run(onnx_session(tmp_path / "p.onnx"), {"x": x})["y"], expected, rtol=1e-4, atol=1e-4)

    (tmp_path / "p.onnx").unlink()
    for words, wrong in (
        (["--gradients"], None),
        (["no gradient by 'first'"], {"other": gradients["first"], "second": gradients["second"]}),
        (["gradient by 'second'", "F32 [8, 64]", "expected F32, F16 or BF16 [64, 8]"], {**gradients, "second": gradients["second"].T.copy()}),
        (["gradient by 'first'", "not finite"], {**gradients, "first": np.full_like(first, np.nan)}),
    ):
        flags = [] if wrong is None else ["--gradients", write_safetensors(tmp_path / "w.safetensors", wrong)]
        result = lathe_tool(*command, *flags)
        assert result.returncode == 2 and not (tmp_path / "p.onnx").exists()
        for word in words:
            assert word in result.stderr, result.stderr


@pytest.mark.parametrize(
    "step, words",
    [
        ({"pattern": "heads", "sparsity": 25}, ["field 'sparsity'", "between 0 and 1", "did you mean 0.25"]),
        ({"pattern": "heads", "sparsity": 0}, ["field 'sparsity'"]),
        ({"pattern": "heads", "sparsity": 0.02}, ["heads in 2 groups", "the nearest that can is 0.250"]),
        ({"pattern": "heads", "sparsity": 0.25, "grouped_queries": "together"}, ["a share of 0.250 of its 2 heads", "0.500"]),
        ({"pattern": "neurons", "sparsity": 0.99}, None),
        ({"pattern": "neurons", "multiple": 160}, ["160 neurons are no more than the multiple 160"]),
        ({"pattern": "head"}, ["field 'pattern'", "did you mean 'heads'"]),
        ({"pattern": "heads", "method": "distance"}, ["field 'method'", "magnitude, activation, reconstruction"]),
        ({"pattern": "layers", "method": "magnitude"}, ["field 'method'", "'distance'"]),
        ({"pattern": "layers"}, ["--calib"]),
        ({"pattern": "heads", "method": "activation"}, ["--calib"]),
        ({"pattern": "heads", "multiple": 8}, ["field 'multiple'"]),
        ({"pattern": "neurons", "grouped_queries": "together"}, ["field 'grouped_queries'", "is of heads"]),
        ({"pattern": "heads", "norm": "l1"}, ["'norm' is not known", "heads, neurons, channels, layers"]),
        ({"pattern": "heads", "exclude": ["*"]}, ["no heads can go", "'exclude'"]),
    ],
)
def test_what_cannot_go_is_refused(step, words, onnx_path, lathe_tool, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps({"version": 1, "steps": [{"step": "prune", **step}]}))
    result = lathe_tool("compile", onnx_path("llama"), "-o", tmp_path / "m.lathe", "--recipe", tmp_path / "recipe.json")
    if words is None:
        assert result.returncode == 0
        return
    assert result.returncode == 2 and "step 1" in result.stderr and not (tmp_path / "m.lathe").exists()
    for word in words:
        assert word in result.stderr, result.stderr
