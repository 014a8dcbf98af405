"""From the recorded loads to the figures that the report shows. Pure: results.json in, numbers out."""
import statistics

import plan


def closed(results, key, clients, pipeline=1, pool=0):
    """The loads of one point, by round."""
    how = "pool" if pool else "closed"
    points = [p for p in results["points"] if p["key"] == key and p["clients"] == clients and p["pipeline"] == pipeline
              and p["pool"] == pool and p["how"] in (how, "closed")]
    return sorted(points, key=lambda p: p["round"])


def rate(point):
    result = point["result"]
    return result["answers_per_second"] if point["key"].startswith("null-") else result["holds_per_second"]


def median_rate(points):
    return statistics.median(map(rate, points)) if points else None


def p99_ms(points):
    return statistics.median(p["result"]["latency_us"]["p99"] / 1000 for p in points) if points else None


def cpu_us(points):
    """Processor time of the servers for each purchase granted."""
    costs = [p["result"]["cpu"]["server_seconds"] / p["result"]["held"] * 1e6 for p in points
             if p["result"]["held"] and "server_seconds" in p["result"]["cpu"]]
    return statistics.median(costs) if costs else None


def written_bytes(points):
    costs = [p["result"]["cpu"]["server_written_bytes"] / p["result"]["held"] for p in points
             if p["result"]["held"] and "server_written_bytes" in p["result"]["cpu"]]
    return statistics.median(costs) if costs else None


def cores(points):
    """How many cores the client and the servers were busy with, in percent of one."""
    return [statistics.median(p["result"]["cpu"].get(f"{side}_percent", 0) for p in points) for side in ("client", "server")]


def null_of(key):
    return "null-http" if plan.BY_KEY[key].group == "http" else "null-resp"


def ratios(results):
    """One row an aim whose two sides were measured."""
    rows = []
    for aim in plan.AIMS:
        ours, theirs = (closed(results, key, aim.clients, aim.pipeline) for key in (aim.ours, aim.theirs))
        ceiling = median_rate(closed(results, null_of(aim.ours), aim.clients, aim.pipeline))
        if not ours or not theirs:
            continue
        each = [rate(a) / rate(b) for a, b in zip(ours, theirs)]
        row = {"aim": aim, "ours": median_rate(ours), "theirs": median_rate(theirs), "least": min(each), "most": max(each), "rounds": len(each),
               "ours_p99_ms": p99_ms(ours), "theirs_p99_ms": p99_ms(theirs), "ours_cpu_us": cpu_us(ours), "theirs_cpu_us": cpu_us(theirs),
               "ours_cores": cores(ours), "theirs_cores": cores(theirs), "ceiling_share": median_rate(ours) / ceiling if ceiling else None}
        row["ratio"] = row["ours"] / row["theirs"]
        row["p99_ratio"] = row["theirs_p99_ms"] / row["ours_p99_ms"]
        row["cpu_ratio"] = row["theirs_cpu_us"] / row["ours_cpu_us"] if row["ours_cpu_us"] and row["theirs_cpu_us"] else None
        row["verdict"] = verdict_of(row)
        rows.append(row)
    return rows


def verdict_of(row):
    aim = row["aim"]
    if not aim.times:
        return "–"
    slow = aim.p99_times and row["p99_ratio"] < aim.p99_times
    if row["ratio"] >= aim.times and not slow:
        return "met"
    if row["ceiling_share"] and row["ceiling_share"] >= plan.CEILING_SHARE:
        return "the client ends it"
    return "not met"


def audits(results):
    """By rival: purchases granted in all loads, units promised twice, and granted but not recorded."""
    rows = []
    for entry in plan.ENTRIES:
        points = [p for p in results["points"] if p["key"] == entry.key]
        if points:
            found = [p["result"] for p in points]
            rows.append({"entry": entry, "loads": len(points), "held": sum(r["held"] for r in found),
                         "oversold": sum(r.get("oversold", 0) for r in found),
                         "lost": sum(max(0, r["held"] - r["audit"]["recorded"]) for r in found),
                         "small": next((p["result"] for p in points if p["how"] == "small"), None),
                         "other": [line for r in found for line in r["complaints"] if "OVERSOLD" not in line]})
    return rows


def wrong(results):
    """What must not be: a rival that oversold or lost, or a control that did not."""
    lines = []
    for row in audits(results):
        label = f"{row['entry'].label} ({row['entry'].group})"
        if row["entry"].oversells:
            if not row["oversold"]:
                lines.append(f"{label}: the control did not oversell, so the audit proves nothing")
        elif row["oversold"] or row["lost"]:
            lines.append(f"{label}: {row['oversold']} oversold, {row['lost']} lost")
        lines += [f"{label}: {line}" for line in row["other"][:3]]
    missing = [entry.label for entry in plan.ENTRIES if entry.key not in {p["key"] for p in results["points"]}]
    return lines + [f"{label}: was not run" for label in missing]


def open_points(results, key, how):
    return [p for p in results["points"] if p["key"] == key and p["how"] == how]


def shares(results):
    return sorted({float(p["how"].split()[1]) for p in results["points"] if p["how"].startswith("open ")})


def lateness_ms(results):
    """How late the generator itself was in the open loop: the worst p99 of all its loads."""
    return max((p["result"]["late_us"]["p99"] / 1000 for p in results["points"] if p["rate"]), default=None)
