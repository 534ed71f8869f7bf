# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The errors of generated functions of f32, over all of its range, in units in the last place."""

import math

import numpy as np
import onnx
import pytest
from graphs import F32, Graph

import lathe

#: The largest errors; what `backends/cpu/compiler/ExpandSingle.cpp` and `docs/design/0005-cpu-speed.md` state.
BOUNDS = {"Exp": 1, "Log": 1, "Tanh": 6, "Erf": 7, "Sin": 1, "Cos": 1}
REFERENCES = {
    "Exp": np.exp,
    "Log": np.log,
    "Tanh": np.tanh,
    "Erf": lambda x: np.fromiter(map(math.erf, x), np.float64, len(x)),
    "Sin": np.sin,
    "Cos": np.cos,
}
#: Arguments from here on have no reduced angle.
LARGEST_ANGLE = 2.0**50
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 1e-45, -1e-45, 2**-126, -(2**-126)], F32)


def around(value):
    """The numbers next to one."""
    bits = np.array([value], F32).view(np.int32)
    return (bits + np.arange(-200, 201, dtype=np.int32)).view(F32)


def arguments():
    # Every 1499th number of either sign: a prime, so that all patterns of low bits come.
    dense = np.arange(0, 1 << 32, 1499, dtype=np.uint64).astype(np.uint32).view(F32)
    borders = [88.722839, -87.336548, -103.97208, -103.2789, 9.01, -9.01, 3.925, -3.925, 2**-126, 0.70710677, 1.0]
    return np.concatenate([SPECIAL, dense[~np.isnan(dense)], *map(around, borders)])


def errors(result, exact):
    """In units in the last place of f32; infinite where one is NaN or infinite and the other is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = exact.astype(F32)
        exponent = np.floor(np.log2(np.maximum(np.abs(exact), 2.0**-126)))
        difference = np.abs(result.astype(np.float64) - exact) / 2.0 ** (exponent - 23)
    same = (result == rounded) | (np.isnan(result) & np.isnan(rounded))
    difference[~np.isfinite(result) | ~np.isfinite(rounded)] = np.inf
    difference[same & ~np.isfinite(rounded)] = 0
    # Beyond the largest number by less than the bound, either is right.
    difference[np.isinf(rounded) & (np.abs(exact) < 2.0**128 * (1 + 2.0**-23)) & (np.abs(result) > 2.0**127)] = 0
    return difference


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    graph = Graph()
    x = graph.input("x", ["n"])
    for name in BOUNDS:
        graph.node(name, x)
    folder = tmp_path_factory.mktemp("math")
    onnx.save(graph.model(), folder / "math.onnx")
    return lathe.compile(folder / "math.onnx", folder / "math.lathe")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_errors(module):
    x = arguments()
    wide = x.astype(np.float64)
    expected = {name: REFERENCES[name](wide) for name in BOUNDS}
    sets = [code["isa"] for code in lathe.load(module).manifest["code"]]
    ran = 0
    for isa in sets:
        try:
            session = lathe.load(module, isa=isa).session(threads=2)
        except lathe.Error:
            continue  # not of this machine
        ran += 1
        # Lengths that leave each number of elements behind the last whole vector.
        outputs = list(session.run({"x": x}).values())
        for (name, bound), result in zip(BOUNDS.items(), outputs):
            exact = expected[name]
            error = errors(result, exact)
            if name in ("Sin", "Cos"):
                error[np.abs(wide) >= LARGEST_ANGLE] = 0
            if name == "Exp":
                error[(exact < 2.0**-126 * (1 + 2.0**-20)) & (result == 0)] = 0
            worst = int(error.argmax())
            assert error[worst] <= bound, f"{name} by {isa} at {x[worst]!r}: {result[worst]!r}, not {exact[worst]!r}"
            assert (np.signbit(result) == np.signbit(exact))[(exact == 0) & (np.abs(wide) < LARGEST_ANGLE)].all(), name
        if ran == 1:
            first = outputs
        for a, b in zip(first, outputs):
            np.testing.assert_array_equal(a, b)  # every machine computes the same
        for rest in range(1, 40):
            for a, b in zip(outputs, session.run({"x": x[:rest]}).values()):
                np.testing.assert_array_equal(a[:rest], b)
    assert ran
