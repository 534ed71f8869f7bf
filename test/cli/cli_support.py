# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Small models, and what every failure must look like."""
import functools
import os
import pty
import resource
import signal
import subprocess
import time

import numpy as np
from onnx import TensorProto, helper, numpy_helper

# docs/exit-codes.md
OK, INTERNAL, USAGE, INVALID_MODEL, OUTSIDE_TOLERANCE, OVER_BUDGET = range(6)


def processor_seconds():
    """What the commands that have ended took of processors: limits of it hold whatever else the machine does."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def on_a_terminal(command, **variables):
    """What a process writes to standard error, where that is a terminal; its exit code."""
    ours, theirs = pty.openpty()
    environment = {**{key: value for key, value in os.environ.items() if key != "NO_COLOR"}, "TERM": "xterm", **variables}
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        text += piece
    process.stdout.close()
    os.close(ours)
    return text.decode(), process.wait(timeout=300)


def kill_when(command, condition, output, attempts=10):
    """Kills a command as soon as `condition()`. Where it came to its end before, on a machine that did other work in between, its output is removed
    and it is started again."""
    for _ in range(attempts):
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while process.poll() is None and not condition():
                time.sleep(0.001)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if process.returncode == -signal.SIGKILL and not output.exists():
            return
        assert process.returncode in (0, -signal.SIGKILL), f"{command[1]} failed: {process.returncode}"
        output.unlink(missing_ok=True)
    raise AssertionError(f"{command[1]} was always faster than what kills it")


def measured_again(test, attempts=4):
    """A test of what is faster, by far, than something else: what else the machine did may have been in the way, but not every time."""

    @functools.wraps(test)
    def again(*arguments, **named):
        for left in reversed(range(attempts)):
            try:
                return test(*arguments, **named)
            except AssertionError:
                if not left:
                    raise

    return again


def save(path, nodes, inputs, outputs, initializers=(), opsets=(("", 20),)):
    """Writes a model; inputs and outputs are (name, shape) of f32 tensors."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in group]
        for group in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "small", *values, list(initializers))
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets]
    path.write_bytes(helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())
    return path


def check_refused(lathe_tool, command, model, folder, *flags, words, seconds=2):
    """What is wrong with a recipe is told before anything takes time, and nothing is left in the folder."""
    begin = processor_seconds()
    result = lathe_tool(command, model, "-o", folder / "m.lathe", *flags)
    assert processor_seconds() - begin < seconds, "what is wrong takes long to be refused"
    check_failure(result, USAGE, *words)
    assert list(folder.iterdir()) == []


def save_residual(folder, layers, width, rows, brackets=""):
    """model.onnx: residual layers of which the later ones add less and less, so that their errors matter less; and `samples` of so many rows each."""
    values = np.random.default_rng(0)
    nodes, weights = [], []
    for i in range(layers):
        scale, name = np.float32(0.5**i / width**0.5), f"w{i}{brackets}"
        weights.append(numpy_helper.from_array(values.standard_normal((width, width), np.float32) * scale, name))
        nodes += [helper.make_node("MatMul", [f"x{i}", name], [f"m{i}"], f"product{i}"), helper.make_node("Add", [f"x{i}", f"m{i}"], [f"x{i + 1}"])]
    save(folder / "model.onnx", nodes, [("x0", ["n", width])], [(f"x{layers}", ["n", width])], weights)
    (folder / "samples").mkdir()
    for i, count in enumerate(rows):
        np.savez(folder / "samples" / f"{i}.npz", x0=values.standard_normal((count, width), np.float32))
    return folder


def save_chain(path, layers, width, values):
    """A model of products, each with a tanh behind it, from `x0` [n, width]; weights are drawn from `values`."""
    nodes, weights = [], []
    for i in range(layers):
        weights.append(numpy_helper.from_array(values.standard_normal((width, width), np.float32) / np.float32(width**0.5), f"w{i}"))
        nodes += [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"m{i}"], f"product{i}"), helper.make_node("Tanh", [f"m{i}"], [f"x{i + 1}"])]
    return save(path, nodes, [("x0", ["n", width])], [(f"x{layers}", ["n", width])], weights)


def external(name, shape, location, offset=0, length=None):
    """An f32 initializer whose data are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
    length = 4 * int(np.prod(shape)) if length is None else length
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def linear(path, weight=None):
    """y[batch, 3] = x[batch, 4] . weight + 1"""
    if weight is None:
        weight = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "weight")
    bias = numpy_helper.from_array(np.ones(3, np.float32), "bias")
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"], name="the_matmul"),
        helper.make_node("Add", ["product", "bias"], ["y"], name="the_add"),
    ]
    return save(path, nodes, [("x", ["batch", 4])], [("y", ["batch", 3])], [weight, bias])


def check_failure(result, code, *words):
    """A documented code, one `lathe: error:` on standard error, and every word in it."""
    assert result.returncode == code, f"exit code {result.returncode}, expected {code}\n{result.stderr}"
    assert "error:" in result.stderr, result.stderr
    for word in words:
        assert word in result.stderr, f"'{word}' is not in: {result.stderr}"
    for noise in ("terminate called", "LLVM ERROR", "Stack dump", "PLEASE submit"):
        assert noise not in result.stderr, result.stderr
