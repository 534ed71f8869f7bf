# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""lathe generate: texts, streams, stop strings, seeds, files and failures."""
import json
import signal
import subprocess

import numpy as np
import pytest
from cli_support import OVER_BUDGET, USAGE, check_failure

PROMPT = "def main"


@pytest.fixture(scope="session")
def decoder(artifact):
    return artifact("llama", "--generate", "on")


@pytest.fixture(scope="session")
def generate(lathe_tool, decoder, bytes_tokenizer):
    """generate(flags…) is the JSON report."""

    def run(*flags):
        return json.loads(lathe_tool.ok("generate", decoder, "--tokenizer", bytes_tokenizer, *flags, "--json"))

    return run


def save(path, *rows):
    np.save(path, np.array(rows[0] if len(rows) == 1 else rows, np.uint16 if len(rows) == 1 else np.int64))
    return path


def test_report(generate):
    report = generate("-p", PROMPT, "-n", "12", "--ignore-eos")
    (result,) = report["results"]
    assert result["prompt_ids"] == [byte + 1 for byte in PROMPT.encode()]
    assert len(result["ids"]) == 12 and result["finish"] == "length"
    assert len(result["log_probabilities"]) == 12 and max(result["log_probabilities"]) <= 0
    assert result["model_log_probabilities"] == pytest.approx(result["log_probabilities"], abs=1e-5), "greedy changes nothing"
    assert report["prompt_tokens"] == len(PROMPT) and report["generated_tokens"] == 12
    assert report["prefill_tokens_per_s"] > 0 and report["decode_tokens_per_s"] > 0


def test_stream_is_the_text(lathe_tool, generate, decoder, bytes_tokenizer):
    flags = ("-p", PROMPT, "-n", "40", "--temperature", "1.5", "--seed", "3", "--ignore-eos")
    text = generate(*flags)["results"][0]["text"]
    printed = lathe_tool.ok("generate", decoder, "--tokenizer", bytes_tokenizer, *flags)
    assert printed == text + ("" if text.endswith("\n") else "\n")
    echoed = lathe_tool.ok("generate", decoder, "--tokenizer", bytes_tokenizer, *flags, "--echo")
    assert echoed == PROMPT + printed


def test_never_half_a_character(lathe_tool, decoder, bytes_tokenizer):
    """Bytes at random are rarely characters."""
    for seed in range(4):
        command = [lathe_tool.path, "generate", decoder, "--tokenizer", bytes_tokenizer, "-p", "\u20ac", "-n", "60"]
        output = subprocess.run([*map(str, command), "--temperature", "3", "--seed", str(seed), "--ignore-eos"], capture_output=True)
        assert output.returncode == 0, output.stderr
        output.stdout.decode("utf-8")


def test_seed_decides(generate):
    flags = ("-p", PROMPT, "-n", "24", "--temperature", "1", "--top-k", "200", "--ignore-eos")
    first = generate(*flags, "--seed", "1", "--threads", "1")["results"][0]
    for threads in ("2", "3"):
        assert generate(*flags, "--seed", "1", "--threads", threads)["results"][0]["ids"] == first["ids"]
    assert generate(*flags, "--seed", "2")["results"][0]["ids"] != first["ids"]


def test_sampling_flags_change_the_choice(generate):
    greedy = generate("-p", PROMPT, "-n", "24", "--ignore-eos")["results"][0]["ids"]
    assert generate("-p", PROMPT, "-n", "24", "--ignore-eos", "--temperature", "0")["results"][0]["ids"] == greedy
    assert generate("-p", PROMPT, "-n", "24", "--ignore-eos", "--top-k", "1")["results"][0]["ids"] == greedy
    assert generate("-p", PROMPT, "-n", "24", "--ignore-eos", "--top-p", "1e-9")["results"][0]["ids"] == greedy
    assert generate("-p", PROMPT, "-n", "24", "--ignore-eos", "--min-p", "1")["results"][0]["ids"] == greedy
    unique = generate("-p", PROMPT, "-n", "24", "--ignore-eos", "--no-repeat-ngram-size", "1")["results"][0]["ids"]
    assert len(set(unique)) == 24
    unique = generate("-p", PROMPT, "-n", "24", "--ignore-eos", "--repetition-penalty", "1000")["results"][0]["ids"]
    assert len(set(unique)) == 24


def test_stop_strings(generate):
    flags = ("-p", PROMPT, "-n", "24", "--ignore-eos", "--temperature", "1", "--seed", "5")
    whole = generate(*flags)["results"][0]
    text = whole["text"]
    stop = text[5:9]  # of more than one token where they are bytes
    assert text.find(stop) >= 0
    result = generate(*flags, "--stop", "never so", "--stop", stop)["results"][0]
    assert result["finish"] == "stop_string"
    assert result["text"] == text[: text.find(stop)]
    assert result["ids"] == whole["ids"][: len(result["ids"])]
    assert len(result["ids"]) < 24


def test_end_token(generate, lathe_tool, decoder, bytes_tokenizer):
    """The token at which greedy decoding ends, when it is said to be one."""
    ids = generate("-p", PROMPT, "-n", "6", "--ignore-eos")["results"][0]["ids"]
    config = bytes_tokenizer.parent / "ends.json"
    config.write_text(json.dumps({"eos_token_id": ids[2], "max_new_tokens": 5}))
    result = generate("-p", PROMPT, "--generation-config", config)["results"][0]
    assert result["ids"] == ids[: ids.index(ids[2]) + 1] and result["finish"] == "end_token"
    result = generate("-p", PROMPT, "--generation-config", config, "--ignore-eos")["results"][0]
    assert result["ids"] == ids[:5] and result["finish"] == "length"


def test_batches_are_as_each_alone(generate, lathe_tool, decoder, bytes_tokenizer):
    prompts = ["a", PROMPT, "class Tree:\n    pass"]
    alone = [generate("-p", prompt, "-n", "10", "--ignore-eos")["results"][0]["ids"] for prompt in prompts]
    flags = [flag for prompt in prompts for flag in ("-p", prompt)]
    together = generate(*flags, "-n", "10", "--ignore-eos")["results"]
    assert [result["ids"] for result in together] == alone
    printed = lathe_tool.ok("generate", decoder, "--tokenizer", bytes_tokenizer, *flags, "-n", "10", "--ignore-eos")
    expected = ""
    for number, result in enumerate(together, 1):
        text = result["text"]
        expected += f"== {number} ==\n{text}" + ("" if text.endswith("\n") else "\n")
    assert printed == expected


def test_beams(generate):
    flags = ("-p", PROMPT, "-n", "8", "--ignore-eos")
    results = generate(*flags, "--beams", "3", "--num-return-sequences", "2", "--length-penalty", "0.5")["results"]
    assert len(results) == 2 and results[0]["score"] >= results[1]["score"]
    assert results[0]["ids"] != results[1]["ids"] and all(len(result["ids"]) == 8 for result in results)
    stop = results[0]["text"][3:6]
    stopped = generate(*flags, "--beams", "3", "--early-stopping", "true", "--stop", stop)["results"][0]
    assert stop not in stopped["text"]


def test_files(lathe_tool, generate, decoder, bytes_tokenizer, tmp_path):
    expected = generate("-p", PROMPT, "-n", "7", "--ignore-eos")["results"][0]
    text = tmp_path / "prompt.txt"
    text.write_text(PROMPT)
    assert generate("--prompt-file", text, "-n", "7", "--ignore-eos")["results"][0]["ids"] == expected["ids"]
    with open(text) as stdin:
        output = lathe_tool.ok("generate", decoder, "--tokenizer", bytes_tokenizer, "-p", "-", "-n", "7", "--ignore-eos", "--json", stdin=stdin)
    assert json.loads(output)["results"][0]["ids"] == expected["ids"]
    ids = save(tmp_path / "ids.npy", expected["prompt_ids"])
    out = tmp_path / "out.npy"
    assert lathe_tool.ok("generate", decoder, "--ids", ids, "-n", "7", "--ids-out", out, "--ignore-eos") == "", "no tokenizer is needed"
    assert np.load(out).tolist() == expected["ids"] and np.load(out).dtype == np.int64
    printed = lathe_tool.ok("generate", decoder, "--ids", ids, "-n", "7", "--ignore-eos")
    assert printed.split() == [str(token) for token in expected["ids"]]
    rows = save(tmp_path / "rows.npy", [5, 6, 7], [8, -1, -1])
    lathe_tool.ok("generate", decoder, "--ids", rows, "-n", "3", "--ids-out", out, "--ignore-eos")
    assert np.load(out).shape == (2, 3)


def test_generation_config_beside_the_tokenizer(lathe_tool, decoder, bytes_tokenizer, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(bytes_tokenizer.read_bytes())
    (folder / "generation_config.json").write_text('{"max_new_tokens": 3, "eos_token_id": null}')
    command = ("generate", decoder, "--tokenizer", folder / "tokenizer.json", "-p", PROMPT, "--ignore-eos", "--json")
    assert json.loads(lathe_tool.ok(*command))["generated_tokens"] == 3
    assert json.loads(lathe_tool.ok(*command, "-n", "5"))["generated_tokens"] == 5, "options come first"


def test_encoder_and_decoder(lathe_tool, tmp_path, artifact, bytes_tokenizer):
    path = artifact("t5", "--generate", "on")
    config = tmp_path / "config.json"
    config.write_text('{"decoder_start_token_id": 2}')
    report = lathe_tool.ok("generate", path, "--tokenizer", bytes_tokenizer, "--generation-config", config, "--source-text", "one",
                           "--source-text", "and another", "-n", "6", "--ignore-eos", "--json")
    results = json.loads(report)["results"]
    assert [result["prompt_ids"] for result in results] == [[2], [2]]
    source = save(tmp_path / "source.npy", [byte + 1 for byte in b"one"])
    np.save(source, np.load(source)[None].astype(np.int64))
    start = save(tmp_path / "start.npy", [2])
    name = json.loads(lathe_tool.ok("inspect", path, "--json"))["programs"][-1]["inputs"][0]["name"]
    report = lathe_tool.ok("generate", path, "--ids", start, "--input", f"{name}=@{source}", "-n", "6", "--ignore-eos", "--json")
    assert json.loads(report)["results"][0]["ids"] == results[0]["ids"]
    check_failure(lathe_tool("generate", path, "--ids", start), USAGE, "input 'input_ids' of the encoder", "--source-text")
    check_failure(lathe_tool("generate", path, "--tokenizer", bytes_tokenizer, "--source-text", "a"), USAGE, "decoder_start_token_id")


def test_interrupt_keeps_what_there_is(lathe_tool, decoder, bytes_tokenizer, tmp_path):
    out = tmp_path / "out.npy"
    command = [lathe_tool.path, "generate", decoder, "--tokenizer", bytes_tokenizer, "-p", PROMPT, "-n", "100000", "--ignore-eos"]
    command += ["--ids-out", out, "--temperature", "1"]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(1), "the text begins before generation ends"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode in (0, 130), "it may be faster than the signal"
    assert len(np.load(out)) >= 1


@pytest.mark.parametrize(
    "flags, code, words",
    [
        (["-p", PROMPT], USAGE, ["--tokenizer"]),
        ([], USAGE, ["expects a prompt"]),
        (["--tokenizer", "missing.json", "-p", "a"], USAGE, ["missing.json"]),
        (["--tokenizer", "TOKENIZER", "-p", "a", "--presence-penalty", "3"], USAGE, ["presence_penalty"]),
        (["--tokenizer", "TOKENIZER", "-p", "a" * 20, "--max-sequence", "10"], OVER_BUDGET, ["20 tokens", "10"]),
        (["--tokenizer", "TOKENIZER", "-p", "a", "--memory-budget", "1000"], OVER_BUDGET, ["budget"]),
        (["--tokenizer", "TOKENIZER", "-p", "a", "--temperature", "-1"], USAGE, ["temperature"]),
        (["--tokenizer", "TOKENIZER", "-p", "a", "--top-p", "2"], USAGE, ["top_p"]),
        (["--tokenizer", "TOKENIZER", "-p", "a", "--beams", "2", "--temperature", "1"], USAGE, ["do_sample"]),
        (["--tokenizer", "TOKENIZER", "-p", "a", "--stop", ""], USAGE, ["--stop"]),
        (["--tokenizer", "TOKENIZER", "-p", "a", "--source-text", "b"], USAGE, ["--source-text"]),
        (["--tokenizer", "TOKENIZER", "-p", "a", "--input", "x=@IDS"], USAGE, ["no input of the encoder"]),
        (["--tokenizer", "TOKENIZER", "-p", "a", "--generation-config", "IDS"], USAGE, ["JSON"]),
        (["--ids", "IDS"], USAGE, ["token 5000", "vocabulary"]),
        (["--ids", "IDS", "-p", "a"], USAGE, ["exclude"]),
        (["--ids", "missing.npy"], USAGE, ["missing.npy"]),
    ],
)
def test_failures(lathe_tool, decoder, bytes_tokenizer, tmp_path, flags, code, words):
    ids = save(tmp_path / "ids.npy", [5000])
    flags = [flag.replace("TOKENIZER", str(bytes_tokenizer)).replace("IDS", str(ids)) for flag in flags]
    check_failure(lathe_tool("generate", decoder, *flags), code, *words)


def test_no_step_program(lathe_tool, linear_artifact, tmp_path):
    ids = save(tmp_path / "ids.npy", [1])
    check_failure(lathe_tool("generate", linear_artifact, "--ids", ids), USAGE, "--generate on")


def test_bench(lathe_tool, decoder, linear_artifact):
    report = json.loads(lathe_tool.ok("bench", decoder, "--prompt", "20", "--generate", "4", "--iterations", "3", "--json"))
    assert report["prefill_tokens_per_s"] > 0 and report["decode_tokens_per_s"] > 0 and report["iterations"] == 3
    assert report["decode_deviation"] >= 0 and report["percent_of_limit"] > 0 and report["read_bytes"] > 100_000
    only = json.loads(lathe_tool.ok("bench", decoder, "--generate", "2", "--iterations", "1", "--json"))
    assert only["prefill_tokens_per_s"] is None and only["decode_tokens_per_s"] > 0
    assert "pp7 " in lathe_tool.ok("bench", decoder, "--prompt", "7", "--iterations", "1")
    check_failure(lathe_tool("bench", decoder, "--prompt", "0"), USAGE, "--prompt", "got 0")
    check_failure(lathe_tool("bench", decoder, "--prompt", "4", "--dim", "batch=1"), USAGE, "--dim")
    check_failure(lathe_tool("bench", linear_artifact, "--prompt", "4"), USAGE, "--generate on")
