# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Pages of inspect, profile, compare and compression, as a browser shows them."""
import json
import re
import struct
import zlib

import numpy as np
import pytest
from cli_support import OK, USAGE, check_failure, save
from onnx import helper, numpy_helper
from browser import find_browser
from test_report import HOSTILE, page_of

LAYERS, WIDTH = 12, 16


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    return find_browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def model(folder):
    """Twelve layers of a product, a GELU and a sum, one of them of a name that is not to be taken as HTML."""
    random, nodes, weights, value = np.random.default_rng(0), [], [], "x"
    for i in range(LAYERS):
        at = f"/encoder/layer.{i}"
        weights.append(numpy_helper.from_array(random.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 4, f"w{i}" if i else HOSTILE))
        nodes += [
            helper.make_node("MatMul", [value, weights[-1].name], [f"{i}.p"], f"{at}/dense/MatMul"),
            helper.make_node("Gelu", [f"{i}.p"], [f"{i}.g"], f"{at}/act/Gelu"),
            helper.make_node("Add", [value, f"{i}.g"], [f"{i}.s"], f"{at}/Add{HOSTILE if i == 3 else ''}"),
        ]
        value = f"{i}.s"
    nodes.append(helper.make_node("Identity", [value], ["y"], "/last"))
    return save(folder / "model.onnx", nodes, [("x", ["batch", WIDTH])], [("y", ["batch", WIDTH])], weights)


@pytest.fixture(scope="module")
def artifact(lathe_tool, folder, model):
    lathe_tool.ok("compile", model, "-o", folder / "model.lathe", "--target", "cpu:avx2")
    return folder / "model.lathe"


def rows(dom):
    """Texts of the rows of the tree of operations."""
    tree = dom[dom.index('class="tree"'):]
    return [re.sub(r"<[^>]*>", " ", row) for row in re.findall(r"<tr.*?</tr>", tree[: tree.index("</table>")], re.S)]


def colours(image):
    """How many colours a PNG of 8-bit RGB or RGBA has, and its size."""
    data, at, packed = image.read_bytes(), 8, b""
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        if kind == b"IHDR":
            width, height, depth, mode = struct.unpack(">IIBB", data[at + 8 : at + 18])
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    assert depth == 8 and mode in (2, 6)
    channels = 3 if mode == 2 else 4
    raw = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * channels)
    return len(np.unique(raw[:, 1:].reshape(-1, channels), axis=0)), (width, height)


def test_inspect_of_a_model(lathe_tool, browser, folder, model):
    page = folder / "model.html"
    lathe_tool.ok("inspect", model, "--html", page)
    report = page_of(page)["model"]
    assert [phase["name"] for phase in report["phases"]] == ["import", "simplify", "fuse", "select"]
    imported = report["phases"][0]["nodes"]
    products = [node for node in imported if node["op"] == "matmul"]
    assert len(products) == LAYERS and all(node["bytes"] == 4 * WIDTH * WIDTH for node in products)
    assert products[1]["node"] == "/encoder/layer.1/dense/MatMul" and products[1]["shape"] == ["batch", str(WIDTH)]
    assert any(node["op"] == "gelu" for node in report["phases"][2]["nodes"])
    # Kernels name the weights that they read, with the bytes that these have in the model.
    selected = {node["weight"]: node["bytes"] for node in report["phases"][3]["nodes"] if "weight" in node}
    assert selected == {HOSTILE if i == 0 else f"w{i}": 4 * WIDTH * WIDTH for i in range(LAYERS)}
    dom = browser.text_after(page, "document.querySelectorAll('.row button')[0].click();")
    assert any("layer.11" in row for row in rows(dom)) and f"import: {len(imported)}" in dom
    # What was closed opens, and the search finds nodes, operations and weights below closed layers.
    dom = browser.text_after(page, "[...document.querySelectorAll('.row button')].find(b => b.textContent === 'close all').click();")
    assert len(rows(dom)) <= 1 + 2
    search = "const f = document.querySelector('input'); f.value = '{}'; f.dispatchEvent(new Event('input'));"
    dom = browser.text_after(page, "document.querySelectorAll('.row button')[0].click();" + search.format("matmul layer.7"))
    assert len(rows(dom)) == 2 and "/encoder/layer.7/dense/MatMul" in rows(dom)[1] and "1 of " in dom
    # A click on what a node reads shows that.
    dom = browser.text_after(page, "document.querySelectorAll('.row button')[0].click();" + search.format("layer.7/Add") + "document.querySelector('.tree a').click();")
    assert "layer.7" in "".join(rows(dom)) and 'class="found"' in dom


def test_inspect_of_an_artifact(lathe_tool, browser, folder, artifact):
    page = folder / "artifact.html"
    shown = lathe_tool.ok("inspect", artifact, "--html", page, "--json")
    report = page_of(page)["model"]
    (phase,) = report["phases"]
    assert len(phase["nodes"]) == json.loads(shown)["kernels"] and all(node["device"] == "cpu" for node in phase["nodes"])
    assert sum("bytes" in node for node in phase["nodes"]) >= LAYERS
    dom = browser.text_after(page, "")
    assert any("layer.11" in row for row in rows(dom)) and "model.lathe" in dom


def test_profile(lathe_tool, browser, folder, artifact):
    page = folder / "profile.html"
    lathe_tool.ok("profile", artifact, "--dim", "batch=3", "--iterations", "3", "--html", page)
    report = page_of(page)["profile"]
    assert report["dims"] == {"batch": 3} and len(report["events"]) >= LAYERS
    assert report["run_ms"] == pytest.approx(report["kernels_ms"] + report["between_ms"])
    assert all(0 <= event[0] < len(report["kernels"]) and event[2] >= 0 for event in report["events"])
    # Layers become wider by a click, the timeline by the wheel; a tip tells what is there.
    act = """
const [flame, line] = document.querySelectorAll('canvas');
flame.dispatchEvent(new MouseEvent('click', { clientX: flame.getBoundingClientRect().x + 9, clientY: flame.getBoundingClientRect().y + 50 }));
line.dispatchEvent(new WheelEvent('wheel', { deltaY: -300, clientX: line.getBoundingClientRect().x + 200, cancelable: true }));
flame.dispatchEvent(new MouseEvent('mousemove', { clientX: flame.getBoundingClientRect().x + 9, clientY: flame.getBoundingClientRect().y + 5 }));
"""
    dom = browser.text_after(page, act)
    assert 'class="tip"' in dom and "/encoder/layer." in dom and "of a run" in dom


def test_pictures(lathe_tool, browser, folder, model, artifact):
    """Every page in both colour schemes: something is drawn, and nothing is wrong."""
    lathe_tool.ok("compare", model, artifact, "--html", folder / "compare.html")
    lathe_tool.ok("quantize", model, "-o", folder / "q.lathe", "--bits", "4", "--group-size", "16", "--report", folder / "compression.html")
    lathe_tool.ok("inspect", artifact, "--html", folder / "inside.html")
    lathe_tool.ok("profile", artifact, "--iterations", "1", "--html", folder / "times.html")
    for name in ("compare", "compression", "inside", "times"):
        for dark in (False, True):
            image = browser.shot(folder / f"{name}.html", folder / f"{name}-{dark}.png", dark)
            count, size = colours(image)
            assert count > 20 and size == (1280, 900), (name, dark, count, size)


def test_thousands_of_nodes(browser, lathe_tool, folder):
    """A page of 9000 operations opens, is searched and shows all that it can within the browser's time."""
    nodes = [{"op": "add", "node": f"/layer.{i // 30}/part.{i % 30}/Add", "type": "f32", "shape": ["1"], "reads": [max(i - 1, 0)]} for i in range(9000)]
    from test_report import Page

    template = folder / "small.html"
    small = save(folder / "small.onnx", [helper.make_node("Relu", ["x"], ["y"], "/relu")], [("x", [1])], [("y", [1])])
    lathe_tool.ok("inspect", small, "--html", template)
    text = template.read_text()
    data = Page(text).data
    report = json.loads(data)
    report["model"]["phases"] = [{"name": "many", "note": "", "nodes": nodes}]
    page = folder / "many.html"
    page.write_text(text.replace(data, json.dumps(report)))
    dom = browser.text_after(page, "[...document.querySelectorAll('.row button')].find(b => b.textContent === 'open all').click();")
    assert "Only 2000 rows are shown" in dom and len(rows(dom)) == 2001
    dom = browser.text_after(page, "const f = document.querySelector('input'); f.value = 'layer.299 part.29'; f.dispatchEvent(new Event('input'));")
    assert "1 of 9000 operations" in dom


@pytest.mark.parametrize("command", ["inspect", "profile"])
def test_a_page_has_the_name_of_one(lathe_tool, artifact, tmp_path, command):
    result = lathe_tool(command, artifact, "--html", tmp_path / "page.txt")
    check_failure(result, USAGE, "ends in .html", "page.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_supported_has_a_page_of_what_was_read(lathe_tool, tmp_path):
    broken = save(tmp_path / "broken.onnx", [helper.make_node("NoSuch", ["x"], ["y"], name="odd")], [("x", [1])], [("y", [1])])
    result = lathe_tool("inspect", broken, "--html", tmp_path / "page.html")
    assert result.returncode != OK and "NoSuch" in result.stderr and not (tmp_path / "page.html").exists()
