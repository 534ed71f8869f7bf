# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Attention in the spellings of exporters is one kernel, and equals ONNX Runtime at several sizes from one artifact."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from graphs import BOOL, F32, Graph, check

LOWEST = np.float32(np.finfo(np.float32).min)

# Batch, queries, keys: of one artifact; more than one block of queries and keys, one, and none.
SIZES = [(2, 3, 7), (1, 1, 1), (3, 70, 20), (1, 5, 300), (2, 130, 129), (0, 3, 2), (2, 0, 3), (3, 2, 0)]


def operands(g, heads=4, key_heads=None, rows="m"):
    key_heads = key_heads or heads
    return (
        g.input("q", ["n", heads, rows, 16]),
        g.input("k", ["n", key_heads, "k", 16]),
        g.input("v", ["n", key_heads, "k", 12]),
    )


def scores_of(g, q, k, perm=(0, 1, 3, 2)):
    return g.node("MatMul", q, g.node("Transpose", k, perm=perm))


def weights_of(g, scores):
    return g.node("Softmax", scores, axis=-1)


def guarded(g, weights):
    return g.node("Where", g.node("IsNaN", weights), np.float32(0), weights)


def kept(random, shape):
    """Keys that count: some of each row, and no one of the last."""
    mask = random.random(shape) < 0.7
    mask[..., :1] = True
    mask[-1:] = False
    return mask


def additive(random, shape):
    return np.where(kept(random, shape), F32(0), LOWEST)


def scale_on_query(g):
    q, k, v = operands(g)
    scaled = g.node("Mul", q, np.float32(0.25))
    g.node("MatMul", weights_of(g, scores_of(g, scaled, k)), v)


def scale_on_both(g):
    q, k, v = operands(g)
    root = np.float32(0.5)
    transposed = g.node("Mul", g.node("Transpose", k, perm=[0, 1, 3, 2]), root)
    scores = g.node("MatMul", g.node("Mul", q, root), transposed)
    mask = g.input("mask", ["n", 1, 1, "k"], F32, additive)
    g.node("MatMul", guarded(g, weights_of(g, g.node("Add", scores, mask))), v)


def scale_on_scores(g):
    q, k, v = operands(g)
    scores = g.node("Div", scores_of(g, q, k), np.float32(4))
    mask = g.input("mask", ["n", 1, "m", "k"], F32, additive)
    g.node("MatMul", weights_of(g, g.node("Add", mask, scores)), v)


def chosen_scores(g):
    q, k, v = operands(g)
    scores = g.node("Mul", scores_of(g, q, k), np.float32(0.25))
    mask = g.input("mask", ["n", 1, "m", "k"], BOOL, kept)
    masked = g.node("Where", mask, scores, np.float32(-np.inf))
    g.node("MatMul", guarded(g, weights_of(g, masked)), v)


def masked_scores(g):
    """Of a row that is masked as a whole the result is the values' mean."""
    q, k, v = operands(g)
    mask = g.input("mask", ["m", "k"], BOOL, kept)
    masked = g.node("Where", g.node("Not", mask), LOWEST, scores_of(g, q, k))
    g.node("MatMul", weights_of(g, masked), v)


def small_mask(g):
    """Masked scores of -10000: of a row that is masked as a whole the result is the values' mean, too."""
    q, k, v = operands(g)
    scores = g.node("Mul", scores_of(g, q, k), np.float32(0.25))
    mask = g.input("mask", ["n", 1, "m", "k"], BOOL, kept)
    g.node("MatMul", weights_of(g, g.node("Where", mask, scores, np.float32(-1e4))), v)


def masked_twice(g):
    """By causality and padding; rows are masked as a whole by both together."""
    q, k, v = operands(g)
    mask = g.input("mask", ["n", 1, 1, "k"], BOOL, kept)
    other = g.input("other", ["m", "k"], BOOL, kept)
    masked = g.node("Where", other, g.node("Where", mask, scores_of(g, q, k), LOWEST), LOWEST)
    g.node("MatMul", weights_of(g, masked), v)


def small_masks(g):
    """Two masks, one of them by what does not count."""
    q, k, v = operands(g)
    mask = g.input("mask", ["n", 1, 1, "k"], BOOL, kept)
    other = g.input("other", ["m", "k"], BOOL, lambda random, shape: ~kept(random, shape))
    scores = g.node("Where", mask, scores_of(g, q, k), np.float32(-1e4))
    masked = g.node("Where", other, np.float32(-1e4), scores)
    g.node("MatMul", weights_of(g, masked), v)


def causal(g):
    """By positions, with keys of the past."""
    q, k, v = operands(g)
    rows, columns = (g.node("Gather", g.node("Shape", x), np.int64(2)) for x in (q, k))
    row = g.node("Add", g.node("Range", np.int64(0), rows, np.int64(1)), g.node("Sub", columns, rows))
    column = g.node("Range", np.int64(0), columns, np.int64(1))
    seen = g.node("LessOrEqual", g.node("Unsqueeze", column, [0]), g.node("Unsqueeze", row, [1]))
    mask = g.node("Where", seen, np.float32(0), LOWEST)
    scores = g.node("Mul", scores_of(g, q, k), np.float32(0.25))
    g.node("MatMul", weights_of(g, g.node("Add", scores, mask)), v)


def alibi(g):
    """A bias of heads and keys, and a mask on axes that are apart from those of the product."""
    q, k, v = operands(g)
    def part(x, first, last):
        return g.node("Slice", g.node("Shape", x), [first], [last])

    count = g.node("Mul", part(q, 0, 1), [4])
    q3, k3 = (g.node("Reshape", x, g.node("Concat", count, part(x, 2, 4), axis=0), allowzero=1) for x in (q, k))
    slopes = np.array([0.5, 0.25, 0.125, 0.0625], np.float32).reshape(1, 4, 1, 1)
    positions = g.input("positions", [1, 1, 1, "k"])
    scores = g.node("MatMul", q3, g.node("Transpose", k3, perm=[0, 2, 1]))
    shape = g.node("Concat", part(q, 0, 3), part(k, 2, 3), axis=0)
    apart = g.node("Reshape", g.node("Mul", scores, np.float32(0.25)), shape, allowzero=1)
    mask = g.input("mask", ["n", 1, 1, "k"], F32, additive)
    biased = g.node("Add", g.node("Add", apart, g.node("Mul", positions, slopes)), mask)
    g.node("MatMul", weights_of(g, biased), v)


def relative(g):
    """A bias for each head, as in T5, a mask, and one more."""
    q, k, v = operands(g)
    bias = g.input("bias", [1, 4, "m", "k"])
    mask = g.input("mask", ["n", 1, 1, "k"], F32, additive)
    scores = g.node("Add", g.node("Add", scores_of(g, q, k), bias), mask)
    scores = g.node("Sub", scores, g.input("other", ["m", 1]))
    g.node("MatMul", weights_of(g, scores), v)


def windows(g):
    """Windows of images, as in Swin: their positions' bias, and a mask for each window."""
    q, k, v = (
        g.node("Reshape", g.input(name, ["n", 6, 4, 9, 8]), [-1, 4, 9, 8]) for name in "qkv"
    )
    random = np.random.default_rng(7)
    bias = random.normal(0, 1, (1, 4, 9, 9)).astype(F32)
    mask = np.where(random.random((1, 6, 1, 9, 9)) < 0.8, F32(0), F32(-100))
    scores = g.node("Add", g.node("Mul", scores_of(g, q, k), np.float32(0.35)), bias)
    apart = g.node("Add", g.node("Reshape", scores, [-1, 6, 4, 9, 9]), mask)
    g.node("MatMul", weights_of(g, g.node("Reshape", apart, [-1, 4, 9, 9])), v)


def shared_heads(g):
    q, k, v = operands(g, heads=8, key_heads=2)

    def repeat(x, width):
        n, length = (g.node("Slice", g.node("Shape", x), [i], [i + 1]) for i in (0, 2))
        wide = g.node("Expand", g.node("Unsqueeze", x, [2]), g.node("Concat", n, [2, 4], length, [width], axis=0))
        return g.node("Reshape", wide, g.node("Concat", n, [8], length, [width], axis=0), allowzero=1)

    scores = g.node("Mul", scores_of(g, q, repeat(k, 16)), np.float32(0.25))
    mask = g.input("mask", ["n", 1, "m", "k"], F32, additive)
    g.node("MatMul", weights_of(g, g.node("Add", scores, mask)), repeat(v, 12))


def softcap(g):
    q, k, v = operands(g)
    capped = g.node("Mul", g.node("Tanh", g.node("Div", scores_of(g, q, k), np.float32(20))), np.float32(5))
    mask = g.input("mask", ["n", 1, "m", "k"], F32, additive)
    g.node("MatMul", weights_of(g, g.node("Add", capped, mask)), v)


def merged_projection(g):
    """Heads that are cut out of one projection, and merged again."""
    x = g.input("x", ["n", "m", 96])
    parts = list(g.node("Split", x, [32, 32, 32], axis=2, count=3))
    parts[0] = g.node("Mul", parts[0], np.float32(0.35))
    q, k, v = (
        g.node("Transpose", g.node("Reshape", part, [0, 0, 4, 8]), perm=[0, 2, 1, 3]) for part in parts
    )
    out = g.node("MatMul", weights_of(g, scores_of(g, q, k)), v)
    g.node("Reshape", g.node("Transpose", out, perm=[0, 2, 1, 3]), [0, 0, 32])


FORMS = [
    scale_on_query, scale_on_both, scale_on_scores, chosen_scores, masked_scores, small_mask, small_masks, masked_twice, causal,
    alibi, relative, windows, shared_heads, softcap, merged_projection,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_form(form, isa, tmp_path):
    if isa == "avx512" and "avx512vl" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this machine has no AVX-512")
    g = Graph()
    form(g)
    report = tmp_path / "report.json"
    check(g, tmp_path, SIZES, target=f"cpu:{isa}", report=report)
    kinds = [kernel["kind"] for kernel in json.loads(report.read_text())["kernels"]]
    assert kinds.count("attention") == 1, kinds
    assert "matmul" not in kinds


def test_profile(build, tmp_path):
    """A profile tells the time of attention, too."""
    g = Graph()
    masked_scores(g)
    check(g, tmp_path, [(2, 70, 64)])
    artifact = next(tmp_path.glob("*.lathe"))
    command = [build / "bin/lathe", "profile", artifact, "--json", "--iterations", "3"]
    for name, value in {"n": 2, "m": 70, "k": 64}.items():
        command += ["--dim", f"{name}={value}"]
    profile = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert [row["ms"] > 0 for row in profile["rows"] if row["kind"] == "attention"] == [True]


def test_weights_that_are_an_output_stay(tmp_path):
    g = Graph()
    q, k, v = operands(g)
    weights = weights_of(g, scores_of(g, q, k))
    g.node("MatMul", weights, v)
    g.output(weights)
    report = tmp_path / "report.json"
    check(g, tmp_path, SIZES, report=report)
    assert "attention" not in [kernel["kind"] for kernel in json.loads(report.read_text())["kernels"]]
