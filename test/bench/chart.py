# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The chart of a report: each runtime's time as a share of the best peer's, and the targets."""
import io

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

import report as reports  # noqa: E402

COLORS = {"lathe": "#c2410c", "onnxruntime": "#94a3b8", "openvino": "#475569"}
MOST = 2.5  # times the best peer; longer bars are cut


def draw(report):
    """SVG text; the same for the same report."""
    names = reports.names_of(report)
    entries = [entry for entry in report["entries"] if reports.ratios(entry["runtimes"])[0] is not None]
    plt.rcParams.update({"svg.hashsalt": "lathe", "svg.fonttype": "path", "font.size": 9, "font.family": "DejaVu Sans"})
    height = 0.8 / max(len(names), 1)
    figure, axes = plt.subplots(figsize=(8.5, 1.3 + 0.22 * (len(names) + 0.8) * max(len(entries), 1)))
    for row, entry in enumerate(entries):
        best = min(figures["min_ms"] for name, figures in entry["runtimes"].items() if name != reports.LATHE)
        for place, name in enumerate(names):
            figures = entry["runtimes"].get(name)
            if not figures:
                continue
            share, at = figures["min_ms"] / best, row - 0.4 + height * (place + 0.5)
            axes.barh(at, min(share, MOST), height * 0.92, color=COLORS[name])
            time = figures["min_ms"]
            text = (f"{time:,.0f} ms" if time >= 100 else f"{time:.3g} ms") + (f" ({share:.1f} times)" if share > MOST else "")
            axes.text(min(share, MOST) + 0.015, at, text, va="center", fontsize=7, color="#334155")
        if entry["target"] is not None:
            axes.plot([entry["target"]] * 2, [row - 0.46, row - 0.36 + height], color="black", linewidth=1.6)
    axes.axvline(1, color="#cbd5e1", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(entries)), [f"{entry['name']}, {entry['precision']}" for entry in entries])
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.set_xlim(0, MOST + 0.5)
    axes.set_xlabel("time of the fastest run, as a share of the best peer's (shorter is better)")
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLORS[name]) for name in names]
    handles.append(plt.Line2D([], [], color="black", linewidth=1.4))
    labels = [reports.TITLES[name] for name in names] + ["target for Lathe"]
    axes.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()
