# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The examples, on a compiled MiniLM and on small decoders."""
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DATA = Path(__file__).resolve().parent / "data"
SEARCH = EXAMPLES / "semantic_search" / "search.py"
GENERATE = EXAMPLES / "python_generate" / "generate.py"


def search(artifact, folder, build, *arguments):
    files = ["--model", artifact("minilm"), "--tokenizer", folder / "tokenizer.json"]
    command = [sys.executable, SEARCH, *files, *arguments]
    environment = {"PYTHONPATH": str(build / "python"), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def ranked(text):
    """(score, sentence) pairs in the order of the output."""
    return [(float(score), sentence) for score, sentence in re.findall(r"^ +(-?\d\.\d{3})  (.*)$", text, re.MULTILINE)]


def test_semantic_search(artifact, minilm_folder, build):
    text = search(artifact, minilm_folder, build)
    assert " ms" in text
    best = {query: ranked(part)[0][1] for query, part in re.findall(r'^"(.*?)".*\n((?: +.*\n)+)', text, re.MULTILINE)}
    assert best["How can I sleep better?"].startswith("Going to bed")
    assert best["news about the economy"].startswith("The central bank")
    assert "puppy" in best["pets at home"] or "cat" in best["pets at home"]


def test_own_sentences(artifact, minilm_folder, build):
    sentences = ["a recipe for bread", "the stock market fell", "my dog barks"]
    results = ranked(search(artifact, minilm_folder, build, "--query", "baking a loaf", *sentences))
    assert [sentence for _, sentence in results][0] == "a recipe for bread"
    assert len(results) == 3 and results == sorted(results, reverse=True)


def test_embedding_in_c_and_cpp(artifact, build):
    for command in (["c_embed", "2"], ["cpp_embed", "batch=2", "sequence=7"]):
        program, *arguments = command
        result = subprocess.run(
            [build / "bin" / program, artifact("minilm"), *arguments], capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr
        assert "output sentence_embedding f32 [2, 384]" in result.stdout


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A tokenizer of as many words as the small decoders know: w0 to w996."""
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "model": {
            "type": "WordPiece",
            "unk_token": "w0",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {f"w{index}": index for index in range(997)},
        },
    }
    path.write_text(json.dumps(tokenizer))
    return path


def test_python_generate(artifact, words, build):
    files = ["--model", artifact("llama"), "--tokenizer", words]
    environment = {"PYTHONPATH": str(build / "python"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, GENERATE, *files, "--max-new-tokens", "9", "w5 w6 w7", "w8"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    streamed = re.search(r"^> w5 w6 w7(.*)$", result.stdout, re.MULTILINE).group(1)
    whole = re.search(r"^'w5 w6 w7': '(.*)' \(length\)$", result.stdout, re.MULTILINE).group(1)
    assert streamed == whole and len(whole.split()) == 9
    assert "18 tokens in" in result.stdout
    carrier = artifact("llama", "--tokenizer", str(words))
    command = [sys.executable, GENERATE, "--model", carrier, "--max-new-tokens", "9", "w5 w6 w7", "w8"]
    again = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[:3] == result.stdout.splitlines()[:3], "what the artifact carries is the same"


def test_carried_files(artifact, words, tmp_path):
    """Of an artifact, in Python: texts without a path, and settings that what is given comes before."""
    import lathe

    config = tmp_path / "settings.json"
    config.write_text(json.dumps({"max_new_tokens": 7, "do_sample": True, "temperature": 2.0, "seed": 3, "eos_token_id": None}))
    path = lathe.compile(DATA / "llama.onnx", tmp_path / "m.lathe", tokenizer=words, generation_config=config)
    model, plain = lathe.load(path), lathe.load(artifact("llama"), tokenizer=words)
    assert model.documents == ("tokenizer", "generation_config") and plain.documents == ()
    assert model.document("tokenizer") == words.read_bytes() and model.document("weights") is None
    assert model.generation_config["max_new_tokens"] == 7 and plain.generation_config is None
    drawn = plain.generate("w5 w6", max_new_tokens=7, temperature=2.0, seed=3)
    greedy = plain.generate("w5 w6", max_new_tokens=7)
    assert model.generate("w5 w6") == drawn != greedy
    assert plain.generate("w5 w6", generation_config=config) == drawn
    assert plain.generate("w5 w6", generation_config=model.generation_config) == drawn
    assert "".join(model.generate("w5 w6", stream=True)) == drawn
    for given in ({"temperature": 0}, {"do_sample": False}, {"num_beams": 1}):
        assert model.generate("w5 w6", **given) == greedy, given
    assert model.generate("w5 w6", generation_config={}, max_new_tokens=7) == greedy
    ids = plain.generate([5, 6], max_new_tokens=7)
    assert len(model.generate([5, 6], temperature=0, eos_token_id=ids[2])) == ids.index(ids[2]) + 1
    config.write_text(json.dumps({"max_new_tokens": 7, "eos_token_id": ids[2], "stop_strings": ["w"]}))
    assert model.generate("w5 w6", generation_config=config) == ""
    assert model.generate("w5 w6", generation_config=config, stop_strings=[], eos_token_id=[]) == greedy
    assert plain.tokenizer.encode("w8") == model.tokenizer.encode("w8") == [8]
    with pytest.raises(lathe.Error, match="the artifact carries none"):
        lathe.load(artifact("llama")).generate("w5")
    for broken in ("[1]", "{"):
        config.write_text(broken)
        with pytest.raises(lathe.Error, match="JSON object"):
            model.generate("w5", generation_config=config)
    for wrong in ({"temperature": float("nan")}, {"seed": -1}, {"top_k": "x"}, {"eos_token_id": ["x"]}, {"early_stopping": 3}):
        with pytest.raises(lathe.Error):
            model.generate("w5", **wrong)
    with pytest.raises(lathe.Error) as failure:
        lathe.compile(DATA / "llama.onnx", tmp_path / "n.lathe", tokenizer=config)
    assert failure.value.exit_code == 3 and not (tmp_path / "n.lathe").exists()


def test_chat_c(artifact, words, build):
    import lathe

    carrier = artifact("llama", "--tokenizer", str(words))
    command = [build / "bin" / "chat_c", carrier, "6"]
    talk = "w5 w6\nw7\n\nw5 w6\n"
    result = subprocess.run(command, input=talk, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    model = lathe.load(artifact("llama"), tokenizer=words)
    first = model.generate([5, 6], max_new_tokens=6)
    second = model.generate([5, 6, *first, 7], max_new_tokens=6)
    text = [model.tokenizer.decode(ids) for ids in (first, second, first)]
    assert result.stdout.splitlines() == text
    result = subprocess.run([command[0], artifact("llama")], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "carries no tokenizer" in result.stderr


def test_generate_texts(artifact, words):
    """Texts, stop strings and streams of them."""
    import lathe

    model = lathe.load(artifact("llama"), tokenizer=words)
    ids = model.generate([5, 6], max_new_tokens=12)
    text = model.generate("w5 w6", max_new_tokens=12)
    assert text == model.tokenizer.decode(ids)
    assert model.generate(["w5 w6", [5, 6]], max_new_tokens=12) == [text, ids]
    pieces = list(model.generate("w5 w6", max_new_tokens=12, stream=True))
    assert "".join(pieces) == text and len(pieces) > 6
    stop = text[len(text) // 2 - 1 : len(text) // 2 + 3]  # begins and ends inside of tokens
    before = text[: text.find(stop)]
    assert model.generate("w5 w6", max_new_tokens=12, stop_strings=stop) == before
    assert "".join(model.generate("w5 w6", max_new_tokens=12, stop_strings=[stop], stream=True)) == before
    result = model.generate("w5 w6", max_new_tokens=12, stop_strings=stop, return_dict_in_generate=True)[0]
    assert result.text == before and result.finish_reason == "stopped" and len(result.ids) < 12
    assert model.generate("w5 w6", max_new_tokens=12, num_beams=2, num_return_sequences=2)[0]
    with pytest.raises(lathe.Error):
        lathe.load(artifact("llama"), tokenizer="missing.json")


def test_text_generation(lathe_tool, tmp_path):
    """The trained model of examples/text_generation: code that parses is likely, and its perplexity is ONNX Runtime's."""
    folder = EXAMPLES / "text_generation"
    artifact = tmp_path / "lm.lathe"
    lathe_tool.ok("compile", folder / "lm.onnx", "-o", artifact, "--tokenizer", folder / "tokenizer.json")
    command = ("generate", artifact, "-p", "    def __init__(self", "-n", "6")
    first = lathe_tool.ok(*command)
    assert first.lstrip()[0] in ",):", first
    assert lathe_tool.ok(*command, "--threads", "1") == first

    context, count = 256, 4
    report = lathe_tool.ok("perplexity", artifact, "--tokens", folder / "heldout.npy", "--context", context, "--windows", count, "--json")
    text = np.load(folder / "heldout.npy")[: context * count].astype(np.int64).reshape(count, context)
    session = onnxruntime.InferenceSession(str(folder / "lm.onnx"), providers=["CPUExecutionProvider"])
    feed = {"input_ids": text, "attention_mask": np.ones_like(text), "position_ids": np.tile(np.arange(context), (count, 1))}
    for value in session.get_inputs():
        if value.name not in feed:  # the caches, empty
            feed[value.name] = np.zeros([count, value.shape[1], 0, value.shape[3]], np.float32)
    logits = session.run(["logits"], feed)[0][:, :-1].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll = -np.take_along_axis(logs, text[:, 1:, None], -1).mean()
    assert json.loads(report)["perplexity"] == pytest.approx(np.exp(nll), rel=1e-3)
