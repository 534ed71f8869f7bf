# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Random valid recipes of 1 to 4 steps over all techniques: the model compiles, loads and runs.

A recipe is drawn by its number, so that one that fails is tried again alone. LATHE_RECIPES=200 tries as many.
"""
import json
import os

import numpy as np
import onnxruntime
import pytest
from support import make_inputs
from test_lowrank import convolutions

import lathe

COUNT = int(os.environ.get("LATHE_RECIPES", "20"))
DECODERS = ("gpt2", "llama")
CONVOLUTIONS = "convolutions"  # two of them, one after another
MODELS = ("bert", "roberta", *DECODERS, CONVOLUTIONS)


def pick(random, *choices):
    return choices[random.integers(len(choices))]


def maybe(random, step, share=0.3, **fields):
    """Adds each field, or one of its values where that is a list, with this probability."""
    for name, value in fields.items():
        if random.random() < share:
            step[name] = pick(random, *value) if isinstance(value, list) else value
    return step


def quantize(random, model):
    step = {"format": pick(random, "int", "int", "int", "nf4", "fp4", "fp8-e4m3", "fp8-e5m2", "mxfp4", "mxfp8", "log2", "apot", "codebook")}
    step["bits"] = pick(random, *{"int": (2, 3, 4, 8), "nf4": (4,), "fp4": (4,), "log2": (3, 4), "apot": (3, 5)}.get(step["format"], (8,)))
    step["method"] = pick(random, "rtn", "mse", "gptq", "awq", *(["hqq"] if step["format"] == "int" else []))
    if step["format"] not in ("mxfp4", "mxfp8"):
        step["group_size"] = pick(random, 0, 16, 32, 64)
    if step["format"] == "codebook":
        step.update(bits=pick(random, 4, 6), dimension=pick(random, 1, 2, 4), stages=pick(random, 1, 2))
    if step["format"] == "int":
        maybe(random, step, symmetric=False, mode=["dynamic", "static"], range=["percentile", "entropy", "mse"], symmetric_activations=True)
    if step["format"] in ("int", "nf4", "fp4", "log2") and step["method"] != "hqq":
        maybe(random, step, double_quantization=True)
    if step["method"] in ("gptq", "awq"):
        maybe(random, step, sequential=True)
    return maybe(random, step, scale_type=["f32", "bf16"], act_order=False, clip=False, bias_correction=True, smooth=0.5, outliers=6.0)


def caches(random, model):
    if model not in DECODERS:
        return None
    return maybe(random, {"mode": "kv-cache", "bits": pick(random, 4, 8)}, rotate=False, group_size=[0, 16], symmetric=[True, False])


def prune(random, model):
    step = {"method": pick(random, "magnitude", "wanda", "sparsegpt"), "pattern": pick(random, "unstructured", "2:4", "5:16", "block:4x16", "block:16x1", "block:3x5")}
    if step["pattern"][0].isdigit():
        return maybe(random, step, refinements=3, act_order=True, weight_clip=0.9)
    if random.random() < 0.2:
        step["threshold"] = float(random.random() * 0.05)
    else:
        step["sparsity"] = float(random.random())
        maybe(random, step, scope=["global", "layer", "output", "input"])
    return maybe(random, step, norm="l1", refinements=3, act_order=True, weight_clip=0.9, block_size=[1, 50])


def parts(random, model):
    """Heads of encoders only: those of decoders change the caches that the samples of later steps have. Channels of
    decoders only: encoders give theirs out."""
    if model == CONVOLUTIONS:
        return None
    step = {"pattern": pick(random, "neurons", "channels" if model in DECODERS else "heads"), "method": pick(random, "magnitude", "activation", "reconstruction"), "sparsity": 0.25}
    if step["pattern"] == "neurons":
        maybe(random, step, multiple=[1, 8])
    return maybe(random, step, refit=True, scope="global", sparsity=0.5)


def lowrank(random, model):
    step = {"method": pick(random, "svd", "asvd", "svd-llm", "kronecker", "tensor-train", "circulant")}
    if model == CONVOLUTIONS and random.random() < 0.7:
        step = {"method": pick(random, "tucker", "cp", "tensor-train"), **pick(random, {"ratio": 0.5}, {"rank": 3})}
        return maybe(random, step, **({"seed": [0, 7]} if step["method"] == "cp" else {}))
    if step["method"] == "circulant":
        return {**step, **pick(random, {"block": 4}, {"block": 12 if model == CONVOLUTIONS else 16}, {"ratio": 0.7}, {"energy": 0.1})}
    if step["method"] in ("kronecker", "tensor-train"):
        step.update(pick(random, {"ratio": 0.5}, {"ratio": 0.95}, {"rank": 2}, {"energy": 0.5}))
        return maybe(random, step, **({"block": [4, 8]} if step["method"] == "kronecker" else {"cores": [2, 4]}))
    if random.random() < 0.5:
        return maybe(random, {**step, "ratio": pick(random, 0.2, 0.5)}, allocation="auto")
    return {**step, **pick(random, {"rank": 8}, {"energy": 0.5})}


def sparsify(random, model):
    return maybe(random, {}, format=["csr", "bsr", "bitmap", "n_of_m"], prefer=["speed", "size"])


def choose(random, model):
    first = {"step": "quantize", **quantize(random, model)}
    first.pop("sequential", None)  # not of single layers
    others = [{"step": "prune", "pattern": "2:4", "method": "wanda"}, [{"step": "prune"}, {"step": "quantize", "bits": 4, "group_size": 16}]]
    parts = {"step": "prune", "pattern": "neurons", "sparsity": 0.5, "multiple": 8}
    mixed = [] if model == CONVOLUTIONS else [[parts, [parts, first], *others]]
    return maybe(random, {"max_drop": 0.5}, samples=1, **{"from": [[first], [first, *others], *mixed]})


def takes_parts(step):
    """Whether a step takes parts away, or may: these are of dense weights, and go once."""
    return any(takes_parts(own) for own in step) if isinstance(step, list) else step.get("pattern") in ("heads", "neurons", "channels") or takes_parts(step.get("from", []))


def rotate(random, model):
    return maybe(random, {}, seed=[0, 7])


def equalize(random, model):
    return {}


# Kinds of steps: what draws one for a model, or None where there is none for it. A new kind is one more line.
KINDS = [("quantize", quantize), ("quantize", caches), ("prune", prune), ("prune", prune), ("prune", parts), ("lowrank", lowrank),
         ("sparsify", sparsify), ("choose", choose), ("rotate", rotate), ("equalize", equalize)]


def draw(number):
    """A model, and a recipe for it."""
    random = np.random.default_rng([20, number])
    model, steps = pick(random, *MODELS), []
    made = []
    while len(steps) < 1 + number % 4:
        kind, make = pick(random, *KINDS)
        step = make(random, model)
        # What leaves nothing to save or to take away is refused: factors of factors, parts of what a part is left of.
        if step is None or (make is lowrank and make in made) or (takes_parts(step) and takes_parts(steps)):
            continue
        made.append(make)
        if kind in ("quantize", "prune") and step.get("mode") != "kv-cache":
            maybe(random, step, share=0.15, exclude=[["*head*"]])
        steps.insert(0 if takes_parts(step) else len(steps), {"step": kind, **step})
    return model, {"version": 1, "steps": steps}


@pytest.fixture(scope="module")
def model_path(onnx_path, tmp_path_factory):
    made = convolutions(tmp_path_factory.mktemp(CONVOLUTIONS) / "m.onnx", (19, 14))
    return lambda model: made if model == CONVOLUTIONS else onnx_path(model)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    known = {}

    def of(model):
        if model not in known:
            known[model] = tmp_path_factory.mktemp(model)
            for i in range(2):
                np.savez(known[model] / f"{i}.npz", **inputs_of(model, 2, 8 + i))
        return known[model]

    return of


def inputs_of(model, batch, sequence):
    if model == CONVOLUTIONS:
        return {"x": np.random.default_rng(sequence).normal(size=(batch, 16, sequence + 8, sequence + 5)).astype(np.float32)}
    return make_inputs(model, batch, sequence, **({"past": 3} if model in DECODERS else {}))


def with_heads_of(module, inputs):
    """Caches with as many heads as are left in the artifact."""
    heads = {info.name: info.shape[1] for info in module.inputs if info.name.startswith("past_key_values")}
    return {name: value[:, : heads[name]] if name in heads else value for name, value in inputs.items()}


@pytest.mark.parametrize("number", range(COUNT))
def test_random_recipe(number, model_path, samples, tmp_path):
    model, recipe = draw(number)
    path, artifact = tmp_path / "recipe.json", tmp_path / "m.lathe"
    path.write_text(json.dumps(recipe))
    lathe.compile(model_path(model), artifact, recipe=path, calib=samples(model), quiet=True)
    module = lathe.load(artifact, verify=True)
    session = module.session()
    expected = onnxruntime.InferenceSession(str(model_path(model)), providers=["CPUExecutionProvider"])
    for batch, sequence in ((1, 1), (3, 7)):
        inputs = inputs_of(model, batch, sequence)
        outputs = session.run(with_heads_of(module, inputs))
        for value, dense in zip(expected.get_outputs(), expected.run(None, inputs)):
            got = outputs[value.name]
            # Caches have the heads that are left.
            assert got.ndim == dense.ndim and all(a == b or ("present" in value.name and i == 1) for i, (a, b) in enumerate(zip(got.shape, dense.shape)))
            assert np.isfinite(got).all(), f"{value.name}: {recipe}"


def test_draws_are_varied():
    """All kinds of steps, and all numbers of them."""
    recipes = [draw(number)[1]["steps"] for number in range(20)]
    assert {len(steps) for steps in recipes} == {1, 2, 3, 4}
    assert {step["step"] for steps in recipes for step in steps} == {kind for kind, _ in KINDS}
