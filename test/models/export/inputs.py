# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Inputs of exported models, at several sizes."""
import numpy as np

# By the names of dimensions that a model may have.
SIZES = [
    {"batch": 1, "sequence": 1, "past_sequence": 0, "target_sequence": 1, "samples": 1600, "frames": 1},
    {"batch": 2, "sequence": 7, "past_sequence": 5, "target_sequence": 3, "samples": 2500, "frames": 13},
    {"batch": 3, "sequence": 33, "past_sequence": 1, "target_sequence": 9, "samples": 1999, "frames": 40},
    {"batch": 1, "sequence": 20, "past_sequence": 12, "target_sequence": 1, "samples": 3201, "frames": 7},
    {"batch": 5, "sequence": 1, "past_sequence": 31, "target_sequence": 1, "samples": 1600, "frames": 2},
    {"batch": 0, "sequence": 4, "past_sequence": 3, "target_sequence": 2, "samples": 1600, "frames": 3},
]


def random_inputs(infos, about, size, seed):
    """Inputs of the sizes, with masks whose rows differ."""
    random = np.random.default_rng(seed)
    size = {**size, "total_sequence": size["sequence"] + size["past_sequence"]}
    if about["form"] != "cache":
        size["total_sequence"] = size["sequence"]
    result = {}
    for info in infos:
        dims, name = about["dims"][info.name], info.name
        shape = [size[dim] if isinstance(dim, str) else dim for dim in dims]
        high = about["ranges"].get(name)
        if name == "attention_mask":
            mask = np.ones(shape, np.int64)
            for row in range(0, shape[0], 2):
                part = min(row + shape[1] // 3, max(shape[1] - 1, 0))
                if about["kind"].startswith("decoder"):
                    mask[row, :part] = 0
                elif about["kind"] != "image_text" and part:
                    mask[row, -part:] = 0
            value = mask
        elif name == "position_ids":
            mask = result.get("attention_mask", np.ones((shape[0], size["total_sequence"]), np.int64))
            value = np.ascontiguousarray(np.maximum(np.cumsum(mask, axis=1) - 1, 0)[:, -shape[1] :]).reshape(shape)
        elif isinstance(high, list):
            limit, start, end, special = high
            value = random.integers(5, limit, shape)
            value[:, start:end] = special
        elif "int64" in info.type:
            value = random.integers(0 if high and high <= 6 else 5, high or 6, shape)
            if name == "bbox":
                value = np.sort(value, axis=-1)
        else:
            value = random.standard_normal(shape)
        result[name] = value.astype(np.int64 if "int64" in info.type else np.float32)
    return result


def sizes_of(about):
    if about["sizes"]:
        sizes = about["sizes"]
    elif "height" in about["example"]:
        height, width = about["example"]["height"], about["example"]["width"]
        sizes = [{"height": h, "width": w} for h, w in ((height, width), (width, height), (2 * height, width))]
    elif about["kind"] == "image_text" and isinstance(about["ranges"]["input_ids"], list):
        sizes = [{"batch": b, "sequence": s} for b, s in ((1, 18), (2, 24), (3, 31))]
    else:
        sizes = SIZES
    return [{**SIZES[i % len(SIZES)], **size} for i, size in enumerate(sizes)]
