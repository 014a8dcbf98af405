#!/usr/bin/env python3
"""Draws what a spike looked like: plot_spike.py SERIES.csv RESULT.json OUT.svg

Three panels over one time axis, one for each count, since they differ by orders of magnitude. The drawing is one file that
needs nothing else: texts are outlines.
"""
import csv
import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402


def main():
    series, result, out = sys.argv[1:]
    with open(series) as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    with open(result) as file:
        told = json.load(file)
    seconds = [row["seconds"] for row in rows]
    panels = [("waiting", f"waiting, of {told['buyers']:,} who came", "#1f5fa8", None),
              ("active", "choosing (allowed at once: dashed)", "#b3541e", told["active_max"]),
              ("sold", "seats sold (there are: dashed)", "#2b7a3d", told["on_sale"])]
    plt.rcParams.update({"font.size": 12, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(len(panels), 1, sharex=True, figsize=(8, 9), constrained_layout=True)
    for axis, (name, title, colour, bound) in zip(axes, panels):
        values = [row[name] for row in rows]
        axis.plot(seconds, values, color=colour, linewidth=2)
        axis.fill_between(seconds, values, color=colour, alpha=0.12, linewidth=0)
        if bound:
            axis.axhline(bound, color="#555555", linewidth=1, linestyle=(0, (5, 4)))
        axis.set_title(title, loc="left", fontsize=12, color=colour)
        axis.set_ylim(bottom=0, top=max(bound or 0, max(values)) * 1.08 + 1)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes[-1].set_xlabel("seconds since the doors opened")
    axes[-1].set_xlim(0, seconds[-1])
    figure.suptitle(f"{told['buyers']:,} people, {told['on_sale']:,} seats: {told['units_confirmed']:,} sold in {told['seconds']:.1f} s, "
                    f"oversold {told['oversold']}", fontsize=13)
    figure.savefig(out, format="svg", metadata={"Date": None})


main()
