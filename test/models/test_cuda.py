# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models for CUDA on its emulator (or on LATHE_TEST_DEVICE), from one artifact each at several shapes, and what a machine without a GPU says."""
import json
import os

import numpy as np
import pytest
from support import DEVICE, assert_close, make_inputs
from test_generation import encoder_inputs, prompts_of, sources_of
from test_more_models import ids, right_padded
from test_vision_and_speech import images, speech

# (batch, sequence, past): odd ones, 1, and none.
SHAPES = [(1, 7, 0), (2, 19, 3), (3, 1, 5), (0, 4, 0)]


def compare(emulated, oracle, name, inputs):
    try:
        references = oracle(name, inputs)
    except Exception as error:  # ONNX Runtime has an exception class for each status
        pytest.skip(f"ONNX Runtime does not run it: {str(error)[:80]}")
    assert_close(emulated(name).run(inputs), references)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["bert", "bert_opset23", "distilbert", "roberta", "gpt2", "llama", "llama_opset23"])
def test_model(name, shape, emulated, oracle):
    batch, length, past = shape
    decoder = name.startswith(("gpt2", "llama"))
    compare(emulated, oracle, name, make_inputs(name, batch, length, past if decoder else 0, padded=True))


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("name, heads, size", [("mistral", 2, 8), ("qwen2", 2, 8), ("gpt2_legacy", 4, 16)])
def test_decoder(name, heads, size, shape, emulated, oracle):
    batch, length, past = shape
    random = np.random.default_rng(shape)
    mask = np.ones((batch, past + length), np.int64)
    positions = np.ascontiguousarray(np.cumsum(mask, axis=1)[:, past:] - 1)
    inputs = {"input_ids": ids(random, batch, length), "attention_mask": mask, "position_ids": positions}
    for layer in range(2):
        for part in ("key", "value"):
            inputs[f"past_key_values.{layer}.{part}"] = random.standard_normal((batch, heads, past, size), dtype=np.float32)
    compare(emulated, oracle, name, inputs)


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("name", ["gpt2_nocache", "llama_nocache", "t5_encoder", "bart", "t5"])
def test_without_cache(name, shape, emulated, oracle):
    batch, length, target = shape
    random = np.random.default_rng(shape)
    inputs = {"input_ids": ids(random, batch, length), "attention_mask": right_padded(batch, length)}
    if name in ("bart", "t5"):
        inputs["decoder_input_ids"] = ids(random, batch, max(target, 1))
    compare(emulated, oracle, name, inputs)


@pytest.mark.parametrize("name, batch", [("vit", 1), ("vit", 3), ("swin", 2), ("swin_legacy", 1)])
def test_images(name, batch, emulated, oracle):
    compare(emulated, oracle, name, images(name, batch))


@pytest.mark.parametrize("batch, length", [(1, 1), (3, 5)])
def test_speech(batch, length, emulated, oracle):
    compare(emulated, oracle, "whisper", speech(batch, length))


def test_index_out_of_range(emulated):
    """A kernel finds what the processor's code does, and the session goes on."""
    import lathe

    inputs = make_inputs("bert", 2, 7)
    right = inputs["input_ids"][1, 3]
    inputs["input_ids"][1, 3] = 10**6
    with pytest.raises(lathe.Error, match="out of range") as caught:
        emulated("bert").run(inputs)
    assert caught.value.status == lathe.Status.EXECUTION_ERROR
    inputs["input_ids"][1, 3] = right
    emulated("bert").run(inputs)


@pytest.mark.parametrize("name, kept", [("gpt2", "int4"), ("llama", "f32"), ("llama", "int8")])
def test_generation(name, kept, artifact):
    """Caches are pages on the device: prompts of several lengths, beyond a page, and beams, which share and copy pages, give what the processor gives."""
    import lathe

    flags = () if kept == "f32" else ("--kv-cache", kept)
    path = artifact(name, "--target", "cpu:avx2,cuda:sm_80", "--generate", "on", *flags)
    modules = [lathe.load(path, device=device) for device in ("cpu", DEVICE)]
    random = np.random.default_rng(5)
    prompts = [random.integers(5, 900, length).tolist() for length in (3, 1, 66)]
    results = [module.generate(prompts, max_new_tokens=6) for module in modules]
    assert results[0] == results[1]
    beams = [module.generate(prompts[0], max_new_tokens=4, num_beams=3) for module in modules]
    assert beams[0] == beams[1]


def test_generation_of_an_encoder_and_decoder(artifact):
    """What the encoder gives is copied into pages of the device."""
    import lathe

    path = artifact("t5", "--target", "cpu:avx2,cuda:sm_80", "--generate", "on")
    modules = [lathe.load(path, device=device) for device in ("cpu", DEVICE)]
    sources, prompts = sources_of("t5", [5, 66]), prompts_of("t5", [1, 2])
    results = [m.generate(prompts, encoder_inputs(m.generator(), sources), max_new_tokens=5) for m in modules]
    assert results[0] == results[1]


def test_devices_of_the_command_line(artifact, lathe_tool, tmp_path):
    """One artifact for both devices: the processor by default, the emulator by name, and a reason where there is no GPU."""
    path = artifact("bert", "--target", "cpu:avx2,cuda:sm_80")
    inputs, outputs = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(inputs, **make_inputs("bert", 2, 5))
    lathe_tool.ok("run", path, "--inputs", inputs, "--outputs", outputs)
    tolerances = ("--expect", outputs, "--rtol", "1e-3", "--atol", "1e-4")
    lathe_tool.ok("run", path, "--inputs", inputs, "--device", DEVICE, *tolerances)
    lathe_tool.ok("run", path, "--inputs", inputs, "--device", "auto", *tolerances)
    report = json.loads(lathe_tool.ok("inspect", path, "--json"))
    assert report["devices"] == ["cpu", "cuda"]
    bench = ("bench", path, "--dim", "batch=1", "--dim", "sequence=3", "--warmup", "1", "--iterations", "1", "--json")
    assert json.loads(lathe_tool.ok(*bench, "--device", DEVICE))["device"] == DEVICE
    profile = lathe_tool.ok("profile", path, "--inputs", inputs, "--device", DEVICE, "--by", "kernel")
    assert "matmul" in profile
    wrong = lathe_tool("run", path, "--inputs", inputs, "--device", "tpu")
    assert wrong.returncode == 2
    assert "the artifact is not for device 'tpu'; it is for: cpu, cuda" in wrong.stderr
    if not any(os.path.exists(f"/usr/lib/{folder}/libcuda.so.1") for folder in ("x86_64-linux-gnu", "wsl/lib", "")):
        wrong = lathe_tool("run", path, "--inputs", inputs, "--outputs", tmp_path / "none.npz", "--device", "cuda")
        assert wrong.returncode == 3
        assert "device 'cuda' does not work here: no NVIDIA driver" in wrong.stderr
        assert len(wrong.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "none.npz").exists()
