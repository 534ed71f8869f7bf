#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Writes a model whose graph lies here without its weights: weights.py GRAPH.onnx OUT_DIR

Matrices and tables are of a normal distribution with a deviation of 0.02, gains of norms 1, biases 0. What a tensor holds depends
on its name alone. A file that is there and fits is left as it is.
"""
import hashlib
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx

DEVIATION = 0.02


def values(tensor):
    """The array of an initializer."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    count = int(np.prod(tensor.dims, dtype=np.int64))
    if not np.issubdtype(dtype, np.floating):
        raise ValueError(f"'{tensor.name}': expects external data of a float type, got {dtype}")
    if len(tensor.dims) == 1:
        return np.full(count, 1 if tensor.name.endswith("weight") else 0, dtype)
    random = np.random.default_rng(zlib.crc32(tensor.name.encode()))
    return (random.standard_normal(count, np.float32) * np.float32(DEVIATION)).astype(dtype)


def external_tensors(model):
    """(tensor, file name, offset) of each initializer whose data lie outside the graph."""
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            name = entries["location"]
            if Path(name).name != name:
                raise ValueError(f"'{tensor.name}': expects a file beside the model, got '{name}'")
            yield tensor, name, int(entries.get("offset", 0))


def write(graph, folder):
    """Puts graph and weights into `folder`, and returns the model's path."""
    graph, folder = Path(graph), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path, stamp = folder / graph.name, folder / f"{graph.stem}.stamp"
    text = graph.read_bytes()
    wanted = hashlib.sha256(text + Path(__file__).read_bytes()).hexdigest()
    model = onnx.load_from_string(text)
    tensors = list(external_tensors(model))
    names = sorted({name for _, name, _ in tensors})
    if stamp.exists() and stamp.read_text() == wanted and all((folder / name).exists() for name in [graph.name, *names]):
        return path
    stamp.unlink(missing_ok=True)
    for name in names:
        unfinished = folder / f"{name}.unfinished"
        try:
            with open(unfinished, "wb") as file:
                for tensor, location, offset in tensors:
                    if location == name:
                        file.seek(offset)
                        file.write(values(tensor).tobytes())
            os.replace(unfinished, folder / name)
        finally:
            unfinished.unlink(missing_ok=True)
    path.write_bytes(text)
    stamp.write_text(wanted)  # the last: what has one is complete
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        print(write(sys.argv[1], sys.argv[2]))
    except (OSError, ValueError, onnx.onnx_cpp2py_export.checker.ValidationError) as error:
        sys.exit(f"weights.py: error: {error}")
