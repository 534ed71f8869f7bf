# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Exports small models of random weights from `transformers`: export.py FOLDER [NAME…] [--exporter dynamo|torchscript]
[--opset N] [--attention default|eager|sdpa]. Writes NAME.FORM.EXPORTER.OPSET.ATTENTION.onnx, and a .json beside it that tells
what compare.py needs of its inputs. Needs torch, transformers, onnx and onnxscript."""
import argparse
import inspect
import json
import os
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

import onnx
import torch
import transformers
from architectures import ARCHITECTURES
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

SECONDS = 300  # for one export
SIZES = {"batch": 2, "sequence": 7, "past_sequence": 5, "target_sequence": 3, "samples": 1600, "frames": 40}
FORMS = {
    "text": ["plain"],
    "layout": ["plain"],
    "decoder": ["nocache", "cache"],
    "decoder_nocache": ["nocache"],
    "seq2seq": ["encoder", "full", "cross"],
    "speech2text": ["encoder", "full", "cross"],
    "image": ["plain"],
    "audio": ["plain"],
    "features": ["plain"],
    "spectrogram": ["plain"],
    "image_text": ["plain"],
    "named": ["plain"],
}
CLASSES = {
    "decoder": "AutoModelForCausalLM",
    "decoder_nocache": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "speech2text": "AutoModelForSpeechSeq2Seq",
}


def build(name, attention):
    """A model of random weights whose outputs depend on all of them."""
    architecture = ARCHITECTURES[name]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(architecture.type or name, **architecture.config)
    auto = getattr(transformers, architecture.model or CLASSES.get(architecture.kind, "AutoModel"))
    # The default experts are an operation that no exporter knows; eager ones route by what the run computes.
    config._experts_implementation = "eager" if attention == "eager" else "batched_mm"
    make = getattr(auto, "from_config", None) or getattr(auto, "_from_config")
    model = make(config, **({} if attention == "default" else {"attn_implementation": attention})).eval().float()
    for parameter in model.parameters():
        if parameter.dim() >= 2 and parameter.numel() > 1:
            parameter.data = torch.randn(parameter.shape) / parameter[0].numel() ** 0.5
        else:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return architecture, model


class Inputs:
    """Names, example tensors and names of dimensions of a model's inputs."""

    def __init__(self, sizes):
        self.sizes = {**SIZES, **sizes}
        self.tensors, self.dims, self.ranges = {}, {}, {}

    def add(self, name, dims, high=None, ones=False):
        shape = [self.sizes[dim] if isinstance(dim, str) else dim for dim in dims]
        if ones:
            tensor = torch.ones(shape, dtype=torch.int64)
        else:
            tensor = torch.randint(0 if high <= 6 else 5, high, shape) if high else torch.randn(shape)
        self.tensors[name], self.dims[name], self.ranges[name] = tensor, dims, high
        return self

    def ids(self, name, dims, vocabulary):
        return self.add(name, dims, high=vocabulary)


def probe_cache(model, call):
    """The shapes that the model itself gives its cache: (heads, key size, value size) for each layer."""
    with torch.no_grad():
        cache = call(model).past_key_values
    self_cache = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
    return [(layer.keys.shape[1], layer.keys.shape[-1], layer.values.shape[-1]) for layer in self_cache.layers]


def make_cache(values, prefix, layers):
    """A cache of the inputs, after as many layers as have one."""
    pairs = [(values[f"{prefix}.{i}.key"], values[f"{prefix}.{i}.value"]) for i in range(layers)]
    return DynamicCache(ddp_cache_data=pairs)


def flatten(output, prefix=""):
    """Named tensors of a model's output."""
    result = {}
    if isinstance(output, torch.Tensor):
        return {"output": output}
    for key, value in output.items() if hasattr(output, "items") else enumerate(output):
        if isinstance(value, torch.Tensor):
            result[f"{prefix}{key}"] = value
        elif isinstance(value, EncoderDecoderCache):
            result.update(flatten({"present": value.self_attention_cache}, prefix))
        elif isinstance(value, DynamicCache):
            for i, layer in enumerate(value.layers):
                result[f"{prefix}present.{i}.key"], result[f"{prefix}present.{i}.value"] = layer.keys, layer.values
        elif isinstance(value, (tuple, list)) or hasattr(value, "items"):
            result.update(flatten(value, f"{prefix}{key}."))
    return result


def accepts(model, name):
    return name in inspect.signature(model.forward).parameters


def text(architecture, model, form, inputs):
    vocabulary = model.config.vocab_size if hasattr(model.config, "vocab_size") else 100
    inputs.ids("input_ids", ["batch", "sequence"], min(vocabulary, 95))
    if accepts(model, "attention_mask"):
        inputs.add("attention_mask", ["batch", "sequence"], ones=True)
    if architecture.kind == "layout":
        inputs.ids("bbox", ["batch", "sequence", 4], 6)
    if accepts(model, "token_type_ids") and getattr(model.config, "type_vocab_size", 0) > 1:
        inputs.tensors["token_type_ids"] = torch.randint(0, 2, inputs.tensors["input_ids"].shape)
        inputs.dims["token_type_ids"] = ["batch", "sequence"]
        inputs.ranges["token_type_ids"] = 2
    return lambda module, values: module(**values)


def decoder(architecture, model, form, inputs):
    cached = form == "cache"
    inputs.ids("input_ids", ["batch", "sequence"], 95)
    layers = []
    if cached:
        example = {"input_ids": torch.randint(5, 95, (1, 3)), "use_cache": True}
        layers = probe_cache(model, lambda m: m(**example))
    if accepts(model, "attention_mask"):
        inputs.sizes["total_sequence"] = inputs.sizes["sequence"] + (inputs.sizes["past_sequence"] if cached else 0)
        inputs.add("attention_mask", ["batch", "total_sequence" if cached else "sequence"], ones=True)
    if accepts(model, "position_ids"):
        start = inputs.sizes["past_sequence"] if cached else 0
        positions = torch.arange(start, start + inputs.sizes["sequence"])
        inputs.tensors["position_ids"] = positions.expand(inputs.sizes["batch"], -1).clone()
        inputs.dims["position_ids"] = ["batch", "sequence"]
    for i, (heads, key, value) in enumerate(layers):
        inputs.add(f"past_key_values.{i}.key", ["batch", heads, "past_sequence", key])
        inputs.add(f"past_key_values.{i}.value", ["batch", heads, "past_sequence", value])

    def call(module, values):
        plain = {k: v for k, v in values.items() if not k.startswith("past_key_values")}
        if cached:
            plain["past_key_values"] = make_cache(values, "past_key_values", len(layers))
        if accepts(module, "use_cache"):
            plain["use_cache"] = cached
        return module(**plain)

    return call


def seq2seq(architecture, model, form, inputs):
    speech = architecture.kind == "speech2text"
    d_model = getattr(model.config, "d_model", None) or model.config.hidden_size
    source = 20 if speech else "sequence"
    if form != "cross":
        if speech:
            inputs.add("input_features", ["batch", model.config.num_mel_bins, 40])
        else:
            inputs.ids("input_ids", ["batch", "sequence"], 95).add("attention_mask", ["batch", "sequence"], ones=True)
    if form == "encoder":
        return lambda module, values: module.get_encoder()(**values)
    inputs.ids("decoder_input_ids", ["batch", "target_sequence"], 95)
    if form == "full":
        return lambda module, values: {"logits": module(**values, use_cache=False).logits}
    example = {"decoder_input_ids": torch.randint(5, 95, (1, 3)), "use_cache": True}
    example["encoder_outputs"] = BaseModelOutput(last_hidden_state=torch.zeros(1, source if speech else 8, d_model))
    layers = probe_cache(model, lambda m: m(**example))
    inputs.add("encoder_hidden_states", ["batch", source, d_model])
    if not speech:
        inputs.add("attention_mask", ["batch", "sequence"], ones=True)
    for i, (heads, key, value) in enumerate(layers):
        for part, size in (("key", key), ("value", value)):
            inputs.add(f"past_key_values.{i}.{part}", ["batch", heads, "past_sequence", size])
            inputs.add(f"cross_key_values.{i}.{part}", ["batch", heads, source, size])

    def call(module, values):
        plain = {k: values[k] for k in ("decoder_input_ids", "attention_mask") if k in values}
        cache = EncoderDecoderCache(
            make_cache(values, "past_key_values", len(layers)), make_cache(values, "cross_key_values", len(layers))
        )
        encoded = BaseModelOutput(last_hidden_state=values["encoder_hidden_states"])
        output = module(**plain, encoder_outputs=encoded, past_key_values=cache, use_cache=True)
        return {"logits": output.logits, "present": output.past_key_values}

    return call


def image(architecture, model, form, inputs):
    channels, height, width = architecture.image
    if architecture.dynamic_image:
        inputs.sizes.update(height=height, width=width)
        height, width = "height", "width"
    inputs.add("pixel_values", ["batch", channels, height, width])
    return lambda module, values: module(**values)


def audio(architecture, model, form, inputs):
    inputs.add("input_values", ["batch", "samples"])
    return lambda module, values: module(**values)


def features(architecture, model, form, inputs):
    inputs.add("hidden_states", ["batch", "frames", model.config.hidden_size])
    return lambda module, values: module.encoder(**values)


def spectrogram(architecture, model, form, inputs):
    inputs.add("input_values", ["batch", model.config.max_length, model.config.num_mel_bins])
    return lambda module, values: module(**values)


def image_text(architecture, model, form, inputs):
    merges = getattr(model.config, "image_token_id", None) is not None
    inputs.ids("input_ids", ["batch", "sequence"], 95)
    inputs.add("attention_mask", ["batch", "sequence"], ones=True)
    if merges:
        inputs.sizes["sequence"] = 24
        inputs.ids("input_ids", ["batch", "sequence"], 95).add("attention_mask", ["batch", "sequence"], ones=True)
        inputs.tensors["input_ids"][:, 2:18] = model.config.image_token_id
        inputs.ranges["input_ids"] = [95, 2, 18, model.config.image_token_id]
    inputs.add("pixel_values", ["batch", *architecture.image])
    extra = {"use_cache": False} if merges else {}
    return lambda module, values: module(**values, **extra)


def named(architecture, model, form, inputs):
    for name, (dims, high) in architecture.inputs.items():
        inputs.add(name, dims, high=high, ones=name == "attention_mask")
    return lambda module, values: module(**values)


KINDS = {
    "text": text,
    "layout": text,
    "decoder": decoder,
    "decoder_nocache": decoder,
    "seq2seq": seq2seq,
    "speech2text": seq2seq,
    "image": image,
    "audio": audio,
    "features": features,
    "spectrogram": spectrogram,
    "image_text": image_text,
    "named": named,
}


def wrap(model, call, names):
    """A module whose forward takes the inputs one by one, as both exporters need it."""
    identifiers = [name.replace(".", "_") for name in names]
    space = {}
    arguments = ", ".join(identifiers)
    exec(f"def forward(self, {arguments}):\n    return self.compute([{arguments}])", space)

    def compute(self, values):
        result = flatten(call(self.model, dict(zip(names, values))))
        self.names = list(result)
        return tuple(result.values())

    space.update(compute=compute)
    module = type("Wrapper", (torch.nn.Module,), {"forward": space["forward"], "compute": compute})()
    module.model = model
    return module.eval()


def export(name, form, exporter, opset, attention, path):
    architecture, model = build(name, attention)
    inputs = Inputs(architecture.example)
    call = KINDS[architecture.kind](architecture, model, form, inputs)
    names = list(inputs.tensors)
    module = wrap(model, call, names)
    arguments = tuple(inputs.tensors.values())
    with torch.no_grad():
        module(*arguments)
    axes = {n: {i: d for i, d in enumerate(inputs.dims[n]) if isinstance(d, str)} for n in names}
    options = dict(input_names=names, output_names=module.names, opset_version=opset)
    if exporter == "dynamo":
        shapes = {n.replace(".", "_"): axes[n] for n in names}
        torch.onnx.export(module, arguments, str(path), dynamo=True, dynamic_shapes=shapes, external_data=False, **options)
    else:
        torch.onnx.export(module, arguments, str(path), dynamo=False, dynamic_axes=axes, **options)
    strip(path)
    about = {"dims": inputs.dims, "ranges": inputs.ranges, "sizes": list(architecture.sizes), "form": form, "kind": architecture.kind}
    about["example"] = inputs.sizes
    path.with_suffix(".json").write_text(json.dumps(about))


def strip(path):
    """Removes what a node came from: it is most of the file and tells of the machine that wrote it."""
    model = onnx.load(path)
    graph = model.graph
    for part in [model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer]:
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, path)


def isolated(work):
    """Runs it in a process of its own with a limit of time; the error's last line, or an empty text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        sys.stdout = sys.stderr = open(os.environ.get("EXPORT_LOG", os.devnull), "a")
        signal.alarm(SECONDS)
        text = ""
        try:
            work()
        except BaseException as error:  # noqa: BLE001: whatever the exporter raises is the answer
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text[:2000].encode())
        sys.stdout.flush()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"took longer than {SECONDS} s" if os.WTERMSIG(status) == signal.SIGALRM else f"signal {os.WTERMSIG(status)}"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--exporter", default="dynamo", choices=["dynamo", "torchscript"])
    parser.add_argument("--opset", type=int, default=20)
    parser.add_argument("--attention", default="default", help="eager, sdpa, or what the model takes by itself")
    parser.add_argument("--forms", nargs="*", help="of those that the kind has; default all")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or ARCHITECTURES:
        for form in FORMS[ARCHITECTURES[name].kind]:
            if options.forms and form not in options.forms:
                continue
            title = f"{name}.{form}.{options.exporter}.{options.opset}.{options.attention}"
            path = options.folder / f"{title}.onnx"
            failure = options.folder / f"{title}.failed"
            if path.with_suffix(".json").exists() or failure.exists():
                continue
            start = time.monotonic()
            error = isolated(lambda: export(name, form, options.exporter, options.opset, options.attention, path))
            if error:
                failure.write_text(error)
            print(f"{title}: {error.splitlines()[0][:150] if error else 'ok'} ({time.monotonic() - start:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
