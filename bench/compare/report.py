"""index.html and report.md from results.json. usage: report.py RESULTS.json DIRECTORY"""
import html
import json
import pathlib
import sys

import figures
import plan
import plots

STYLE = """
:root { color-scheme: light; } * { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, 'DejaVu Sans', sans-serif; color: #1c1917; margin: 0 auto; padding: 1rem; max-width: 62rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .2em 0; } h2 { font-size: 1.25rem; margin: 2em 0 .4em; border-bottom: 2px solid #e7e5e4; }
svg { width: 100%; height: auto; display: block; margin: .6em auto; } .pair, .many { display: grid; gap: .5rem; }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.many { grid-template-columns: repeat(auto-fill, minmax(min(100%, 16rem), 1fr)); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .6em 0; font-variant-numeric: tabular-nums; }
th { text-align: right; color: #57534e; font-weight: 600; vertical-align: bottom; } td { text-align: right; }
th, td { padding: .3em .5em; border-bottom: 1px solid #e7e5e4; } td { white-space: nowrap; } td.text, td:first-child { white-space: normal; } td.big { font-weight: 700; } th:first-child, td:first-child { text-align: left; }
td.text, th.text { text-align: left; } tr.ours td { font-weight: 700; color: #9a3412; }
.good { color: #166534; font-weight: 600; } .bad { color: #b91c1c; font-weight: 700; } .note { color: #57534e; font-size: .9rem; }
@media (max-width: 40rem) {
  table.wide, table.wide tbody, table.wide tr, table.wide td { display: block; width: 100%; }
  table.wide thead { display: none; } table.wide tr { border: 1px solid #d6d3d1; border-radius: 6px; margin: .6em 0; padding: .3em .6em; }
  table.wide td { white-space: normal; text-align: right; border: 0; padding: .1em 0; display: flex; justify-content: space-between; gap: 1em; }
  table.wide td::before { content: attr(data-name); color: #57534e; font-weight: 400; text-align: left; }
  table.wide td:first-child { font-weight: 700; text-align: left; } table.wide td:first-child::before { content: none; } table.wide td.text { text-align: right; }
}
@media print {
  @page { size: A4; margin: 14mm; } body { font-size: 9.5pt; max-width: none; padding: 0; } svg, tr, figure { break-inside: avoid; } table { font-size: 8.5pt; } h2 { break-after: avoid; }
  .pair { grid-template-columns: 1fr 1fr; } .many { grid-template-columns: 1fr 1fr 1fr; } a { color: inherit; }
}
"""


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def short(value):
    """Three figures are enough."""
    if value is None:
        return "–"
    return number(value) if value >= 100 else number(value, 1) if value >= 10 else number(value, 2)


class Table:
    """The same rows as HTML and as Markdown. A cell is a text, or (text, class)."""

    def __init__(self, *names, wide=False, text=()):
        self.names, self.wide, self.text, self.rows = names, wide, set(text), []

    def add(self, *cells, ours=False):
        self.rows.append(([cell if isinstance(cell, tuple) else (str(cell), "") for cell in cells], ours))

    def html(self):
        def kind(position, more=""):
            words = [word for word in ("text" if position in self.text else "", more) if word]
            return f' class="{" ".join(words)}"' if words else ""
        head = "".join(f"<th{kind(i)}>{html.escape(name)}</th>" for i, name in enumerate(self.names))
        body = "".join(
            f"<tr{' class=ours' if ours else ''}>" + "".join(
                f'<td{kind(i, more)} data-name="{html.escape(self.names[i])}"><span>{html.escape(text)}</span></td>' for i, (text, more) in enumerate(cells))
            + "</tr>" for cells, ours in self.rows)
        return f"<table{' class=wide' if self.wide else ''}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def markdown(self):
        lines = ["| " + " | ".join(self.names) + " |", "|" + "|".join(" --- " if i == 0 or i in self.text else " ---: " for i in range(len(self.names))) + "|"]
        return "\n".join(lines + ["| " + " | ".join(text.replace("|", "\\|") for text, _ in cells) + " |" for cells, _ in self.rows])


def ours(entry):
    return entry.key.startswith("holdfast-")


def where(aim):
    return f"{aim.clients} clients" + (f", pipeline {aim.pipeline}" if aim.pipeline > 1 else "") + (", HTTP" if plan.BY_KEY[aim.ours].group == "http" else "")


def side(row):
    """Who is compared: the rival, and Holdfast where it is not as it comes."""
    mine = plan.BY_KEY[row["aim"].ours]
    return plan.BY_KEY[row["aim"].theirs].label + (" (Holdfast not durable either)" if mine.key == "holdfast-memory" else "")


def ratio_table(results):
    table = Table("Holdfast against", "at", "ratio", "least – most of the rounds", "aim", "client's ceiling reached", "by CPU a purchase", "", wide=True, text=(1,))
    for row in figures.ratios(results):
        aim = row["aim"]
        aim_text = (f"≥ {aim.times:g} ×" if aim.times else "–") + (f", p99 ≤ 1/{aim.p99_times:g}" if aim.p99_times else "")
        table.add(side(row), where(aim), (f"{short(row['ratio'])} ×", "big"), f"{short(row['least'])} – {short(row['most'])} ({row['rounds']})", aim_text,
                  f"{row['ceiling_share'] * 100:.0f} %" if row["ceiling_share"] else "–", f"{short(row['cpu_ratio'])} ×",
                  (row["verdict"], {"not met": "bad", "–": ""}.get(row["verdict"], "good")))
    return table


def ratio_details(results):
    table = Table("Holdfast · rival", "at", "purchases/s", "p99 ms", "CPU µs a purchase", "a core busy: client", "servers", wide=True, text=(1,))
    for row in figures.ratios(results):
        (client, mine), (their_client, theirs) = row["ours_cores"], row["theirs_cores"]
        table.add(side(row), where(row["aim"]), f"{number(row['ours'])} · {number(row['theirs'])}", f"{short(row['ours_p99_ms'])} · {short(row['theirs_p99_ms'])}",
                  f"{short(row['ours_cpu_us'])} · {short(row['theirs_cpu_us'])}", f"{client:.0f} · {their_client:.0f} %", f"{mine:.0f} · {theirs:.0f} %")
    return table


def group_entries(group):
    return [entry for entry in plan.ENTRIES if entry.group == group]


def throughput_table(results, group):
    table = Table("purchases a second", *("1 client" if clients == 1 else f"{clients} clients" for clients in plan.CLIENTS), "p99 ms at 64", "at 256")
    for entry in group_entries(group):
        points = [figures.closed(results, entry.key, clients) for clients in plan.CLIENTS]
        table.add(entry.label, *(number(figures.median_rate(p)) for p in points), short(figures.p99_ms(points[2])), short(figures.p99_ms(points[3])), ours=ours(entry))
    null = [figures.closed(results, figures.null_of(group_entries(group)[0].key), clients) for clients in plan.CLIENTS]
    table.add("the client against a null server", *(number(figures.median_rate(p)) for p in null), short(figures.p99_ms(null[2])), short(figures.p99_ms(null[3])))
    return table


def pool_table(results):
    table = Table("over a pool of connections", "best pool", "64 buyers /s", "256 buyers /s", "p99 ms at 256", "Holdfast, 64 and 256 connections", wide=True)
    for key, pool in results["pools"].items():
        entry = plan.BY_KEY[key]
        rates = [(figures.closed(results, key, clients, pool=pool)) for clients in (64, 256)]
        mine = [figures.median_rate(figures.closed(results, group_entries(entry.group)[0].key, clients)) for clients in (64, 256)]
        theirs = [figures.median_rate(points) for points in rates]
        times = " · ".join(f"{short(a / b)} ×" if a and b else "–" for a, b in zip(mine, theirs))
        table.add(f"{entry.label} ({entry.group})", pool, number(theirs[0]), number(theirs[1]), short(figures.p99_ms(rates[1])), times)
    return table


def audit_table(results):
    table = Table("", "stock 10, 100 buyers: sold", "loads", "granted in all", "oversold", "lost", wide=True)
    for row in figures.audits(results):
        bad = row["oversold"] > 0
        expected = row["entry"].oversells
        table.add(f"{row['entry'].label} ({row['entry'].group})", number(row["small"]["held"]) if row["small"] else "–", row["loads"], number(row["held"]),
                  (number(row["oversold"]) + (" (counted, as it must be)" if bad and expected else ""), "bad" if bad else "good"),
                  (number(row["lost"]), "bad" if row["lost"] else "good"), ours=ours(row["entry"]))
    return table


def cost_table(results):
    table = Table("64 clients", "CPU µs a purchase", "bytes written a purchase", "when an answer leaves", wide=True, text=(3,))
    for entry in plan.ENTRIES:
        points = figures.closed(results, entry.key, 64)
        if points:
            table.add(f"{entry.label} ({entry.group})", short(figures.cpu_us(points)), number(figures.written_bytes(points)), results["promises"][entry.server], ours=ours(entry))
    return table


def break_table(results):
    shares = figures.shares(results)
    table = Table("p99 ms at a share of its own most", *(f"{share * 100:g} %" for share in shares), "Holdfast at this 80 %")
    for entry in plan.ENTRIES:
        cells = [short(figures.p99_ms(figures.open_points(results, entry.key, f"open {share}"))) for share in shares]
        beside = figures.p99_ms(figures.open_points(results, group_entries(entry.group)[0].key, f"beside {entry.key}"))
        if set(cells) != {"–"}:
            table.add(f"{entry.label} ({entry.group})", *cells, short(beside), ours=ours(entry))
    return table


def settings_table(results):
    table = Table("server", "version", "settings", wide=True, text=(1, 2))
    for name, version in results["versions"].items():
        table.add(name, version, results["settings"][name])
    return table


def better_table():
    table = Table("", "what it is better at", text=(1,))
    for entry in plan.ENTRIES:
        if entry.better_at:
            table.add(f"{entry.label} ({entry.group})", entry.better_at)
    return table


READ = ("Every rate is of purchases that were granted, by the same client: one thread, an event loop, the same percentiles, the same count of what was "
        "sold twice, from the answers alone. Clients and servers share this machine's processors. Where Holdfast is as fast as the client against a server that "
        "does nothing (“client's ceiling reached”), the ratio ends at the client; processor time for each purchase goes on from there. Where neither client nor server has its "
        "core busy, a durable server waits for its disk.")
POOLS = ("A thousand buyers need not be a thousand connections: with a small pool in front, those who wait stand in the client and not at the row's lock. The pool that serves "
         "64 buyers best was searched. Its latency counts from when it was a buyer's turn to be written to the pool's connection.")
OPEN = ("Open loop: buyers come by the clock whatever the server does, and latency counts from when they came. Each rival at 80 % of the most it reached above, and Holdfast at that same rate.")
LOST = ("Oversold: units that were promised to more than one buyer, by the answers the buyers got. Lost: granted to a buyer, and not in the server's books afterwards. "
        "The control reads the stock and writes it back; that it oversells here shows that the count sees it.")


def sections(results):
    """(title, words, tables, pictures): pictures are (class, [svg]) and only for HTML."""
    yield "The ratios", READ, [ratio_table(results), ratio_details(results)], []
    for group, title in plan.GROUPS.items():
        pair = [plots.against_clients(results, group, figures.median_rate, "purchases/s", f"{group}: throughput"),
                plots.against_clients(results, group, figures.p99_ms, "p99, ms", f"{group}: p99")]
        yield title[0].upper() + title[1:], "", [throughput_table(results, group)], [("pair", pair)]
    if results["pools"]:
        yield "With a pool of connections", POOLS, [pool_table(results)], []
    if figures.shares(results):
        curves = list(filter(None, (plots.latency_curves(results, entry) for entry in plan.ENTRIES if not ours(entry))))
        late = f" The generator itself noticed 99 % of the arrivals of each load within {short(figures.lateness_ms(results))} ms."
        yield "At the same offered load", OPEN + late, [], [("many", curves)]
        yield "Until it breaks", "", [break_table(results)], [("pair", [plots.until_it_breaks(results, group) for group in plan.GROUPS])]
    yield "Oversold and lost", LOST, [audit_table(results)], []
    yield "What a purchase costs, and what its answer is worth", "", [cost_table(results)], []
    yield "What the others are better at", "", [better_table()], []
    yield "Settings and versions", "", [settings_table(results)], []


def head(results):
    machine = results["machine"]
    return (f"{results['at']}; the {results['kind']} comparison, {results['seconds'] / 60:.0f} minutes. {machine['processors']} processors ({machine['model']}), "
            f"{machine['memory_gib']} GiB, {machine['system']}, Linux {machine['kernel']}, data on {machine['file_system']}. Load before it began: {machine['load_before']:.2f}.")


def write(results, directory):
    wrong = figures.wrong(results)
    verdict_text = "All sold exactly what there was, but the control; nothing was lost." if not wrong else "Not as it must be: " + "; ".join(wrong)
    page = [f"<p>{html.escape(head(results))}</p><p class=\"{'bad' if wrong else 'good'}\">{html.escape(verdict_text)}</p>"]
    text = ["# Holdfast beside what people sell with today", "", head(results), "", verdict_text, ""]
    for title, words, tables, pictures in sections(results):
        page.append(f"<h2>{html.escape(title)}</h2>" + (f"<p class=note>{html.escape(words)}</p>" if words else ""))
        page += [f'<div class="{kind}">{"".join(f"<figure style=margin:0>{picture}</figure>" for picture in found)}</div>' for kind, found in pictures if found]
        page += [table.html() for table in tables]
        text += [f"## {title}", ""] + ([words, ""] if words else [])
        for table in tables:
            text += [table.markdown(), ""]
    (directory / "index.html").write_text(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>Holdfast: the comparison</title><style>{STYLE}</style></head><body><h1>Holdfast beside what people sell with today</h1>{''.join(page)}"
        "<p class=note>Made by <code>./run compare</code>; the figures are in results.json, the same tables in report.md.</p></body></html>\n")
    (directory / "report.md").write_text("\n".join(text))


def verdict(results):
    """Prints the ratios; the exit code: 0 where all but the control sold exactly what there was."""
    wrong = figures.wrong(results)
    for row in figures.ratios(results):
        aim = f"aim {row['aim'].times:g}; {row['verdict']}; " if row["aim"].times else ""
        print(f"{side(row) + ', ' + where(row['aim']):66} {short(row['ratio']):>8} x ({aim}"
              f"client's ceiling {100 * (row['ceiling_share'] or 0):.0f} %; by CPU {short(row['cpu_ratio'])} x)")
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if wrong else 0


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    results = json.loads(pathlib.Path(sys.argv[1]).read_text())
    directory = pathlib.Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    write(results, directory)
    return verdict(results)


if __name__ == "__main__":
    sys.exit(main())
