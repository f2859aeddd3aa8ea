"""How often a group was opened, in words."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.reopened import PastState, openings, renewals, renewed, sentence, was_open
from c7n_ingress.decide.rules import Match, Traffic, network
from tests.support.cases import cases, permission

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
WEB = {"protocol": "tcp", "ports": 443, "source": "0.0.0.0/0"}
NOW = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
HISTORIES = cases("reopened")["histories"]

START = datetime(2026, 1, 31, 12, 34, tzinfo=timezone.utc)  # a Saturday


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        ([1], "2nd time since Saturday 12:34 UTC, 1 second after the time before"),
        ([0.2], "2nd time since Saturday 12:34 UTC, 1 second after the time before"),
        ([2], "2nd time since Saturday 12:34 UTC, 2 seconds after the time before"),
        ([119], "2nd time since Saturday 12:34 UTC, 119 seconds after the time before"),
        ([120], "2nd time since Saturday 12:34 UTC, 2 minutes after the time before"),
        ([7199], "2nd time since Saturday 12:34 UTC, 120 minutes after the time before"),
        ([7200], "2nd time since Saturday 12:34 UTC, 2 hours after the time before"),
        ([60, 180, 3600], "4th time since Saturday 12:34 UTC, at intervals of 60 seconds to 57 minutes"),
        ([3600, 7200], "3rd time since Saturday 12:34 UTC; something opens it every 60 minutes"),
        ([4500, 10500], "3rd time since Saturday 12:34 UTC; something opens it every 100 minutes"),
        ([1, 3, 4], "4th time since Saturday 12:34 UTC; something opens it every 1 second"),
        ([1, 4], "3rd time since Saturday 12:34 UTC, at intervals of 1 second to 3 seconds"),
    ],
)
def test_how_often_and_how_far_apart(seconds, says):
    """The sentence has the times since the first one, in the largest unit that it has two of."""
    said = sentence([START, *(START + timedelta(seconds=each) for each in seconds)])
    assert said == f"opened again, {says}"


@pytest.mark.parametrize(
    ("number", "ordinal"),
    [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"), (111, "111th")],
)
def test_the_number(number, ordinal):
    """A number has its English ending."""
    said = sentence([START + timedelta(hours=each) for each in range(number)])
    assert said.startswith(f"opened again, {ordinal} time since")


@pytest.mark.parametrize(
    ("days", "says"),
    [
        ([], "not renewed in the last 90 days"),
        ([1], "renewed once in the last 90 days, last on 2026-02-01"),
        ([1, 9], "renewed 2 times in the last 90 days, last on 2026-02-09"),
    ],
)
def test_how_often_an_exemption_was_renewed(days, says):
    """The sentence has the number of renewals and the last one."""
    assert renewed([START + timedelta(days=each) for each in days], 90) == says


def test_what_is_a_renewal():
    """Each other value after the first is a renewal, also after none; the same value again is none."""
    times = [START + timedelta(days=each) for each in range(6)]
    values = list(zip(times, ["a", "a", "b", "", "b", "c"], strict=True))
    assert renewals(reversed(values)) == [times[2], times[4], times[5]]


def states_of(case):
    """Return a case's states."""
    for text in case["states"]:
        word, minutes = text.split()
        yield PastState(NOW - timedelta(minutes=float(minutes)), word == "open")


@pytest.mark.parametrize("case", HISTORIES, ids=[case["name"] for case in HISTORIES])
def test_a_history(case):
    """How often a group was opened, since when and how far apart is reported from its history."""
    opened = openings(states_of(case), NOW, 24)
    assert len(opened) == case["opened"]
    assert len(opened) < 2 or sentence(opened) == case["says"]


STATES = st.lists(st.builds(PastState, st.integers(-99, 2000).map(lambda m: NOW - timedelta(minutes=m)), st.booleans()))


@given(STATES, st.randoms())
def test_the_order_of_items(states, random):
    """It does not matter in which order items come, nor how often the same one does."""
    found = openings(states, NOW, 24)
    shuffled = states + states[:5]
    random.shuffle(shuffled)
    assert openings(shuffled, NOW, 24) == found
    assert found == sorted(found)
    assert all(NOW - timedelta(hours=24) <= each <= NOW for each in found)


@given(st.lists(st.integers(1, 1439), unique=True, max_size=20))
def test_each_opening_counts_once(minutes):
    """A group that was opened so many times, and closed in between, was opened so many times and once."""
    states = []
    for minute in minutes:
        states += [PastState(NOW - timedelta(minutes=minute), is_open=True)]
        states += [PastState(NOW - timedelta(minutes=minute - 0.5), is_open=False)]
    assert len(openings(states, NOW, 24)) == len(minutes) + 1


@given(st.lists(st.integers(0, 500_000), min_size=2, max_size=150).map(sorted))
def test_the_sentence(seconds):
    """The sentence is short and on one line, whatever the times."""
    said = sentence([NOW + timedelta(seconds=each) for each in seconds])
    assert said.startswith("opened again, ")
    assert said.isprintable()
    assert len(said) < 120


@pytest.mark.parametrize(
    ("rules", "was"),
    [
        ([SSH], True),
        ([{**SSH, "source": "::/0"}], True),
        ([{**SSH, "source": "0.0.0.0/1"}], True),
        ([{"protocol": "-1", "source": "0.0.0.0/0"}], True),
        ([{**SSH, "source": f"{first}.0.0.0/8"} for first in range(20, 22)], True),
        ([WEB], False),
        ([{**SSH, "source": "198.18.7.0/24"}], False),
        ([{**SSH, "source": "sg-0123456789abcdef0"}], False),
        ([{**SSH, "source": "pl-0123456789abcdef0"}], False),
        ([], False),
    ],
)
def test_what_was_open(rules, was):
    """Open before is what let the internet in to what it was let in to now, not what the policy leaves open."""
    now = [Match(Traffic("tcp", 22, 22), network("0.0.0.0/0"))]
    assert was_open([permission(rule) for rule in rules], now) == was


def test_a_prefix_list_was_open():
    """A rule for the prefix list that was closed now was open before."""
    rule = {**SSH, "source": "pl-0123456789abcdef0"}
    assert was_open([permission(rule)], [Match(Traffic("tcp", 22, 22), rule["source"])])


def test_the_first_and_the_last_moment():
    """An opening counts that is as long ago as is looked back, and one at the moment of the last closing."""
    day_ago = NOW - timedelta(hours=24)
    assert openings([PastState(day_ago, is_open=True), PastState(NOW, is_open=False)], NOW, 24) == [day_ago, NOW]
