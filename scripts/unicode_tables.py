#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Writes runtime/tokenizer/UnicodeTables.inc: what the `tokenizers` package knows of every code point.

The package mixes tables of several versions of Unicode, none of which a library of the system has. So it is asked: each
property is what one of its normalizers or pre-tokenizers does with a code point by itself. --check: compare only.
"""
import argparse
import sys
import unicodedata
from pathlib import Path

from tokenizers import Regex, normalizers, pre_tokenizers

OUTPUT = Path(__file__).resolve().parents[1] / "runtime/tokenizer/UnicodeTables.inc"
CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
CATEGORIES = ["L", "Lu", "Ll", "Lt", "Lm", "Lo", "N", "Nd", "Nl", "No", "M", "Mn", "Mc", "Me"]
CATEGORIES += ["P", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So"]


def changed(normalizer):
    return {code: text for code in CODES if (text := normalizer.normalize_str(chr(code))) != chr(code)}


def split(pre_tokenizer, around):
    return [code for code in CODES if len(pre_tokenizer.pre_tokenize_str(f"{around}{chr(code)}{around}")) > 1]


def matched(pattern):
    return split(pre_tokenizers.Split(Regex(pattern), "isolated"), "\n")


def bert(**options):
    everything = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return changed(normalizers.BertNormalizer(**{**everything, **options}))


def ranges(codes):
    found = []
    for code in sorted(codes):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def table(name, codes, why):
    items = [f"{first}, {last}," for first, last in ranges(codes)]
    return [f"/// {why}", f"constexpr uint32_t {name}[] = {{"] + fill(items) + ["};", ""]


def fill(items):
    lines, line = [], "   "
    for item in items:
        if len(line) + 1 + len(item) > 120:
            lines.append(line)
            line = "   "
        line += " " + item
    return lines + [line] if line.strip() else lines


def lower_case():
    """Runs of code points with one distance to their lower case; every second one where the runs alternate."""
    pairs = [(code, ord(text)) for code, text in changed(normalizers.Lowercase()).items() if len(text) == 1]
    runs = []
    for code, lower in pairs:
        if runs:
            first, last, step, delta = runs[-1]
            stride = code - last
            if delta == lower - code and stride in (1, 2) and (first == last or stride == step):
                runs[-1] = (first, code, stride, delta)
                continue
        runs.append((code, code, 1, lower - code))
    items = [f"{{{first}, {last}, {step}, {delta}}}," for first, last, step, delta in runs]
    why = "/// First, last, step, and what is added. One character becomes two: U+0130."
    return [why, "constexpr LowerRun kLower[] = {"] + fill(items) + ["};", ""]


def scripts():
    """Ranges of code points that UnicodeScripts puts into one class; 0 goes with all."""
    rule = pre_tokenizers.UnicodeScripts()

    def together(a, b):
        return len(rule.pre_tokenize_str(chr(a) + chr(b))) == 1

    classes, found = [ord("a"), ord("\u044f")], []
    for code in CODES:
        last = found[-1][2] if found else None
        if all(together(code, other) for other in classes[:2]):
            kind = 0
        elif last and together(code, classes[last - 1]):
            kind = last
        else:
            kind = next((i + 1 for i, other in enumerate(classes) if together(code, other)), None)
            if kind is None:
                classes.append(code)
                kind = len(classes)
        if kind and last == kind and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code, kind])
    items = [f"{{{first}, {last}, {kind}}}," for first, last, kind in found if kind]
    why = "/// Scripts, numbered as they appear; what is in none of them goes with any."
    return [why, "constexpr ScriptRange kScripts[] = {"] + fill(items) + ["};", ""]


def reordered():
    """Marks that have a class: those of class 1 go before others, others go behind those."""
    rule = normalizers.NFD()
    found = []
    for code in CODES:
        mark = chr(code)
        orders = ("a\u0323" + mark, "a" + mark + "\u0334")
        if len(rule.normalize_str(mark)) == 1 and any(rule.normalize_str(text) != text for text in orders):
            found.append(code)
    return found + [code for code in (0x340, 0x341, 0x343, 0x344) if code not in found]


def generate():
    whole = ["//===- UnicodeTables.inc - Properties of characters -------------*- C++ -*-===//", "//"]
    whole += ["// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0", "//", "//"]
    whole += ["// Written by scripts/unicode_tables.py; not edited.", "//"]
    whole += ["//===----------------------------------------------------------------------===//", ""]
    cleaned = bert(clean_text=True)
    whole += table("kLetter", matched(r"\p{L}"), "Letters, to regular expressions.")
    whole += table("kNumber", matched(r"\p{N}"), "Numbers, to regular expressions.")
    words = set(CODES) - set(split(pre_tokenizers.Whitespace(), "a"))
    whole += table("kWord", words, "Characters of words, to Whitespace and to added tokens.")
    whole += table("kNumeric", split(pre_tokenizers.Digits(True), "a"), "Numbers, to Digits.")
    whole += table("kPunctuation", split(pre_tokenizers.Punctuation(), "a"), "Punctuation.")
    whole += table("kSpace", split(pre_tokenizers.WhitespaceSplit(), "a"), "White space.")
    whole += table("kRemoved", [c for c, text in cleaned.items() if not text], "What BertNormalizer takes for controls.")
    whole += table("kAccent", [c for c, text in bert(strip_accents=True).items() if not text], "Its accents.")
    whole += table("kMark", changed(normalizers.StripAccents()), "Those of StripAccents.")
    whole += table("kReordered", reordered(), "Marks that normal forms reorder.")
    whole += table("kDecomposed", changed(normalizers.NFKD()), "Characters that normal forms decompose.")
    whole += lower_case() + scripts()
    names = []
    for name in CATEGORIES + ["Han", "word", "digit"]:
        pattern = {"word": r"\w", "digit": r"\d"}.get(name, rf"\p{{{name}}}")
        python = {"word": "LMN", "digit": "Nd"}.get(name, name)
        known = (lambda c: False) if name == "Han" else (lambda c: unicodedata.category(chr(c))[: len(python)] == python)
        if name == "word":
            known = lambda c: unicodedata.category(chr(c))[0] in "LMN"  # noqa: E731
        new = [code for code in matched(pattern) if code > 0x7F and not known(code)]
        if new:
            whole += table(f"kNew_{name}", new, f"Newer than a library's own \\p{{{name}}} may be.")
            names.append(name)
    whole += ["constexpr NamedRanges kNewProperties[] = {"]
    whole += fill([f'{{"{name}", kNew_{name}}},' for name in names]) + ["};"]
    return "\n".join(whole) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    text = generate()
    if parser.parse_args().check:
        if OUTPUT.read_text() != text:
            sys.exit(f"{OUTPUT.name} is not what the installed package says: run scripts/unicode_tables.py")
    else:
        OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
