"""The same commands through Holdfast and through the rules in SQL."""
import subprocess

from conftest import ROOT

# what a stream of this length must have met
WORDS = {"held", "confirmed", "released", "cancelled", "HELD", "SOLD", "LIMIT", "HELDOUT", "KEYREUSED", "NOHOLD", "EXPIRED", "RELEASED", "CONFIRMED",
         "CANCELLED", "NOTCONFIRMED"}


def dual_run(comparison, *words):
    argv = [ROOT / "build" / "holdfast", "bench", "dual-run", "--postgres", comparison.servers["postgres"].connection, *words]
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=120)


def test_no_outcome_differs(comparison):
    done = dual_run(comparison, "--commands", 20000, "--seed", 7)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20000 commands, seed 7: 0 mismatches" in done.stdout
    assert WORDS <= {line.split()[0] for line in done.stdout.splitlines()}


def test_a_planted_difference_is_found(comparison):
    done = dual_run(comparison, "--commands", 20000, "--plant")
    assert done.returncode == 1
    assert "Holdfast:" in done.stdout and "PostgreSQL:" in done.stdout
