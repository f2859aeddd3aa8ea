"""The record of a change, and what is read of the lines of a log."""

import json
from datetime import datetime, timedelta, timezone

import pytest

from c7n_ingress.decide.records import Change, Entry, Unreadable, entries, record_of, run_id, started
from c7n_ingress.decide.rules import Rule, Traffic, network

ACCOUNT, REGION = "123456789012", "us-east-1"
TIME = datetime(2026, 1, 31, 12, 34, 56, tzinfo=timezone.utc)
CONTEXT = {"run": "a run", "account": ACCOUNT, "region": REGION, "policy": "p", "time": "2026-01-31T12:34:56.000000Z"}
GROUP = {"GroupId": "sg-1", "GroupName": "web", "VpcId": "vpc-1"}
SSH, PING = Traffic("tcp", 22, 22), Traffic("icmp", 8, -1)
ANYBODY, OFFICE = network("0.0.0.0/0"), network("198.18.7.0/24")
RULE = Rule("sgr-1", SSH, ANYBODY, "ssh", (("owner", "web"),))
RECORD = {
    "v": 1,
    **CONTEXT,
    "vpc": "vpc-1",
    "group": "sg-1",
    "group_name": "web",
    "rule": "sgr-1",
    "protocol": "tcp",
    "ports": "22",
    "traffic": {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22},
    "was": "0.0.0.0/0",
    "now": "198.18.7.0/24",
    "description": "ssh",
    "how": "modified",
    "tags": {"owner": "web"},
}
ENTRY = Entry(TIME, "a run", "sg-1", "sgr-1", SSH, ANYBODY, OFFICE, "ssh", (("owner", "web"),), None)

WRITTEN_BEFORE = (
    "",
    "2026-01-31T12:34:56.789Z ",
    "2026-01-31 12:34:56,789 - custodian.journal - INFO - ",
    "2026-01-31 12:34:56,789: custodian.journal:INFO ",
)


def without(key, record=RECORD):
    """Return a record without a key."""
    return {name: value for name, value in record.items() if name != key}


ADDED = {**without("tags"), "rule": "sgr-2", "was": None, "how": "authorized", "beside": "sgr-1"}


@pytest.mark.parametrize(
    ("change", "record"),
    [
        (Change("modified", "sgr-1", RULE, ANYBODY, OFFICE), RECORD),
        (Change("revoked", "sgr-1", RULE, ANYBODY, None), {**RECORD, "now": None, "how": "revoked"}),
        (Change("authorized", "sgr-2", RULE, None, OFFICE), ADDED),
        (Change("authorized", None, RULE, None, OFFICE), {**ADDED, "rule": None}),
        (Change("authorized", "sgr-1", RULE, None, OFFICE), {**without("beside", ADDED), "rule": "sgr-1"}),
        (
            Change("modified", "sgr-1", RULE._replace(traffic=PING, source="pl-1", tags=()), "pl-1", OFFICE),
            {
                **RECORD,
                "protocol": "icmp",
                "ports": "type 8",
                "traffic": {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1},
                "was": "pl-1",
                "tags": {},
            },
        ),
    ],
)
def test_a_record(change, record):
    """A record has all that is needed to undo the change; a rule that was added for another one names that one."""
    assert record_of(change, change.how, GROUP, **CONTEXT) == record


@pytest.mark.parametrize("how", ["preview", "restored", "removed"])
def test_a_record_of_what_cannot_be_undone(how):
    """The record of a preview or an undo has no tags: of all groups, they could fill the memory of a function."""
    change = Change("modified", "sgr-1", RULE, ANYBODY, OFFICE)
    assert record_of(change, how, GROUP, **CONTEXT) == without("tags", {**RECORD, "how": how})


def test_who_opened_it_and_when():
    """A record says when and by whom the rule was opened, if that is known, in UTC, and for how long."""
    change = Change("modified", "sgr-1", RULE, ANYBODY, OFFICE)
    opened = (TIME - timedelta(seconds=90.1234)).astimezone(timezone(timedelta(hours=2)))
    made = record_of(change, "modified", {"GroupId": "sg-1"}, opened, "arn:aws:iam::1:user/a", **CONTEXT)
    assert made == {
        **RECORD,
        "vpc": None,
        "group_name": "",
        "opened": "2026-01-31T12:33:25.876600Z",
        "opened_by": "arn:aws:iam::1:user/a",
        "seconds_open": 90.123,
    }


@pytest.mark.parametrize(
    ("record", "entry"),
    [
        (RECORD, ENTRY),
        ({**RECORD, "how": "perhaps modified"}, ENTRY),
        ({**RECORD, "now": None, "how": "revoked"}, ENTRY._replace(now=None)),
        (without("tags", {**RECORD, "now": None, "how": "revoked"}), ENTRY._replace(now=None, tags=())),
        (ADDED, ENTRY._replace(rule="sgr-2", was=None, tags=(), beside="sgr-1")),
        (
            {**ADDED, "rule": None, "how": "perhaps authorized"},
            ENTRY._replace(rule=None, was=None, tags=(), beside="sgr-1"),
        ),
        ({**RECORD, "description": None}, ENTRY._replace(description=None)),
        ({**RECORD, "was": "pl-1", "now": "pl-2"}, ENTRY._replace(was="pl-1", now="pl-2")),
        ({**RECORD, "time": "2026-01-31T13:34:56+01:00"}, ENTRY),
        ({**RECORD, "how": "preview"}, None),
        ({**RECORD, "how": "restored"}, None),
        ({**RECORD, "account": "210987654321"}, None),
        ({**RECORD, "region": "eu-west-1"}, None),
        (without("v"), None),
        ({**RECORD, "v": 2}, "a record of version 2: this release knows version 1"),
        ({**RECORD, "v": True}, "a record of version True: this release knows version 1"),
        ({**RECORD, "v": "1" * 99}, f"a record of version '{'1' * 19}: this release knows version 1"),
        (without("was"), "a record that cannot be read (KeyError('was'))"),
        ({**RECORD, "rule": None}, "a record that cannot be read (ValueError('it names no rule'))"),
        (
            {**RECORD, "time": "2026-01-31T12:34:56"},
            "a record that cannot be read (ValueError('its time names no zone'))",
        ),
        (
            {**RECORD, "now": "pl-1"},
            "a record that cannot be read (ValueError('0.0.0.0/0 cannot have become pl-1'))",
        ),
        (
            {**RECORD, "was": None, "now": None},
            "a record that cannot be read (ValueError('None cannot have become None'))",
        ),
        *(
            (
                {**RECORD, key: value},
                "a record that cannot be read (TypeError('something is not of the type that it should be'))",
            )
            for key, value in [
                ("run", 7),
                ("rule", 7),
                ("description", 7),
                ("beside", 7),
                ("tags", {"owner": 7}),
                ("traffic", {"IpProtocol": 6, "FromPort": 22, "ToPort": 22}),
                ("traffic", {"IpProtocol": "tcp", "FromPort": "22", "ToPort": 22}),
                ("traffic", {"IpProtocol": "tcp", "FromPort": 22, "ToPort": True}),
            ]
        ),
        ({**RECORD, "tags": ["owner"]}, "a record that cannot be read ("),
    ],
    ids=str,
)
def test_a_line(record, entry):
    """A line of a log is a record that can be undone, one that cannot be read, or none; whatever wrote the log."""
    for before in WRITTEN_BEFORE:
        found = list(entries([f" {before}{json.dumps(record)}\n"], ACCOUNT, REGION))
        if isinstance(entry, str):
            ((group, why),) = found
            assert (group, why[: len(entry)]) == ("sg-1", entry)
        else:
            assert found == ([] if entry is None else [entry])


def test_a_line_of_something_else():
    """What is no record is left out, what was one is reported, and the lines after it are read."""
    cut = json.dumps(RECORD)[:40]
    lines = ["START", f"somebody typed {json.dumps(RECORD)}", '{"level": "INFO"', "{}", "[]", cut, json.dumps(RECORD)]
    assert list(entries(lines, ACCOUNT, REGION)) == [Unreadable(None, "an incomplete record"), ENTRY]
    nameless = json.dumps({**RECORD, "group": 7, "v": 2})
    ((group, _),) = entries([nameless], ACCOUNT, REGION)
    assert group is None


def test_the_id_of_a_run():
    """The id has the start of the run, in milliseconds, and the random bits of the execution's id."""
    run = run_id(TIME.timestamp() + 0.001, "ffffffff-ffff-4fff-bfff-ffffffffffff")
    assert run == "019c140c-9981-7fff-bfff-ffffffffffff"
    assert started(run) == TIME + timedelta(milliseconds=1)
    assert run_id(0, "00000000-0000-4000-8000-000000000000") == "00000000-0000-7000-8000-000000000000"
