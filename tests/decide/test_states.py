"""What the action calls a group after a run, and how the subject counts groups."""

import pytest

from c7n_ingress.decide.message import REPLACED, RESTORED, Outcome, lack, lack_in, subject
from c7n_ingress.decide.rules import Match, Traffic
from c7n_ingress.decide.summary import table
from tests.support.cases import cases

CASES = cases("states")
SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
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


def test_what_a_closed_group_lacks():
    """The error that a closed group lacks a network is found, without its fix, only by its beginning and its end."""
    text = lack("198.18.9.0/24", Traffic("tcp", 22, 22))
    (whole,) = Outcome({"GroupId": "sg-1"}, [{"was": "0.0.0.0/0", "now": None}], [], [text]).errors(REPLACED)
    assert lack_in(whole) == f"closed, but {text}"
    assert [lack_in(each) for each in (text, "no permission", whole[:-1], whole[1:])] == [None] * 4


def test_the_table():
    """A run's table has each rule before and after, the most urgent group first, and escapes what people typed."""
    first = {"rule": "sgr-1", "was": "0.0.0.0/0", "now": "198.18.7.0/24", "traffic": SSH}
    beside = {"rule": None, "beside": "sgr-1", "was": None, "now": "198.18.8.0/24", "traffic": SSH}
    gone = {"rule": "sgr-2", "was": "::/0", "now": None, "traffic": SSH}
    closed = Outcome({"GroupId": "sg-1", "GroupName": 'a\n"b"'}, [beside, first, gone])
    failed = Outcome({"GroupId": "sg-2"}, [], ["no permission"])
    lines = table([closed, failed], REPLACED, preview=False)
    assert [line.split("  ")[0] for line in lines] == ["group", 'sg-2 ""', 'sg-1 "a\\n\\"b\\""', 'sg-1 "a\\n\\"b\\""']
    assert "0.0.0.0/0 -> 198.18.7.0/24, 198.18.8.0/24" in lines[2]
    assert "::/0 -> -" in lines[3]
    assert table([], REPLACED, preview=False) == []


def test_the_subject_of_what_was_back():
    """A subject counts what was back before an undo, unless the undo did anything; and until when it is exempt."""
    back = [Match(Traffic("tcp", port, port), "pl-1") for port in (22, 80, 443)]
    groups = [Outcome({"GroupId": "sg-1"}, back=back[:1]), Outcome({"GroupId": "sg-2"}, back=back[1:])]
    assert subject(groups, RESTORED, "here", preview=False) == "Open ingress: 3 rules back already (here)"
    groups[0].until, groups[1].until = "2027-01-02", "2027-01-01"
    until = "Open ingress: 3 rules back already until 2027-01-01 (here)"
    assert subject(groups, RESTORED, "here", preview=False) == until
    groups[0].records = [{"was": None, "now": "0.0.0.0/0"}]
    done = "Open ingress: 1 rule restored in 1 group until 2027-01-01 (here)"
    assert subject(groups, RESTORED, "here", preview=False) == done


def test_a_subject_without_room():
    """The shortest line is used where none fits; without any change, the subject says what else was done."""
    failed, closed = Outcome({"GroupId": "sg-1"}, [], ["denied"]), Outcome({"GroupId": "sg-2"}, [{"was": "::/0"}])
    place = "x" * 100
    line = subject([failed, closed], REPLACED, place, preview=False)
    assert line == f"Open ingress: 1 group not closed ({place})"
    for room, whole in ((99, True), (100, False)):
        place = "x" * (room - len("Open ingress: 1 group not closed, 1 rule replaced in 1 group ()"))
        line = subject([failed, closed], REPLACED, place, preview=False)
        assert line.endswith(f"replaced in 1 group ({place})") is whole
    partly = Outcome({"GroupId": "sg-3"}, [{"was": "::/0"}], [], ["no room"])
    line = subject([failed, partly, closed], REPLACED, "x" * 4, preview=False)
    assert line == "Open ingress: 1 group not closed, 1 group closed, but clients blocked (xxxx)"
    assert (
        subject([Outcome({"GroupId": "sg-1"})], REPLACED, "here", preview=False)
        == "Open ingress: networks added (here)"
    )
