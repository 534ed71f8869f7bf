# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Branches and loops equal ONNX Runtime."""

import numpy as np
import onnx
import pytest
from graphs import BOOL, F32, I64, TARGETS, Graph, check
from onnx import TensorProto, helper, numpy_helper

import lathe


@pytest.fixture(params=TARGETS)
def target(request):
    return TARGETS[request.param]


def value(name, kind=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def body(nodes, inputs, outputs, **constants):
    """`inputs` and `outputs`: names, of floats but for scalars that are given as (name, type)."""
    infos = [[value(*v, []) if isinstance(v, tuple) else value(v) for v in values] for values in (inputs, outputs)]
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    return helper.make_graph([helper.make_node(op, i, o, **a) for op, i, o, a in nodes], "body", *infos, initializers)


def branches():
    then = body([("Mul", ["x", "two"], ["y"], {}), ("Relu", ["x"], ["z"], {})], [], ["y", "z"], two=np.float32(2))
    other = body([("Neg", ["x"], ["y"], {}), ("Sigmoid", ["x"], ["z"], {})], [], ["y", "z"])
    return {"then_branch": then, "else_branch": other}


def refusal(graph, folder):
    onnx.save(graph.model(), folder / "graph.onnx")
    with pytest.raises(lathe.Error) as caught:
        lathe.compile(folder / "graph.onnx", folder / "graph.lathe")
    return str(caught.value)


def test_branch_on_data(target, tmp_path):
    for truth in (True, False):
        g = Graph()
        g.input("x", ["n", "m"])
        g.node("If", g.input("c", [], BOOL, [truth]), count=2, **branches())
        g.node("If", g.node("Reshape", g.node("Not", "c"), [1]), count=2, **branches())
        check(g, tmp_path, [(2, 3), (1, 1), (0, 2)], **target)


def test_branch_on_constants(target, tmp_path):
    """Only the branch that is taken is imported."""
    g = Graph()
    g.input("x", ["n", 4])
    whole = body([("Flatten", ["x"], ["y"], {})], [], ["y"])
    part = body([("ReduceSum", ["x"], ["y"], {})], [], ["y"])
    bad = body([("Nonsense", ["x"], ["y"], {"domain": "x"})], [], ["y"])
    g.node("If", np.array(True), then_branch=whole, else_branch=part)
    g.node("If", g.node("Equal", g.node("Gather", g.node("Shape", "x"), np.array(1)), np.array(3)), then_branch=whole, else_branch=part)
    check(g, tmp_path, [(2,), (1,), (7,)], **target)
    g = Graph()
    g.input("x", ["n"])
    g.node("If", np.array(False), then_branch=bad, else_branch=part)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")


def test_branches_refused(tmp_path):
    g = Graph()
    x, c = g.input("x", ["n", "m"]), g.input("c", [], BOOL)
    same = body([("Identity", ["x"], ["y"], {})], [], ["y"])
    g.node("If", c, then_branch=same, else_branch=body([("Transpose", ["x"], ["y"], {})], [], ["y"]))
    assert "different shapes" in refusal(g, tmp_path)
    g = Graph()
    x, c = g.input("x", ["n", "m"]), g.input("c", [], BOOL)
    g.input("i", ["n"], I64)
    g.node("If", c, then_branch=same, else_branch=body([("Gather", ["x", "i"], ["y"], {})], [], ["y"]))
    assert "look elements up" in refusal(g, tmp_path)
    g = Graph()
    g.node("If", g.input("x", ["n"]), then_branch=same, else_branch=same)
    assert "one boolean" in refusal(g, tmp_path)


def powers(condition=("Identity", ["go"], ["going"], {})):
    """Adds the number of the iteration to the state and scans its square."""
    nodes = [("Cast", ["i"], ["f"], {"to": 1}), ("Add", ["s", "f"], ["sum"], {}), ("Mul", ["sum", "outside"], ["square"], {}), condition]
    return body(nodes, [("i", TensorProto.INT64), ("go", TensorProto.BOOL), "s"], [("going", TensorProto.BOOL), "sum", "square"], three=np.int64(3))


def test_loop(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"])
    g.nodes.append(helper.make_node("Exp", [x], ["outside"]))
    for trips in (5, 1):
        g.node("Loop", np.array(trips), np.array(True), x, body=powers(), count=2)
    g.node("Loop", np.array(4), "", x, body=powers(), count=2)
    g.node("Loop", "", np.array(True), x, body=powers(("Less", ["i", "three"], ["going"], {})), count=2)
    check(g, tmp_path, [(2, 3), (1, 1), (0, 2)], **target)


def test_loop_without_iterations(target, tmp_path):
    """Where ONNX Runtime gives the scanned values a shape that has nothing to do with the body's."""
    g = Graph()
    x = g.input("x", ["n", "m"])
    g.nodes.append(helper.make_node("Exp", [x], ["outside"]))
    g.node("Loop", np.array(0), np.array(True), x, body=powers(), count=2)
    g.node("Loop", np.array(9), np.array(False), x, body=powers(), count=2)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    feeds = g.feeds((2, 3))
    outputs = list(session.run(feeds).values())[1:]
    for state, scanned in zip(outputs[::2], outputs[1::2]):
        np.testing.assert_array_equal(state, feeds["x"])
        assert scanned.shape == (0, 2, 3)


def test_loop_that_grows(target, tmp_path):
    """The shape of a state may change."""
    grow = body(
        [("Concat", ["s", "x"], ["longer"], {"axis": 0}), ("Identity", ["go"], ["going"], {})],
        [("i", TensorProto.INT64), ("go", TensorProto.BOOL), "s"],
        [("going", TensorProto.BOOL), "longer"],
    )
    g = Graph()
    x = g.input("x", ["n", "m"])
    g.node("Loop", np.array(3), "", x, body=grow)
    check(g, tmp_path, [(2, 3), (1, 1), (7, 2)], **target)


def test_loops_refused(tmp_path):
    g = Graph()
    x = g.input("x", ["n"])
    g.nodes.append(helper.make_node("Exp", [x], ["outside"]))
    g.node("Loop", g.node("Gather", g.node("Shape", x), np.array(0)), "", x, body=powers(), count=2)
    assert "numbers of iterations must be constants" in refusal(g, tmp_path)
    g.nodes[-1].input[0] = g.constant(np.array(2**40))
    assert "more than 4096 iterations" in refusal(g, tmp_path) or "when unrolled" in refusal(g, tmp_path)
    while g.nodes[-1].attribute:
        g.nodes[-1].attribute.pop()
    assert "expects an attribute 'body'" in refusal(g, tmp_path)


def running_sum():
    nodes = [("Add", ["s", "row"], ["sum"], {}), ("Mul", ["sum", "other"], ["product"], {})]
    return body(nodes, ["s", "row", "other"], ["sum", "product"])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("backwards", [0, 1])
def test_scan(axis, backwards, target, tmp_path):
    g = Graph()
    shapes = [4, "n", 3] if axis == 0 else ["n", 4, 3]
    x, y, s = g.input("x", shapes), g.input("y", shapes), g.input("s", ["n", 3])
    g.node("Scan", s, x, y, body=running_sum(), num_scan_inputs=2, scan_input_axes=[axis, axis - 3], scan_input_directions=[backwards, 0], scan_output_axes=[-1], scan_output_directions=[1 - backwards], count=2)
    check(g, tmp_path, [(2,), (1,), (7,), (0,)], **target)


def test_scan_refused(tmp_path):
    g = Graph()
    x, s = g.input("x", ["n", 3]), g.input("s", [3])
    g.node("Scan", s, x, x, body=running_sum(), num_scan_inputs=2, count=2)
    assert "an axis that is not static" in refusal(g, tmp_path)
    g.nodes[-1].attribute.remove(next(a for a in g.nodes[-1].attribute if a.name == "num_scan_inputs"))
    assert "num_scan_inputs" in refusal(g, tmp_path)
