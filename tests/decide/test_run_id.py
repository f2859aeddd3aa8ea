from datetime import datetime, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.records import run_id, started

EXECUTION = st.uuids(version=4).map(str)


@given(st.integers(0, 2**48 - 1), EXECUTION)
def test_it_is_a_uuid_of_version_7(milliseconds, execution):
    """The id of any run is a UUID of version 7, as RFC 9562 defines it."""
    found = UUID(run_id(milliseconds / 1000, execution))
    assert (found.version, found.variant) == (7, "specified in RFC 4122")


@given(st.integers(1_500_000_000_000, 4_000_000_000_000), EXECUTION)
def test_it_carries_its_time(milliseconds, execution):
    """The id says when its run started, to the millisecond."""
    time = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    assert abs(started(run_id(time.timestamp(), execution)) - time).total_seconds() <= 0.002


@given(st.integers(0, 2**40), st.lists(EXECUTION, min_size=2, max_size=20, unique_by=lambda text: text[-12:]))
def test_runs_of_one_moment_have_ids_of_their_own(milliseconds, executions):
    """Runs that start in the same millisecond have different ids."""
    assert len({run_id(milliseconds / 1000, execution) for execution in executions}) == len(executions)


@pytest.mark.parametrize("text", ["", "sg-0123", "3e0c5a86-0d5f-4f0e-9a37-6b1f2d4c8e97", "01a22420"])
def test_another_text(text):
    """What is no run id is refused with the fix."""
    with pytest.raises(ValueError, match="is not the id of a run: copy it from the message"):
        started(text)
