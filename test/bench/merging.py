# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""A report of several runs: what was measured again takes the place of what was measured before.

Such a report has, beside what report.py describes,
    runs      [{"date", "command", "versions", "notes", "machine"}], oldest first
and each entry, each model's compilation and the overhead have the number of theirs as "run". The rest of it is that of the last run.
"""
import copy

import workloads

_OF_A_RUN = ("date", "command", "versions", "notes", "machine")


def _parts(report):
    """All that belongs to a run."""
    return [*report["entries"], *report["compile"].values(), *([report["overhead"]] if report["overhead"] else [])]


def _with_runs(report):
    report = copy.deepcopy(report)
    if "runs" not in report:
        report["runs"] = [{key: report[key] for key in _OF_A_RUN}]
        for part in _parts(report):
            part["run"] = 0
    return report


def merge(earlier, later):
    """The report of both. What was skipped earlier stays so unless it was measured now."""
    result, new = _with_runs(earlier), _with_runs(later)
    for part in _parts(new):
        part["run"] += len(result["runs"])
    result["runs"] += new["runs"]
    result.update({key: new[key] for key in _OF_A_RUN})
    entries = {(entry["name"], entry["precision"]): entry for entry in (*result["entries"], *new["entries"])}
    order = {(workload.name, precision): place for place, (workload, precision) in enumerate(workloads.select())}
    result["entries"] = sorted(entries.values(), key=lambda entry: order.get((entry["name"], entry["precision"]), len(order)))
    result["compile"].update(new["compile"])
    result["overhead"] = new["overhead"] or result["overhead"]
    measured = [f"{entry[key]}, {entry['precision']}:" for entry in new["entries"] for key in ("name", "model")]
    kept = [text for text in result["skipped"] if not any(text.startswith(start) for start in measured)]
    result["skipped"] = list(dict.fromkeys([*kept, *new["skipped"]]))
    used = sorted({part["run"] for part in _parts(result)})
    result["runs"] = [result["runs"][number] for number in used]
    for part in _parts(result):
        part["run"] = used.index(part["run"])
    return result
