# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""lathe compare: which node the values of two compiled models part at."""
import json

import numpy as np
import onnx
import pytest
from cli_support import OK, OUTSIDE_TOLERANCE, USAGE, check_failure
from onnx import TensorProto, helper, numpy_helper

DEPTH, WIDTH = 4, 32


def save(path, changed=None, input_name="x", width=WIDTH, prefix="", layers=DEPTH, final=False):
    """Residual blocks x + up(gelu(norm(x))) over [batch, sequence, width], a norm behind them if `final`; the weights of block
    `changed` are other ones."""
    random = np.random.default_rng(3)
    nodes, initializers, value = [], [], input_name
    for block in range(layers):
        weights = {
            name: random.normal(size=shape).astype(np.float32) / np.float32(np.sqrt(width))
            for name, shape in (("down", (width, 2 * width)), ("up", (2 * width, width)))
        }
        if block == changed:
            weights["up"] = np.flip(weights["up"], axis=0).copy()
        weights["scale"], weights["bias"] = np.ones(width, np.float32), np.zeros(width, np.float32)
        at = f"{prefix}block.{block}."
        initializers += [numpy_helper.from_array(data, at + name) for name, data in weights.items()]
        for op, name, inputs, attributes in (
            ("LayerNormalization", "norm", [value, at + "scale", at + "bias"], {}),
            ("MatMul", "down", [at + "norm.out", at + "down"], {}),
            ("Gelu", "act", [at + "down.out"], {}),
            ("MatMul", "up", [at + "act.out", at + "up"], {}),
            ("Add", "add", [value, at + "up.out"], {}),
        ):
            nodes.append(helper.make_node(op, inputs, [f"{at}{name}.out"], f"/{at}{name}", **attributes))
        value = at + "add.out"
    if final:
        nodes.append(helper.make_node("LayerNormalization", [value, at + "scale", at + "bias"], ["final"], f"/{prefix}final"))
        value = "final"
    nodes.append(helper.make_node("Transpose", [value], ["y"], f"/{prefix}transpose", perm=[0, 2, 1]))
    shape = ["batch", "sequence", width]
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width, "sequence"])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def model(folder):
    return save(folder / "model.onnx")


@pytest.fixture(scope="module")
def compiled(lathe_tool, folder, model):
    """compiled(name, *flags): the artifact of the model."""
    made = {}

    def compile(name, *flags, source=model):
        if name not in made:
            made[name] = folder / f"{name}.lathe"
            result = lathe_tool("compile", source, "-o", made[name], "-q", *flags)
            assert result.returncode == OK, result.stderr
        return made[name]

    return compile


@pytest.fixture
def compare(lathe_tool):
    def run(*arguments, code=OK):
        result = lathe_tool("compare", *arguments, "--json")
        assert result.returncode == code, result.stderr
        return json.loads(result.stdout)

    return run


SIZES = [("--dim", "batch=3", "--dim", "sequence=5"), ("--dim", "batch=1", "--dim", "sequence=1"), ("--dim", "batch=0", "--dim", "sequence=7")]


@pytest.mark.parametrize("sizes", SIZES)
def test_reference_and_cpu_agree(compare, compiled, sizes):
    report = compare(compiled("reference", "--target", "reference"), compiled("cpu"), *sizes, "--rtol", "1e-4", "--atol", "1e-5")
    assert report["same_model"] and report["first_above"] is None and report["above"] == 0
    # The blocks' values that exist in both, whatever is fused.
    assert report["compared"] >= 3 * DEPTH and report["skipped"] == 0
    assert all(node["relative_error"] < 1e-5 for node in report["nodes"])
    assert [(output["name"], output["within"]) for output in report["outputs"]] == [("y", True)]


def test_the_same_artifact_has_no_error(compare, compiled):
    report = compare(compiled("cpu"), compiled("cpu"), *SIZES[0])
    assert report["compared"] == report["values_of_a"] == report["values_of_b"]
    assert all(node["max_abs_error"] == 0 and node["snr_db"] is None for node in report["nodes"])
    assert report["largest_step"] is None


@pytest.mark.parametrize("block", [0, 2])
@pytest.mark.parametrize("target", ["cpu", "reference"])
def test_a_changed_weight_is_found(compare, compiled, folder, lathe_tool, block, target):
    """Of models, that are compiled on the way; where the cpu adds the residual within the product, that is where they part."""
    changed = save(folder / f"changed{block}.onnx", changed=block)
    report = compare(compiled(target, "--target", target), changed, "--target", target, *SIZES[0])
    expected = f"/block.{block}.up" if target == "reference" else f"/block.{block}.add"
    assert report["first_above"]["node"] == report["largest_step"]["node"] == expected
    assert report["first_above"]["relative_error_of_inputs"] == 0 and not report["same_model"]
    before = [node for node in report["nodes"] if node["node"].startswith(tuple(f"/block.{i}." for i in range(block)))]
    assert all(node["relative_error"] == 0 for node in before) and len(before) >= 3 * block
    result = lathe_tool("compare", compiled(target), changed, "--target", target, *SIZES[0])
    assert result.returncode == OK and f"first above 0.01: node '{expected}' (relative error" in result.stdout
    assert "different files" in result.stderr


def test_int8_parts_by_little(compare, compiled, folder):
    samples = folder / "samples"
    samples.mkdir()
    random = np.random.default_rng(0)
    for i, sequence in enumerate((3, 8, 1)):
        np.savez(samples / f"{i}.npz", x=random.normal(size=(2, sequence, WIDTH)).astype(np.float32))
    int8 = compiled("int8", "--int8")
    report = compare(compiled("cpu"), int8, "--calib", samples, "--threshold", "1e-4")
    # What is nowhere stored but in bytes, as norms are that only such products read, is no value to compare.
    assert report["samples"] == 3 and report["compared"] >= 2 * DEPTH
    errors = {node["node"]: node["relative_error"] for node in report["nodes"]}
    assert "/block.0.norm" not in errors and 1e-4 < errors["/block.3.add"] < 0.05
    assert report["first_above"]["node"].startswith("/block.0.") and report["first_above"]["relative_error_of_inputs"] < 1e-6
    assert 20 < report["outputs"][0]["snr_db"] < 80
    assert compare(compiled("cpu"), int8, "--calib", samples, "--samples", "1")["samples"] == 1
    compare(compiled("cpu"), int8, "--calib", samples, "--rtol", "1e-6", code=OUTSIDE_TOLERANCE)
    compare(compiled("cpu"), int8, "--calib", samples, "--rtol", "0.2", "--atol", "0")
    smooth = compiled("smooth", "--calib", str(samples), "--recipe", recipe(folder))
    report = compare(compiled("cpu"), smooth, "--calib", samples)
    # Its norms are scaled, so they are no values of the model any more.
    assert not any(node["node"].endswith("norm") for node in report["nodes"])
    assert all(node["relative_error"] < 0.05 for node in report["nodes"]) and report["compared"] >= 2 * DEPTH


def test_rotated_values_are_no_values_of_the_model(compare, compiled, folder):
    """The stream is rotated, what is computed from it behind products is not."""
    deep = save(folder / "deep.onnx", layers=2 * DEPTH, final=True)
    path = folder / "rotate.json"
    path.write_text(json.dumps({"version": 1, "steps": [{"step": "rotate"}]}))
    for target in ("cpu", "reference"):
        plain = compiled(f"deep-{target}", "--target", target, source=deep)
        rotated = compiled(f"rotated-{target}", "--target", target, "--recipe", path, source=deep)
        report = compare(plain, rotated, *SIZES[0])
        nodes = [node["node"] for node in report["nodes"]]
        assert not any(node.endswith(("norm", "up", "add")) for node in nodes), nodes
        assert report["compared"] >= 2 * DEPTH and report["first_above"] is None
        assert all(node["relative_error"] < 1e-5 for node in report["nodes"])


def recipe(folder):
    path = folder / "smooth.json"
    path.write_text(json.dumps({"version": 1, "steps": [{"step": "quantize", "mode": "dynamic", "bits": 8, "smooth": 0.5}]}))
    return path


def test_values_that_are_not_numbers_are_told(compare, compiled, folder):
    changed = onnx.load(save(folder / "nan.onnx"))
    weight = next(tensor for tensor in changed.graph.initializer if tensor.name == "block.1.scale")
    weight.CopyFrom(numpy_helper.from_array(np.full(WIDTH, np.nan, np.float32), weight.name))
    onnx.save(changed, folder / "nan.onnx")
    report = compare(compiled("cpu"), folder / "nan.onnx", *SIZES[0], "--rtol", "1", code=OUTSIDE_TOLERANCE)
    assert report["first_above"]["node"] == "/block.1.norm"
    assert report["first_above"]["relative_error"] is None and report["first_above"]["non_finite"] == 3 * 5 * WIDTH


@pytest.mark.parametrize("name, compared", [(b"h\xff\xfe\xfd", 2), (b"h\0\0\0", 1)])
def test_names_that_are_no_texts(compare, lathe_tool, tmp_path, name, compared):
    """Of a value: one that is no C string is passed over."""
    nodes = [helper.make_node("Sin", ["x"], ["hhhh"], "/sine"), helper.make_node("Cos", ["hhhh"], ["y"], "/cosine")]
    values = [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n"]) for value in "xy"]
    graph = helper.make_graph(nodes, "names", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(model.replace(b"hhhh", name))
    lathe_tool.ok("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.lathe", "-q", "--target", "reference")
    report = compare(tmp_path / "m.lathe", tmp_path / "m.lathe", "--dim", "n=3")
    assert report["compared"] == compared and report["nodes"][-1]["value"] == "y"


def test_what_cannot_be_compared_is_refused(lathe_tool, compiled, folder):
    cpu = compiled("cpu")
    other = compiled("other", source=save(folder / "other.onnx", input_name="z"))
    check_failure(lathe_tool("compare", cpu, other), USAGE, "are not of one model", "no input 'x'")
    wide = compiled("wide", source=save(folder / "wide.onnx", width=16))
    check_failure(lathe_tool("compare", cpu, wide), USAGE, "are not of one model", "input 'x'", "32]", "16]")
    renamed = compiled("renamed", source=save(folder / "renamed.onnx", prefix="p."))
    report = json.loads(lathe_tool("compare", cpu, renamed, "--json").stdout)
    assert [node["value"] for node in report["nodes"]] == ["y"]  # the output alone
    np.savez(folder / "wrong.npz", q=np.zeros(3, np.float32))
    check_failure(lathe_tool("compare", cpu, cpu, "--inputs", folder / "wrong.npz"), USAGE, "'q'")
    check_failure(lathe_tool("compare", cpu, cpu, "--calib", folder / "none"), USAGE, "do not exist")
    check_failure(lathe_tool("compare", cpu, cpu, "--calib", folder / "wrong.npz", "--dim", "batch=1"), USAGE, "--calib excludes")
    np.save(folder / "tokens.npy", np.arange(600))
    check_failure(lathe_tool("compare", cpu, cpu, "--calib", folder / "tokens.npy"), USAGE, "an input of tokens")
    check_failure(lathe_tool("compare", cpu, folder / "missing.onnx"), USAGE, "missing.onnx")
    assert not list(folder.glob("lathe-compare-*"))


@pytest.mark.parametrize("total", ["past + sequence", "total"])
def test_decoders_take_tokens(total, compare, compiled, folder):
    """logits[batch, sequence, 8] of a table's rows, times a mask behind a past that is empty."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], "/rows"),
        helper.make_node("Concat", ["past", "rows"], ["present"], "/present", axis=1),
        helper.make_node("Cast", ["mask"], ["numbers"], "/numbers", to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["numbers", "axes"], ["column"], "/column"),
        helper.make_node("Mul", ["present", "column"], ["logits"], "/logits"),
    ]
    initializers = [
        numpy_helper.from_array(np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32), "table"),
        numpy_helper.from_array(np.array([2]), "axes"),
    ]
    values = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "sequence"]),
        helper.make_tensor_value_info("mask", TensorProto.INT64, ["batch", total]),
        helper.make_tensor_value_info("past", TensorProto.FLOAT, ["batch", "past", 8]),
    ]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "past + sequence", 8])
    graph = helper.make_graph(nodes, "decoder", values, [logits], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "decoder.onnx").write_bytes(model.SerializeToString())
    np.save(folder / "ids.npy", np.arange(100) % 50)
    artifact = compiled("decoder " + total, "--generate", "off", source=folder / "decoder.onnx")
    report = compare(artifact, artifact, "--calib", folder / "ids.npy", "--context", "7")
    assert report["samples"] == 14 and report["outputs"][0]["elements"] == 14 * 7 * 8 and report["above"] == 0
