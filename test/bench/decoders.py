#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Writes a decoder of a public shape with weights that mean nothing: decoders.py SHAPE OUT_DIR [--arithmetic f32|f16]

SHAPE is one of SHAPES. Matrices are f16, beside the graph, and written in pieces: a few MiB of numbers of a normal distribution
with a deviation of 0.02, over and over, each tensor from another one on. `--arithmetic f32` widens them where they are multiplied, which
is what `lathe compile --precision` starts from; f16 computes in f16 all but norms, for runtimes that take types from the graph.
Both graphs read one file. A file that is there and fits is left as it is.
"""
import argparse
import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DEVIATION, POOL = 0.02, 1 << 22
ALIGNMENT = 4096  # of tensors in the file


class Shape(NamedTuple):
    """A Llama; `tied`: the head is the transpose of the table of embeddings."""

    layers: int
    hidden: int
    heads: int
    key_heads: int
    inner: int
    vocabulary: int
    tied: bool
    head: int
    theta: float = 500000.0
    epsilon: float = 1e-5


SHAPES = {
    "llama-1b": Shape(16, 2048, 32, 8, 8192, 128256, True, 64),  # Llama 3.2 1B
    "llama-8b": Shape(32, 4096, 32, 8, 14336, 128256, False, 128),  # Llama 3.1 8B
    "llama-tiny": Shape(2, 64, 4, 2, 160, 96, True, 16),
}


class Graph:
    """Nodes, and where their weights lie in the file beside them."""

    def __init__(self, shape, arithmetic, file):
        self.shape, self.file = shape, file
        self.wide = arithmetic == "f32"
        self.type = TensorProto.FLOAT if self.wide else TensorProto.FLOAT16
        self.nodes, self.initializers, self.bytes = [], [], 0

    def op(self, kind, *inputs, **attributes):
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value, dtype):
        array = np.asarray(value, dtype)
        name = f"{array.dtype}:{array.tolist()}" if array.size < 9 else f"constant_{len(self.initializers)}"
        if all(tensor.name != name for tensor in self.initializers):
            self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def shape_of(self, *sizes):
        return self.constant(sizes, np.int64)

    def number(self, value):
        return self.constant(value, np.float32 if self.wide else np.float16)

    def weight(self, name, rows, columns):
        """A matrix as it is stored."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=[rows, columns], data_location=TensorProto.EXTERNAL)
        size = 2 * rows * columns
        for key, value in (("location", self.file), ("offset", self.bytes), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        self.bytes += -(-size // ALIGNMENT) * ALIGNMENT
        self.initializers.append(tensor)
        return name

    def widened(self, name):
        return self.op("Cast", name, to=TensorProto.FLOAT) if self.wide else name

    def product(self, x, name, rows, columns):
        return self.op("MatMul", x, self.widened(self.weight(f"{name}.weight", rows, columns)))

    def norm(self, x, name):
        """By the root mean square, in f32."""
        gain = numpy_helper.from_array(np.ones(self.shape.hidden, np.float32 if self.wide else np.float16), f"{name}.weight")
        self.initializers.append(gain)
        rows = x if self.wide else self.op("Cast", x, to=TensorProto.FLOAT)
        mean = self.op("ReduceMean", self.op("Pow", rows, self.constant(2, np.float32)), self.shape_of(-1), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.constant(self.shape.epsilon, np.float32)))
        rows = self.op("Mul", rows, self.op("Reciprocal", root))
        return self.op("Mul", gain.name, rows if self.wide else self.op("Cast", rows, to=self.type))

    def rotated(self, x, angles):
        half = self.shape.head // 2
        ends = [self.shape_of(at) for at in (0, half, 1 << 62)]
        low, high = (self.op("Slice", x, ends[i], ends[i + 1], self.shape_of(3), self.shape_of(1)) for i in (0, 1))
        turned = self.op("Concat", self.op("Neg", high), low, axis=-1)
        return self.op("Add", self.op("Mul", x, angles[0]), self.op("Mul", turned, angles[1]))

    def heads(self, x, count):
        rows = self.op("Reshape", x, self.shape_of(0, 0, count, self.shape.head))
        return self.op("Transpose", rows, perm=[0, 2, 1, 3])

    def repeated(self, rows, total, batch):
        """Each head of keys or values as often as queries share it."""
        shape = self.shape
        times = self.shape_of(shape.heads // shape.key_heads)
        size = self.op("Concat", batch, self.shape_of(shape.key_heads), times, total, self.shape_of(shape.head), axis=0)
        wide = self.op("Expand", self.op("Unsqueeze", rows, self.shape_of(2)), size)
        return self.op("Reshape", wide, self.op("Concat", batch, self.shape_of(shape.heads), total, self.shape_of(shape.head), axis=0))

    def angles(self):
        """Cosines and sines [batch, 1, sequence, columns of a head] of the positions."""
        shape = self.shape
        steps = (1 / shape.theta ** (np.arange(0, shape.head, 2) / shape.head)).astype(np.float32)
        at = self.op("Cast", self.op("Unsqueeze", "position_ids", self.shape_of(2)), to=TensorProto.FLOAT)
        angle = self.op("Mul", at, self.constant(steps, np.float32))
        both = self.op("Concat", angle, angle, axis=-1)
        found = [self.op("Unsqueeze", self.op(kind, both), self.shape_of(1)) for kind in ("Cos", "Sin")]
        return found if self.wide else [self.op("Cast", angle, to=self.type) for angle in found]

    def mask(self, past, sequence, total):
        """What is added to scores: 0 where a query sees a key."""
        zero, one = self.constant(0, np.int64), self.constant(1, np.int64)
        scalar = lambda size: self.op("Squeeze", size, self.shape_of(0))
        keys = self.op("Range", zero, scalar(total), one)
        queries = self.op("Add", self.op("Range", zero, scalar(sequence), one), scalar(past))
        seen = self.op("LessOrEqual", self.op("Unsqueeze", keys, self.shape_of(0, 1, 2)), self.op("Unsqueeze", queries, self.shape_of(0, 1, 3)))
        there = self.op("Unsqueeze", self.op("Cast", "attention_mask", to=TensorProto.BOOL), self.shape_of(1, 2))
        least = float(np.finfo(np.float32 if self.wide else np.float16).min)
        return self.op("Where", self.op("And", seen, there), self.number(0), self.number(least))

    def layer(self, x, number, angles, mask, batch, total):
        shape, name = self.shape, f"model.layers.{number}"
        columns, key_columns = shape.heads * shape.head, shape.key_heads * shape.head
        rows = self.norm(x, f"{name}.input_layernorm")
        query = self.heads(self.product(rows, f"{name}.self_attn.q_proj", shape.hidden, columns), shape.heads)
        key, value = (self.heads(self.product(rows, f"{name}.self_attn.{part}_proj", shape.hidden, key_columns), shape.key_heads) for part in "kv")
        query, key = self.rotated(query, angles), self.rotated(key, angles)
        present = []
        for part, rows in (("key", key), ("value", value)):
            self.nodes.append(helper.make_node("Concat", [f"past_key_values.{number}.{part}", rows], [f"present.{number}.{part}"], axis=2))
            present.append(self.repeated(f"present.{number}.{part}", total, batch))
        scores = self.op("MatMul", query, self.op("Transpose", present[0], perm=[0, 1, 3, 2]))
        scores = self.op("Add", self.op("Mul", scores, self.number(shape.head**-0.5)), mask)
        seen = self.op("Transpose", self.op("MatMul", self.op("Softmax", scores, axis=-1), present[1]), perm=[0, 2, 1, 3])
        seen = self.op("Reshape", seen, self.shape_of(0, 0, columns))
        x = self.op("Add", x, self.product(seen, f"{name}.self_attn.o_proj", columns, shape.hidden))
        rows = self.norm(x, f"{name}.post_attention_layernorm")
        gate, up = (self.product(rows, f"{name}.mlp.{part}_proj", shape.hidden, shape.inner) for part in ("gate", "up"))
        inner = self.op("Mul", self.op("Mul", gate, self.op("Sigmoid", gate)), up)
        return self.op("Add", x, self.product(inner, f"{name}.mlp.down_proj", shape.inner, shape.hidden))

    def build(self):
        """The model; its tensors of f16 are in the file from 0 to self.bytes."""
        shape = self.shape
        size = lambda name, axis: self.op("Shape", name, start=axis, end=axis + 1)
        batch, sequence, past = size("input_ids", 0), size("input_ids", 1), size("past_key_values.0.key", 2)
        total = self.op("Add", past, sequence)
        table = self.weight("model.embed_tokens.weight", shape.vocabulary, shape.hidden)
        x = self.widened(self.op("Gather", table, "input_ids"))
        angles, mask = self.angles(), self.mask(past, sequence, total)
        for number in range(shape.layers):
            x = self.layer(x, number, angles, mask, batch, total)
        x = self.norm(x, "model.norm")
        if shape.tied:
            x = self.op("MatMul", x, self.op("Transpose", self.widened(table), perm=[1, 0]))
        else:
            x = self.product(x, "lm_head", shape.hidden, shape.vocabulary)
        self.nodes.append(helper.make_node("Identity", [x], ["logits"]))
        words = {"input_ids": ["batch", "sequence"], "attention_mask": ["batch", "total_sequence"], "position_ids": ["batch", "sequence"]}
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, dims) for name, dims in words.items()]
        outputs = [helper.make_tensor_value_info("logits", self.type, ["batch", "sequence", shape.vocabulary])]
        for number in range(shape.layers):
            for part in ("key", "value"):
                rows = lambda length: ["batch", shape.key_heads, length, shape.head]
                inputs.append(helper.make_tensor_value_info(f"past_key_values.{number}.{part}", self.type, rows("past_sequence")))
                outputs.append(helper.make_tensor_value_info(f"present.{number}.{part}", self.type, rows("total_sequence")))
        graph = helper.make_graph(self.nodes, "decoder", inputs, outputs, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def numbers(start, count, pool):
    """So many numbers of the endless repetition of the pool, from `start` on, in pieces."""
    while count > 0:
        start %= len(pool)
        piece = pool[start : start + count]
        yield piece
        start, count = start + len(piece), count - len(piece)


def write_weights(model, path):
    pool = (np.random.default_rng(5).standard_normal(POOL, np.float32) * np.float32(DEVIATION)).astype(np.float16)
    with open(path, "wb") as file:
        for index, tensor in enumerate(tensor for tensor in model.graph.initializer if tensor.data_location == TensorProto.EXTERNAL):
            entries = {entry.key: entry.value for entry in tensor.external_data}
            file.seek(int(entries["offset"]))
            for piece in numbers(index * 104729, int(np.prod(tensor.dims, dtype=np.int64)), pool):
                file.write(piece.tobytes())


def write(name, folder, arithmetic="f32"):
    """Puts a decoder into `folder`, and returns the model's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    graph = Graph(SHAPES[name], arithmetic, "weights.bin")
    model = graph.build()
    path, data, stamp = folder / f"{name}-{arithmetic}.onnx", folder / graph.file, folder / "weights.stamp"
    wanted = hashlib.sha256(repr(SHAPES[name]).encode() + Path(__file__).read_bytes()).hexdigest()
    if not (stamp.exists() and data.exists() and stamp.read_text() == wanted):
        stamp.unlink(missing_ok=True)
        unfinished = folder / f"{graph.file}.unfinished"
        try:
            write_weights(model, unfinished)
            os.replace(unfinished, data)
        finally:
            unfinished.unlink(missing_ok=True)
        stamp.write_text(wanted)  # the last: what has one is complete
    path.write_bytes(model.SerializeToString())
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arithmetic", choices=("f32", "f16"), default="f32", help="what the graph computes in (f32)")
    args = parser.parse_args()
    try:
        print(write(args.shape, args.folder, args.arithmetic))
    except OSError as error:
        sys.exit(f"decoders.py: error: {error}")


if __name__ == "__main__":
    main()
