"""Which records of a journal an undo reads, by time."""

from datetime import datetime, timedelta, timezone

import pytest

from c7n_ingress.aws.journal import Span

NINE = datetime(2026, 11, 24, 9, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-24T09:00:00Z", NINE),
        ("2026-11-24T09:00:00", NINE),  # UTC where nothing else is said
        ("2026-11-24T09:00:00+02:00", NINE - timedelta(hours=2)),
    ],
)
def test_the_times_of_an_undo(text, time):
    """Both ends are moments in UTC, and each may be missing."""
    assert Span.of({"since": text}) == Span((), None, time, None)
    assert Span.of({"until": text}, ["sg-1"], "a-run") == Span(["sg-1"], "a-run", None, time)


@pytest.mark.parametrize("end", ["since", "until"])
def test_no_time(end):
    """A text that is no time is refused with its name and an example."""
    with pytest.raises(ValueError, match=f"^{end} 'noon' is not a time: write one like"):
        Span.of({end: "noon"})
