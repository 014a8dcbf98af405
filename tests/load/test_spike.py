"""test_spike.py - ./run spike, small: live in a terminal, to the last seat, audited, with a plot that needs nothing else."""
import csv
import json
import os
import pty
import re
import select
import subprocess
import xml.etree.ElementTree

from server import ROOT


def run_in_a_terminal(command, seconds):
    """Exit code, and all that a person would have seen."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=ROOT, start_new_session=True)
    os.close(theirs)
    seen = b""
    try:
        while select.select([ours], [], [], seconds)[0]:
            data = os.read(ours, 65536)
            if not data:
                break
            seen += data
    except OSError:  # the other end has closed
        pass
    os.close(ours)
    return child.wait(30), seen.decode(errors="replace")


def test_small_spike():
    code, seen = run_in_a_terminal(["./run", "spike", "--small"], 300)
    assert code == 0, seen[-4000:]
    live = re.findall(r"\rspike: +([\d.]+) s, (\d+) of 20000 came, (\d+) waiting, (\d+) choosing, (\d+) of 1000 sold", seen)
    assert len(live) > 3, "one line, written over and over"
    assert not re.search(r"came, [^\r\n]*\n", seen), "it never becomes two"
    folder = ROOT / "build" / "spike"
    result = json.loads((folder / "result.json").read_text())
    assert (result["buyers"], result["on_sale"], result["units_confirmed"]) == (20000, 1000, 1000)
    assert (result["oversold"], result["strange"], result["audit"]["differences"]) == (0, 0, 0)
    assert 0 < result["audit"]["active_most"] <= 200 and {"server_seconds", "limit"} <= set(result["cpu"])
    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(open(folder / "series.csv"))]
    assert rows[-1]["sold"] == 1000 and rows[-1]["arrived"] == 20000 and max(row["waiting"] for row in rows) > 1000
    assert all(a["sold"] <= b["sold"] and a["arrived"] <= b["arrived"] for a, b in zip(rows, rows[1:]))
    drawing = xml.etree.ElementTree.parse(folder / "spike.svg")
    text = (folder / "spike.svg").read_text()
    assert drawing.getroot().tag.endswith("svg") and "oversold" in seen
    assert not re.search(r'(href|src)="(?!#)', text), "it asks for nothing from elsewhere"
