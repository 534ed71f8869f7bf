# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""RNN, GRU and LSTM equal ONNX Runtime, at any length from one artifact."""

import numpy as np
import pytest
from graphs import I32, Graph, check

HIDDEN, SIZE = 5, 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
SHAPES = [(4, 2), (1, 1), (7, 3), (33, 1)]


def weights(kind, directions, seed=0):
    random = np.random.default_rng(seed)
    rows = GATES[kind] * HIDDEN
    shapes = [(directions, rows, SIZE), (directions, rows, HIDDEN), (directions, 2 * rows)]
    return [random.normal(0, 0.5, shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", GATES)
def test_directions(kind, direction, target, tmp_path):
    directions = 2 if direction == "bidirectional" else 1
    g = Graph()
    w, r, b = weights(kind, directions)
    count = 3 if kind == "LSTM" else 2
    g.node(kind, g.input("x", ["n", "m", SIZE]), w, r, b, count=count, hidden_size=HIDDEN, direction=direction)
    state = [g.input("h", [directions, "m", HIDDEN])] + ([g.input("c", [directions, "m", HIDDEN])] if kind == "LSTM" else [])
    lengths = g.input("lengths", ["m"], I32, lambda random, shape: random.integers(1, 2, shape))
    g.node(kind, "x", w, r, "", lengths, *state, count=count, hidden_size=HIDDEN, direction=direction)
    check(g, tmp_path, SHAPES, **target)


@pytest.mark.parametrize("kind", GATES)
def test_static_lengths_are_written_out(kind, target, tmp_path):
    g = Graph()
    w, r, b = weights(kind, 1)
    g.node(kind, g.input("x", [3, "n", SIZE]), w, r, b, count=2, hidden_size=HIDDEN)
    check(g, tmp_path, [(2,), (1,)], **target)


def test_variants(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m", SIZE])
    w, r, b = weights("GRU", 1)
    g.node("GRU", x, w, r, b, count=2, hidden_size=HIDDEN, linear_before_reset=1)
    g.node("GRU", x, w, r, b, count=2, hidden_size=HIDDEN, activations=["HardSigmoid", "Softsign"], clip=0.5)
    w, r, b = weights("LSTM", 1)
    peepholes = np.random.default_rng(1).normal(0, 0.5, (1, 3 * HIDDEN)).astype(np.float32)
    g.node("LSTM", x, w, r, b, "", "", "", peepholes, count=3, hidden_size=HIDDEN)
    g.node("LSTM", x, w, r, b, count=3, hidden_size=HIDDEN, activations=["Sigmoid", "ScaledTanh", "Relu"], activation_alpha=[0.5], activation_beta=[0.7])
    w, r, b = weights("RNN", 1)
    for name, values in (("LeakyRelu", {"activation_alpha": [0.2]}), ("Affine", {"activation_alpha": [0.5], "activation_beta": [0.1]}), ("Softplus", {}), ("Elu", {"activation_alpha": [0.3]}), ("ThresholdedRelu", {"activation_alpha": [0.1]})):
        g.node("RNN", x, w, r, b, count=2, hidden_size=HIDDEN, activations=[name], clip=3.0, **values)
    check(g, tmp_path, SHAPES, **target)
