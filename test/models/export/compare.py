# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compiles the models that export.py wrote and compares them with ONNX Runtime: compare.py FOLDER [NAME…] [--again].
One artifact of each model runs at several sizes. Results are kept in FOLDER/results.json; --table prints them. Needs
onnxruntime and numpy; LATHE_BUILD names the build (default build/)."""
import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

BUILD = Path(os.environ.get("LATHE_BUILD", "build")).resolve()
sys.path.insert(0, str(BUILD / "python"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import onnxruntime  # noqa: E402
from inputs import random_inputs, sizes_of  # noqa: E402
from support import TOLERANCES  # noqa: E402

import lathe  # noqa: E402

SECONDS = 180  # for one compilation
def difference(outputs, references):
    """Largest difference as a share of the reference's largest magnitude; a text where shapes or values cannot agree."""
    worst = 0.0
    for name, reference in references.items():
        output = outputs[name]
        if output.shape != reference.shape or output.dtype != reference.dtype:
            return f"{name}: {output.dtype}{list(output.shape)} instead of {reference.dtype}{list(reference.shape)}"
        finite = np.isfinite(reference)
        if not np.array_equal(np.isfinite(output), finite):
            return f"{name}: other elements are finite"
        if finite.any():
            scale = np.abs(reference[finite].astype(np.float64)).max()
            error = np.abs(output[finite].astype(np.float64) - reference[finite].astype(np.float64)).max()
            worst = max(worst, error / scale if scale else error)
    return worst


def first_line(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 and "not supported" in lines[0] else lines[0])[:300] if lines else "no message"


def survives(work):
    """Whether it ends without a signal, found out in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return not os.WIFSIGNALED(os.waitpid(child, 0)[1])


def references_of(path, about):
    """(size, inputs, outputs of ONNX Runtime) for each size that it runs, and (size, inputs, why) for those it refuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    oracle = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ran, refused = [], []
    for i, size in enumerate(sizes_of(about)):
        inputs = random_inputs(oracle.get_inputs(), about, size, i)
        shown = {k: v for k, v in size.items() if any(k in dims for dims in about["dims"].values())}
        if 0 in shown.values() and not survives(lambda: oracle.run(None, inputs)):
            refused.append((shown, inputs, f"{shown}: ends by a signal"))
            continue
        try:
            outputs = oracle.run(None, inputs)
        except Exception as error:  # noqa: BLE001: whatever it says is the answer
            refused.append((shown, inputs, f"{shown}: {error}"[:300]))
        else:
            ran.append((shown, inputs, dict(zip([o.name for o in oracle.get_outputs()], outputs))))
    return ran, refused


def compare(path):
    """The result of one model: a dictionary with stage, text, and seconds of the processor that compiling took."""
    about = json.loads(path.with_suffix(".json").read_text())
    artifact = path.with_suffix(".lathe")
    try:
        ran, refused = references_of(path, about)
    except Exception as error:  # noqa: BLE001
        return {"stage": "oracle", "text": str(error)[:300]}
    if not ran:
        return {"stage": "oracle", "text": refused[0][2]}
    command = [str(BUILD / "bin" / "lathe"), "compile", str(path), "-o", str(artifact)]
    try:
        compiled = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return {"stage": "compile", "text": f"took longer than {SECONDS} s"}
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = round(usage.ru_utime + usage.ru_stime, 1)
    if compiled.returncode:
        return {"stage": "compile", "text": f"{compiled.returncode}: {first_line(compiled.stderr)}", "seconds": seconds}
    session = lathe.load(str(artifact)).session(threads=1)
    worst = 0.0
    for shown, inputs, references in ran:
        try:
            error = difference(session.run(inputs), references)
        except Exception as failure:  # noqa: BLE001
            return {"stage": "run", "text": f"{shown}: {failure}"[:300], "seconds": seconds}
        if isinstance(error, str) or not error <= TOLERANCES["f32"]:
            return {"stage": "differs", "text": f"{shown}: {error}", "seconds": seconds}
        worst = max(worst, error)
    for _, inputs, _ in refused:  # may fail, too, but not crash
        try:
            session.run(inputs)
        except lathe.Error:
            pass
    refused = [why for _, _, why in refused]
    artifact.unlink()
    return {"stage": "equal", "text": f"{len(ran)} sizes, {worst:.1e}", "refused": refused, "seconds": seconds}


def isolated(path):
    """compare() in a process of its own, so that a crash is a result, too."""
    command = [sys.executable, __file__, "--one", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS + 120)
    except subprocess.TimeoutExpired:
        return {"stage": "run", "text": "took too long"}
    if done.returncode:
        return {"stage": "crash", "text": f"{done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1][:300]}"}
    return json.loads(done.stdout.splitlines()[-1])


def table(results, folder):
    """Rows of Markdown: one a model and form, with what came of it by exporter, set of operators and attention."""
    failed = {p.stem: {"stage": "not exported"} for p in folder.glob("*.failed")}
    words = {"oracle": "ONNX Runtime fails", "compile": "not compiled", "run": "fails", "differs": "differs"}
    rows = {}
    for title, result in {**failed, **results}.items():
        name, form, exporter, opset, attention = title.split(".")
        stage = words.get(result["stage"], result["stage"])
        cell = f"{stage} ({opset}{'' if attention == 'default' else ', ' + attention})"
        rows.setdefault((name, form), {}).setdefault(exporter, []).append(cell)
    print("| Model | Form | TorchScript | dynamo |\n|---|---|---|---|")
    for (name, form), row in sorted(rows.items()):
        cells = [", ".join(sorted(row.get(exporter, []))) for exporter in ("torchscript", "dynamo")]
        print(f"| `{name}` | {'' if form == 'plain' else form} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--again", action="store_true", help="those that were not equal, too")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(compare(options.one)))
        return
    kept = options.folder / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for path in sorted(options.folder.glob("*.json")):
        title = path.stem
        old = results.get(title)
        if path == kept or (options.names and not any(title.startswith(name) for name in options.names)):
            continue
        if options.table or (old and not options.names and (old["stage"] == "equal" or not options.again)):
            continue
        results[title] = isolated(path.with_suffix(".onnx"))
        result = results[title]
        print(f"{title}: {result['stage']} ({result.get('seconds')} s) {result['text']} {len(result.get('refused', []))}", flush=True)
        kept.write_text(json.dumps(results, indent=1))
    if options.table:
        table(results, options.folder)


if __name__ == "__main__":
    main()
