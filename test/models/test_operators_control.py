# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Branches and loops equal ONNX Runtime."""

import numpy as np
import onnx
import pytest
from graphs import BOOL, I64, Graph, check
from onnx import TensorProto, helper, numpy_helper

import lathe


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


def test_branches_of_other_shapes(target, tmp_path):
    """What a branch requires is checked where it is taken, and extents follow from the branch."""
    longer = body([("Concat", ["x", "p"], ["y"], {"axis": 0}), ("MatMul", ["y", "w"], ["z"], {})], [], ["y", "z"])
    other = body([("Identity", ["x"], ["y"], {}), ("MatMul", ["y", "w"], ["z"], {})], [], ["y", "z"])
    for truth in (True, False):
        g = Graph()
        g.input("x", ["n", 4])
        g.input("p", ["m", 4])
        g.input("w", [4, 3])
        g.node("If", g.input("c", [1], BOOL, [truth]), count=2, then_branch=longer, else_branch=other)
        check(g, tmp_path, [(2, 3), (1, 1), (7, 0), (0, 2)], **target)


def test_branch_on_what_is_computed(target, tmp_path):
    """With results that are read after it, and values from around it."""
    then = body([("MatMul", ["x", "w"], ["a"], {}), ("Softmax", ["a"], ["y"], {})], [], ["y"])
    other = body([("MatMul", ["w", "x"], ["y"], {})], [], ["y"])
    g = Graph()
    x = g.input("x", ["n", "n"])
    g.nodes.append(helper.make_node("Exp", [g.node("Neg", x)], ["w"]))
    total = g.node("ReduceSum", x, keepdims=0)
    for limit in (-1e6, 1e6):
        y = g.node("If", g.node("Greater", total, np.float32(limit)), then_branch=then, else_branch=other)
        g.node("Add", y, x)
    check(g, tmp_path, [(2,), (1,), (7,), (0,)], **target)


def test_branches_may_fail(target, tmp_path):
    """A look-up that is out of range in the branch that is not taken."""
    look = body([("Gather", ["x", "i"], ["y"], {"axis": 0})], [], ["y"])
    same = body([("Identity", ["x"], ["y"], {})], [], ["y"])
    g = Graph()
    g.input("x", ["n", 3])
    g.input("i", ["n"], I64, [99])
    g.node("If", g.input("c", [], BOOL, [False]), then_branch=look, else_branch=same)
    check(g, tmp_path, [(2,), (1,)], **target)


def test_branches_within_branches(target, tmp_path):
    inner = body([("Softmax", ["x"], ["u"], {})], [], ["u"])
    outer_else = body([("Exp", ["x"], ["u"], {})], [], ["u"])
    then = body([("If", ["d"], ["v"], {"then_branch": inner, "else_branch": outer_else}), ("Concat", ["v", "x"], ["y"], {"axis": 0})], [], ["y"])
    other = body([("ReduceMean", ["x"], ["y"], {})], [], ["y"])
    for first in (True, False):
        for second in (True, False):
            g = Graph()
            g.input("x", ["n", 3])
            g.input("d", [], BOOL, [second])
            g.node("If", g.input("c", [], BOOL, [first]), then_branch=then, else_branch=other)
            check(g, tmp_path, [(2,), (1,), (5,)], **target)


class Declared(Graph):
    """With the shape of the result of the branches."""

    shape = ()

    def model(self):
        model = super().model()
        model.graph.value_info.append(value("if_0", shape=self.shape))
        return model


@pytest.mark.parametrize("rank", [2, 3])
def test_branches_of_other_ranks(rank, target, tmp_path):
    # As torch exports squeeze(1): which branch it is, the run says, and the model which one it was.
    g = Declared(17)
    g.shape = ["n", "m", 3][3 - rank :]
    g.input("x", ["n", "m", 3])
    squeezed = body([("Squeeze", ["x", "axis"], ["y"], {})], [], ["y"], axis=np.array([1]))
    whole = body([("Identity", ["x"], ["y"], {})], [], ["y"])
    place = "gather_0"
    g.nodes.append(helper.make_node("Shape", ["x"], ["shape"]))
    g.nodes.append(helper.make_node("Gather", ["shape", g.constant(1)], [place]))
    g.nodes.append(helper.make_node("Equal", [place, g.constant(1)], ["is_one"]))
    g.nodes.append(helper.make_node("If", ["is_one"], ["if_0"], then_branch=squeezed, else_branch=whole))
    g.node("Exp", "if_0")
    check(g, tmp_path, [(2, 1), (7, 1)] if rank == 2 else [(2, 3), (1, 7), (2, 0)], **target)
    session = lathe.load(tmp_path / "graph.lathe").session()
    with pytest.raises(lathe.Error, match="has another rank than the model declares"):
        session.run(g.feeds((2, 3) if rank == 2 else (2, 1)))


def test_branches_refused(tmp_path):
    g = Graph()
    x, c = g.input("x", ["n", "m"]), g.input("c", [], BOOL)
    same = body([("Identity", ["x"], ["y"], {})], [], ["y"])
    g.node("If", c, then_branch=same, else_branch=body([("Flatten", ["x"], ["z"], {}), ("ReduceSum", ["z"], ["y"], {"keepdims": 0})], [], ["y"]))
    assert "different ranks" in refusal(g, tmp_path)
    g = Graph()
    x, c = g.input("x", ["n"]), g.input("c", [], BOOL)
    g.node("If", c, then_branch=body([("NonZero", ["x"], ["y"], {})], [], ["y"]), else_branch=body([("NonZero", ["x"], ["y"], {})], [], ["y"]))
    assert "known before the branch" in refusal(g, tmp_path)
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


def test_loop_on_data(target, tmp_path):
    """As many iterations as an input, a dimension or a sum says; states that change places."""
    swap = body(
        [("MatMul", ["a", "w"], ["c"], {}), ("Add", ["c", "b"], ["d"], {}), ("Identity", ["a"], ["e"], {}), ("Identity", ["go"], ["going"], {})],
        [("i", TensorProto.INT64), ("go", TensorProto.BOOL), "a", "b"],
        [("going", TensorProto.BOOL), "d", "e", "c"],
    )
    for trips in (0, 1, 3):
        g = Graph()
        x, w = g.input("x", ["n", 4]), g.input("w", [4, 4], values=(-0.5, 0.5))
        count = g.input("count", [], I64, [trips])
        length = g.node("Gather", g.node("Shape", x), np.array(0))
        negative = g.node("ReduceSum", g.node("Cast", g.node("Less", x, np.float32(0)), to=TensorProto.INT64), keepdims=0)
        for number in (count, length, negative) if trips else (length, negative):
            g.node("Loop", number, "", x, g.node("Exp", x), body=swap, count=3)
        check(g, tmp_path, [(2,), (1,), (5,)], **target)


def test_loop_until(target, tmp_path):
    """Ends on what an iteration computes; what was gathered is as long as there were iterations."""
    nodes = [
        ("Mul", ["s", "half"], ["t"], {}),
        ("ReduceSum", ["t"], ["sum"], {"keepdims": 0}),
        ("Greater", ["sum", "limit"], ["going"], {}),
        ("Identity", ["t"], ["kept"], {}),
    ]
    until = body(nodes, [("i", TensorProto.INT64), ("go", TensorProto.BOOL), "s"], [("going", TensorProto.BOOL), "t", "kept"], half=np.float32(0.5), limit=np.float32(1))
    g = Graph()
    x = g.input("x", ["n", 3], values=(1, 9))
    g.node("Loop", np.array(100), g.node("Greater", g.node("ReduceSum", x, keepdims=0), np.float32(1)), x, body=until, count=2)
    check(g, tmp_path, [(2,), (1,), (7,)], **target)


def test_loop_within_a_loop(target, tmp_path):
    inner = body(
        [("Cast", ["j"], ["f"], {"to": 1}), ("Add", ["t", "f"], ["u"], {}), ("Mul", ["u", "s"], ["v"], {}), ("Identity", ["go2"], ["going2"], {})],
        [("j", TensorProto.INT64), ("go2", TensorProto.BOOL), "t"],
        [("going2", TensorProto.BOOL), "v"],
    )
    outer = body(
        [("Loop", ["i", "", "s"], ["r"], {"body": inner}), ("Sigmoid", ["r"], ["next"], {}), ("Identity", ["go"], ["going"], {})],
        [("i", TensorProto.INT64), ("go", TensorProto.BOOL), "s"],
        [("going", TensorProto.BOOL), "next", "r"],
    )
    g = Graph()
    x = g.input("x", ["n", 3])
    g.node("Loop", g.node("Gather", g.node("Shape", x), np.array(0)), "", x, body=outer, count=2)
    check(g, tmp_path, [(2,), (1,), (4,)], **target)


def test_long_loop(target, tmp_path):
    """Not written out."""
    g = Graph()
    x = g.input("x", ["n", 2])
    g.nodes.append(helper.make_node("Exp", [g.node("Mul", x, np.float32(0))], ["outside"]))
    g.node("Loop", np.array(5000), np.array(True), x, body=powers(), count=2)
    check(g, tmp_path, [(2,), (1,)], **target)


def test_loops_refused(tmp_path):
    g = Graph()
    x = g.input("x", ["n"])
    grow = body(
        [("Concat", ["s", "x"], ["longer"], {"axis": 0}), ("Identity", ["go"], ["going"], {})],
        [("i", TensorProto.INT64), ("go", TensorProto.BOOL), "s"],
        [("going", TensorProto.BOOL), "longer"],
    )
    g.node("Loop", g.node("Gather", g.node("Shape", x), np.array(0)), "", x, body=grow)
    assert "shape changes from one iteration to the next" in refusal(g, tmp_path)
    g = Graph()
    x = g.input("x", ["n"])
    g.nodes.append(helper.make_node("Exp", [x], ["outside"]))
    g.node("Loop", "", g.node("Greater", g.node("ReduceSum", x, keepdims=0), np.float32(0)), x, body=powers(), count=2)
    assert "whose number of iterations is given" in refusal(g, tmp_path)
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


@pytest.mark.parametrize("backwards", [0, 1])
def test_scan_of_any_length(backwards, target, tmp_path):
    g = Graph()
    x, y, s = g.input("x", ["n", "m", 3]), g.input("y", ["n", "m", 3]), g.input("s", ["m", 3])
    g.node("Scan", s, x, y, body=running_sum(), num_scan_inputs=2, scan_input_directions=[backwards, 0], scan_output_axes=[1], scan_output_directions=[backwards], count=2)
    check(g, tmp_path, [(2, 3), (1, 1), (7, 2), (33, 1)], **target)


def test_scan_whose_state_keeps_its_shape_at_some_extents(target, tmp_path):
    # The rows say that the state has 4 of its m rows: the run tells whether that is so.
    g = Graph()
    rows = [g.input(name, ["n", 4, 3]) for name in "xy"]
    g.node("Scan", g.input("s", ["m", 3]), *rows, body=running_sum(), num_scan_inputs=2, count=2)
    check(g, tmp_path, [(2, 4), (33, 4), (0, 4)], **target)
    session = lathe.load(tmp_path / "graph.lathe").session()
    for wrong in (3, 1):
        with pytest.raises(lathe.Error, match="must have equal dimensions|keeps its shape|keep their shapes"):
            session.run(g.feeds((2, wrong)))


def test_scan_refused(tmp_path):
    g = Graph()
    x, s = g.input("x", [5, 3]), g.input("s", [3])
    g.node("Scan", s, x, g.input("y", [4, 3]), body=running_sum(), num_scan_inputs=2, count=2)
    assert "one length, got 5 and 4" in refusal(g, tmp_path)
    g.nodes[-1].attribute.remove(next(a for a in g.nodes[-1].attribute if a.name == "num_scan_inputs"))
    assert "num_scan_inputs" in refusal(g, tmp_path)
