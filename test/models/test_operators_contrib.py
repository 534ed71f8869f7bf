# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Operators that ONNX Runtime's optimizer writes equal its own."""

import numpy as np
import onnx
import pytest
from graphs import F32, I32, I64, ContribGraph, Graph, assert_runs_same, check

import lathe

SIZES = [(2, 3), (1, 1), (3, 7), (1, 33)]


def test_norms(target, tmp_path):
    g = ContribGraph(17)
    x, y, v, w = g.input("x", ["n", "m", 8]), g.input("y", ["n", "m", 8]), g.input("v", [8]), g.input("w", [8])
    row = g.input("z", ["m", 8])
    g.node("SkipLayerNormalization", x, y, v)
    g.node("SkipLayerNormalization", x, row, v, w, epsilon=1e-3)
    for bias in ("", w):
        g.node("SkipLayerNormalization", x, y, v, w, bias, count=4)
        g.nodes[-1].output[1] = g.nodes[-1].output[2] = ""
        g.node("SkipSimplifiedLayerNormalization", x, y, v, bias, count=4)
        g.nodes[-1].output[1] = g.nodes[-1].output[2] = ""
    g.node("SimplifiedLayerNormalization", x, v, domain="", axis=-1, epsilon=1e-4)
    check(g, tmp_path, SIZES, **target)


def test_embeddings(target, tmp_path):
    g = ContribGraph(17)
    ids, segments = g.input("ids", ["n", "m"], I32, (0, 9)), g.input("segments", ["n", "m"], I32, (0, 2))
    words, places, kinds = g.input("words", [9, 8]), g.input("places", [40, 8]), g.input("kinds", [2, 8])
    v, w, mask = g.input("v", [8]), g.input("w", [8]), g.input("mask", ["n", "m"], I32, (0, 2))
    g.node("EmbedLayerNormalization", ids, segments, words, places, kinds, v, w, mask, count=3, epsilon=1e-3)
    positions = g.input("positions", ["n", "m"], I32, (0, 40))
    g.node("EmbedLayerNormalization", ids, "", words, places, "", v, w, "", positions, count=2)
    check(g, tmp_path, SIZES, **target)


def test_activations(target, tmp_path):
    g = ContribGraph(17)
    x, b = g.input("x", ["n", "m", 8]), g.input("b", [8])
    g.node("BiasGelu", x, b)
    g.node("FastGelu", x)
    g.node("FastGelu", x, b)
    g.node("QuickGelu", x)
    g.node("QuickGelu", x, alpha=0.5)
    g.node("Gelu", x)
    check(g, tmp_path, SIZES + [(0, 2)], **target)


def test_activations_of_other_devices(target, tmp_path):
    """Which ONNX Runtime has on GPUs alone: against the operators that they stand for."""
    g, reference = ContribGraph(20), Graph(20)
    for graph in (g, reference):
        graph.input("x", ["n", "m", 8]), graph.input("b", [8]), graph.input("k", [8, 6]), graph.input("c", [6])
        graph.input("y", ["n", "m", 8]), graph.input("p", ["n", 1, 8])
    g.node("BiasSplitGelu", "x", "b")
    g.node("GemmFastGelu", "x", "k", "c")
    g.node("BiasAdd", "x", "b", "y")
    g.node("BiasSoftmax", "x", "p", axis=2, is_inner_broadcast=1)
    g.node("BiasSoftmax", "x", "y", axis=1, is_inner_broadcast=0)
    left, right = reference.node("Split", reference.node("Add", "x", "b"), axis=2, num_outputs=2, count=2)
    reference.node("Mul", left, reference.node("Gelu", right))
    reference.node("Gelu", reference.node("Add", reference.node("MatMul", "x", "k"), "c"), approximate="tanh")
    reference.node("Add", reference.node("Add", "x", "b"), "y")
    reference.node("Softmax", reference.node("Add", "x", "p"))
    flat = reference.node("Softmax", reference.node("Flatten", reference.node("Add", "x", "y")))
    reference.node("Reshape", flat, reference.node("Shape", "x"))
    compare(g, reference, tmp_path, target)


def compare(g, reference, folder, target, sizes=SIZES):
    """As check, for graphs whose outputs have other names than the reference's."""
    onnx.save(g.model(), folder / "graph.onnx")
    session = lathe.load(lathe.compile(folder / "graph.onnx", folder / "graph.lathe", **target)).session()
    import onnxruntime

    oracle = onnxruntime.InferenceSession(reference.model().SerializeToString(), providers=["CPUExecutionProvider"])
    assert_runs_same(g, session, oracle, sizes)


def test_matrix_products(target, tmp_path):
    g = ContribGraph(17)
    x, y = g.input("x", ["n", "m", "k"]), g.input("y", ["n", "k", "m"])
    z, w = g.input("z", ["m", "n", "k"]), g.input("w", ["k", 4])
    g.node("FusedMatMul", x, y, alpha=0.5)
    g.node("FusedMatMul", x, w)
    g.node("FusedMatMul", x, x, transB=1)
    g.node("FusedMatMul", y, x, transA=1, transB=1)
    g.node("FusedMatMul", z, y, transBatchA=1)
    g.node("FusedMatMul", z, z, transBatchA=1, transBatchB=1, transB=1)
    g.node("TransposeMatMul", x, x, transA=1, alpha=2.0)
    for activation, parameters in {"Relu": {}, "Tanh": {}, "Sigmoid": {}, "LeakyRelu": {"activation_alpha": 0.1}}.items():
        g.node("FusedGemm", g.input("a", ["m", "k"]), w, g.input("c", [4]), activation=activation, alpha=0.5, **parameters)
    check(g, tmp_path, [(2, 3, 7), (1, 1, 1), (7, 33, 3)], **target)


@pytest.mark.parametrize("past", [False, True], ids=["", "past"])
@pytest.mark.parametrize("mask", ["none", "keys", "full", "ends", "spans"])
def test_attention(mask, past, target, tmp_path):
    g = ContribGraph(17)
    x, w = g.input("x", ["n", "m", 8]), g.input("w", [8, 24], F32, (-1.0, 1.0))
    b = g.input("b", [24])
    total = "m+k" if past else "m"
    masks = {"none": None, "keys": ["n", total], "full": ["n", "m", total], "ends": ["n"], "spans": ["2*n"]}
    values = (0, 2)
    if mask == "ends":
        values = (1, 3)
    elif mask == "spans":
        values = lambda random, shape: np.concatenate([np.full(shape[0] // 2, 3), np.zeros(shape[0] // 2)])
    kept = g.input("mask", masks[mask], I32, values) if masks[mask] else ""
    cache = g.input("past", [2, "n", 2, "k", 4]) if past else ""
    if mask == "none":
        if not past:  # ONNX Runtime takes one of them
            g.node("Attention", x, w, b, "", "", g.input("bias", ["n", 1, "m", total]), num_heads=2, count=2)
        g.node("Attention", x, w, b, "", cache, num_heads=2, count=2, scale=0.3)
        if not past:
            g.node("Attention", x, g.input("v", [8, 22]), g.input("c", [22]), num_heads=2, qkv_hidden_sizes=[8, 8, 6])
    g.node("Attention", x, w, b, kept, cache, num_heads=2, count=2 if past else 1)
    g.node("Attention", x, w, b, kept, cache, num_heads=2, unidirectional=1, mask_filter_value=-500.0, count=2)
    check(g, tmp_path, [(2, 3, 2), (1, 1, 1), (3, 7, 2), (2, 4, 5), (1, 1, 7)], **target)


def test_multi_head_attention(target, tmp_path):
    g = ContribGraph(17)
    q, k, v = g.input("q", ["n", "m", 8]), g.input("k", ["n", "k", 8]), g.input("v", ["n", "k", 6])
    bias, mask = g.input("bias", [22]), g.input("mask", ["n", "k"], I32, (0, 2))
    g.node("MultiHeadAttention", q, k, v, num_heads=2)
    g.node("MultiHeadAttention", q, k, v, bias, mask, num_heads=2, scale=0.25)
    g.node("MultiHeadAttention", q, k, v, "", mask, g.input("scores", [1, 2, "m", "k"]), num_heads=2)
    key, value = g.input("key", ["n", 2, "k", 4]), g.input("value", ["n", 2, "k", 4])
    g.node("MultiHeadAttention", q, key, value, num_heads=2)
    g.node("MultiHeadAttention", q, q, q, g.input("b", [24]), num_heads=2, unidirectional=1, count=3)
    g.node("MultiHeadAttention", q, q, q, "", "", "", key, value, num_heads=2, count=3)
    g.node("MultiHeadAttention", q, q, q, "", g.input("all", ["n", "m+k"], I32, (0, 2)), "", key, value, num_heads=2, count=3)
    check(g, tmp_path, [(2, 3, 2), (1, 1, 1), (3, 7, 5), (2, 1, 33)], **target)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved, target, tmp_path):
    g = ContribGraph(17)
    cos, sin = g.input("cos", [50, 4]), g.input("sin", [50, 4])
    x, y = g.input("x", ["n", "m", 16]), g.input("y", ["n", 2, "m", 8])
    start, positions = g.input("start", [1], I64, (0, 10)), g.input("positions", ["n", "m"], I64, (0, 50))
    for value in (x, y):
        g.node("RotaryEmbedding", value, positions, cos, sin, interleaved=interleaved)
        g.node("RotaryEmbedding", value, start, cos, sin, interleaved=interleaved)
    wide = g.input("wide", ["n", "m", 24])
    g.node("RotaryEmbedding", wide, positions, cos, sin, interleaved=interleaved, num_heads=2, rotary_embedding_dim=8)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 7), (1, 33)], **target)


def grouped(attributes, packed=False, past=True, bias=False, sink=False, ragged=False):
    """Four heads over two of keys and values; every row has as many tokens as there are, or, `ragged`, a few."""
    g = ContribGraph(17)
    if packed:
        query, key, value = g.input("qkv", ["n", "m", 128]), "", ""
    else:
        query, key, value = g.input("q", ["n", "m", 64]), g.input("key", ["n", "m", 32]), g.input("value", ["n", "m", 32])
    total = "m+k" if past else "m"
    pasts = [g.input("pk", ["n", 2, "k", 16]), g.input("pv", ["n", 2, "k", 16])] if past else ["", ""]
    shape = g.node("Shape", g.input("mask", ["n", total], I64, (1, 2)), domain="")
    all_tokens = g.node("Cast", g.node("Gather", shape, np.array(1), domain=""), to=6, domain="")
    sums = g.node("ReduceSum", "mask", np.array([1]), keepdims=0, domain="")
    sizes = g.node("Cast", g.node("Sub", sums, np.array(1), domain=""), to=6, domain="")
    if ragged:
        sizes = g.input("sizes", ["n"], I32, (1, 4))
    tables = [g.input("cos", [64, 8]), g.input("sin", [64, 8])] if attributes.get("do_rotary") else ["", ""]
    scores = g.input("bias", ["n", 1, "m", total]) if bias else ""
    sinks = [g.input("sink", [4])] if sink else []
    g.node("GroupQueryAttention", query, key, value, *pasts, sizes, all_tokens, *tables, "", scores, *sinks, num_heads=4, kv_num_heads=2, count=3, **attributes)
    return g


@pytest.mark.parametrize(
    "options, attributes",
    [
        ({}, {}),
        ({"past": False}, {"scale": 0.2}),
        ({"packed": True}, {"do_rotary": 1}),
        ({"packed": True, "past": False}, {"do_rotary": 1, "rotary_interleaved": 1}),
        ({}, {"local_window_size": 3}),
        ({}, {"softcap": 2.0, "smooth_softmax": 1}),
        ({"bias": True}, {}),
        ({"sink": True}, {"softcap": 3.0}),
    ],
    ids=lambda value: ",".join(value) or "-",
)
def test_grouped_queries(options, attributes, target, tmp_path):
    # What follows a past is one token, as ONNX Runtime has it.
    sizes = [(2, 1, 3), (1, 1, 1), (3, 1, 33), (2, 7, 0), (1, 1, 0)] if options.get("past", True) else SIZES
    check(grouped(attributes, **options), tmp_path, sizes, **target)


def test_grouped_queries_of_rows_of_different_lengths(target, tmp_path):
    check(grouped({"do_rotary": 1}, ragged=True), tmp_path, [(2, 1, 3), (3, 1, 33), (1, 1, 5)], **target)


@pytest.mark.parametrize("op, attributes, inputs, reason", [
    ("Attention", {"num_heads": 3}, [["n", 2, 8], [8, 24]], "divides the hidden size"),
    ("Attention", {"num_heads": 2, "do_rotary": 1}, [["n", 2, 8], [8, 24]], "do_rotary is not supported"),
    ("Attention", {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 6]}, [["n", 2, 8], [8, 24]], "columns are those of"),
    ("MultiHeadAttention", {}, [["n", 2, 8]] * 3, "num_heads"),
    ("FusedMatMul", {}, [[], [2, 2]], "rank 1 or more"),
    ("BiasSplitGelu", {}, [["n", 2, 7], [7]], "not static and even"),
])  # fmt: skip
def test_refused(op, attributes, inputs, reason, tmp_path):
    g = ContribGraph(17)
    g.node(op, *(g.input(f"x{i}", shape) for i, shape in enumerate(inputs)), **attributes)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=reason):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")
