# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Small files that ask for much: what they cost beyond a model that asks for nothing is a second and 16 MiB."""
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from cli_support import INVALID_MODEL, OK
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
HUGE = [[1 << 31], [1 << 20, 1 << 20], [1 << 59], [1 << 40, 1 << 19], [1 << 62], [1 << 32, 1 << 32]]
SECONDS, MEBIBYTES = 1.0, 16
node = helper.make_node


def ints(name, values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def floats(name, values):
    return numpy_helper.from_array(np.array(values, np.float32), name)


def model(nodes, inputs=(), initializers=(), output=FLOAT, functions=(), opset=20):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info("y", output, None)],
        list(initializers),
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("d", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions)).SerializeToString()


def chain(count, make, source="x"):
    """Nodes that each take the value of the one before; make(i, value, name) is a list of nodes."""
    nodes, value = [], source
    for i in range(count):
        name = "y" if i + 1 == count else f"v{i}"
        nodes += make(i, value, name)
        value = name
    return nodes


def functions_that_call(depth, calls):
    """Function i calls function i - 1 many times."""
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("d", 1)]
    result = []
    for i in range(depth):
        called, domain = ("Relu", "") if i == 0 else (f"f{i - 1}", "d")
        body = chain(calls, lambda _, a, b: [node(called, [a], [b], domain=domain)])
        result.append(helper.make_function("d", f"f{i}", ["x"], ["y"], body, imports))
    return model([node(f"f{depth - 1}", ["x"], ["y"], domain="d")], [("x", [2])], functions=result)


def loop(trips, body, initial="x"):
    values = [("i", INT64, []), ("c", BOOL, []), ("v", FLOAT, None)]
    inputs = [helper.make_tensor_value_info(*value) for value in values]
    outputs = [helper.make_tensor_value_info("c2", BOOL, []), helper.make_tensor_value_info("w", FLOAT, None)]
    return node("Loop", [trips, "", initial], ["y"], body=helper.make_graph([node("Identity", ["c"], ["c2"]), *body], "b", inputs, outputs))


def length(value):
    text = bytearray()
    while value > 127:
        text.append(value & 127 | 128)
        value >>= 7
    return bytes(text) + bytes([value])


def nested_graphs(depth):
    """A graph in an attribute of a node of a graph, and so on."""
    content = b""
    for _ in range(depth):
        for tag in b"\x32\x2a\x0a":
            content = bytes([tag]) + length(len(content)) + content
    return b"\x3a" + length(len(content)) + content


def files():
    yield "nothing", model([node("Relu", ["x"], ["y"])], [("x", [2])])
    for dims in HUGE:
        name = "x".join(str(dim.bit_length() - 1) for dim in dims)
        shape, one = ints("s", dims), floats("a", 1)
        yield f"input {name}", model([node("Relu", ["x"], ["y"])], [("x", dims)])
        yield f"fill {name}", model([node("ConstantOfShape", ["s"], ["y"])], (), [shape])
        yield f"fill and add {name}", model([node("ConstantOfShape", ["s"], ["a"]), node("Add", ["a", "a"], ["y"])], (), [shape])
        yield f"expand {name}", model([node("Expand", ["a", "s"], ["y"])], (), [shape, one])
        cast = [node("Expand", ["a", "s"], ["b"]), node("Cast", ["b"], ["y"], to=INT64)]
        yield f"expand and cast {name}", model(cast, (), [shape, one], INT64)
        yield f"tile {name}", model([node("Tile", ["a", "s"], ["y"])], (), [shape, floats("a", np.ones([1] * len(dims)))])
        nonzero = [node("ConstantOfShape", ["s"], ["a"]), node("NonZero", ["a"], ["y"])]
        yield f"nonzero {name}", model(nonzero, (), [shape], INT64)
        yield f"raw data {name}", model([node("Relu", ["w"], ["y"])], (), [TensorProto(name="w", data_type=FLOAT, dims=dims, raw_data=b"1234")])
        yield f"numbers {name}", model([node("Relu", ["w"], ["y"])], (), [TensorProto(name="w", data_type=FLOAT, dims=dims, float_data=[1])])
    yield "pad", model([node("Pad", ["x", "p"], ["y"])], [("x", [4])], [ints("p", [1 << 40, 1 << 40])])
    yield "pad below", model([node("Pad", ["x", "p"], ["y"])], [("x", [4])], [ints("p", [-(1 << 62), -(1 << 62)])])
    yield "range", model([node("Range", ["a", "b", "c"], ["y"])], (), [ints("a", 0), ints("b", 1 << 40), ints("c", 1)], INT64)
    yield "range of floats", model([node("Range", ["a", "b", "c"], ["y"])], (), [floats("a", 0), floats("b", 1e30), floats("c", 1e-6)])
    yield "eye", model([node("EyeLike", ["x"], ["y"])], [("x", [1 << 20, 1 << 20])])
    yield "window", model([node("HannWindow", ["n"], ["y"])], (), [ints("n", 1 << 40)])
    mel = [ints("a", 1 << 20), ints("b", 1 << 20), ints("c", 16000), floats("d", 0), floats("e", 8000)]
    yield "mel", model([node("MelWeightMatrix", list("abcde"), ["y"])], (), mel)
    yield "resize", model([node("Resize", ["x", "", "s"], ["y"], mode="cubic")], [("x", [1, 1, 4, 4])], [floats("s", [1, 1, 1e6, 1e6])])
    yield "kernel", model([node("MaxPool", ["x"], ["y"], kernel_shape=[1 << 30])], [("x", [1, 1, 1 << 31])])
    yield "dilation", model([node("Conv", ["x", "w"], ["y"], dilations=[1 << 40])], [("x", [1, 1, 1 << 50]), ("w", [1, 1, 3])])
    yield "einsum", model([node("Einsum", ["x"] * 6, ["y"], equation="ab,cd,ef,gh,ij,kl->abcdefghijkl")], [("x", [1000, 1000])])
    yield "loop", model([loop("t", [node("Add", ["v", "v"], ["w"])])], [("x", [2])], [ints("t", 1 << 40)])
    grow = loop("t", [node("Concat", ["v", "v"], ["w"], axis=0)])
    yield "loop of constants", model([grow], (), [ints("t", 40), floats("x", [1, 2, 3])])
    doubled = chain(40, lambda _, a, b: [node("Concat", [a, a], [b], axis=0)])
    yield "doubled constants", model(doubled, (), [ints("x", [1, 2, 3, 4])], INT64)
    yield "doubled", model(doubled, [("x", ["n"])])
    squares = chain(64, lambda _, a, b: [node("Mul", [a, a], [b])], "s")
    shape_of = [node("Shape", ["x"], ["s"])]
    squares[-1].output[0] = "last"
    yield "squares of shapes", model([*shape_of, *squares, node("ConstantOfShape", ["last"], ["y"])], [("x", ["n", "m"])])
    halves = chain(
        40,
        lambda i, a, b: [node("Add", [a, "one"], [f"p{i}"]), node("Div", [f"p{i}", "two"], [f"q{i}"]), node("Mul", [f"p{i}", f"q{i}"], [b])],
        "s",
    )
    halves[-1].output[0] = "last"
    numbers = [ints("one", [1]), ints("two", [2])]
    yield "polynomials of shapes", model([*shape_of, *halves, node("ConstantOfShape", ["last"], ["y"])], [("x", ["n", "m"])], numbers)
    powers = chain(40, lambda _, a, b: [node("Mul", [a, a], [b])], "p")
    powers[-1].output[0] = "last"
    shape = [node("Cast", ["last"], ["s"], to=INT64), node("ConstantOfShape", ["s"], ["y"])]
    yield "powers of floats", model([*powers, *shape], (), [floats("p", [1])])
    parts = [node("Split", ["x"], [f"p{i}" for i in range(500)], axis=0, num_outputs=500)]
    yield "parts", model([*parts, node("Concat", [f"p{i}" for i in range(500)], ["y"], axis=0)], [("x", ["n"])])
    yield "transform", model([node("DFT", ["x"], ["y"])], [("x", [1, 1 << 40, 1])])
    yield "transform to a length", model([node("DFT", ["x", "n"], ["y"])], [("x", [1, 16, 1])], [ints("n", 1 << 31)])
    yield "transform of frames", model([node("STFT", ["x", "s", "", "n"], ["y"])], [("x", [1, 1 << 20, 1])], [ints("s", 1), ints("n", 1 << 19)])
    yield "pooled", model([node("AveragePool", ["x"], ["y"], kernel_shape=[1 << 20], count_include_pad=1)], [("x", [1, 1, 1 << 30])])
    yield "one of many", model([node("OneHot", ["i", "d", "v"], ["y"])], (), [ints("i", [0]), ints("d", 1 << 40), floats("v", [0, 1])])
    fill = [node("ConstantOfShape", ["s"], ["w"]), node("MatMul", ["x", "w"], ["y"])]
    yield "filled weights", model(fill, [("x", [4, 1 << 16])], [ints("s", [1 << 16, 1 << 16])])
    kernels = [node("ConstantOfShape", ["s"], ["w"]), node("Conv", ["x", "w"], ["y"])]
    yield "filled kernels", model(kernels, [("x", [1, 1 << 16, 3, 3])], [ints("s", [1 << 16, 1 << 16, 3, 3])])
    yield "recurrence", model([node("RNN", ["x", "w", "r"], ["y"], hidden_size=2)], [("x", [1 << 20, 1, 2])], [floats("w", np.ones((1, 2, 2))), floats("r", np.ones((1, 2, 2)))])
    halved = chain(
        30,
        lambda i, a, b: [node("Shape", [a], [f"s{i}"]), node("Div", [f"s{i}", "two"], [f"h{i}"]), node("Slice", [a, f"h{i}", "far"], [b])],
    )
    yield "slices of halves", model(halved, [("x", ["n"])], [ints("two", [2]), ints("far", [1 << 60])])
    yield "chain", model(chain(2000, lambda _, a, b: [node("Relu", [a], [b])]), [("x", ["n"])])
    yield "a sum of many", model([node("Sum", ["x"] * 3000, ["y"])], [("x", ["n"])])
    yield "loop of 2^62", model([loop("t", [node("Add", ["v", "v"], ["w"])])], [("x", [2])], [ints("t", 1 << 62)])
    yield "functions of two calls", functions_that_call(40, 2)
    yield "functions of ten calls", functions_that_call(5, 10)
    yield "functions of one call", functions_that_call(200, 1)
    yield "nested graphs", nested_graphs(30)
    yield "graphs nested deep", nested_graphs(3000)
    yield "dimension in parentheses", model([node("Relu", ["x"], ["y"])], [("x", ["(" * 5000 + "N" + ")" * 5000])])
    yield "negated dimension", model([node("Relu", ["x"], ["y"])], [("x", ["-" * 10000 + "N"])])
    yield "product of sums", model([node("Relu", ["x"], ["y"])], [("x", ["*".join(["(a+b+c+d)"] * 40)])])
    yield "a string without its bytes", b"\x12\xff\xff\xff\xff\x7f" + b"x" * 100
    yield "a string of 2^63 bytes", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
    yield "groups", b"\x0b" * 160
    yield "many pieces", model([node("Concat", ["x"] * 10000, ["y"], axis=0)], [("x", ["n"])])


FILES = dict(files())


def cost(tool, path, command):
    """(exit code, seconds of processor, peak MiB, standard error)"""
    out = path.with_suffix(".lathe")
    arguments = [str(tool.path), command, str(path), *(["-o", str(out), "--target", "cpu:avx2"] if command == "compile" else [])]
    script = (
        "import os, subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL);"
        "_, status, usage = os.wait4(p.pid, 0);"
        "print('cost', os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, file=sys.stderr)"
    )

    def limit():  # what would fill a disk fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))

    result = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120, preexec_fn=limit)
    _, code, seconds, peak = result.stderr.splitlines()[-1].split()
    if out.exists():
        os.remove(out)
    return int(code), float(seconds), float(peak), result.stderr


@pytest.fixture(scope="module")
def base(lathe_tool, tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "nothing.onnx"
    path.write_bytes(FILES["nothing"])
    return {command: cost(lathe_tool, path, command) for command in ("check", "compile")}


@pytest.mark.parametrize("name", FILES)
def test_cost(name, base, lathe_tool, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(FILES[name])
    # Of a large file a little more: parsing has its price.
    size = len(FILES[name])
    code, seconds, peak, errors = cost(lathe_tool, path, "check")
    assert code in (OK, INVALID_MODEL), errors
    assert seconds - base["check"][1] < SECONDS + size / 10000, errors
    assert peak - base["check"][2] < MEBIBYTES + size / 1000, errors
    if code == OK and size < 10000:  # what machine code of many nodes costs is no matter of hostility
        code, seconds, peak, errors = cost(lathe_tool, path, "compile")
        assert code in (OK, INVALID_MODEL), errors
        assert seconds - base["compile"][1] < 2 * SECONDS + size / 5000, errors
        assert peak - base["compile"][2] < 2 * MEBIBYTES + size / 500, errors
