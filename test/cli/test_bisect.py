# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""lathe bisect: the pass, or the step of a recipe, and the node that make a result wrong."""
import json
import math
import struct

import numpy as np
import onnx
import onnxruntime
import pytest
from cli_support import OK, USAGE, check_failure
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH = 12, 32
FAULTY = 7


def save(path, unnamed=False):
    """Twelve layers x + up(gelu(norm(x) . down + bias)): the importer sees 6 nodes of each, one of which is an addition of a bias."""
    random, nodes, weights, value = np.random.default_rng(5), [], [], "x"
    for i in range(LAYERS):
        at = f"layer.{i}."
        for name, shape in (("down", (WIDTH, 2 * WIDTH)), ("up", (2 * WIDTH, WIDTH))):
            weights.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32) / np.float32(8), at + name))
        for name, data in (("bias", np.full(2 * WIDTH, 0.25)), ("scale", np.ones(WIDTH)), ("shift", np.zeros(WIDTH))):
            weights.append(numpy_helper.from_array(data.astype(np.float32), at + name))
        for op, name, inputs, attributes in (
            ("LayerNormalization", "norm", [value, at + "scale", at + "shift"], {}),
            ("MatMul", "down", [at + "norm.out", at + "down"], {}),
            ("Add", "bias", [at + "down.out", at + "bias"], {}),
            ("Gelu", "act", [at + "bias.out"], {}),
            ("MatMul", "up", [at + "act.out", at + "up"], {}),
            ("Add", "add", [value, at + "up.out"], {}),
        ):
            nodes.append(helper.make_node(op, inputs, [f"{at}{name}.out"], "" if unnamed else f"/{at}{name}", **attributes))
        value = at + "add.out"
    nodes.append(helper.make_node("LayerNormalization", [value, "layer.0.scale", "layer.0.shift"], ["y"], "" if unnamed else "/final"))
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "sequence", WIDTH])] for name in "xy"]
    graph = helper.make_graph(nodes, "layers", *values, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bisect")


@pytest.fixture(scope="module")
def model(folder):
    return save(folder / "model.onnx")


@pytest.fixture(scope="module")
def inputs(folder):
    np.savez(folder / "in.npz", x=np.random.default_rng(1).normal(size=(2, 5, WIDTH)).astype(np.float32))
    return folder / "in.npz"


@pytest.fixture
def bisect(lathe_tool, model, inputs):
    def run(*flags, source=model):
        result = lathe_tool("bisect", source, "--inputs", inputs, "--target", "cpu:avx2", "--json", *flags)
        assert result.returncode == OK, result.stderr
        found = json.loads(result.stdout)
        assert found["runs"] <= 2 * math.log2(found["passes"] * found["places"])
        return found

    return run


def check_reproducer(lathe_tool, found, path, flags=()):
    """What was written is a model that others read, is wrong by itself compiled so, and right compiled plainly."""
    part, values = onnx.load(path), dict(np.load(path.with_suffix(".npz")))
    onnx.checker.check_model(part, full_check=True)
    assert 1 <= len(part.graph.node) <= 20 and [node.name for node in part.graph.node] == found["reproducer"]["nodes"]
    assert found["reproducer"]["shown"] and not found["reproducer"]["deviation"]["within"]
    assert {value.name for value in part.graph.input} == set(values)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    expected = path.with_suffix(".expected.npz")
    np.savez(expected, **dict(zip(names, session.run(names, values))))
    for own, fits in (((), True), (flags, False)):
        artifact = path.with_suffix(".lathe")
        lathe_tool.ok("compile", path, "-o", artifact, "--target", "cpu:avx2", *own)
        result = lathe_tool("run", artifact, "--inputs", path.with_suffix(".npz"), "--expect", expected, "--rtol", "0.01")
        assert (result.returncode == OK) == fits, (own, result.stdout, result.stderr)
    return part


@pytest.mark.parametrize("phase, name", [("import", "test-fault"), ("simplify", "test-fault-pattern"), ("fuse", "test-fault")])
def test_a_pass_is_wrong_at_one_layer_of_twelve(lathe_tool, bisect, build, folder, phase, name):
    node = f"/layer.{FAULTY}.bias"
    fault = ["--pass-plugin", build / "test/plugins/lathe_fault_passes.so", "--pass-pipeline", f"{phase}=func.func({name}{{node={node}}})"]
    path = folder / f"{phase}.onnx"
    found = bisect(*fault, "-o", path)
    assert found["wrong"] and not found["code"]
    assert (found["phase"], found["pass"]) == (phase, name)
    if name == "test-fault-pattern":  # which is cut by nodes
        assert found["where"] == node and found["nodes"] == [node]
    else:  # one kernel computes the product, the addition and the GELU, so that the value that parts is the GELU's
        assert found["where"] == f"/layer.{FAULTY}.act"
        assert sorted(found["nodes"]) == [f"/layer.{FAULTY}.{part}" for part in ("act", "bias", "down")]
    assert found["without"]["within"] and found["without"]["relative_error"] < 1e-4 and found["with"]["relative_error"] > 0.01
    part = check_reproducer(lathe_tool, found, path, fault)
    assert [own.name for own in part.graph.node] == [node]
    # Dimensions that have names keep them.
    assert [dim.dim_param for dim in part.graph.input[0].type.tensor_type.shape.dim][:2] == ["batch", "sequence"]


def test_a_step_has_too_few_bits(lathe_tool, bisect, folder):
    weak = f"layer.{FAULTY}.down"
    recipe = {"version": 1, "prefer": "size", "steps": [
        {"step": "quantize", "bits": 8, "tensors": ["*"], "exclude": [weak]},
        {"step": "quantize", "bits": 2, "tensors": [weak]},
    ]}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    path = folder / "bits.onnx"
    found = bisect("--recipe", folder / "recipe.json", "--rtol", "0.05", "-o", path)
    assert found["wrong"] and (found["phase"], found["pass"], found["where"]) == ("compress", "step 2 (quantize)", weak)
    assert found["nodes"] == [weak] and found["without"]["relative_error"] < 0.05 < found["with"]["relative_error"]
    own = json.loads(path.with_suffix(".recipe.json").read_text())
    assert own["steps"][-1]["tensors"] == [weak] and own["steps"][-1]["bits"] == 2
    check_reproducer(lathe_tool, found, path, ["--recipe", path.with_suffix(".recipe.json")])


def test_what_is_right_has_no_culprit(lathe_tool, bisect, model, inputs, folder):
    found = bisect("-o", folder / "none.onnx")
    assert not found["wrong"] and found["runs"] == 2 and "where" not in found and not (folder / "none.onnx").exists()
    assert found["whole"]["within"] and found["whole"]["relative_error"] < 1e-4 and found["changes"] > 100
    text = lathe_tool.ok("bisect", model, "--inputs", inputs)
    assert "within the tolerance: nothing to look for" in text


def test_an_error_that_adds_up_is_told(bisect, folder):
    """Each layer is rounded a little: the layer at which the sum leaves the tolerance is not wrong by itself."""
    recipe = {"version": 1, "prefer": "size", "steps": [{"step": "quantize", "bits": 4, "group_size": 32}]}
    (folder / "all.json").write_text(json.dumps(recipe))
    whole = bisect("--recipe", folder / "all.json", "--rtol", "1")["whole"]["relative_error"]
    found = bisect("--recipe", folder / "all.json", "--rtol", str(0.8 * whole))
    assert found["pass"] == "step 1 (quantize)" and found["where"].startswith("layer.")
    assert 0 < found["without"]["relative_error"] <= 0.8 * whole < found["with"]["relative_error"]


def test_nodes_without_names(lathe_tool, bisect, build, folder):
    source = save(folder / "unnamed.onnx", unnamed=True)
    node = f"Add_{6 * FAULTY + 2}"
    fault = ["--pass-plugin", build / "test/plugins/lathe_fault_passes.so", "--pass-pipeline", f"import=func.func(test-fault{{node={node}}})"]
    found = bisect(*fault, "-o", folder / "unnamed.part.onnx", source=source)
    assert found["pass"] == "test-fault" and node in found["nodes"] and found["where"] == f"Gelu_{6 * FAULTY + 3}"
    assert found["reproducer"]["nodes"] == [node]
    check_reproducer(lathe_tool, found, folder / "unnamed.part.onnx", fault)


def test_the_limit_of_changes(lathe_tool, bisect, build, model, inputs, folder):
    """With as many changes as were found the model is wrong, with one less it is not."""
    fault = ["--pass-plugin", build / "test/plugins/lathe_fault_passes.so", "--pass-pipeline", f"fuse=func.func(test-fault-pattern{{node=/layer.{FAULTY}.bias}})"]
    last = bisect(*fault)["first_changes"]
    for limit in (last - 1, last):
        lathe_tool.ok("compile", model, "-o", folder / f"{limit}.lathe", "--target", "cpu:avx2", *fault, "--first-changes", limit)
    out = lathe_tool.ok("compare", folder / f"{last - 1}.lathe", folder / f"{last}.lathe", "--inputs", inputs, "--json")
    assert json.loads(out)["first_above"]["node"].startswith(f"/layer.{FAULTY}.")


def save_checkpoint(path, tensors):
    """A file of safetensors: the length of its head, which tells where each tensor is, and their bytes."""
    head, at = {}, 0
    for name, array in tensors.items():
        head[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in tensors.values()))


def test_weights_of_a_checkpoint(lathe_tool, model, inputs, folder):
    """Weights that take the place of the model's are those of all runs, and of the reproducer's compilations."""
    weak = f"layer.{FAULTY}.down"
    checkpoint = {tensor.name: numpy_helper.to_array(tensor) * np.float32(1.5) for tensor in onnx.load(model).graph.initializer if tensor.name.endswith(("down", "up"))}
    save_checkpoint(folder / "other.safetensors", checkpoint)
    weights = ["--weights", folder / "other.safetensors"]
    steps = [{"step": "quantize", "bits": 8, "tensors": ["*"], "exclude": [weak]}, {"step": "quantize", "bits": 2, "tensors": [weak]}]
    (folder / "weights.json").write_text(json.dumps({"version": 1, "prefer": "size", "steps": steps}))
    path = folder / "weights.onnx"
    command = ["bisect", model, "--inputs", inputs, "--target", "cpu:avx2", "--recipe", folder / "weights.json", "--rtol", "0.05", "-o", path]
    found = json.loads(lathe_tool.ok(*command, *weights, "--json"))
    assert found["wrong"] and (found["pass"], found["where"]) == ("step 2 (quantize)", weak)
    assert found["reproducer"]["shown"] and found["reproducer"]["weights"] == str(folder / "other.safetensors")
    assert f"compile it with --weights {folder / 'other.safetensors'} --partial-weights" in lathe_tool.ok(*command, *weights)
    # The part goes wrong with the checkpoint's weights, as it is told.
    outputs = []
    for flags in ([], ["--recipe", path.with_suffix(".recipe.json")]):
        lathe_tool.ok("compile", path, "-o", folder / "w.lathe", "--target", "cpu:avx2", *weights, "--partial-weights", *flags)
        lathe_tool.ok("run", folder / "w.lathe", "--inputs", path.with_suffix(".npz"), "--outputs", folder / "w.npz")
        outputs.append(dict(np.load(folder / "w.npz")))
    error = max(np.abs(outputs[1][name] - exact).max() / np.abs(exact).max() for name, exact in outputs[0].items())
    assert error == pytest.approx(found["reproducer"]["deviation"]["relative_error"], rel=0.05)


def test_a_cache_has_too_few_bits(lathe_tool, onnx_path, folder):
    """What is kept in caches shows in what is predicted through them: rows of one of them get fewer bits than the others'."""
    tokens = np.random.default_rng(3).integers(1, 200, (2, 24))
    np.savez(folder / "tokens.npz", input_ids=tokens, attention_mask=np.ones_like(tokens))

    def bisect(steps, rtol):
        (folder / "caches.json").write_text(json.dumps({"version": 1, "steps": steps}))
        return lathe_tool("bisect", onnx_path("llama_nocache"), "--inputs", folder / "tokens.npz", "--target", "cpu:avx2", "--recipe", folder / "caches.json",
                          "--rtol", str(rtol), "--json", "-o", folder / "cache.onnx")

    def errors(*steps):
        return json.loads(bisect(list(steps), 1e3).stdout)["whole"]["relative_error"]

    fine, weak = {"mode": "kv-cache", "exclude": ["values.1"]}, {"mode": "kv-cache", "bits": 4, "group_size": 0, "symmetric": True, "tensors": ["values.1"]}
    exact, rounded = errors(fine), errors(fine, weak)
    assert 0 < exact < rounded / 2
    result = bisect([fine, weak], (exact + rounded) / 2)
    assert result.returncode == OK and "no reproducer is written" in result.stderr, result.stderr
    found = json.loads(result.stdout)
    assert (found["phase"], found["pass"], found["where"]) == ("compress", "step 2 (quantize)", "values.1")
    assert found["without"]["relative_error"] == pytest.approx(exact, rel=1e-3) and found["with"]["relative_error"] == pytest.approx(rounded, rel=1e-3)
    # The switch is the step; what has no tokens can't be judged so.
    whole = json.loads(lathe_tool.ok("bisect", onnx_path("llama_nocache"), "--inputs", folder / "tokens.npz", "--target", "cpu:avx2", "--kv-cache", "int8", "--rtol", "1", "--json"))
    assert whole["whole"]["relative_error"] > 0 and not whole["wrong"]


def test_what_can_not_be(lathe_tool, build, model, inputs, tmp_path):
    plugin = build / "test/plugins/lathe_fault_passes.so"
    for flags, words in (
        (["-o", tmp_path / "part.txt"], ["ends in .onnx", "part.txt"]),
        (["--pass-plugin", tmp_path / "none.so"], ["plug-in", "none.so"]),
        (["--pass-plugin", plugin, "--pass-pipeline", "never=func.func(test-fault)"], ["import, simplify, fuse", "'never'"]),
        (["--pass-pipeline", "fuse=func.func(no-such-pass)"], ["no-such-pass"]),
        (["--recipe", tmp_path / "none.json"], ["none.json"]),
        (["--weights", tmp_path / "none.safetensors"], ["none.safetensors", "no such file"]),
        (["--partial-weights"], ["--partial-weights goes with --weights"]),
        (["--kv-cache", "int8"], ["tokens [batch, sequence]", "found none"]),
    ):
        check_failure(lathe_tool("bisect", model, "--inputs", inputs, *flags), USAGE, *words)
    other = tmp_path / "other.npz"
    np.savez(other, z=np.zeros(1, np.float32))
    check_failure(lathe_tool("bisect", model, "--inputs", other), USAGE, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.npz"]
