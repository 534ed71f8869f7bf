# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Large models within bounded memory. Weights are sparse files, which cost neither disk nor time to make.

LATHE_LARGE=1 adds the model of 4 GiB, whose artifact takes as much disk.
"""
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from cli_support import INVALID_MODEL, OK, OVER_BUDGET, USAGE, check_failure, external, on_a_terminal, save
from onnx import TensorProto, helper, numpy_helper

GIB = 1 << 30


def large(folder, layers, width, transposed=False):
    """layers matmuls of [width, width] f32 weights in one file of external data; the weights' bytes."""
    size = 4 * width * width
    with open(folder / "weights.bin", "wb") as file:
        os.truncate(file.fileno(), layers * size)
    weights, nodes, value = [], [], "x"
    for i in range(layers):
        weights.append(external(f"w{i}", [width, width], "weights.bin", i * size))
        right = f"w{i}"
        if transposed:
            nodes.append(helper.make_node("Transpose", [right], [f"t{i}"], perm=[1, 0]))
            right = f"t{i}"
        nodes.append(helper.make_node("MatMul", [value, right], [f"y{i}"], name=f"matmul_{i}"))
        value = f"y{i}"
    save(folder / "m.onnx", nodes, [("x", ["batch", width])], [(value, ["batch", width])], weights)
    return layers * size


def measured(tool, *arguments):
    """The finished process, and its peak of resident memory in bytes."""
    script = (
        "import os, subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL);"
        "_, status, usage = os.wait4(p.pid, 0); print('peak', usage.ru_maxrss * 1024, file=sys.stderr);"
        "sys.exit(os.waitstatus_to_exitcode(status) % 256)"
    )
    command = [sys.executable, "-c", script, str(tool.path), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900)
    return result, int(result.stderr.rsplit("peak", 1)[1])


def compile_within(tool, folder, size, bound):
    result, peak = measured(tool, "compile", folder / "m.onnx", "-o", folder / "m.lathe", "--max-memory", f"{bound >> 20}MiB")
    assert result.returncode == OK, result.stderr
    assert (folder / "m.lathe").stat().st_size >= size
    assert peak <= bound, f"{peak / 1e6:.0f} MB resident"
    return peak


def test_large_model_in_little_memory(lathe_tool, tmp_path):
    size = large(tmp_path, 4, 8192)
    compile_within(lathe_tool, tmp_path, size, GIB // 2)
    os.remove(tmp_path / "m.lathe")


@pytest.mark.skipif(not os.environ.get("LATHE_LARGE"), reason="takes 4 GiB of disk; LATHE_LARGE=1 runs it")
@pytest.mark.parametrize("transposed", [False, True])
def test_model_of_4_gib(transposed, lathe_tool, tmp_path):
    size = large(tmp_path, 4, 16384, transposed)
    print("peak", compile_within(lathe_tool, tmp_path, size, GIB))
    os.remove(tmp_path / "m.lathe")


def test_packing_in_slabs_keeps_every_element(lathe_tool, tmp_path):
    """Above one slab (64 MiB) and piece, of odd extents, in both orders of the source."""
    rows, columns = 5001, 4003
    rng = np.random.default_rng(0)
    weight = rng.integers(-8, 8, (rows, columns)).astype(np.float32)
    x = rng.integers(-2, 3, (2, rows)).astype(np.float32)
    for name, stored in (("plain", weight), ("transposed", np.ascontiguousarray(weight.T))):
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        if name == "transposed":
            nodes = [helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["x", "t"], ["y"])]
        tensor = numpy_helper.from_array(stored, "w")
        model = save(tmp_path / "m.onnx", nodes, [("x", [2, rows])], [("y", [2, columns])], [tensor])
        lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "-q")
        np.savez(tmp_path / "x.npz", x=x)
        np.savez(tmp_path / "y.npz", y=x @ weight)
        lathe_tool.ok("run", tmp_path / "m.lathe", "--inputs", tmp_path / "x.npz", "--expect", tmp_path / "y.npz", "--atol", "0.01")


def test_over_the_bound(lathe_tool, tmp_path):
    """Whichever phase passes it: the code is 5, and nothing is left."""
    large(tmp_path, 2, 2048)
    before = sorted(path.name for path in tmp_path.iterdir())
    for bound in ("20MiB", "70MiB"):
        for command in (["compile", tmp_path / "m.onnx", "-o", tmp_path / "out.lathe"], ["check", tmp_path / "m.onnx"]):
            result = lathe_tool(*command, "--max-memory", bound)
            check_failure(result, OVER_BUDGET, "--max-memory", "resident", "phase", bound[:2])
            assert result.stderr.count("error:") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("size", ["many", "-1", "0", "12XB", "", "1e99GB"])
def test_bad_bounds(size, lathe_tool, linear_onnx, fails_to_compile):
    fails_to_compile(linear_onnx, USAGE, "--max-memory", flags=[f"--max-memory={size}"])


def test_file_above_the_limit_of_protobuf(lathe_tool, linear_onnx, tmp_path):
    path = tmp_path / "big.onnx"
    shutil.copyfile(linear_onnx, path)
    os.truncate(path, 2_500_000_000)
    words = ["2500000000", "2147483647", "onnx.save_model(", "save_as_external_data=True", "big.onnx"]
    for command in (["check", path], ["compile", path, "-o", tmp_path / "m.lathe"], ["inspect", path]):
        result, peak = measured(lathe_tool, *command)
        check_failure(result, INVALID_MODEL, *words)
        assert peak < GIB // 4


def varint(value):
    """A number as protobuf writes it."""
    text = bytearray()
    while value > 127:
        text.append(value & 127 | 128)
        value >>= 7
    return bytes(text) + bytes([value])


@pytest.mark.parametrize("tag", [b"\x4a", b"\x22"], ids=["raw_data", "float_data"])
def test_weights_in_the_file_are_not_copied(tag, lathe_tool, tmp_path):
    """256 MiB of weights in the model itself, the end of a sparse file, as raw data or as a list of numbers."""
    side = 8192
    size = 4 * side * side
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = save(tmp_path / "m.onnx", nodes, [("x", [1, side])], [("y", [1, side])])
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[side, side]).SerializeToString() + tag + varint(size)
    graph = b"\x2a" + varint(len(tensor) + size) + tensor  # an initializer, of a graph that is merged with the first
    with open(model, "ab") as file:
        file.write(b"\x3a" + varint(len(graph) + size) + graph)
        file.truncate(file.tell() + size)
    compile_within(lathe_tool, tmp_path, size, 256 << 20)


def constant_model(path, where, array, place):
    """y = x + w, with w in a branch of If, as its initializer or its Constant, or as a Constant of the graph."""
    if place == "external":
        (path.parent / "w.bin").write_bytes(array.tobytes())
        tensor = external("w", array.shape, "w.bin")
    else:
        tensor = numpy_helper.from_array(array, "w")
    shape = list(array.shape)
    add = helper.make_node("Add", ["x", "w"], ["z"])
    constant = helper.make_node("Constant", [], ["w"], name="the_constant", value=tensor)
    if where == "main":
        nodes = [constant, helper.make_node("Add", ["x", "w"], ["y"])]
    else:
        z = helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)
        inner = [add] if where == "initializer" else [constant, add]
        then = helper.make_graph(inner, "then", [], [z], [tensor] if where == "initializer" else [])
        other = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "else", [], [z])
        condition = numpy_helper.from_array(np.array(True), "c")
        nodes = [
            helper.make_node("Constant", [], ["c"], value=condition),
            helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
        ]
    return save(path, nodes, [("x", shape)], [("y", shape)])


@pytest.mark.parametrize("where", ["initializer", "constant", "main"])
@pytest.mark.parametrize("place", ["file", "external"])
def test_weights_of_inner_graphs_and_constants(where, place, lathe_tool, tmp_path):
    array = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    model = constant_model(tmp_path / "m.onnx", where, array, place)
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "--dump-ir", tmp_path / "ir")
    text = next((tmp_path / "ir").glob("01-*")).read_text()
    assert "lathe.weight" in text and len(text) < 5000
    np.savez(tmp_path / "x.npz", x=array)
    np.savez(tmp_path / "y.npz", y=2 * array)
    lathe_tool.ok("run", tmp_path / "m.lathe", "--inputs", tmp_path / "x.npz", "--expect", tmp_path / "y.npz")


def test_the_number_of_jobs_changes_nothing(lathe_tool, onnx_path, tmp_path):
    files = []
    for jobs in (1, 2, 7):
        files.append(tmp_path / f"{jobs}.lathe")
        lathe_tool.ok("compile", onnx_path("bert"), "-o", files[-1], "--jobs", str(jobs))
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()


def test_check_says_what_to_do(lathe_tool, tmp_path):
    nodes = [
        helper.make_node("TfIdfVectorizer", ["x"], ["a"], name="node_tfidf"),
        helper.make_node("TfIdfVectorizer", ["x"], ["b"], name="other_tfidf"),
        helper.make_node("Wobble", ["x"], ["c"], name="node_wobble", domain="com.example"),
        helper.make_node("Dropout", ["x", "", "training"], ["d"], name="node_dropout"),
    ]
    training = numpy_helper.from_array(np.array(True), "training")
    outputs = [(name, None) for name in "abcd"]
    model = save(tmp_path / "m.onnx", nodes, [("x", [4, 4])], outputs, [training], opsets=(("", 20), ("com.example", 1)))
    result = lathe_tool("check", model)
    check_failure(result, INVALID_MODEL, "TfIdfVectorizer, 2 nodes", "'node_tfidf', 'other_tfidf'", "onnx.FunctionProto", "model.eval()")
    assert result.stderr.count("hint:") == 3
    result = lathe_tool("check", "--json", model)
    assert result.returncode == INVALID_MODEL
    found = json.loads(result.stdout)
    assert not found["supported"]
    assert [entry["node"] for entry in found["unsupported"]] == ["node_tfidf", "other_tfidf", "node_wobble", "node_dropout"]
    assert all(entry["hint"] and entry["reason"] for entry in found["unsupported"])
    assert [(group["op"], group["count"]) for group in found["groups"]] == [("TfIdfVectorizer", 2), ("Wobble", 1), ("Dropout", 1)]
    assert found["groups"][0]["nodes"] == ["node_tfidf", "other_tfidf"]


def test_progress(lathe_tool, linear_onnx, tmp_path):
    # Kernels of which no two are equal, so that making their code takes its time.
    count = range(90)
    nodes = [helper.make_node("Softmax", [f"x{i}"], [f"y{i}"]) for i in count]
    model = save(tmp_path / "slow.onnx", nodes, [(f"x{i}", ["n", 16 + i]) for i in count], [(f"y{i}", None) for i in count])
    slow = [lathe_tool.path, "compile", model, "-o", tmp_path / "m.lathe", "--jobs", "1"]
    text, code = on_a_terminal(slow)
    assert code == OK
    assert "code for avx2, avx512" in text
    assert text.endswith("\r\033[K")
    assert on_a_terminal([*slow, "-q"]) == ("", OK)
    assert on_a_terminal([lathe_tool.path, "compile", linear_onnx, "-o", tmp_path / "m.lathe"]) == ("", OK)
