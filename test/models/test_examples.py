# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The examples, on a compiled MiniLM."""
import re
import subprocess
import sys
from pathlib import Path

SEARCH = Path(__file__).resolve().parents[2] / "examples" / "semantic_search" / "search.py"


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
