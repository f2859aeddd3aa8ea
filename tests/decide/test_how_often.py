"""How often a group was opened, in words."""

from datetime import datetime, timedelta, timezone

import pytest

from c7n_ingress.decide.reopened import renewals, renewed, sentence

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
        ([1, 3, 4], "4th time since Saturday 12:34 UTC; something opens it every 1 second"),
        ([1, 4], "3rd time since Saturday 12:34 UTC, at intervals of 1 second to 3 seconds"),
    ],
)
def test_how_often_and_how_far_apart(seconds, says):
    """The sentence has the times since the first one, in the largest unit that it has two of."""
    said = sentence([START, *(START + timedelta(seconds=each) for each in seconds)])
    assert said == f"opened again, {says}"


@pytest.mark.parametrize(
    ("number", "ordinal"), [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st")]
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
