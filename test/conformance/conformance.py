#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Runs the ONNX backend test cases through compile and run, on the CPU backend, on the reference backend, and on devices.

    conformance.py                       all of them on the processor; writes docs/conformance.md and test/conformance/expected.txt
    conformance.py --targets cuda-emulator  the same on the emulated GPU
    conformance.py --resume              what an earlier one that was stopped has left; writes the same files
    conformance.py --again               those that are not expected to pass, and new ones; writes the same files
    conformance.py --check               all of them; fails where one that is expected to pass does not
    conformance.py --check --quick 20    one in 20 of those that are expected to pass
    conformance.py --check --families 3  three of each family of operators, whatever is expected of them
    conformance.py --only REGEX          cases by name; prints what each one says
    conformance.py --table               docs/conformance.md from test/conformance/expected.txt

--variants and --targets say which runs of the cases: the target cuda, which no file is written for, is expected to do what cuda-emulator does. Of the instruction sets that the machine has, each run takes one, by turns.
"""
import argparse
import collections
import hashlib
import itertools
import multiprocessing
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

import ml_dtypes
import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build")).resolve()
sys.path[:0] = [str(BUILD / "python"), str(pathlib.Path(__file__).parent)]
import cases  # noqa: E402

PROCESSOR = ("cpu", "reference")
DEVICES = ("cuda-emulator", "cuda")
TARGETS = PROCESSOR + DEVICES[:1]  # for which something is expected
EXPECTED = ROOT / "test" / "conformance" / "expected.txt"
TABLE = ROOT / "docs" / "conformance.md"
# Seconds of processor time, which others on the machine do not lengthen; what waits for nothing ends after ten times as long.
TIMEOUT = 60
# A Transformer as exported needs these; all of their cases are to pass.
TRANSFORMER = """Add And Attention Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv Cos CumSum
DequantizeLinear Div DynamicQuantizeLinear Einsum Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu
Gemm Greater GreaterOrEqual Identity IsNaN LayerNormalization Less LessOrEqual Log MatMul MatMulInteger Max Min Mod Mul Neg
Not Or Pad Pow QuantizeLinear RMSNormalization Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu
Reshape RotaryEmbedding ScatterElements ScatterND Shape Sigmoid Sign Sin Slice Softmax Split Sqrt Squeeze Sub Swish Tanh
Tile TopK Transpose Trilu Unsqueeze Where Xor""".split()
# Operators that a backend computes in much the same way; what is in none of these computes element by element.
FAMILIES = {
    "attention": "Attention RotaryEmbedding",
    "control": "If Loop Scan",
    "casts": "Cast CastLike",
    "convolutions": "Conv ConvTranspose DeformConv Col2Im",
    "functions": "(several)",
    "images": "AffineGrid CenterCropPad GridSample ImageDecoder Resize RoiAlign",
    "indexing": "Compress Gather GatherElements GatherND NonZero OneHot ScatterElements ScatterND TensorScatter Unique",
    "layout": "Concat ConstantOfShape DepthToSpace Expand EyeLike Flatten Identity Pad Range Reshape Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze Where",
    "norms": "BatchNormalization GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization MeanVarianceNormalization RMSNormalization",
    "pools": "AveragePool GlobalAveragePool GlobalMaxPool LpPool MaxPool MaxUnpool",
    "products": "Det Einsum Gemm MatMul",
    "quantized": "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear",
    "recurrent": "GRU LSTM RNN",
    "reductions": "ArgMax ArgMin CumProd CumSum Mean ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare TopK",
    "signals": "BlackmanWindow DFT HammingWindow HannWindow MelWeightMatrix STFT",
    "softmax": "Hardmax LogSoftmax Softmax",
}
FAMILY = {operator: family for family, operators in FAMILIES.items() for operator in operators.split()}


def carried(array):
    """Values of a type that numpy lacks, as their bits travel."""
    if array.dtype == ml_dtypes.bfloat16:
        return array.view(np.uint16)
    if array.dtype.itemsize > 1 or array.dtype.kind in "biu":
        return array
    return array.view(np.int8 if array.dtype.name in ("int4", "int2") else np.uint8)


def close(got, expected, rtol, atol):
    """None, or what differs."""
    expected = np.asarray(expected)
    if got.dtype == carried(expected).dtype:
        got = got.view(expected.dtype)
    if got.dtype != expected.dtype:
        return f"type {got.dtype} instead of {expected.dtype}"
    if got.shape != expected.shape:
        return f"shape {list(got.shape)} instead of {list(expected.shape)}"
    if expected.dtype.kind in "biu" or "int" in expected.dtype.name:
        return None if np.array_equal(got, expected) else "other integers"
    if expected.dtype.itemsize < 4:  # a unit in the last place of a narrow type is more than the cases' tolerance
        rtol = max(rtol, 2 * float(ml_dtypes.finfo(expected.dtype).eps))
    # Where sums cancel, what is left is the rounding of the terms, and the cases' own values have it as well.
    finite = np.abs(expected.astype(np.float64))[np.isfinite(expected.astype(np.float64))]
    if expected.dtype.itemsize >= 4 and finite.size:
        atol = max(atol, 2 * float(ml_dtypes.finfo(expected.dtype).eps) * finite.max())
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    with np.errstate(all="ignore"):
        good = np.isclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)
    return None if good.all() else f"differs by {np.nanmax(np.abs(got - expected)):.3g}"


def execute(artifact, case, device=None):
    """Runs the compiled case; None, or what is wrong."""
    import lathe

    module = lathe.load(artifact, device=device)
    session = module.session(threads=1)
    for inputs, outputs in case.data:
        names = [tensor.name for tensor in module.inputs]
        arrays = dict(zip((value.name for value in case.model.graph.input), inputs))
        feed = {}
        for name in names:
            feed[name] = carried(np.asarray(arrays[name]))
        results = session.run(feed)
        for value, expected in zip(case.model.graph.output, outputs):
            if wrong := close(results[value.name], expected, case.rtol, case.atol):
                return f"output '{value.name}': {wrong}"
    return None


def limit_processor_time():
    """Ends this process with SIGXCPU when it has computed for too long."""
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT, TIMEOUT + 5))


def death(number, when):
    """What the signal that ended a process says."""
    return f"{when} takes longer than {TIMEOUT} s" if number in (signal.SIGXCPU, signal.SIGALRM) else f"died of signal {number} when {when}"


def guarded_execute(artifact, case, device=None):
    """execute() in a process of its own, so that a crash is an answer."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(10 * TIMEOUT)
        limit_processor_time()
        try:
            answer = execute(artifact, case, device) or "ok"
        except BaseException as error:  # whatever it is, it is the answer
            answer = f"{type(error).__name__}: {error}"
        os.write(write, answer.encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        answer = stream.read().decode(errors="replace")
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return death(os.WTERMSIG(status), "running")
    return None if answer == "ok" else answer


def instruction_sets():
    """Targets of the compiler for what this machine runs."""
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    return ["cpu:avx2"] + ["cpu:avx512"] * ("avx512f" in flags)


_isas = itertools.cycle(instruction_sets())


def judge(case, target):
    """('passed' | 'failed' | 'unsupported', why)."""
    with tempfile.TemporaryDirectory() as folder:
        model, artifact = pathlib.Path(folder, "model.onnx"), pathlib.Path(folder, "model.lathe")
        model.write_bytes(case.model.SerializeToString())
        command = [BUILD / "bin" / "lathe", "compile", model, "-o", artifact, "-q"]
        # Without optimization the reference backend compiles in a quarter of the time.
        if target in DEVICES:
            command += ["-O1", "--target", "cuda:sm_80"]
        else:
            command += ["-O0", "--target", "reference"] if target == "reference" else ["-O1", "--target", next(_isas)]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=10 * TIMEOUT, preexec_fn=limit_processor_time
            )
        except subprocess.TimeoutExpired:
            return "failed", f"compiling takes longer than {10 * TIMEOUT} s by the clock"
        message = result.stderr.strip().removeprefix("lathe: error: ").split("\n")
        message = " ".join(line.strip() for line in message[-2:]).removeprefix("lathe: error: ").replace(str(folder), "")
        if result.returncode < 0:
            return "failed", death(-result.returncode, "compiling")
        if result.returncode == 3:
            return "unsupported", message
        if result.returncode:
            return "failed", f"exit {result.returncode}: {message}"
        wrong = guarded_execute(artifact, case, target if target in DEVICES else None)
        return ("failed", wrong) if wrong else ("passed", "")


_work = []


def work(index):
    case, variant, target = _work[index]
    changed = case.variant(variant)
    if changed is None:
        return index, None
    return index, judge(changed, target)


# The runs of a case, in the order of the letters in EXPECTED.
RUNS = list(itertools.product(TARGETS, cases.VARIANTS))
LETTERS = {"passed": "p", "unsupported": "u", "failed": "f"}
# Not run: the same as another variant, or not tried yet.
SAME, NEVER = "-", "?"


def read_expected():
    """Letters of the runs and the first reason why one does not pass, by the name of the case."""
    lines = EXPECTED.read_text().splitlines() if EXPECTED.exists() else []
    result = {}
    for line in lines:
        if line and line[0] != "#":
            runs, _, reason = line.partition("  # ")
            letters, name = runs.split(" ", 1)
            result[name] = (letters.ljust(len(RUNS), NEVER), reason)
    return result


def write_expected(expected):
    lines = [
        "# Written by `make conformance`: runs that pass, fail, are unsupported, are the same as another, or are unknown (pfu-?).",
        "# In this order: " + ", ".join(" ".join(run) for run in RUNS) + "; then why the first that does not pass does not.",
    ]
    lines += [f"{letters} {name}" + (f"  # {reason}" if reason else "") for name, (letters, reason) in expected.items()]
    whole = EXPECTED.with_suffix(".new")  # a run that is killed leaves the file as it was
    whole.write_text("\n".join(lines) + "\n")
    whole.replace(EXPECTED)


def picked(key, one_in):
    """A choice that does not change when cases are added."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % one_in == 0


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "–"


def shortened(why):
    why = re.sub(r"\bnode '[^']*'( \([^)]*\))?:? ?|'model.onnx':? ?|  +", " ", why).strip()
    return why.replace("\n", " ")[:150]


def update(expected, results):
    """What the runs of a case said now takes the place of what they said before."""
    by_case = collections.defaultdict(dict)
    for (case, variant, target), verdict in results.items():
        by_case[case.name][RUNS.index((target, variant))] = verdict
    for name, verdicts in by_case.items():
        letters, reason = expected.get(name, (NEVER * len(RUNS), ""))
        letters = list(letters)
        for index, verdict in verdicts.items():
            letters[index] = LETTERS[verdict[0]] if verdict else SAME
        whys = [shortened(verdict[1]) for _, verdict in sorted(verdicts.items()) if verdict and verdict[1]]
        reason = whys[0] if whys else reason if set(letters) & {"u", "f"} else ""
        expected[name] = ("".join(letters), reason)


def forget(expected, runs):
    """The runs are unknown until they are made again."""
    for case, variant, target in runs:
        letters, reason = expected.get(case.name, (NEVER * len(RUNS), ""))
        index = RUNS.index((target, variant))
        expected[case.name] = (letters[:index] + NEVER + letters[index + 1 :], reason)


def device_differences(expected, in_scope):
    """Lines that tell which cases pass on the processor and not on the emulated GPU."""
    lines = []
    for case in in_scope:
        letters, reason = expected.get(case.name, (NEVER * len(RUNS), ""))
        wrong = [variant for variant in cases.VARIANTS if letters[RUNS.index((DEVICES[0], variant))] in "uf" and letters[RUNS.index(("cpu", variant))] == "p"]
        if wrong:
            lines.append(f"| {case.name} | {', '.join(wrong)} | {reason.replace('|', chr(92) + '|')} |")
    heading = ["", "## On the emulated GPU", ""]
    if not lines:
        return [*heading, "Each run that was made there ended as on the processor."]
    return [*heading, "These pass on the processor and not there:", "", "| Case | Variants | Reason |", "|---|---|---|", *lines]


def write_table(expected, in_scope, excluded):
    by_operator = collections.defaultdict(collections.Counter)
    whole = collections.Counter()
    by_run = collections.defaultdict(collections.Counter)
    reasons = collections.defaultdict(collections.Counter)
    for case in in_scope:
        letters, reason = expected.get(case.name, (NEVER * len(RUNS), ""))
        kind = "f" if "f" in letters else "u" if "u" in letters else "p" if "p" in letters else NEVER
        whole[kind] += 1
        by_operator[case.operator][kind] += 1
        if reason:
            reasons[case.operator][reason] += 1
        for run, letter in zip(RUNS, letters):
            by_run[run][letter] += 1
    total = len(in_scope) + sum(excluded.values())
    lines = [
        "# Conformance",
        "",
        "Written by `make conformance`. The ONNX backend test cases, each as it comes (static), with symbolic dimensions (dynamic) and",
        "with constant inputs (constant; where that is another case), compiled and run on the CPU backend, on the reference backend, and",
        f"for CUDA on the emulated GPU (`make conformance ARGS=\"--targets cuda-emulator\"`).",
        "",
        f"{total} cases: those of onnx {onnx.__version__} and of Debian's libonnx-testdata (1.12).",
        f"{sum(excluded.values())} are not inference on tensors or not of operator sets 13 to 25: "
        + ", ".join(f"{why} {n}" for why, n in sorted(excluded.items()))
        + ".",
        "",
        "| Backend | Variant | Passed | Unsupported | Failed | |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for (target, variant), counts in by_run.items():
        ran = counts["p"] + counts["u"] + counts["f"]
        if ran:
            lines.append(f"| {target} | {variant} | {counts['p']} | {counts['u']} | {counts['f']} | {percent(counts['p'], ran)} |")
    needed = collections.Counter()
    for operator in TRANSFORMER:
        needed.update(by_operator.get(operator, {}))
    lines += [
        "",
        f"Of {whole.total()} cases, {whole['p']} ({percent(whole['p'], whole.total())}) pass in every run that was made of them.",
        f"Of the operators that a Transformer uses: {needed['p']} of {needed.total()} ({percent(needed['p'], needed.total())}).",
        "",
        "## By operator",
        "",
        "A case counts as passed where every run of it passes.",
        "",
        "| Operator | Passed | Unsupported | Failed | Most frequent reason |",
        "|---|--:|--:|--:|---|",
    ]
    for operator, counts in sorted(by_operator.items()):
        reason = reasons[operator].most_common(1)
        reason = reason[0][0].replace("|", "\\|") if reason else ""
        lines.append(f"| {operator} | {counts['p']} | {counts['u'] or ''} | {counts['f'] or ''} | {reason} |")
    lines += device_differences(expected, in_scope)
    TABLE.write_text("\n".join(lines) + "\n")


def letter_of(expected, case, run):
    """What is expected of a run; of one on a device, what is of one on the emulated one."""
    target, variant = run
    return expected.get(case.name, (NEVER * len(RUNS), ""))[0][RUNS.index((DEVICES[0] if target in DEVICES else target, variant))]


def wanted(options, expected, case, run):
    letter = letter_of(expected, case, run)
    if options.only and not re.search(options.only, case.name) or options.operator and case.operator != options.operator:
        return False
    if options.resume:
        return letter == NEVER
    if options.again:
        return letter in "uf" + NEVER
    return options.quick == 1 or letter == "p" and picked(f"{case.name} {run}", options.quick)


def of_families(runs, expected, count):
    """`count` runs of each family: those that a hash puts first, so that neither what passes nor an order of names chooses."""
    families = collections.defaultdict(list)
    for case, variant, target in runs:
        if letter_of(expected, case, (target, variant)) != SAME:
            families[FAMILY.get(case.operator, "elementwise")].append((case, variant, target))
    for name, members in sorted(families.items()):
        members.sort(key=lambda run: hashlib.sha256(f"{run[0].name} {run[1:]}".encode()).digest())
        yield from members[:count]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is expected; write nothing")
    parser.add_argument("--again", action="store_true", help="only what is not expected to pass")
    parser.add_argument("--resume", action="store_true", help="only what was never run, or not since a run of all was begun")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--quick", type=int, default=1, metavar="N", help="one in N of the runs that are expected to pass")
    parser.add_argument("--families", type=int, metavar="N", help="N runs of each family of operators")
    parser.add_argument("--only", help="cases whose name matches, with what each one says")
    parser.add_argument("--operator", help="cases of one operator")
    parser.add_argument("--variants", nargs="+", default=cases.VARIANTS, choices=cases.VARIANTS)
    parser.add_argument("--targets", nargs="+", default=PROCESSOR, choices=PROCESSOR + DEVICES)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    expected = read_expected()
    excluded, in_scope = collections.Counter(), []
    for case in itertools.chain(cases.generated(), cases.debian()):
        if why := case.out_of_scope():
            excluded[why] += 1
        else:
            in_scope.append(case)
    for case in [] if options.table else in_scope:
        for target, variant in itertools.product(options.targets, options.variants):
            if wanted(options, expected, case, (target, variant)):
                _work.append((case, variant, target))
    if options.families:
        _work[:] = of_families(_work, expected, options.families)
    start = time.monotonic()
    results = {}
    selects = options.only or options.operator or options.check or options.quick != 1 or options.families
    writes = not selects and set(options.targets) <= set(TARGETS)
    if writes and not (options.again or options.resume or options.table):
        forget(expected, _work)
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        for done, (index, verdict) in enumerate(pool.imap_unordered(work, range(len(_work)), chunksize=8)):
            results[_work[index]] = verdict
            if writes and done % 50 == 49:  # what is known is kept where the rest is not waited for; --resume goes on
                update(expected, results)
                write_expected(expected)
            if sys.stderr.isatty() and done % 20 == 0:
                print(f"\r{done} of {len(_work)}, {time.monotonic() - start:.0f} s ", end="", file=sys.stderr)
    results = {item: results[item] for item in _work}
    counts = collections.Counter(verdict[0] for verdict in results.values() if verdict)
    broken = []
    for (case, variant, target), (status, why) in ((item, verdict) for item, verdict in results.items() if verdict):
        letter = letter_of(expected, case, (target, variant))
        if letter == "p" and status != "passed" or status == "failed" and letter != "f":
            broken.append(f"{status}: {case.name} {variant} {target}: {why[:300]}")
    if options.only or options.operator or options.families and not options.check:
        for (case, variant, target), verdict in results.items():
            if verdict:
                print(f"{verdict[0]:12} {case.name} {variant} {target}  {verdict[1][:300]}")
    elif options.check:
        print("".join(line + "\n" for line in broken), end="")
    elif writes:
        update(expected, results)
        names = {case.name for case in in_scope}
        expected = {name: entry for name, entry in expected.items() if name in names or not cases.DEBIAN.exists()}
        write_expected(expected)
        write_table(expected, in_scope, excluded)
    print(f"{counts['passed']} passed, {counts['unsupported']} unsupported, {counts['failed']} failed, in {time.monotonic() - start:.0f} s")
    return 1 if options.check and broken else 0


if __name__ == "__main__":
    # Each Case is a key of the results; two of the same name would be one.
    cases.Case.__hash__ = lambda self: hash(self.name)
    cases.Case.__eq__ = lambda self, other: self is other
    sys.exit(main())
