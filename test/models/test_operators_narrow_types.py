# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Types of a byte and less, against ml_dtypes and ONNX's own arithmetic."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe

FLOATS = {
    "FLOAT8E4M3FN": ml_dtypes.float8_e4m3fn,
    "FLOAT8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "FLOAT8E5M2": ml_dtypes.float8_e5m2,
    "FLOAT8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
}
INTEGERS = {
    "INT4": (ml_dtypes.int4, np.int8),
    "UINT4": (ml_dtypes.uint4, np.uint8),
    "INT2": (ml_dtypes.int2, np.int8),
    "UINT2": (ml_dtypes.uint2, np.uint8),
}


def build(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, dims) for name, kind, dims in inputs],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13)


def session(model, folder, target):
    onnx.save(model, folder / "graph.onnx")
    return lathe.load(lathe.compile(folder / "graph.onnx", folder / "graph.lathe", **target)).session(threads=1)


@pytest.mark.parametrize("name", FLOATS)
def test_decoding(target, name, tmp_path):
    """Every bit pattern."""
    kind = getattr(TensorProto, name)
    model = build([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], [("x", kind, ["n"])], ["y"])
    run = session(model, tmp_path, target)
    for count in (256, 1, 0, 33):
        bits = np.arange(count, dtype=np.uint8)
        y = run.run({"x": bits})["y"]
        np.testing.assert_array_equal(y, bits.view(FLOATS[name]).astype(np.float32))
        assert (np.signbit(y) == np.signbit(bits.view(FLOATS[name]).astype(np.float32))).all() or "FNUZ" in name


@pytest.mark.parametrize("name", FLOATS)
def test_encoding(target, name, tmp_path):
    """Numbers, what lies between two of them, and what is beyond."""
    kind, dtype = getattr(TensorProto, name), FLOATS[name]
    nodes = [
        helper.make_node("Cast", ["x"], ["saturated"], to=kind),
        helper.make_node("Cast", ["x"], ["beyond"], to=kind, saturate=0),
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["half"], to=kind),
    ]
    run = session(build(nodes, [("x", TensorProto.FLOAT, ["n"])], ["saturated", "beyond", "half"]), tmp_path, target)
    exact = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
    exact = np.unique(exact[np.isfinite(exact)])
    middle = (exact[1:] + exact[:-1]) / 2
    near = np.concatenate([np.nextafter(middle, np.float32(1e9)), np.nextafter(middle, np.float32(-1e9))])
    largest = exact.max()
    x = np.concatenate([exact, middle, near, [largest * 1.01, -largest * 1.04, 1e9, -1e30, 1e-12, -1e-30, 1e-44]])
    x = np.concatenate([x, [np.inf, -np.inf, np.nan]]).astype(np.float32)
    outputs = run.run({"x": x})
    with np.errstate(all="ignore"):
        beyond = x.astype(dtype)
        saturated = np.where(np.isnan(x), x, np.clip(x, -largest, largest)).astype(dtype)
        half = x.astype(np.float16).astype(np.float32)
        half = np.where(np.isnan(half), half, np.clip(half, -largest, largest)).astype(dtype)
    for key, expected in (("saturated", saturated), ("beyond", beyond), ("half", half)):
        got = outputs[key].view(dtype).astype(np.float32)
        np.testing.assert_array_equal(got, expected.astype(np.float32), err_msg=key)


@pytest.mark.parametrize("name", INTEGERS)
def test_small_integers(target, name, tmp_path):
    """From and to other types, as inputs, outputs and constants of any number of elements."""
    kind, (dtype, carrier) = getattr(TensorProto, name), INTEGERS[name]
    info = ml_dtypes.iinfo(dtype)
    random = np.random.default_rng(0)
    small, large = (random.integers(info.min, int(info.max) + 1, shape).astype(dtype) for shape in ((5, 3), (41, 67)))
    initializers = [numpy_helper.from_array(small, "small"), numpy_helper.from_array(large, "large")]
    typed = helper.make_tensor("typed", kind, [3], [1, 0, 1])
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["f"], ["back"], to=kind),
        helper.make_node("Cast", ["small"], ["s"], to=TensorProto.INT32),
        helper.make_node("Cast", ["large"], ["l"], to=TensorProto.INT32),
        helper.make_node("Cast", ["typed"], ["t"], to=TensorProto.FLOAT16),
        helper.make_node("Identity", ["large"], ["same"]),
        helper.make_node("Transpose", ["large"], ["turned"]),
    ]
    outputs = ["f", "back", "s", "l", "t", "same", "turned"]
    run = session(build(nodes, [("x", kind, ["n"])], outputs, [*initializers, typed]), tmp_path, target)
    for count in (16, 1, 0, 7):
        x = np.resize(np.arange(info.min, int(info.max) + 1), count).astype(carrier)
        got = run.run({"x": x})
        np.testing.assert_array_equal(got["f"], x.astype(np.float32))
        np.testing.assert_array_equal(got["back"], x)
        np.testing.assert_array_equal(got["s"], small.astype(np.int32))
        np.testing.assert_array_equal(got["l"], large.astype(np.int32))
        np.testing.assert_array_equal(got["t"], np.array([1, 0, 1], np.float16))
        np.testing.assert_array_equal(got["same"], large.astype(carrier))
        np.testing.assert_array_equal(got["turned"], large.astype(carrier).T)


def test_packed_constants_stay_packed(tmp_path):
    weight = numpy_helper.from_array(np.ones((256, 256), ml_dtypes.int4), "w")
    scale = numpy_helper.from_array(np.full((256, 8), 0.5, np.float32), "s")
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=1, block_size=32),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    model = build(nodes, [("x", TensorProto.FLOAT, ["n", 256])], ["y"], [weight, scale])
    run = session(model, tmp_path, {"target": "cpu:avx2"})
    np.testing.assert_allclose(run.run({"x": np.ones((3, 256), np.float32)})["y"], np.full((3, 256), 128))
    assert (tmp_path / "graph.lathe").stat().st_size < 90_000


def test_unsupported_types(tmp_path):
    model = build([helper.make_node("Cast", ["x"], ["y"], to=24)], [("x", TensorProto.FLOAT, ["n"])], ["y"])
    onnx.save(model, tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match="a cast to data type FLOAT8E8M0 is not supported"):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")


def test_float4(target, tmp_path):
    """Every value, what lies between two of them, and what is beyond, as its bits."""
    kind, dtype = TensorProto.FLOAT4E2M1, ml_dtypes.float4_e2m1fn
    small = np.arange(16, dtype=np.uint8).view(dtype)
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["x"], ["same"]),
        helper.make_node("Cast", ["y"], ["narrow"], to=kind),
        helper.make_node("Cast", ["y"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("CastLike", ["d", "x"], ["double"]),
        helper.make_node("Cast", ["small"], ["constant"], to=TensorProto.BFLOAT16),
    ]
    model = build(
        nodes,
        [("x", kind, ["n"]), ("y", TensorProto.FLOAT, ["m"])],
        ["f", "same", "narrow", "double", "constant"],
        [numpy_helper.from_array(small, "small")],
    )
    run = session(model, tmp_path, target)
    exact = np.unique(small.astype(np.float32))
    middle = (exact[1:] + exact[:-1]) / 2
    near = np.concatenate([np.nextafter(middle, np.float32(9)), np.nextafter(middle, np.float32(-9))])
    y = np.concatenate([exact, middle, near, [-0.0, 7, -1e9, np.inf, -np.inf, np.nan]]).astype(np.float32)
    for count, values in ((16, y), (1, y[:1]), (0, y[:0]), (33, y[::-1])):
        x = np.resize(np.arange(16, dtype=np.uint8), count)
        got = run.run({"x": x, "y": np.ascontiguousarray(values)})
        decoded = x.view(dtype).astype(np.float32)
        np.testing.assert_array_equal(got["f"], decoded)
        np.testing.assert_array_equal(np.signbit(got["f"]), np.signbit(decoded))
        np.testing.assert_array_equal(got["same"], x)
        for name in ("narrow", "double"):
            np.testing.assert_array_equal(got[name], values.astype(dtype).view(np.uint8), err_msg=name)
        np.testing.assert_array_equal(got["constant"].view(ml_dtypes.bfloat16), small.astype(ml_dtypes.bfloat16))


def test_block_scales_of_powers_of_two(target, tmp_path):
    """Weights of four bits with a scale of eight a block (MXFP4), which stay as small in the artifact."""
    random = np.random.default_rng(0)
    weight = random.integers(0, 16, (256, 512), np.uint8).view(ml_dtypes.float4_e2m1fn)
    scale = random.integers(120, 134, (8, 512), np.uint8).view(ml_dtypes.float8_e8m0fnu)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=32, output_dtype=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(scale, "s")]
    run = session(build(nodes, [("x", TensorProto.FLOAT, ["n", 256])], ["y"], initializers), tmp_path, target)
    dense = weight.astype(np.float32) * np.repeat(scale.astype(np.float32), 32, axis=0)
    for count in (1, 0, 7):
        x = random.standard_normal((count, 256), dtype=np.float32)
        np.testing.assert_allclose(run.run({"x": x})["y"], x @ dense, rtol=1e-4, atol=5e-2)
    assert (tmp_path / "graph.lathe").stat().st_size < 256 * 512 // 2 + 40_000


def test_exponents_alone(target, tmp_path):
    """FLOAT8E8M0 as an input: every bit pattern."""
    model = build([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)], [("x", TensorProto.FLOAT8E8M0, ["n"])], ["y"])
    run = session(model, tmp_path, target)
    bits = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(run.run({"x": bits})["y"], bits.view(ml_dtypes.float8_e8m0fnu).astype(np.float32))
