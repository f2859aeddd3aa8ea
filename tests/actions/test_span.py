"""Which records of a journal an undo reads, by time."""

from datetime import datetime, timedelta, timezone

import pytest

from c7n_ingress.aws.journal import since_of

NINE = datetime(2026, 11, 24, 9, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-24T09:00:00Z", NINE),
        ("2026-11-24T09:00:00", NINE),  # UTC where nothing else is said
        ("2026-11-24T09:00:00+02:00", NINE - timedelta(hours=2)),
    ],
)
def test_the_time_of_an_undo(text, time):
    """The beginning is a moment in UTC, and may be missing."""
    assert since_of({"since": text}) == time
    assert since_of({}) is None


def test_no_time():
    """A text that is no time is refused with its name and an example."""
    with pytest.raises(ValueError, match=r"^since 'noon' is not a time: write one like"):
        since_of({"since": "noon"})
