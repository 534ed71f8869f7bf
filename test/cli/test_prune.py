# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""lathe prune: wrong recipes are refused at once with what is right, and shares and patterns are what was asked for."""
import json

import numpy as np
import onnx
import pytest
from cli_support import USAGE, check_failure, check_refused, save
from onnx import helper, numpy_helper

import lathe

INPUTS, HIDDEN, OUTPUTS = 70, 48, 33


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Two products, the second of which reads its weight transposed, and is of 16 bits."""
    random = np.random.default_rng(0)
    first = random.normal(size=(INPUTS, HIDDEN)).astype(np.float32)
    second = random.normal(size=(OUTPUTS, HIDDEN)).astype(np.float16)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"], name="one"),
        helper.make_node("Cast", ["second"], ["wide"], name="widen", to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["wide"], ["turned"], name="turn", perm=[1, 0]),
        helper.make_node("MatMul", ["h", "turned"], ["y"], name="two"),
    ]
    weights = [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")]
    return save(tmp_path_factory.mktemp("prune") / "model.onnx", nodes, [("x", ["batch", INPUTS])], [("y", ["batch", OUTPUTS])], weights)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Inputs of unequal size that depend on each other."""
    folder = tmp_path_factory.mktemp("samples")
    random = np.random.default_rng(1)
    mix = random.normal(size=(20, INPUTS)) * np.exp(random.normal(size=INPUTS))
    for i in range(3):
        noise = 0.1 * random.normal(size=(100, INPUTS))
        np.savez(folder / f"{i}.npz", x=(random.normal(size=(100, 20)) @ mix + noise).astype(np.float32))
    return folder


def weights_of(path):
    """The weights of a pruned model, [outputs, inputs]."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer if len(tensor.dims) == 2}
    return [weight.astype(np.float32) if weight.shape[1] == n else weight.astype(np.float32).T for weight, n in zip(found.values(), (INPUTS, HIDDEN))]


@pytest.fixture
def prune(lathe_tool, model, samples, tmp_path):
    """prune(*flags): both weights afterwards, and the report's entries."""

    def run(*flags, calibrated=False):
        calib = ["--calib", samples] if calibrated else []
        lathe_tool.ok("prune", model, "-o", tmp_path / "p.onnx", "-q", *flags, *calib, "--report", tmp_path / "r.json")
        onnx.checker.check_model(str(tmp_path / "p.onnx"), full_check=True)
        report = json.loads((tmp_path / "r.json").read_text())["compression"]
        return weights_of(tmp_path / "p.onnx"), report["pruned"]

    return run


@pytest.mark.parametrize(
    "step, words",
    [
        ({"sparsity": 50}, ["field 'sparsity'", "from 0 up to, without, 1, got 50", "did you mean 0.5"]),
        ({"sparsity": 1}, ["field 'sparsity'", "did you mean 0.99"]),
        ({"sparsity": -0.1}, ["field 'sparsity'", "did you mean 0"]),
        ({"sparsity": "half"}, ["field 'sparsity'", '"half"']),
        ({"pattern": "4:2"}, ["field 'pattern'", "0 < N < M <= 32", "did you mean '2:4'"]),
        ({"pattern": "2:64"}, ["field 'pattern'", "did you mean '1:32'"]),
        ({"pattern": "4x16"}, ["field 'pattern'", "did you mean 'block:4x16'"]),
        ({"pattern": "block:0x16"}, ["field 'pattern'", "did you mean 'block:1x16'"]),
        ({"pattern": "unstructred"}, ["field 'pattern'", "did you mean 'unstructured'"]),
        ({"pattern": 4}, ["field 'pattern'", "got 4"]),
        ({"pattern": "2:4", "sparsity": 0.75}, ["field 'sparsity'", "'2:4' has 0.5, got 0.75", "did you mean pattern '1:4'"]),
        ({"pattern": "2:4", "threshold": 0.1}, ["field 'threshold'", "'2:4'"]),
        ({"pattern": "2:4", "scope": "global"}, ["field 'scope'", "'2:4' has 'output'"]),
        ({"threshold": 0.1, "sparsity": 0.5}, ["field 'threshold'", "place of 'sparsity'"]),
        ({"threshold": 0.1, "scope": "output"}, ["field 'scope'", "expects 'layer'"]),
        ({"method": "wonda"}, ["field 'method'", "did you mean 'wanda'"]),
        ({"method": "wanda"}, ["method 'wanda'", "--calib"]),
        ({"method": "sparsegpt"}, ["method 'sparsegpt'", "--calib"]),
        ({"refinements": 3}, ["refining", "--calib"]),
        ({"bits": 4}, ["field 'bits' is one of step 'quantize'", "'prune' has step, method, pattern"]),
        ({"sparsty": 0.5}, ["field 'sparsty' is not known", "did you mean 'sparsity'"]),
        ({"tensors": ["decoder*"]}, ["field 'tensors'", "decoder*"]),
        ({"weight_clip": 2}, ["field 'weight_clip'", "to 1"]),
    ],
)
def test_wrong_recipes(lathe_tool, model, tmp_path, step, words):
    (tmp_path / "recipe.json").write_text(json.dumps({"steps": [{"step": "prune", **step}]}))
    folder = tmp_path / "out"
    folder.mkdir()
    check_refused(lathe_tool, "compile", model, folder, "--recipe", tmp_path / "recipe.json", words=["step 1", *words])


def test_missing_data_is_told_before_the_first_step(lathe_tool, model, tmp_path):
    """Which would fail itself when it is carried out."""
    steps = [{"step": "prune", "tensors": ["none"]}, {"step": "prune", "method": "wanda"}]
    (tmp_path / "recipe.json").write_text(json.dumps({"steps": steps}))
    result = lathe_tool("compile", model, "-o", tmp_path / "m.lathe", "--recipe", tmp_path / "recipe.json")
    check_failure(result, USAGE, "step 2", "method 'wanda'", "--calib")


def test_wrong_flags(lathe_tool, model, tmp_path):
    check_failure(lathe_tool("prune", model, "-o", tmp_path / "m.lathe", "--sparsity", "70"), USAGE, "did you mean 0.7")
    check_failure(lathe_tool("prune", model, "-o", tmp_path / "m.lathe", "--pattern", "block:4"), USAGE, "block:RxC")


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("flags", [("--sparsity", "0.3"), ("--sparsity", "0.5", "--scope", "output"), ("--sparsity", "0.9", "--scope", "input"),
                                   ("--pattern", "2:4"), ("--pattern", "5:8"), ("--pattern", "block:4x16", "--sparsity", "0.5")])
def test_shares_and_patterns(prune, method, flags):
    """Shares are reached exactly, never more; patterns hold in every group, also the smaller ones at edges."""
    weights, entries = prune("--method", method, *flags, calibrated=method != "magnitude")
    asked = dict(zip(flags[::2], flags[1::2]))
    for weight, entry in zip(weights, entries):
        zero = weight == 0
        n, k = zero.shape
        assert entry["sparsity"] == pytest.approx(zero.mean(), abs=1e-12)
        assert entry["method"] == method and entry["pattern"] == asked.get("--pattern", "unstructured")
        assert entry["error_of"] == ("weight" if method == "magnitude" else "output") and entry["sparsity_before"] == 0
        assert 0 < entry["snr_db"] < 60 and 0.2 < entry["cosine"] < 1
        if ":" in asked.get("--pattern", "") and "block" not in asked["--pattern"]:
            kept, of = map(int, asked["--pattern"].split(":"))
            groups = [(~zero[:, i : i + of]).sum(axis=1) for i in range(0, k, of)]
            assert all((group == min(kept, k - i * of)).all() for i, group in enumerate(groups))
        elif "--pattern" in asked:
            blocks = [zero[j : j + 4, i : i + 16] for j in range(0, n, 4) for i in range(0, k, 16)]
            assert all(block.all() or not block.any() for block in blocks)
            assert sum(block.all() for block in blocks) == len(blocks) // 2
        else:
            share = float(asked["--sparsity"])
            axis = {"output": 1, "input": 0}.get(asked.get("--scope", "output" if method == "wanda" else "layer"))
            size = zero.size if axis is None else zero.shape[axis]
            assert (zero.sum(axis=axis) == int(share * size + 1e-9)).all()


def test_magnitude_and_wanda_are_what_they_say(prune, model, samples):
    dense = weights_of(model)

    def without_least(values, share):
        """Of equal ones, of which there are some in 16 bits, the first go."""
        result = values.ravel().copy()
        result[np.argsort(np.abs(result), kind="stable")[: int(share * result.size + 1e-9)]] = 0
        return result

    weights, _ = prune("--sparsity", "0.4")
    for weight, before in zip(weights, dense):
        np.testing.assert_array_equal(weight, without_least(before, 0.4).reshape(before.shape))
    weights, _ = prune("--sparsity", "0.4", "--scope", "global")
    expected = without_least(np.concatenate([before.ravel() for before in dense]), 0.4)
    np.testing.assert_array_equal(np.concatenate([weight.ravel() for weight in weights]), expected)
    weights, _ = prune("--threshold", "0.75")
    for weight, before in zip(weights, dense):
        np.testing.assert_array_equal(weight, np.where(np.abs(before) < 0.75, 0, before))
    weights, _ = prune("--method", "wanda", "--sparsity", "0.4", calibrated=True)
    x = np.concatenate([np.load(path)["x"] for path in sorted(samples.iterdir())]).astype(np.float64)
    scores = np.abs(dense[0]) * np.sqrt((x**2).mean(axis=0))
    lowest = np.argsort(scores, axis=1)[:, : int(0.4 * INPUTS + 1e-9)]
    expected = dense[0].copy()
    np.put_along_axis(expected, lowest, 0, axis=1)
    np.testing.assert_array_equal(weights[0], expected)


@pytest.mark.parametrize("flags", [("--sparsity", "0.5"), ("--pattern", "2:4"), ("--pattern", "block:1x8"), ("--scope", "global"), ("--threshold", "0.8")])
def test_better_methods_are_better(prune, flags):
    """By the error of outputs; a threshold compares different scores, so that only refinements are to be better there."""
    error = lambda *own: prune(*own, *flags, calibrated=True)[1][0]["snr_db"]
    magnitude, wanda, sparsegpt = (error("--method", method) for method in ("magnitude", "wanda", "sparsegpt"))
    if flags[0] not in ("--threshold", "--scope"):
        assert magnitude < wanda < sparsegpt
    assert error("--method", "wanda", "--refinements", "20") > wanda + 0.5
    assert error("--method", "sparsegpt", "--refinements", "20") > sparsegpt


def test_types_stay_and_results_are_those_of_onnx(lathe_tool, prune, model, samples, tmp_path):
    """The artifact computes what ONNX Runtime makes of the file, and what is stored in 16 bits still is."""
    import onnxruntime

    flags = ("--method", "sparsegpt", "--sparsity", "0.6")
    prune(*flags, calibrated=True)
    types = [tensor.data_type for tensor in onnx.load(tmp_path / "p.onnx").graph.initializer if len(tensor.dims) == 2]
    assert types == [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16]
    lathe_tool.ok("prune", model, "-o", tmp_path / "p.lathe", *flags, "--calib", samples)
    session, reference = lathe.load(tmp_path / "p.lathe").session(), onnxruntime.InferenceSession(str(tmp_path / "p.onnx"))
    for batch in (0, 1, 7):
        x = np.random.default_rng(batch).normal(size=(batch, INPUTS)).astype(np.float32)
        expected = reference.run(None, {"x": x})[0]
        np.testing.assert_allclose(session.run({"x": x})["y"], expected, atol=1e-4 * np.abs(expected).max(initial=1))


def test_recipes_repeat(lathe_tool, model, samples, tmp_path):
    """The recipe is in the artifact and can be done again, byte for byte, by the command line and by Python."""
    first = tmp_path / "a.lathe"
    for flags in (("--method", "sparsegpt", "--pattern", "4:8", "--act-order", "--block-size", "32"), ("--threshold", "0.5", "--norm", "l1", "--pattern", "block:2x2")):
        lathe_tool.ok("prune", model, "-o", first, *flags, "--calib", samples)
        (tmp_path / "recipe.json").write_text(json.dumps(json.loads(lathe_tool.ok("inspect", first, "--json"))["recipe"]))
        lathe.compile(model, tmp_path / "b.lathe", recipe=tmp_path / "recipe.json", calib=samples)
        assert first.read_bytes() == (tmp_path / "b.lathe").read_bytes()


def test_zeros_add_up(prune, lathe_tool, model, samples, tmp_path):
    """What is zero counts for the share of a later step, and stays zero."""
    steps = [{"step": "prune", "sparsity": 0.3}, {"step": "prune", "method": "sparsegpt", "sparsity": 0.5}, {"step": "prune", "sparsity": 0.2}]
    (tmp_path / "recipe.json").write_text(json.dumps({"steps": steps}))
    before, _ = prune("--sparsity", "0.3")
    output = tmp_path / "three.onnx"
    lathe_tool.ok("compile", model, "-o", output, "--emit", "onnx", "--recipe", tmp_path / "recipe.json", "--calib", samples, "--report", tmp_path / "r.json")
    for weight, less in zip(weights_of(output), before):
        assert (weight == 0).sum() == weight.size // 2 and (weight[less == 0] == 0).all()
    entries = json.loads((tmp_path / "r.json").read_text())["compression"]["pruned"]
    assert "makes no more zero" in entries[-1]["reason"]


def test_what_is_not_pruned(lathe_tool, tmp_path):
    """Tables are no products, excluded weights stay, and a block that is the whole weight is not half of it."""
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name) for name, shape in (("table", (9, 8)), ("small", (8, 8)), ("head", (8, 8)))]
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["e"], name="lookup"),
        helper.make_node("MatMul", ["e", "small"], ["h"], name="product"),
        helper.make_node("MatMul", ["h", "head"], ["y"], name="last"),
    ]
    model = save(tmp_path / "t.onnx", nodes, [("x", ["n"])], [("y", ["n", 8])], weights)
    lathe_tool.ok("prune", model, "-o", tmp_path / "p.onnx", "--pattern", "block:16x16", "--exclude", "he*", "--report", tmp_path / "r.json")
    entries = {entry["weight"]: entry for entry in json.loads((tmp_path / "r.json").read_text())["compression"]["pruned"]}
    assert set(entries) == {"table", "small"}
    assert "lookups" in entries["table"]["reason"] and "block:16x16" in entries["small"]["reason"]
    for before, tensor in zip(weights, onnx.load(tmp_path / "p.onnx").graph.initializer):
        assert np.count_nonzero(numpy_helper.to_array(tensor)) == np.prod(before.dims)


def test_page(lathe_tool, model, tmp_path):
    lathe_tool.ok("prune", model, "-o", tmp_path / "p.lathe", "--report", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert '"pruned":[{"weight":"first"' in page and "Pruned layers" in page
