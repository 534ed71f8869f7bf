# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts equal ONNX Runtime's, and what their descriptions say where it has no kernel."""

import numpy as np
import onnx
import pytest
from graphs import F32, U8, ContribGraph, assert_same, check

import lathe

SIZES = [(2, 3), (1, 1), (5, 7), (33, 1), (0, 3)]


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(F32)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "identity", "swiglu"])
def test_experts(activation, target, tmp_path):
    g = ContribGraph()
    x, router = g.input("x", ["n", "m", 8]), g.input("router", ["n*m", 4])
    fused = 2 if activation == "swiglu" else 1
    options = {"activation_type": activation, "swiglu_fusion": int(fused == 2)}
    first, second = weights(4, 6 * fused, 8), weights(4, 8, 6, seed=1)
    g.node("MoE", x, router, first, weights(4, 6 * fused, seed=2), second, weights(4, 8, seed=3), k=2, **options)
    g.node("MoE", x, router, first, "", second, k=3, normalize_routing_weights=1, **options)
    flat = g.input("flat", ["n", 8])
    g.node("MoE", flat, g.input("own", ["n", 4]), first, "", second, **options)
    if fused == 2:
        g.node("MoE", flat, "own", first, "", second, k=4, activation_alpha=1.7, activation_beta=1.0, swiglu_limit=0.5, **options)
    check(g, tmp_path, SIZES, **target)


def test_inputs_as_weights(target, tmp_path):
    g = ContribGraph()
    x, router = g.input("x", ["n", 8]), g.input("router", ["n", 3])
    g.node("MoE", x, router, g.input("a", [3, 6, 8]), g.input("b", [3, 6]), g.input("c", [3, 8, 6]), k=2)
    check(g, tmp_path, [(2,), (1,), (7,)], **target)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(x, router, first, second, third, k, act):
    p = np.exp(router - router.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    result = np.zeros_like(x)
    for token, row in enumerate(x):
        for e in np.argsort(-p[token], kind="stable")[:k]:
            hidden = act(row @ first[e].T, row @ third[e].T if third is not None else None)
            result[token] += p[token, e] * (hidden @ second[e].T)
    return result


def halves(a, _):
    gate, linear = np.split(a, 2, -1)
    return gate * sigmoid(gate) * linear


@pytest.mark.parametrize(
    "attributes, fused, gated, act",
    [
        ({"activation_type": "swiglu", "swiglu_fusion": 2}, 2, False, halves),
        ({"activation_type": "silu"}, 1, True, lambda a, b: a * sigmoid(a) * b),
        ({"activation_type": "swiglu", "activation_beta": 1.0}, 1, True, lambda a, b: a * sigmoid(a) * (b + 1)),
    ],
)
def test_layouts_of_other_devices(attributes, fused, gated, act, target, tmp_path):
    g = ContribGraph()
    x, router = g.input("x", ["n", 8]), g.input("router", ["n", 5])
    first, second, third = weights(5, 6 * fused, 8), weights(5, 8, 6, seed=1), weights(5, 6, 8, seed=2) if gated else None
    g.node("MoE", x, router, first, "", second, *(["", third] if gated else []), k=2, **attributes)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    for n in (1, 3, 17):
        feeds = g.feeds((n,), n)
        (output,) = session.run(feeds).values()
        assert_same(output, reference(feeds["x"], feeds["router"], first, second, third, 2, act), f"at {n}")


def test_large_weights_are_not_copied(tmp_path):
    """Each expert's weights are packed as those of any other layer are."""
    g = ContribGraph()
    x, router = g.input("x", ["n", 64]), g.input("router", ["n", 4])
    g.node("MoE", x, router, weights(4, 96, 64), weights(4, 96), weights(4, 64, 96, seed=1), weights(4, 64), k=2)
    check(g, tmp_path, [(2,), (1,), (40,), (0,)], target="cpu")


def test_many_experts(tmp_path):
    g = ContribGraph()
    x, router = g.input("x", ["n", 8]), g.input("router", ["n", 64])
    g.node("MoE", x, router, weights(64, 6, 8), "", weights(64, 8, 6, seed=1), k=8, normalize_routing_weights=1)
    check(g, tmp_path, [(2,), (1,), (40,), (0,)], target="cpu:avx2")


def packed(bits, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape[:-1], shape[-1] * bits // 8), dtype=U8)


def scales(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.002, 0.02, shape).astype(F32)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [0, 32])
@pytest.mark.parametrize("zero", [False, True], ids=["", "zero"])
def test_quantized(bits, block, zero, target, tmp_path):
    g = ContribGraph()
    x, router = g.input("x", ["n", "m", 64]), g.input("router", ["n*m", 4])
    options = {"k": 2, "expert_weight_bits": bits, "activation_type": "swiglu", "swiglu_fusion": 1, "activation_alpha": 1.702}
    options |= {"normalize_routing_weights": 1, **({"block_size": block} if block else {})}
    blocks = [64 // block] if block else []
    zeros = []
    if zero:
        rows = lambda n: packed(8, 4, *([n, -(-2 * bits // 8)] if block else [-(-n * bits // 8)]), seed=n)  # noqa: E731
        zeros = ["", "", "", rows(128), rows(64)]
    first, second = packed(bits, 4, 128, 64), packed(bits, 4, 64, 64, seed=1)
    g.node("QMoE", x, router, first, scales(4, 128, *blocks), weights(4, 128), second, scales(4, 64, *blocks),
           weights(4, 64), *zeros, **options)  # fmt: skip
    # ONNX Runtime multiplies some of these with 8-bit activations.
    check(g, tmp_path, [(2, 3), (1, 1), (5, 7)], allowed=4e-2, **target)


@pytest.mark.parametrize("attributes, reason", [
    ({"k": 4}, "k from 1 to the number of experts 3"),
    ({"use_sparse_mixer": 1}, "use_sparse_mixer is not supported"),
    ({"activation_type": "elu"}, "activation_type to be relu"),
    ({"activation_type": "swiglu"}, "expects fc3 with swiglu"),
])  # fmt: skip
def test_refused(attributes, reason, tmp_path):
    g = ContribGraph()
    g.node("MoE", g.input("x", ["n", 8]), g.input("r", ["n", 3]), weights(3, 6, 8), "", weights(3, 8, 6), **attributes)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=reason):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")
