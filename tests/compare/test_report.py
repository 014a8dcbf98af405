"""The report from a recorded session (recorded.json: a short one, thinned; one rival is of a later one)."""
import copy
import html.parser
import json
import pathlib
import subprocess
import xml.etree.ElementTree

import pytest

import figures
import plan

HERE = pathlib.Path(__file__).resolve().parent
REPORT = HERE.parents[1] / "bench" / "compare" / "report.py"


@pytest.fixture()
def recorded():
    return json.loads((HERE / "recorded.json").read_text())


def build(results, directory):
    """By the interpreter that has the plotting library, as ./run compare does."""
    (directory / "results.json").write_text(json.dumps(results))
    return subprocess.run(["/usr/bin/python3", REPORT, directory / "results.json", directory], capture_output=True, text=True, timeout=120)


class Words(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.outside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.outside += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]

    def handle_data(self, data):
        self.words.append(data)


def test_page_and_text(recorded, tmp_path):
    done = build(recorded, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    page, text = (tmp_path / "index.html").read_text(), (tmp_path / "report.md").read_text()
    words = Words(page)
    assert words.outside == [] and "@import" not in page  # all of it is in the one file
    for entry in plan.ENTRIES:
        assert entry.label in text and entry.label in " ".join(words.words)
    for row in figures.ratios(recorded):
        assert f"{row['ours']:,.0f}" in text
    pictures = page.split("<svg")[1:]
    assert len(pictures) >= 2 * len(plan.GROUPS) + 10
    for picture in pictures:
        xml.etree.ElementTree.fromstring("<svg" + picture[:picture.index("</svg>")] + "</svg>")


def test_ratios_are_those_of_the_medians(recorded):
    row = next(row for row in figures.ratios(recorded) if row["aim"].theirs == "pg-one-statement")
    rates = {key: sorted(p["result"]["holds_per_second"] for p in recorded["points"]
                         if (p["key"], p["how"], p["clients"], p["pipeline"]) == (key, "closed", 64, 1)) for key in ("holdfast-deal", "pg-one-statement")}
    middle = {key: found[len(found) // 2] for key, found in rates.items()}
    assert len(rates["holdfast-deal"]) == row["rounds"] == 5
    assert row["ratio"] == pytest.approx(middle["holdfast-deal"] / middle["pg-one-statement"])
    assert row["least"] <= row["most"]


def test_a_verdict_ends_at_the_client_or_not():
    aim = plan.Aim("holdfast-deal", "pg-for-update", 64, 1, 100, p99_times=100)
    row = {"aim": aim, "ratio": 120, "p99_ratio": 130, "ceiling_share": 0.2}
    assert figures.verdict_of(row) == "met"
    assert figures.verdict_of(row | {"p99_ratio": 90}) == "not met"
    assert figures.verdict_of(row | {"ratio": 90}) == "not met"
    assert figures.verdict_of(row | {"ratio": 90, "ceiling_share": 0.86}) == "the client ends it"
    assert figures.verdict_of(row | {"aim": plan.Aim("holdfast-deal", "pg-for-update", 64, 1, 0)}) == "–", "nothing is aimed at"


def changed(results, key, change):
    results = copy.deepcopy(results)
    change(next(p for p in results["points"] if p["key"] == key)["result"])
    return results


@pytest.mark.parametrize("change, complaint", [
    (lambda result: result.update(oversold=1), "1 oversold"),
    (lambda result: result["audit"].update(recorded=result["held"] - 2), "2 lost"),
    (lambda result: result["complaints"].append("holdfast load: 1 answers do not fit"), "do not fit"),
])
def test_what_is_wrong_is_found(recorded, change, complaint):
    assert figures.wrong(recorded) == []
    assert any(complaint in line for line in figures.wrong(changed(recorded, "redis-lua-always", change)))


def test_what_is_wrong_is_said(recorded, tmp_path):
    done = build(changed(recorded, "redis-lua-always", lambda result: result.update(oversold=3)), tmp_path)
    assert done.returncode == 1
    for told in (done.stderr, (tmp_path / "report.md").read_text(), (tmp_path / "index.html").read_text()):
        assert "3 oversold" in told


def test_a_control_that_does_not_oversell_proves_nothing(recorded):
    for point in recorded["points"]:
        if point["key"] == "pg-naive":
            point["result"]["oversold"] = 0
    assert any("proves nothing" in line for line in figures.wrong(recorded))


def test_a_rival_that_was_not_run_is_missed(recorded):
    recorded["points"] = [p for p in recorded["points"] if p["key"] != "redlock"]
    assert any("was not run" in line for line in figures.wrong(recorded))
