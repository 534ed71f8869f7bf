# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Attention, RotaryEmbedding and TensorScatter of ONNX, and functions of a model, equal ONNX Runtime."""

import numpy as np
import onnx
import pytest
from graphs import BOOL, F16, I64, Graph, assert_runs_same, assert_same, check
from onnx import helper
from onnx.reference import ReferenceEvaluator

import lathe


SIZES = [(2, 3, 4), (1, 1, 1), (3, 7, 33), (2, 1, 5), (0, 3, 2)]


def test_attention(target, tmp_path):
    g = Graph(23)
    q, k, v = g.input("q", ["n", 4, "m", 8]), g.input("k", ["n", 4, "k", 8]), g.input("v", ["n", 4, "k", 6])
    g.node("Attention", q, k, v)
    g.node("Attention", q, k, v, is_causal=1, scale=0.3)
    g.node("Attention", q, k, v, g.input("a", ["m", "k"]), softcap=2.0)
    g.node("Attention", q, k, v, g.input("b", ["n", 1, "m", "k"], BOOL, lambda r, s: np.arange(np.prod(s)).reshape(s) % 3 < 2))
    key, value = g.input("key", ["n", 2, "k", 8]), g.input("value", ["n", 2, "k", 8])
    g.node("Attention", q, key, value)
    g.node("Attention", q, g.input("one", ["n", 1, "m", 8]), "one", is_causal=1)
    check(g, tmp_path, SIZES, **target)


def test_attention_with_folded_heads(target, tmp_path):
    g = Graph(23)
    q, k, v = g.input("q", ["n", "m", 32]), g.input("k", ["n", "m", 16]), g.input("v", ["n", "m", 12])
    past = [g.input("pk", ["n", 2, "k", 8]), g.input("pv", ["n", 2, "k", 6])]
    heads = {"q_num_heads": 4, "kv_num_heads": 2}
    g.node("Attention", q, k, v, **heads)
    g.node("Attention", q, k, v, "", *past, count=3, is_causal=1, **heads)
    g.node("Attention", q, k, v, g.input("a", ["n", 1, "m", "m+k"]), *past, count=3, **heads)
    check(g, tmp_path, SIZES, **target)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_attention_gives_its_scores(mode, target, tmp_path):
    g = Graph(24)
    q, k, v = g.input("q", ["n", 2, "m", 8]), g.input("k", ["n", 2, "k", 8]), g.input("v", ["n", 2, "k", 8])
    g.node("Attention", q, k, v, g.input("a", ["m", "k"]), "", "", count=4, qk_matmul_output_mode=mode, softcap=3.0)
    g.nodes[-1].output[1] = g.nodes[-1].output[2] = ""
    model = g.model()
    for output in [output for output in model.graph.output if not output.name]:
        model.graph.output.remove(output)
    g.model = lambda: model
    check(g, tmp_path, SIZES, reference=None, **target)


def against_reference(g, folder, target, sizes):
    """For what ONNX Runtime does not have."""
    model = g.model()
    onnx.save(model, folder / "graph.onnx")
    session = lathe.load(lathe.compile(folder / "graph.onnx", folder / "graph.lathe", **target)).session()
    oracle = ReferenceEvaluator(model)
    assert_runs_same(g, session, oracle, sizes)


def test_attention_to_padded_keys(target, tmp_path):
    g = Graph(24)
    q, k, v = g.input("q", ["n", 2, 2, 8]), g.input("k", ["n", 2, 5, 8]), g.input("v", ["n", 2, 5, 8])
    lengths = g.input("lengths", ["n"], I64, [3, 5, 2])
    g.node("Attention", q, k, v, "", "", "", lengths, is_causal=1)
    g.node("Attention", q, k, v, g.input("a", [2, 5], BOOL, [True, True, False, True, True]), "", "", lengths)
    against_reference(g, tmp_path, target, [(3,), (1,), (7,)])


def test_attention_window(target, tmp_path):
    """A window is a mask."""
    g, reference = Graph(25), Graph(23)
    for graph in (g, reference):
        for name in "qkv":
            graph.input(name, [2, 2, 5, 8])
    g.node("Attention", "q", "k", "v", left_window_size=1, right_window_size=2)
    g.node("Attention", "q", "k", "v", left_window_size=2, is_causal=1)
    distance = np.arange(5)[:, None] - np.arange(5)
    reference.node("Attention", "q", "k", "v", (distance <= 1) & (distance >= -2))
    reference.node("Attention", "q", "k", "v", (distance <= 2) & (distance >= 0))
    onnx.save(g.model(), tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    feeds = g.feeds({})
    for (name, output), expected in zip(session.run(feeds).items(), ReferenceEvaluator(reference.model()).run(None, feeds)):
        assert_same(output, expected, name)


def test_attention_of_half_precision(target, tmp_path):
    g = Graph(23)
    q, k, v = (g.input(name, ["n", 2, "m", 8], F16) for name in "qkv")
    g.node("Attention", q, k, v, is_causal=1, softmax_precision=1)
    check(g, tmp_path, [(2, 3), (1, 1)], allowed=1e-2, **target)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved, target, tmp_path):
    g = Graph(23)
    cos, sin, at = g.input("cos", [50, 4]), g.input("sin", [50, 4]), g.input("at", ["n", "m"], I64, (0, 50))
    x, y = g.input("x", ["n", 2, "m", 8]), g.input("y", ["n", "m", 24])
    g.node("RotaryEmbedding", x, cos, sin, at, interleaved=interleaved)
    g.node("RotaryEmbedding", y, cos, sin, at, interleaved=interleaved, num_heads=3)
    g.node("RotaryEmbedding", y, cos, sin, at, interleaved=interleaved, num_heads=2, rotary_embedding_dim=8)
    tables = [g.input("c", ["n", "m", 4]), g.input("s", ["n", "m", 4])]
    g.node("RotaryEmbedding", x, *tables, interleaved=interleaved)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 33)], **target)


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(mode, target, tmp_path):
    g = Graph(24)
    starts = [1, 0, 2] if mode == "linear" else [3, 4, 1]
    past, update, at = g.input("p", ["n", 2, 5, 3]), g.input("u", ["n", 2, 3, 3]), g.input("i", ["n"], I64, starts)
    g.node("TensorScatter", past, update, at, mode=mode)
    g.node("TensorScatter", past, update, mode=mode)
    g.node("TensorScatter", g.input("q", ["n", 5, 4], I64), g.input("w", ["n", 2, 4], I64), at, axis=1, mode=mode)
    against_reference(g, tmp_path, target, [(3,), (1,), (7,)])


@pytest.mark.parametrize(
    "op, attributes, inputs, reason",
    [
        ("Attention", {}, [["n", 2, 8]] * 3, "'q_num_heads' and 'kv_num_heads'"),
        ("Attention", {}, [["n", 3, 2, 8], ["n", 2, 2, 8], ["n", 2, 2, 8]], "heads that divide"),
        ("Attention", {}, [["n", 2, 2, 8], ["n", 2, 2, 4], ["n", 2, 2, 8]], "head sizes of query and key"),
        ("Attention", {"qk_matmul_output_mode": 4}, [["n", 2, 2, 8]] * 3, "qk_matmul_output_mode to be 0 to 3"),
        ("Attention", {"q_num_heads": 3, "kv_num_heads": 3}, [["n", 2, 8]] * 3, "divides the hidden size"),
        ("Attention", {"softmax_precision": 7}, [["n", 2, 2, 8]] * 3, "softmax_precision"),
        ("RotaryEmbedding", {}, [["n", 2, 3, 8], ["n", 3, 3], ["n", 3, 3]], "tables of 4 columns"),
        ("RotaryEmbedding", {"num_heads": 0}, [["n", 3, 8], ["n", 3, 4], ["n", 3, 4]], "num_heads"),
        ("TensorScatter", {"mode": "other"}, [["n", 3, 8], ["n", 3, 8]], "linear or circular"),
        ("TensorScatter", {"axis": 0}, [["n", 3, 8], ["n", 3, 8]], "other than the batch"),
    ],
)
def test_refused(op, attributes, inputs, reason, tmp_path):
    g = Graph(24)
    g.node(op, *(g.input(f"x{i}", shape) for i, shape in enumerate(inputs)), **attributes)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=reason):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")


#: A function that calls another one, with attributes, an input left out and one that is its own output.
def with_functions(g):
    opset = [helper.make_opsetid("", 22), helper.make_opsetid("own", 1)]
    scale = helper.make_function(
        "own", "Scale", ["x", "y"], ["z", "x"], [helper.make_node("Constant", [], ["c"]), helper.make_node("Mul", ["x", "c"], ["z"])], opset, ["factor"]
    )
    reference = onnx.AttributeProto(name="value_float", type=onnx.AttributeProto.FLOAT, ref_attr_name="factor")
    scale.node[0].attribute.append(reference)
    twice = helper.make_function(
        "own", "Twice", ["x"], ["y"],
        [helper.make_node("Scale", ["x", ""], ["a", "b"], domain="own", factor=2.0), helper.make_node("Add", ["a", "b"], ["y"])],
        opset, [],
    )  # fmt: skip
    model = Graph.model(g)
    model.opset_import.append(opset[1])
    model.functions.extend([scale, twice])
    return model


def test_functions_of_a_model(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"])
    y = g.node("Twice", x, domain="own")
    g.node("Twice", g.node("Exp", y), domain="own")
    g.node("Scale", y, x, domain="own", factor=-1.5)
    g.model = lambda: with_functions(g)
    against_reference(g, tmp_path, target, [(2, 3), (1, 1), (0, 2)])


def test_functions_refused(tmp_path):
    def message(change):
        g = Graph()
        g.node("Twice", g.input("x", ["n"]), domain="own")
        model = with_functions(g)
        change(model)
        onnx.save(model, tmp_path / "graph.onnx")
        with pytest.raises(lathe.Error) as caught:
            lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")
        return str(caught.value)

    def recursive(model):
        model.functions[0].node[1].op_type, model.functions[0].node[1].domain = "Twice", "own"

    assert "the function calls itself" in message(recursive)
    assert "is defined twice" in message(lambda model: model.functions.append(model.functions[0]))
    assert "at most 1 inputs" in message(lambda model: model.graph.node[0].input.append("x"))
    assert "operators of domain 'own' are not supported" in message(lambda model: model.functions.pop(0))


def test_heads_that_are_symbols(target, tmp_path):
    """How many queries share a key is known when the model runs."""
    g = Graph(23)
    q, k, v = g.input("q", ["n", "h", "m", 8]), g.input("k", ["n", "g", "k", 8]), g.input("v", ["n", "g", "k", 8])
    g.node("Attention", q, k, v, is_causal=1)
    g.node("Attention", q, k, v, g.input("a", ["m", "k"]))
    check(g, tmp_path, [dict(n=2, h=9, g=3, m=4, k=6), dict(n=1, h=4, g=4, m=7, k=3), dict(n=3, h=6, g=1, m=1, k=1)], **target)
