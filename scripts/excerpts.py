#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Fills in the excerpts of docs/dev/data-flow.md with what the compiler makes of a small model.

    scripts/excerpts.py            write the page
    scripts/excerpts.py --model M.onnx --recipe R.json    write the model and the recipe that the page follows, and stop
    scripts/excerpts.py --check    exit with 1, and say so, where the page is not what would be written

An excerpt stands between its comment and the end of the code behind it:

    <!-- excerpt: PHASE @FUNCTION -->          that function behind the phase, without locations
    <!-- excerpt: PHASE @FUNCTION WORD N -->   N lines of it, from the first that has the word
    <!-- excerpt: PHASE ATTRIBUTE -->          an attribute of the module, an entry a line
    <!-- excerpt: manifest KEY -->             a member of the artifact's manifest, an entry a line
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "dev" / "data-flow.md"
LATHE = Path(os.environ.get("LATHE_BUILD", ROOT / "build")) / "bin" / "lathe"
RECIPE = {"version": 1, "prefer": "size", "steps": [{"step": "quantize", "bits": 8}]}
EXCERPT = re.compile(r"(<!-- excerpt: (.*?) -->\n)```(\w*)\n.*?```\n", re.DOTALL)


def write_model(path):
    """A layer as exporters write it: the weight transposed, gelu as its formula, and softmax."""
    values = np.random.default_rng(0)
    weights = {"w": values.standard_normal((48, 64)), "b": values.standard_normal(48), "root2": 2**0.5, "one": 1, "half": 0.5}
    node = helper.make_node
    nodes = [
        node("Transpose", ["w"], ["wt"], "dense/Transpose", perm=[1, 0]),
        node("MatMul", ["x", "wt"], ["product"], "dense/MatMul"),
        node("Add", ["product", "b"], ["sum"], "dense/Add"),
        node("Div", ["sum", "root2"], ["divided"], "gelu/Div"),
        node("Erf", ["divided"], ["erf"], "gelu/Erf"),
        node("Add", ["erf", "one"], ["plus"], "gelu/Add"),
        node("Mul", ["sum", "plus"], ["twice"], "gelu/Mul"),
        node("Mul", ["twice", "half"], ["h"], "gelu/Mul_1"),
        node("Softmax", ["h"], ["y"], "head/Softmax", axis=-1),
    ]
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size]) for name, size in (("x", 64), ("y", 48)))
    initializers = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "layer", [x], [y], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def without_locations(text):
    """The IR without `loc(…)`, whose parentheses nest, and without their table."""
    parts, at = [], 0
    for match in re.finditer(r" ?\bloc\(", text):
        if match.start() < at:
            continue
        parts.append(text[at : match.start()])
        depth, at = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
    lines = ("".join(parts) + text[at:]).splitlines()
    return [line for line in lines if not line.startswith("#loc")]


def function(lines, name):
    """The lines of a function of the module, from the margin."""
    start = next(i for i, line in enumerate(lines) if re.match(rf"  (llvm\.func|func\.func)\b.*{re.escape(name)}\(", line))
    end = next(i for i in range(start, len(lines)) if lines[i] == "  }")
    return [line[2:] for line in lines[start : end + 1]]


def attribute(text, name):
    """An attribute of the module that is a list, an entry a line."""
    start = text.index(name + " = [") + len(name) + 4
    entries, depth, begin = [], 0, start
    for at in range(start, len(text)):
        character = text[at]
        if depth == 0 and character in ",]":
            entries.append(text[begin:at].strip())
            begin = at + 1
            if character == "]":
                break
        depth += (character in "{[(<") - (character in "}])>")
    return [f"{name} = ["] + [f"  {entry}," for entry in entries] + ["]"]


def manifest(artifact):
    """docs/artifact.md: the first entry of the table of sections, behind the header, is the manifest's."""
    data = artifact.read_bytes()
    start = data.index(b'{\n "producer"')
    return json.JSONDecoder().raw_decode(data[start:].decode("utf-8", "replace"))[0]


class Compilation:
    """What the compiler makes of the model."""

    def __init__(self, folder):
        write_model(folder / "layer.onnx")
        (folder / "recipe.json").write_text(json.dumps(RECIPE))
        flags = ["--target", "cpu:avx2", "--recipe", "recipe.json", "--dump-ir", "ir", "--quiet"]
        subprocess.run([LATHE, "compile", "layer.onnx", "-o", "layer.lathe", *flags], cwd=folder, check=True, timeout=300)
        self.phases = {path.stem.split("-", 1)[1]: path.read_text() for path in (folder / "ir").iterdir()}
        self.manifest = manifest(folder / "layer.lathe")

    def excerpt(self, words):
        phase, what, *rest = words.split()
        if phase == "manifest":
            return [f'"{what}": ['] + [f"  {json.dumps(entry)}," for entry in self.manifest[what]] + ["]"]
        if not what.startswith("@"):
            return attribute(self.phases[phase], what)
        lines = function(without_locations(self.phases[phase]), what)
        if not rest:
            return lines
        word, count = rest
        start = next(i for i, line in enumerate(lines) if word in line)
        indent = min(len(line) - len(line.lstrip()) for line in lines[start : start + int(count)])
        return [line[indent:] for line in lines[start : start + int(count)]]


def filled(page):
    """The page with what the compiler makes now."""
    with tempfile.TemporaryDirectory() as folder:
        made = Compilation(Path(folder))
    count = len(EXCERPT.findall(page))
    if count != page.count("<!-- excerpt:"):
        sys.exit(f"{PAGE}: expected code behind each of {page.count('<!-- excerpt:')} excerpts, found {count}")
    return EXCERPT.sub(lambda match: f"{match[1]}```{match[3]}\n" + "\n".join(made.excerpt(match[2])) + "\n```\n", page)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something would change")
    parser.add_argument("--model", type=Path, help="where to write the model")
    parser.add_argument("--recipe", type=Path, help="where to write the recipe")
    options = parser.parse_args()
    if options.model:
        write_model(options.model)
    if options.recipe:
        options.recipe.write_text(json.dumps(RECIPE) + "\n")
    if options.model or options.recipe:
        return
    page = PAGE.read_text()
    new = filled(page)
    if options.check and new != page:
        sys.exit(f"not up to date, run scripts/excerpts.py: {PAGE.relative_to(ROOT)}")
    if not options.check:
        PAGE.write_text(new)


if __name__ == "__main__":
    main()
