"""What a message has of a group, and how much of it fits."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide import message
from c7n_ingress.decide.message import REPLACED, RESTORED, Outcome, as_fit, messages, packed, size
from c7n_ingress.decide.rules import Match, Traffic, network
from c7n_ingress.decide.states import CLOSING, RESTORING, counted
from c7n_ingress.decide.summary import table

GROUP = {"GroupId": "sg-1", "GroupName": "web", "VpcId": "vpc-1", "OwnerId": "123456789012", "Tags": [], "More": "x"}
SHOWN = {key: value for key, value in GROUP.items() if key != "More"}
RECORD = {"rule": "sgr-1", "was": "0.0.0.0/0", "now": "198.18.7.0/24", "traffic": {"IpProtocol": "icmp"}}


def test_what_a_message_has_of_a_group():
    """A message has a group's own keys, its records without tags, its state, and whatever else there is about it."""
    closed = Outcome(GROUP, [{**RECORD, "tags": {"team": "web"}}])
    resource = {**SHOWN, "c7n:replaced-ingress": [RECORD], "c7n:state-ingress": CLOSING.done._asdict()}
    assert closed.as_resource(REPLACED) == resource
    expected = {**resource, "c7n:state-ingress": CLOSING.foreseen._asdict(), message.PREVIEW: True}
    assert closed.as_resource(REPLACED, **{message.PREVIEW: True, message.OPENED: ""}) == expected
    rule = Match(Traffic("tcp", 22, 22), network("0.0.0.0/0"))
    whole = Outcome(
        {"GroupId": "sg-1"}, [], ["denied"], ["no room"], ["aws …"], "shared", ["left"], [rule], "2027-01-01"
    )
    assert whole.as_resource(RESTORED) == {
        "GroupId": "sg-1",
        "c7n:restored-ingress": [],
        "c7n:state-ingress": RESTORING.undone._asdict(),
        message.FAILED: ["denied"],
        message.LACKING: ["no room"],
        message.TODO: ["aws …"],
        message.SKIPPED: "shared",
        message.LEFT: ["left"],
        message.EXEMPT: "2027-01-01",
        message.BACK: ["tcp 22 from 0.0.0.0/0"],
    }


@pytest.mark.parametrize(
    ("more", "is_reported"),
    [
        ({}, False),
        ({"until": "2027-01-01", "noted": ["a note"]}, False),
        ({"records": [RECORD]}, True),
        ({"failures": ["denied"]}, True),
        ({"lacking": ["no room"]}, True),
        ({"left": ["left"]}, True),
        ({"skipped": "shared"}, True),
        ({"back": [Match(Traffic("tcp", 22, 22), "pl-1")]}, True),
    ],
)
def test_a_group_that_is_reported(more, is_reported):
    """A group is reported if anything changed, failed, is lacking, was left, was back or was skipped."""
    assert Outcome(GROUP, **more).is_reported is is_reported


def test_a_group_that_is_too_large_for_a_message(monkeypatch):
    """A group is cut to what a message holds: tags first, then the ends of its lists; what is cut is counted."""
    monkeypatch.setattr(message, "MESSAGE_SIZE", 500)
    monkeypatch.setattr(message, "TAGS_SIZE", 100)
    tags = [{"Key": str(n), "Value": "x" * 20} for n in range(9)]
    fits = {"GroupId": "sg-1", "c7n:replaced-ingress": [{"n": "x" * 93}]}
    assert list(messages([fits, fits, fits], REPLACED)) == [[fits, fits, fits]]
    assert list(messages([{**fits, "Tags": tags[:2]}], REPLACED)) == [[{**fits, "Tags": tags[:2]}]]
    ((cut,),) = messages([{**fits, "Tags": tags}], REPLACED)
    assert cut == {
        **fits,
        "Tags": tags[:2],
        message.CUT: "7 tags. This message has no room for more. The log has all changes.",
    }
    monkeypatch.setattr(message, "MESSAGE_SIZE", 402)
    long = {
        **fits,
        "c7n:replaced-ingress": [{"n": "x" * 91}] * 4,
        message.FAILED: ["y" * 28] * 9,
        message.LEFT: ("z" * 58,),
    }
    ((cut,),) = messages([long], REPLACED)
    assert cut == {
        **long,
        "c7n:replaced-ingress": [{"n": "x" * 91}] * 3,
        message.FAILED: ["y" * 28] * 2,
        message.LEFT: [],
        message.CUT: "1 changes and 7 failures and 1 rules left alone. This message has no room for more. "
        "The log has all changes.",
    }
    shorter = {**long, "GroupName": "n" * 100}
    ((cut,),) = messages([shorter], REPLACED)
    assert len(cut["c7n:replaced-ingress"]) == 2


@given(st.lists(st.text("x", max_size=30), max_size=20), st.integers(1, 40))
def test_lists_that_have_room(items, room):
    """Items are packed in order, as many together as have room; one that is too large is alone."""
    lists = list(packed(items, room))
    assert [each for some in lists for each in some] == items
    for some in lists:
        assert len(some) == 1 or sum(map(size, some)) <= room
    for some, others in pairwise(lists):
        assert sum(map(size, [*some, others[0]])) > room
    fitting = list(as_fit(items, room))
    assert fitting == items[: len(fitting)]
    assert sum(map(size, fitting)) <= room
    assert fitting == items or sum(map(size, items[: len(fitting) + 1])) > room


def test_the_table_of_a_run():
    """A run's table has a line for each rule, with its sources before and after; cells are below each other."""
    web = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    added = [{"rule": None, "beside": "sgr-1", "was": None, "now": f"198.18.{n}.0/24", "traffic": web} for n in (8, 9)]
    removed = {"rule": "sgr-2", "was": "::/0", "now": None, "traffic": web}
    outcomes = [
        Outcome({"GroupId": "sg-0", "GroupName": "quiet"}),
        Outcome({"GroupId": "sg-1", "GroupName": "web"}, [*added, {**RECORD, "traffic": web}, removed]),
        Outcome({"GroupId": "sg-22"}, [], ["denied"]),
        Outcome({"GroupId": "sg-3", "GroupName": ""}, [], [], [], [], "shared"),
    ]
    assert table(outcomes, REPLACED, preview=False) == [
        "group       rule             before -> after                                           state",
        'sg-22 ""    -                -                                                         not closed',
        'sg-1 "web"  TCP 443 (HTTPS)  0.0.0.0/0 -> 198.18.7.0/24, 198.18.8.0/24, 198.18.9.0/24  closed',
        'sg-1 "web"  TCP 443 (HTTPS)  ::/0 -> -                                                 closed',
        'sg-3 ""     -                -                                                         skipped',
    ]
    assert table(outcomes[2:3], REPLACED, preview=False) == [
        "group     rule  before -> after  state",
        'sg-22 ""  -     -                not closed',
    ]
    assert [line.rpartition("  ")[2] for line in table(outcomes[1:2], REPLACED, preview=True)[1:]] == [
        "would be closed",
        "would be closed",
    ]


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(0, "rule", "0 rules"), (1, "rule", "1 rule"), (2, "address", "2 addresses"), (1096, "group", "1,096 groups")],
)
def test_a_number_of_something(number, noun, text):
    """A number has its noun in the plural, but one."""
    assert counted(number, noun) == text
