"""The report's pictures, as SVG texts, by matplotlib."""
import io
import re

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as pyplot  # noqa: E402 (after the choice of the backend)

import figures  # noqa: E402
import plan  # noqa: E402

pyplot.rcParams.update({"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "axes.spines.top": False, "axes.spines.right": False,
                        "axes.grid": True, "grid.color": "#dddddd", "axes.axisbelow": True, "legend.frameon": False, "svg.hashsalt": "holdfast"})
OURS = "#c2410c"
OTHERS = ["#1d4ed8", "#0f766e", "#6d28d9", "#4d7c0f", "#0369a1", "#be185d", "#57534e", "#a16207", "#15803d", "#7f1d1d"]
MARKS = "osD^vP<>Xp"


def svg(figure, title):
    """A figure as a text that can stand within HTML; it grows and shrinks with the page."""
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None, "Title": title})
    pyplot.close(figure)
    text = text.getvalue()
    text = text[text.index("<svg"):]
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()
    return re.sub(r'width="[^"]*pt" height="[^"]*pt"|height="[^"]*pt" width="[^"]*pt"', f'role="img" aria-label="{title}" style="max-width:{float(width) * 1.5:.0f}px"', text, 1) \
        if width and height else text


def style(number, ours):
    if ours:
        return {"color": OURS, "linewidth": 3, "marker": "*", "markersize": 11, "zorder": 5}
    return {"color": OTHERS[number % len(OTHERS)], "linewidth": 1.5, "marker": MARKS[number % len(MARKS)], "markersize": 5}


def human(value, _=None):
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def against_clients(results, group, what, label, title):
    """what(points) -> figure, for every rival of a group."""
    figure, axes = pyplot.subplots(figsize=(5.2, 3.6))
    number = 0
    for entry in plan.ENTRIES:
        points = [(clients, what(figures.closed(results, entry.key, clients))) for clients in plan.CLIENTS]
        points = [(clients, value) for clients, value in points if value]
        if entry.group != group or not points:
            continue
        ours = entry.key.startswith("holdfast-") and entry.key != "holdfast-memory"
        axes.plot(*zip(*points), label=entry.label, **style(number, ours))
        number += not ours
    axes.set(xscale="log", yscale="log", xlabel="clients", ylabel=label, title=title)
    axes.set_xticks(plan.CLIENTS, [str(clients) for clients in plan.CLIENTS])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(human)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=10)
    return svg(figure, title)


def curve(axes, point, **how):
    shares = [(min(share, 0.99999), us / 1000) for share, us in point["result"]["curve_us"] if us > 0]
    axes.plot([1 / (1 - share) for share, _ in shares], [ms for _, ms in shares], **how)


def latency_curves(results, entry):
    """Open loop at 80 % of what this rival can at most: it, and Holdfast at the same rate."""
    theirs = figures.open_points(results, entry.key, "open 0.8")
    ours = figures.open_points(results, next(e.key for e in plan.ENTRIES if e.group == entry.group), f"beside {entry.key}")
    if not theirs or not ours:
        return None
    figure, axes = pyplot.subplots(figsize=(3.6, 2.7))
    curve(axes, theirs[0], label=entry.label, color=OTHERS[0], linewidth=2)
    curve(axes, ours[0], label="Holdfast", color=OURS, linewidth=2.5)
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms", title=f"{entry.label}\n{theirs[0]['rate']:,.0f} arrivals/s")
    axes.set_xticks([2, 10, 100, 1000, 10000], ["50", "90", "99", "99.9", "99.99"])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(human)
    axes.legend(fontsize=9)
    return svg(figure, f"latency at 80 % of the most of {entry.label}")


def until_it_breaks(results, group):
    """p99 against the share of its own most that arrives."""
    figure, axes = pyplot.subplots(figsize=(5.2, 3.4))
    shares, number = figures.shares(results), 0
    for entry in plan.ENTRIES:
        points = [(share * 100, figures.p99_ms(figures.open_points(results, entry.key, f"open {share}"))) for share in shares]
        points = [(share, value) for share, value in points if value]
        if entry.group != group or not points:
            continue
        ours = entry.key.startswith("holdfast-") and entry.key != "holdfast-memory"
        axes.plot(*zip(*points), label=entry.label, **style(number, ours))
        number += not ours
    axes.axvline(100, color="#999999", linestyle=":", linewidth=1)
    axes.set(yscale="log", xlabel="arrivals, % of its own most in a closed loop", ylabel="p99, ms", title=f"until it breaks: {group}")
    axes.yaxis.set_major_formatter(human)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, fontsize=10)
    return svg(figure, f"until it breaks: {group}")
