#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Adds up the results of the test suites: scripts/summary.py FOLDER.

FOLDER holds suites.tsv (name, exit status of the runner, seconds) and a JUnit file NAME.xml for each suite. Prints the
failures, what was skipped and why, a line for each suite and, last, `N passed, M failed, K skipped`. Exits with 1 if anything failed, if a
suite's runner failed without saying which test did, if a suite's results are missing or hold no test, or if there is no
suite at all.
"""
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


class Suite:
    """Counts and failures of one suite."""

    def __init__(self, name, status, seconds):
        self.name, self.status, self.seconds = name, status, seconds
        self.passed, self.failures = 0, []
        self.skipped = []  # (title, reason)

    def read(self, path):
        """Adds the results in the JUnit file `path`."""
        try:
            root = ElementTree.parse(path).getroot()
        except OSError:
            log = path.with_suffix(".log")
            self.failures.append(("(runner)", f"left no results, exit status {self.status}: see {log}"))
            return
        except ElementTree.ParseError as error:
            self.failures.append(("(runner)", f"left unreadable results ({error}), exit status {self.status}"))
            return
        for case in root.iter("testcase"):
            self.add(case)
        if not self.passed and not self.skipped and not self.failures:
            self.failures.append(("(runner)", "ran no test"))
        elif self.status != 0 and not self.failures:
            self.failures.append(("(runner)", f"exit status {self.status}: see {path.with_suffix('.log')}"))

    def add(self, case):
        """Counts one test."""
        scope = case.get("classname", "")
        name = case.get("name", "?")
        title = name if scope in ("", name) else f"{scope}.{name}"
        for kind in ("failure", "error"):
            element = case.find(kind)
            if element is not None:
                output = case.findtext("system-out", "").strip()
                text = element.get("message") or element.text or output[-200:]
                self.failures.append((title, " ".join(text.split())[:200]))
                return
        skipped = case.find("skipped")
        reason = "" if skipped is None else skipped.get("message", "")
        if case.get("status") == "notrun" and not reason.startswith("SKIP_"):
            self.failures.append((title, reason))  # ctest: a missing program, or a fixture that failed
        elif skipped is not None:
            self.skipped.append((title, " ".join(reason.split()) or "no reason is given"))
        else:
            self.passed += 1


def read_suites(folder):
    """Reads every suite that suites.tsv names."""
    table = folder / "suites.tsv"
    suites = []
    for line in table.read_text().splitlines() if table.exists() else []:
        name, status, seconds = line.split("\t")
        suites.append(Suite(name, int(status), int(seconds)))
        suites[-1].read(folder / f"{name}.xml")
    return suites


def print_skipped(suites):
    """A line for each reason, with how many tests it kept from running, and the first of them."""
    reasons = {}
    for suite in suites:
        for title, reason in suite.skipped:
            reasons.setdefault((suite.name, reason), []).append(title)
    if reasons:
        print("skipped:")
    for (name, reason), titles in reasons.items():
        others = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        print(f"  {name}: {titles[0]}{others}: {reason[:200]}")


def main():
    suites = read_suites(Path(sys.argv[1]))
    passed = sum(suite.passed for suite in suites)
    failed = sum(len(suite.failures) for suite in suites)
    skipped = sum(len(suite.skipped) for suite in suites)
    if any(suite.failures for suite in suites):
        print("failures:")
    for suite in suites:
        for title, message in suite.failures:
            print(f"  {suite.name}: {title}" + (f": {message}" if message else ""))
    print_skipped(suites)
    print(f"{'suite':<12} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for suite in suites:
        print(f"{suite.name:<12} {suite.passed:>7} {len(suite.failures):>7} {len(suite.skipped):>8} {suite.seconds:>8}")
    if passed + failed == 0:
        print("no test was run")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
