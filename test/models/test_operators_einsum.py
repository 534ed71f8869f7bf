# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Einsum equals numpy's, since ONNX Runtime's lacks some forms and crashes on some empty tensors."""

import numpy as np
import onnx
import pytest
from graphs import F32, F64, I64, Graph, assert_same

import lathe

SIZES = [(2, 3, 7), (1, 1, 1), (7, 33, 3), (0, 3, 2), (2, 0, 3)]
EQUATIONS = {
    "ij->ji": ["nm"],
    "ij": ["nm"],
    "ji": ["nm"],
    "ij->": ["nm"],
    "ij->i": ["nm"],
    "ii->i": ["nn"],
    "ii": ["nn"],
    "iji->ji": ["nmn"],
    "...ii->...i": ["mnn"],
    "i,j->ij": ["n", "m"],
    "i,i": ["n", "n"],
    "i,i->i": ["n", "n"],
    "ij,jk": ["nm", "mk"],
    "ij,kj->ki": ["nm", "km"],
    "bij,bjk->bik": ["nmk", "nkm"],
    "bhid,bhjd->bhij": ["nmkn", "nmnn"],
    "bhij,bhjd->bihd": ["nmkn", "nmnk"],
    "bihd,bjhd->bhij": ["nkmn", "nnmn"],
    "...ij,...jk->...ik": ["nmk", "nkm"],
    "...ij,jk": ["nkmk", "kn"],
    "i...,j...->ij...": ["nm", "km"],
    "b n h , h d -> b n d": ["nmk", "kn"],
    "ijk,k->ij": ["nmk", "k"],
    "ij,ij,ij->i": ["nm", "nm", "nm"],
    "ij,jk,kl->il": ["nm", "mk", "kn"],
    "abc,cd,bd->ad": ["nmk", "kn", "mn"],
    "ij,kl->": ["nm", "kn"],
    "aBc->cBa": ["nmk"],
    ",->": ["", ""],
}


def check(g, folder, target):
    model = g.model()
    onnx.save(model, folder / "graph.onnx")
    session = lathe.load(lathe.compile(folder / "graph.onnx", folder / "graph.lathe", **target)).session()
    for seed, sizes in enumerate(SIZES):
        feeds = g.feeds(sizes, seed)
        outputs = session.run(feeds)
        for node in model.graph.node:
            equation = node.attribute[0].s.decode()
            operands = [feeds[name] for name in node.input]
            expected = np.einsum(equation.replace(" ", ""), *operands)
            assert_same(outputs[node.output[0]], np.asarray(expected, operands[0].dtype), f"{equation} at {sizes}")


@pytest.mark.parametrize("dtype", [F32, F64, I64], ids=lambda t: np.dtype(t).name)
def test_equations(dtype, target, tmp_path):
    g = Graph()
    for equation, shapes in EQUATIONS.items():
        names = [g.input(f"x{shape}{i}", list(shape), dtype, (-3, 4)) for i, shape in enumerate(shapes)]
        g.node("Einsum", *names, equation=equation)
    check(g, tmp_path, target)


def test_ellipses_broadcast(target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", 1, "m", "k"]), g.input("y", ["m", "k", "n"])
    for equation in ("...ij,...jk->...ik", "...ij,...jk", "...ij,ajk->a...ik"):
        g.node("Einsum", x, y, equation=equation)
    g.node("Einsum", x, equation="a...->...a")
    g.node("Einsum", x, equation="...a")
    check(g, tmp_path, target)


@pytest.mark.parametrize(
    "equation, shapes, reason",
    [
        ("ij,jk->ik", ["nm"], "as many inputs as the equation has terms"),
        ("ij->i", ["nmk"], "expects an input of rank 2"),
        ("i...->i", [""], "expects an input of rank 1 or more"),
        ("ij->k", ["nm"], "letters of the inputs in the output"),
        ("ij->ii", ["nm"], "distinct letters in the output"),
        ("i$->i", ["nm"], "expects letters"),
        ("......->...", ["nm"], "expects letters"),
        ("ij->i->j", ["nm"], "expects letters"),
        ("ij,jk->ik", [[2, 3], [4, 5]], "inner dimensions"),
        ("ii->i", [[2, 3]], "axes of one name"),
    ],
)
def test_refused(equation, shapes, reason, tmp_path):
    g = Graph()
    g.node("Einsum", *(g.input(f"x{i}", list(shape)) for i, shape in enumerate(shapes)), equation=equation)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=reason):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")
