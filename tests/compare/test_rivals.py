"""Every rival sells exactly what there is, but for the control, whose overselling the count must see."""
import plan
import pytest

from conftest import load

DEALS = [entry.key for entry in plan.ENTRIES if entry.group != "hall" and not entry.oversells]
HALLS = [entry.key for entry in plan.ENTRIES if entry.group == "hall"]
CONTROLS = [entry.key for entry in plan.ENTRIES if entry.oversells]


@pytest.mark.parametrize("key", DEALS)
def test_ten_units_for_a_hundred_buyers(comparison, key):
    result = load(comparison, key, 100, units=10, buyers=100, seconds=60)
    assert (result["asked"], result["held"], sum(result["refused"].values())) == (100, 10, 90)
    assert (result["oversold"], result["strange"], result["complaints"]) == (0, 0, [])
    assert (result["audit"]["recorded"], result["audit"].get("units_left", 0)) == (10, 0)


@pytest.mark.parametrize("key", HALLS)
def test_a_seat_has_one_holder(comparison, key):
    result = load(comparison, key, 50, units=1000, buyers=3000, seconds=60)
    assert result["asked"] == 3000
    assert 500 < result["held"] <= 1000  # seats at random: 3,000 draws hit about 950
    assert result["held"] + sum(result["refused"].values()) == 3000
    assert (result["oversold"], result["strange"], result["complaints"]) == (0, 0, [])
    assert (result["audit"]["recorded"], result["audit"]["units_left"]) == (result["held"], 1000 - result["held"])


def test_there_is_a_control():
    assert CONTROLS


@pytest.mark.parametrize("key", CONTROLS)
def test_the_control_oversells_and_is_caught(comparison, key):
    result = load(comparison, key, 64, units=100, buyers=1000, seconds=60)
    assert result["oversold"] > 0
    assert any("OVERSOLD" in line for line in result["complaints"])


def test_many_buyers_over_a_pool(comparison):
    result = load(comparison, "pg-one-statement", 64, pool=4, units=300, buyers=500, seconds=60)
    assert (result["held"], result["oversold"], result["audit"]["recorded"]) == (300, 0, 300)


def test_cost_is_counted_where_the_work_is_done(comparison):
    for key in ("pg-one-statement", "fastapi"):  # the backends are children; the service has PostgreSQL behind it
        cpu = load(comparison, key, 8, buyers=300, seconds=60)["cpu"]
        assert cpu["server_seconds"] > 0
        assert cpu["server_written_bytes"] > 300 * 100
