# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Reports as pages: self-contained, and with the same content as the JSON."""
import html.parser
import json

import numpy as np
import pytest
from cli_support import OK, USAGE, check_failure, save
from onnx import helper, numpy_helper

HOSTILE = "</script><script>alert(1)</script><!--"


class Page(html.parser.HTMLParser):
    """Which elements there are, what they refer to, and the report."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.data, self.inside = [], [], [], "", None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta",):
            self.open.append(tag)
        attributes = dict(attributes)
        self.links += [value for key, value in attributes.items() if key in ("src", "href", "srcset", "data")]
        self.inside = attributes.get("id") if tag == "script" else self.inside

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.inside = None if tag == "script" else self.inside

    def handle_data(self, data):
        if self.inside == "report":
            self.data += data


def page_of(path):
    text = path.read_text()
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>") and page.open == [] and page.tags.count("script") == 2
    assert page.links == [] and "@import" not in text and "url(" not in text and "https://" not in text.replace("https://www.w3.org", "")
    return json.loads(page.data)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(random.normal(size=(32, 32)).astype(np.float32), name) for name in ("first", HOSTILE)]
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h"], name="one"), helper.make_node("MatMul", ["h", HOSTILE], ["y"], name="two")]
    path = tmp_path_factory.mktemp("report") / "model.onnx"
    return save(path, nodes, [("x", ["batch", 32])], [("y", ["batch", 32])], weights)


def without_times(report):
    """No two runs take the same."""
    for layer in report["compression"]["layers"]:
        for key in ("microseconds_before", "microseconds_after", "timed"):
            assert layer.pop(key)
    return report


def test_pages_hold_the_report(lathe_tool, model, tmp_path):
    flags = ("quantize", model, "-o", tmp_path / "m.lathe", "-q", "--bits", "4", "--group-size", "32")
    lathe_tool.ok(*flags, "--report", tmp_path / "r.json")
    lathe_tool.ok(*flags, "--report", tmp_path / "r.html")
    lathe_tool.ok("report", tmp_path / "r.json", "-o", tmp_path / "converted.html")
    expected = json.loads((tmp_path / "r.json").read_text())
    assert {layer["weight"] for layer in expected["compression"]["layers"]} == {"first", HOSTILE}
    assert page_of(tmp_path / "converted.html") == expected
    assert without_times(page_of(tmp_path / "r.html")) == without_times(expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["converted.html", "m.lathe", "r.html", "r.json"]


def test_pages_of_comparisons(lathe_tool, model, tmp_path):
    lathe_tool.ok("quantize", model, "-o", tmp_path / "m.lathe", "-q", "--bits", "8")
    result = lathe_tool("compare", model, tmp_path / "m.lathe", "--json", "--html", tmp_path / "c.html")
    assert result.returncode == OK, result.stderr
    report = page_of(tmp_path / "c.html")
    assert report == json.loads(result.stdout) and [node["node"] for node in report["nodes"]] == ["one", "two"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", ["is not JSON"]),
        ("[]", ["expected an object", "array"]),
        ('{"kernels": []}', ["expected the report of a compression", "lathe compare"]),
        ('{"compression": {"layers": 3}}', ["compression.layers"]),
        ('{"compression": {"layers": [1]}}', ["compression.layers"]),
        ('{"nodes": []}', ["'outputs'"]),
    ],
)
def test_what_is_no_report_is_refused(lathe_tool, tmp_path, text, words):
    (tmp_path / "r.json").write_text(text)
    check_failure(lathe_tool("report", tmp_path / "r.json", "-o", tmp_path / "r.html"), USAGE, "r.json", *words)
    assert not (tmp_path / "r.html").exists()


def test_wrong_names(lathe_tool, model, tmp_path):
    check_failure(lathe_tool("report", tmp_path / "none.json", "-o", tmp_path / "r.html"), USAGE, "none.json")
    check_failure(lathe_tool("report", model, "-o", tmp_path / "r.txt"), USAGE, "ends in .html", "r.txt")
    check_failure(lathe_tool("compile", model, "-o", tmp_path / "m.lathe", "--report", tmp_path / "r.html"), USAGE, "found none", ".json")
    check_failure(lathe_tool("compare", model, model, "--html", tmp_path / "c.txt"), USAGE, "ends in .html", "c.txt")
    assert list(tmp_path.iterdir()) == []
