# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models whose keys and values are rounded as the caches of `--kv-cache` are, by NumPy over ONNX's reference evaluator."""
import types

import numpy as np
import onnx
from generation import Plain
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

DOMAIN = "test.caches"
# Bits, whether codes are symmetric, columns of a group, and whether rows are rotated: what the flags stand for.
KINDS = {"int8": (8, True, 0, True), "int4": (4, False, 32, True)}


def bf16_outwards(x, down=False):
    """bf16 not nearer to 0 than x, or not above it."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    away = (bits.astype(np.uint64) + np.where(down & (x > 0), 0, 0xFFFF)).astype(np.uint32)
    return (away & np.uint32(0xFFFF0000)).view(np.float32)


def rotate(x):
    """Products with Hadamard matrices of as many columns as the largest power of two that divides the last axis."""
    columns = min(x.shape[-1] & -x.shape[-1], 128)
    x, half = x.reshape(*x.shape[:-1], -1, columns), 1
    while half < columns:
        pairs = x.reshape(*x.shape[:-1], -1, 2, half)
        x = np.stack([pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :]], -2).reshape(x.shape)
        half *= 2
    return (x * np.float32(1 / np.sqrt(columns))).reshape(*x.shape[:-2], -1)


def round_rows(x, bits, symmetric, group, rotated):
    """What codes stand for, of each group of the last axis (docs/compression.md)."""
    x = np.asarray(x, np.float32)
    if rotated:
        return rotate(round_rows(rotate(x), bits, symmetric, group, False))
    parts = [x] if not group else np.split(x, range(group, x.shape[-1], group), -1)
    return np.concatenate([round_group(part, bits, symmetric) for part in parts], -1)


def round_group(x, bits, symmetric):
    levels = np.float32(2 ** (bits - 1) - 1 if symmetric else 2**bits - 1)
    if symmetric:
        lowest = np.float32(0)
        scale = bf16_outwards(np.abs(x).max(-1, keepdims=True) / levels)
    else:
        lowest = bf16_outwards(x.min(-1, keepdims=True), down=True)
        scale = bf16_outwards(x.max(-1, keepdims=True) / levels - lowest / levels)
    codes = np.rint((x - lowest) / np.where(scale > 0, scale, 1))
    return lowest + np.clip(codes, -levels if symmetric else 0, levels) * scale


class RoundRows(OpRun):
    op_domain = DOMAIN

    def _run(self, x, bits=None, symmetric=None, group=None, rotated=None, axis=None):
        if x.size == 0:
            return (x,)
        return (np.moveaxis(round_rows(np.moveaxis(x, axis, -1), bits, symmetric, group, rotated), -1, axis),)


def attention_operands(graph, tokens):
    """(node, place of an operand, axis of its columns) of keys and values of attentions whose queries depend on an input."""
    producer = {name: node for node in graph.node for name in node.output}
    users = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def descend(node):
        while node.op_type != "MatMul":
            node = users[node.output[0]][0]
        return node

    def ascend(name):
        while producer[name].op_type != "MatMul":
            name = producer[name].input[0]
        return producer[name]

    depends = {tokens}
    for node in graph.node:
        if depends & set(node.input) and node.op_type != "Shape":
            depends.update(node.output)
    for softmax in [node for node in graph.node if node.op_type == "Softmax" and node.output[0] in depends]:
        yield ascend(softmax.input[0]), 1, -2
        yield descend(softmax), 1, -1


def rounded_model(path, kind):
    """The model with what its attentions read rounded: caches where it has some, else keys and values of the decoder."""
    model = onnx.load(path)
    graph = model.graph
    bits, symmetric, group, rotated = KINDS[kind]
    past = {info.name for info in graph.input if info.name.startswith("past")}
    places, caches = [], set(past)
    for node in graph.node:
        if node.op_type == "Concat" and len(node.input) == 1 and node.input[0] in caches:
            caches.add(node.output[0])  # nothing is put behind it here
        elif node.op_type == "Concat" and node.input[0] in caches:
            # What is given back as the cache stays as it was, so that each row is rounded once.
            places += [(user, list(user.input).index(node.output[0]), -1) for user in graph.node if node.output[0] in user.input]
    if not past:
        places = list(attention_operands(graph, "decoder_input_ids"))
    assert places, "nothing to round"
    for number, (node, place, axis) in enumerate(places):
        name = f"rounded_{number}"
        settings = {"bits": bits, "symmetric": int(symmetric), "group": group, "rotated": int(rotated), "axis": axis}
        made = onnx.helper.make_node("RoundRows", [node.input[place]], [name], domain=DOMAIN, **settings)
        node.input[place] = name
        graph.node.insert(list(graph.node).index(node), made)
    model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return model


class Evaluator:
    """As much of ONNX Runtime's session as the loops need."""

    def __init__(self, model):
        def infos(values):
            return [
                types.SimpleNamespace(name=v.name, shape=[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]) for v in values
            ]

        self.evaluator = ReferenceEvaluator(model, new_ops=[RoundRows])
        self.inputs, self.outputs = infos(model.graph.input), infos(model.graph.output)

    def get_inputs(self):
        return self.inputs

    def get_outputs(self):
        return self.outputs

    def run(self, names, feed):
        with np.errstate(all="ignore"):  # masks are infinite
            return self.evaluator.run(names, feed)


class RoundedPlain(Plain):
    """The loops over a model whose caches are rounded."""

    def __init__(self, path, kind):
        self.session = Evaluator(rounded_model(path, kind))
