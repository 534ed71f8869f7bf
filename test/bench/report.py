# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What a run of the benchmarks found, as tables. Nothing here measures or needs more than Python.

A report is what JSON can hold:
    date, command, versions {name: text}, notes [text], skipped [text]
    machine   {"processor", "threads", "limits": {key of `lathe bench --limits`: value or None}}
    compile   {"MODEL PRECISION": {"compile_s", "compile_rss_bytes", "file_bytes", "weights_bytes", "load_ms"}}
    entries   [{"name", "model", "precision", "target", "work": {type: operations}, "weights_bytes", "read_bytes", "read_limit" (key of limits), "runtimes": {name: figures}}]
              figures: median_ms, min_ms, load_ms, first_run_ms, load_rss_bytes, run_rss_bytes, file_bytes,
              max_abs_error, max_rel_error (None where there is nothing to compare with)
    overhead  {"name", "run_us", "kernels_us", "goal_us"} or None
and, of several runs, what merging.py adds.
"""
import os
from pathlib import Path

import workloads

BEGIN, END = "<!-- begin of what make bench writes -->", "<!-- end of what make bench writes -->"
LATHE = "lathe"
TITLES = {"lathe": "Lathe", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}

# Where the operations of a type find their peak, in the best of these; f64 has half of f32's lanes.
_FMA = ("fma_avx512_gflops", "fma_avx2_gflops")
_PEAKS = {
    "i8": (("amx_int8_gops", "vnni_int8_gops", *_FMA), 1),
    "bf16": (("amx_bf16_gflops", "avx512_bf16_gflops", *_FMA), 1),
    "f16": (_FMA, 1),  # is widened
    "f64": (_FMA, 0.5),
    "f32": (_FMA, 1),
}


def limit_ms(work, read_bytes, limits, read_limit="dram_gb_s"):
    """The least time that the machine can take: for the operations at the speed of its registers, or to read the weights once.
    None where that is not known."""
    compute = 0.0
    if work is None:
        return None
    for kind, operations in work.items():
        keys, share = _PEAKS[kind]
        peak = max((limits[key] for key in keys if limits.get(key)), default=None)
        if not peak:
            return None
        compute += operations / (peak * share) / 1e6
    bandwidth = limits.get(read_limit)
    read = read_bytes / bandwidth / 1e6 if bandwidth and read_bytes else 0.0
    return max(compute, read) or None


def ratios(runtimes):
    """Lathe's time as a share of the best peer's: (by minima, by medians), None without a peer. The best one is chosen
    for each of the two."""
    peers = [figures for name, figures in runtimes.items() if name != LATHE]
    if not peers or LATHE not in runtimes:
        return None, None
    return tuple(runtimes[LATHE][key] / min(peer[key] for peer in peers) for key in ("min_ms", "median_ms"))


def verdict(ratio, target):
    """Whether a target is reached, and by how much it is missed."""
    if target is None or ratio is None:
        return ""
    return "yes" if ratio <= target else f"no, {100 * (ratio / target - 1):.0f} % above"


def bounds(report):
    """(what, measured, bound, unit) of the promises that are no ratios; measured is None where it was not measured."""
    rows = []
    for bound in workloads.BOUNDS:
        figures = report["compile"].get(f"{bound.model} {bound.precision}", {})
        value = figures.get(bound.key)
        if bound.key == "rss_to_weights":
            value = next(
                (
                    entry["runtimes"][LATHE]["run_rss_bytes"] / entry["weights_bytes"]
                    for entry in report["entries"]
                    if (entry["model"], entry["precision"]) == (bound.model, bound.precision)
                    and LATHE in entry["runtimes"]
                ),
                None,
            )
        rows.append((f"{bound.what}, {bound.precision}", value, bound.limit, bound.unit))
    return rows


def _number(value, digits=1):
    return "" if value is None else f"{value:,.{digits}f}"


def _ms(value):
    return "" if value is None else _number(value, 2 if value < 100 else 0)


def _mib(value):
    return "" if value is None else _number(value / (1 << 20), 0)


def _exponent(value):
    return "" if value is None else f"{value:.1e}"


def table(header, rows, align):
    """A table of Markdown; `align` has a letter for each column, l or r."""
    marks = {"l": "---", "r": "--:"}
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(marks[letter] for letter in align) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def names_of(report):
    """Runtimes that were measured, Lathe first."""
    found = {name for entry in report["entries"] for name in entry["runtimes"]}
    return [name for name in TITLES if name in found]


def runs_of(report):
    """Date, command, versions, notes and machine of each run."""
    return report.get("runs") or [report]


def run_of(report, part):
    """That of an entry, or of a model's compilation."""
    return runs_of(report)[part.get("run", 0)]


def _with_letters(report, header, rows, parts, align):
    """A table whose last column names the run of each row, where there are several."""
    if len(runs_of(report)) > 1:
        header = [*header, "Run"]
        rows = [[*row, _letter(part.get("run", 0))] for row, part in zip(rows, parts)]
        align += "l"
    return table(header, rows, align)


def _letter(number):
    return chr(ord("a") + number) if number < 26 else str(number)


def time_table(report):
    names, rows = names_of(report), []
    for entry in report["entries"]:
        limits = run_of(report, entry)["machine"]["limits"]
        limit = limit_ms(entry["work"], entry["read_bytes"], limits, entry["read_limit"])
        row = [entry["name"], entry["precision"], _ms(limit)]
        for name in names:
            figures = entry["runtimes"].get(name)
            share = f" ({100 * limit / figures['min_ms']:.0f} %)" if figures and limit else ""
            row.append(f"{_ms(figures['median_ms'])} / {_ms(figures['min_ms'])}{share}" if figures else "")
        minima, medians = ratios(entry["runtimes"])
        target = entry["target"]
        row += [_number(minima, 2), _number(medians, 2), "" if target is None else target, verdict(minima, target)]
        rows.append(row)
    header = ["Work", "Precision", "Limit, ms", *(TITLES[name] for name in names), "Ratio, minima", "Ratio, medians"]
    return _with_letters(report, [*header, "Target", "Reached"], rows, report["entries"], "ll" + "r" * (len(names) + 4) + "l")


def memory_table(report):
    rows, parts = [], []
    for entry in report["entries"]:
        for name in names_of(report):
            figures = entry["runtimes"].get(name)
            if figures:
                parts.append(entry)
                rows.append(
                    [entry["name"], entry["precision"], TITLES[name], _ms(figures["load_ms"]), _ms(figures["first_run_ms"]),
                     _mib(figures["load_rss_bytes"]), _mib(figures["run_rss_bytes"]), _mib(figures["file_bytes"]),
                     _exponent(figures["max_abs_error"]), _exponent(figures["max_rel_error"])]
                )  # fmt: skip
    header = ["Work", "Precision", "Runtime", "Load, ms", "First run, ms", "Peak to the first run, MiB", "Peak of a run, MiB"]
    return _with_letters(report, [*header, "File, MiB", "Largest error", "Relative"], rows, parts, "lllrrrrrrr")


def compile_table(report):
    rows = [
        [key, _number(figures["compile_s"]), _mib(figures["compile_rss_bytes"]), _mib(figures["weights_bytes"]),
         _mib(figures["file_bytes"]), _ms(figures["load_ms"])]
        for key, figures in report["compile"].items()
    ]  # fmt: skip
    header = ["Model", "Compile, s", "Peak of compiling, MiB", "Weights, MiB", "Artifact, MiB", "Load, ms"]
    return _with_letters(report, header, rows, report["compile"].values(), "lrrrrr")


def bounds_table(report):
    rows = []
    for what, value, limit, unit in bounds(report):
        def shown(number):
            return _mib(number) if unit == "MiB" else _number(number, 2 if limit < 10 else 1)

        reached = "not measured" if value is None else verdict(value, limit)
        rows.append([what, shown(value), shown(limit), unit, reached])
    return table(["What", "Measured", "At most", "", "Reached"], rows, "lrrll")


def limits_text(limits):
    units = {"gflops": "GFLOP/s", "gops": "GOP/s", "s": "GB/s", "us": "µs"}
    found = []
    for key, value in limits.items():
        if value is not None:
            name, unit = key.rsplit("_", 1)
            digits = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
            found.append(f"{name.removesuffix('_gb').replace('_', ' ')} {digits} {units.get(unit, unit)}")
    return ", ".join(found)


def describe_run(run):
    machine = run["machine"]
    return [
        f"Measured on {run['date']} by `{run['command']}`.",
        "",
        f"- {machine['processor']}, {machine['threads']} threads; {limits_text(machine['limits'])}",
        "- " + ", ".join(f"{name} {version}" for name, version in run["versions"].items()),
        *(f"- {note}" for note in run["notes"]),
        "",
    ]


def describe_runs(report):
    runs = runs_of(report)
    if len(runs) == 1:
        return describe_run(runs[0])
    lines = ["Of several runs; the last column of a table names a row's. Figures of one row are of one run.", ""]
    for number, run in enumerate(runs):
        lines += [f"**Run {_letter(number)}.** " + (described := describe_run(run))[0], *described[1:]]
    return lines


def render(report):
    """The generated part of docs/performance.md."""
    lines = [
        *describe_runs(report),
        "### Time",
        "",
        "Median / minimum of a run in ms, and the share of the machine's limit that the minimum reaches.",
        "",
        time_table(report),
        "",
        "![Time to the best peer's](performance.svg)",
        "",
    ]
    if report["overhead"]:
        overhead = report["overhead"]
        between = overhead["run_us"] - overhead["kernels_us"]
        lines += [
            f"Overhead of a run, {overhead['name']}, one thread: {between:.1f} µs of {overhead['run_us']:.1f} µs are between"
            f" kernels (goal: {overhead['goal_us']:.0f} µs: {'reached' if between <= overhead['goal_us'] else 'missed'}).",
            "",
        ]
    lines += ["### Compilation", "", compile_table(report), "", bounds_table(report), ""]
    lines += ["### Load, memory, size and error", "", memory_table(report), ""]
    if report["skipped"]:
        lines += ["### Not measured", "", *(f"- {text}" for text in report["skipped"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def replace_generated(text, generated):
    """`text` with what lies between the markers replaced. Raises ValueError where they are not there once, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"expects one line '{BEGIN}' and after it one line '{END}'")
    return text[: text.index(BEGIN) + len(BEGIN)] + "\n" + generated + text[text.index(END) :]


def write_whole(path, data):
    """Writes a file that is either as before or complete."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        unfinished.write_bytes(data if isinstance(data, bytes) else data.encode())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
