# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Checkpoints as GPTQ, AWQ and compressed-tensors tools write them, and graphs whose nodes and initializers have the names that exporters give."""
import json
import struct

import ml_dtypes
import numpy as np
import onnx
from onnx import numpy_helper

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
          "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}


def write_safetensors(path, tensors):
    """Writes arrays by name."""
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": DTYPES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def packed(codes, bits):
    """Codes along the first axis, one behind the other in words of 32 bits."""
    count = codes.shape[0]
    words = np.zeros((-(-count * bits // 32) + 1, *codes.shape[1:]), np.uint64)
    for i in range(count):
        word, shift = divmod(i * bits, 32)
        value = codes[i].astype(np.uint64) << np.uint64(shift)
        words[word] |= value & np.uint64(0xFFFFFFFF)
        words[word + 1] |= value >> np.uint64(32)
    return words[: -(-count * bits // 32)].astype(np.uint32).view(np.int32)


class Layer:
    """A matrix [k, n] rounded to codes of `bits` with a scale and a zero point for each group of inputs."""

    def __init__(self, weight, bits, group, symmetric, order=None):
        k, n = weight.shape
        self.bits, self.asked, self.group = bits, group, k if group <= 0 else group
        # The group of each input: neighbours, or those that are next in `order`.
        self.index = np.empty(k, np.int32)
        self.index[np.arange(k) if order is None else order] = np.arange(k) // self.group
        groups = -(-k // self.group)
        largest = 2**bits - 1
        scales, zeros = np.empty((groups, n), np.float16), np.empty((groups, n), np.int64)
        for g in range(groups):
            rows = weight[self.index == g]
            low, high = np.minimum(rows.min(0), 0), np.maximum(rows.max(0), 0)
            if symmetric:
                high = np.maximum(high, -low)
                low = -high
            scales[g] = np.maximum((high - low) / largest, 1e-4)
            # GPTQ's first format has no room for a zero point of 0.
            zeros[g] = 2 ** (bits - 1) if symmetric else np.clip(np.round(-low / scales[g].astype(np.float32)), 1, largest)
        self.scales, self.zeros = scales, zeros
        scale, zero = scales.astype(np.float32)[self.index], zeros[self.index]
        self.codes = np.clip(np.round(weight / scale) + zero, 0, largest).astype(np.int64)
        self.dense = (scale * (self.codes - zero)).astype(np.float32)

    def gptq(self, name, version=1):
        mask = 2**self.bits - 1
        return {
            f"{name}.qweight": packed(self.codes, self.bits),
            f"{name}.qzeros": packed((self.zeros.T - (1 if version == 1 else 0)) & mask, self.bits).T.copy(),
            f"{name}.scales": self.scales,
            f"{name}.g_idx": self.index,
        }

    def awq(self, name):
        def pack(codes):
            return packed(codes.reshape(len(codes), -1, 8)[:, :, AWQ_ORDER].reshape(len(codes), -1).T, 4).T.copy()

        return {f"{name}.qweight": pack(self.codes), f"{name}.qzeros": pack(self.zeros), f"{name}.scales": self.scales}

    def gemv(self, name):
        """AWQ's version gemv: by outputs, with columns of zero points and scales up to whole words that are loaded together."""
        groups, n = self.scales.shape
        together = {64: 2, 32: 4}.get(self.group, 1)
        words = -(-(-(-groups // 8)) // together) * together
        zeros, scales = np.zeros((8 * words, n), np.int64), np.zeros((n, 8 * words), np.float16)
        zeros[:groups], scales[:, :groups] = self.zeros, self.scales.T
        return {f"{name}.qweight": packed(self.codes, 4).T.copy(), f"{name}.qzeros": packed(zeros, 4).T.copy(), f"{name}.scales": scales}

    def marlin(self, name, names=("B", "s")):
        """Four bits without zero points, in tiles of 16 x 16 as threads of a warp read them: a thread has of each of four tiles the rows
        2b, 2b + 1 and those 8 below, of two columns that are 8 apart."""
        k, n = self.codes.shape
        tiles = self.codes.reshape(k // 16, 16, n // 64, 4, 16).transpose(0, 2, 3, 1, 4)
        codes = tiles.reshape(k // 16, n // 64, 4, 2, 4, 2, 2, 8)  # tile, upper or lower rows, pair of rows, row, left or right, column
        codes = codes.transpose(0, 1, 7, 4, 2, 5, 6, 3).reshape(k // 16, 16 * n)
        scales = self.scales
        if len(scales) > 1:
            scales = scales.reshape(len(scales), n // 64, 8, 8).transpose(0, 1, 3, 2)
        else:
            scales = scales.reshape(1, n // 32, 4, 4, 2).transpose(0, 1, 3, 2, 4)
        return {f"{name}.{names[0]}": packed(codes.T, 4).T.copy(), f"{name}.{names[1]}": scales.reshape(self.scales.shape).copy()}

    def bytes(self, name, symmetric):
        """Codes of a byte, as compressed-tensors' 'int-quantized' has them."""
        tensors = {f"{name}.weight": (self.codes - 128).astype(np.int8).T.copy(), f"{name}.weight_scale": self.scales.T.copy()}
        if not symmetric:
            tensors[f"{name}.weight_zero_point"] = (self.zeros - 128).astype(np.int8).T.copy()
        return tensors

    def compressed(self, name, symmetric):
        """As llm-compressor writes it."""
        tensors = {
            f"{name}.weight_packed": packed(self.codes, self.bits).T.copy(),
            f"{name}.weight_scale": self.scales.T.copy(),
            f"{name}.weight_shape": np.array(self.codes.shape[::-1], np.int64),
            f"{name}.weight_g_idx": self.index if np.any(np.diff(self.index) < 0) else np.full_like(self.index, -1),
        }
        if not symmetric:
            tensors[f"{name}.weight_zero_point"] = packed(self.zeros.T, self.bits)
        return tensors


class FloatLayer:
    """A matrix [k, n] in floats of 8 bits, with a scale for each block of outputs and inputs; 0: all of them."""

    def __init__(self, weight, outputs=1, inputs=0, dtype=ml_dtypes.float8_e4m3fn, scale_dtype=np.float32):
        k, n = weight.shape
        outputs, inputs = outputs or n, inputs or k
        rows, columns = -(-n // outputs), -(-k // inputs)
        self.scales = np.empty((rows, columns), scale_dtype)
        largest = float(ml_dtypes.finfo(dtype).max)
        for i in range(rows):
            for j in range(columns):
                block = weight.T[i * outputs : (i + 1) * outputs, j * inputs : (j + 1) * inputs]
                self.scales[i, j] = max(np.abs(block).max() / largest, 1e-6)
        scale = self.scales.astype(np.float32).repeat(outputs, 0)[:n].repeat(inputs, 1)[:, :k]
        self.codes = np.clip(weight.T / scale, -largest, largest).astype(dtype)
        self.dense = (self.codes.astype(np.float32) * scale).T.copy()

    def bytes(self, name, scale="weight_scale", shape=None):
        scales = self.scales if shape is None else self.scales.reshape(shape)
        return {f"{name}.weight": self.codes, f"{name}.{scale}": scales}


MODULES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def llama_modules(model):
    """The nodes of the small Llama's linear layers by the names of their modules, in the order of the program."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in initializers]
    names = [f"model.layers.{layer}.{module}" for layer in range(2) for module in MODULES]
    assert len(nodes) == len(names) + 1  # and the head, which is tied to the embedding
    return dict(zip(names, nodes))


def named_like(model, style):
    """Gives the linear layers of the small Llama the names that an exporter gives them.

    names: initializers are the parameters, [outputs, inputs], before a Transpose. scopes: as of the TorchScript exporter.
    metadata: as of the exporter since PyTorch 2.5. values: names that say nothing.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for number, (module, node) in enumerate(llama_modules(model).items()):
        tensor = tensors[node.input[1]]
        if style == "names":
            name = f"model.{module}.weight"
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).T.copy(), name))
            turned = onnx.helper.make_node("Transpose", [name], [f"turned_{number}"], f"turn_{number}", perm=[1, 0])
            model.graph.node.insert(0, turned)
            node.input[1] = turned.output[0]
        elif style == "scopes":
            tensor.name = node.input[1] = f"onnx::MatMul_{number}"
            node.name = "/model/" + module.replace(".", "/").replace("layers/", "layers.") + "/MatMul"
        elif style == "metadata":
            parts = module.split(".")
            path = [""] + [".".join(["model", *parts[:i]]) for i in range(1, len(parts) + 1)] + [node.name]
            node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(path))
    return model


def weights_of(model):
    """Initializers as arrays by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
