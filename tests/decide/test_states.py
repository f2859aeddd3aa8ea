"""What the action calls a group after a run, and how the subject counts groups."""

import pytest

from c7n_ingress.decide.message import REPLACED, RESTORED, Outcome, subject
from tests.support.cases import cases

CASES = cases("states")
DEEDS = {"replaced": REPLACED, "restored": RESTORED}


def outcome_of(case):
    """Return what became of a group: how many open rules were changed, and what was wrong."""
    known = {key: case[key] for key in ("failures", "lacking", "left", "skipped", "until") if key in case}
    records = [{"was": "0.0.0.0/0", "now": "0.0.0.0/0"}] * case.get("rules", 0)
    return Outcome({"GroupId": "sg-1"}, records, **known)


@pytest.mark.parametrize("case", CASES["states"], ids=lambda case: case["state"])
def test_state(case):
    """A group is not closed as long as one of its rules may be open; closed, but … if it lacks a network."""
    state = outcome_of(case).state(DEEDS[case.get("deed", "replaced")], preview=case.get("preview", False))
    assert state.name == case["state"]


@pytest.mark.parametrize("case", CASES["errors"], ids=lambda case: case["says"][0])
def test_errors(case):
    """What a person has to act on says what failed, and of a closed group what it lacks and what to do."""
    said = outcome_of(case).errors(DEEDS[case.get("deed", "replaced")])
    assert [text[: len(start)] for text, start in zip(said, case["says"], strict=True)] == case["says"]


@pytest.mark.parametrize("case", CASES["subjects"], ids=lambda case: case["subject"])
def test_subject(case):
    """The most urgent groups are first, and what does not fit into SNS's 99 characters is left out."""
    outcomes = [outcome_of(each) for each in case["groups"] for _ in range(each.get("times", 1))]
    deed, where = DEEDS[case.get("deed", "replaced")], case.get("where", "123456789012 us-east-1")
    line = subject(outcomes, deed, where, preview=case.get("preview", False), waiting=case.get("waiting", 0))
    assert line == case["subject"]
    assert len(line) <= 99
    assert line.isascii()
