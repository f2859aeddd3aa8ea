"""The journal: what is written of a change, where it is found again, and what is read of it."""

import json
import logging
import time
from datetime import datetime, timedelta, timezone

import pytest
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.aws import journal
from c7n_ingress.aws.journal import is_local, read, undo_commands
from c7n_ingress.decide.awaited import Made, Said
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.records import Change, run_id, time_from
from c7n_ingress.decide.rules import Rule, Traffic, network
from tests.support.embedded import ACCOUNT, LOG_GROUP, OPEN, loaded, watched
from tests.support.embedded import journal as put

GROUP = "sg-00000000000000001"
PLACE = {"log-groups": [LOG_GROUP]}
RULE = Rule("sgr-1", Traffic("tcp", 22, 22), network("0.0.0.0/0"), "ssh", (("owner", "web"),))
CHANGE = Change("modified", "sgr-1", RULE, RULE.source, network("198.18.7.0/24"))
MINUTE = timedelta(minutes=1)
LAMBDA = "AWS_LAMBDA_LOG_GROUP_NAME"


@pytest.fixture
def manager(cloud, tmp_path, monkeypatch):
    """Return a function that returns the manager of a policy whose run writes its output to a place."""
    monkeypatch.delenv(LAMBDA, raising=False)
    session, happens = watched(cloud)
    happens.update({"before-call": {}, "after-call": {}})

    def of(output=tmp_path):
        policy = loaded({"name": "a-policy", "resource": "aws.security-group", "filters": OPEN}, output, session)
        policy.ctx.start_time, policy.ctx.execution_id = time.time(), "01234567-89ab-cdef-0123-456789abcdef"
        policy.ctx.initialize()
        return policy.resource_manager

    of.happens = happens
    return of


def record(**more):
    """Return a record as a run writes it."""
    now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
    return {
        "v": 1,
        "account": ACCOUNT,
        "region": "us-east-1",
        "policy": "a-policy",
        "run": "a-run",
        "time": now,
        "group": GROUP,
        "rule": "sgr-1",
        "traffic": {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22},
        "was": "0.0.0.0/0",
        "now": "198.18.7.0/24",
        "description": "ssh",
        "how": "modified",
        "tags": {},
        **more,
    }


@pytest.mark.parametrize("opened", [None, 0, 90])
def test_what_is_written(manager, caplog, opened):
    """A record says who changed what where and when, and who opened it if that is known; it is logged at once."""
    caplog.set_level(logging.INFO, "custodian.journal")
    of, before = manager(), datetime.now(timezone.utc)
    when = before - timedelta(seconds=opened or 0)
    made = [] if opened is None else [Made(GROUP, RULE.id, None, is_new=True)]
    outcome = Outcome({"GroupId": GROUP, "GroupName": "web", "VpcId": "vpc-1"}, said=Said(when, made, "jo"))
    journal.write(of, outcome, CHANGE, "closed")
    ((_, level, text),) = caplog.record_tuples
    (written,) = outcome.records
    assert (level, json.loads(text)) == (logging.INFO, written)
    assert time_from(written["time"]) - before < MINUTE
    assert written["time"].endswith("Z")
    assert {key: written[key] for key in ("how", "run", "account", "region", "policy", "group", "was", "now")} == {
        "how": "closed",
        "run": run_id(of.ctx.start_time, of.ctx.execution_id),
        "account": ACCOUNT,
        "region": "us-east-1",
        "policy": "a-policy",
        "group": GROUP,
        "was": "0.0.0.0/0",
        "now": "198.18.7.0/24",
    }
    assert written.get("opened_by") == (None if opened is None else "jo")
    assert (written.get("seconds_open", -1) >= (opened or 0)) is (opened is not None)


def test_an_event_that_says_nothing(manager):
    """Without an event nobody knows who opened the group."""
    outcome = Outcome({"GroupId": GROUP})
    journal.write(manager(), outcome, CHANGE, "closed")
    assert not {"opened", "opened_by", "seconds_open"} & outcome.records[0].keys()


@pytest.mark.parametrize(
    ("output", "log_group", "place", "local"),
    [
        ("{folder}", None, "file://{folder}/a-policy/custodian-run.log", True),
        ("s3://logs/of/c7n?region=us-east-1", None, "s3://logs/of/c7n/a-policy/{day}/custodian-run.log.gz", True),
        ("s3://logs?region=us-east-1", None, "s3://logs/a-policy/{day}/custodian-run.log.gz", True),
        ("{folder}", "/aws/lambda/custodian-a-policy", "/aws/lambda/custodian-a-policy", False),
        ("{folder}", "/aws/lambda/custodian-open-ingress", None, False),
    ],
)
def test_the_command_that_undoes_a_run(cloud, manager, monkeypatch, tmp_path, output, log_group, place, local):
    """It names the group, the run and the region, and the journal unless that follows from the policy's name."""
    cloud.session().client("s3").create_bucket(Bucket="logs")
    if log_group:
        monkeypatch.setenv(LAMBDA, log_group)
    of = manager(output.format(folder=tmp_path))
    (line,) = undo_commands(of, GROUP)
    run = run_id(of.ctx.start_time, of.ctx.execution_id)
    command, _, journal_of = line.partition(" --journal ")
    assert command == f"c7n-ingress undo {GROUP} --run {run} --region us-east-1"
    day = datetime.now(timezone.utc).strftime("%Y/%m/%d/%H")
    assert journal_of == (place or "").format(folder=tmp_path, day=day)
    assert is_local(of) is local


def test_a_run_without_a_journal(manager):
    """A run whose output goes nowhere cannot be undone by a command, and is none of somebody's machine."""
    of = manager("null://")
    assert (undo_commands(of, GROUP), is_local(of)) == ([], False)


def test_what_is_read(manager, tmp_path):
    """The records of the groups, of the run and of the time are read, in order, from all log groups, by group."""
    now = datetime.now(timezone.utc)
    at = lambda minutes: (now + minutes * MINUTE).isoformat()
    other = "sg-00000000000000002"
    put([record(time=at(-9)), record(group=other, time=at(-5)), record(group="sg-3"), record(run="b-run", time=at(-3))])
    put([record(account="210987654321"), record(region="eu-west-1"), record(how="preview"), "a line"])
    put([record(time=at(-1))], f"{LOG_GROUP}-daily")
    groups = {"log-groups": [LOG_GROUP, f"{LOG_GROUP}-daily"]}

    def times(place, run=None, of=(GROUP, other)):
        found = read(manager(), place, of, run).entries
        return {group: [round((each.time - now) / MINUTE) for each in entries] for group, entries in found.items()}

    assert times(groups) == {GROUP: [-9, -3, -1], other: [-5]}
    assert times(groups, "b-run") == {GROUP: [-3]}
    assert times(PLACE, of=[other]) == {other: [-5]}
    (tmp_path / "run.log").write_text("\n".join(json.dumps(record(time=at(-each))) for each in range(9)))
    place = {"url": (tmp_path / "run.log").as_uri(), "since": at(-5)}
    assert times(place) == {GROUP: [0, -1, -2, -3, -4, -5]}
    many = [GROUP, other, *(f"sg-{number:017x}" for number in range(50, 60))]
    assert times(groups, of=many) == {GROUP: [-9, -3, -1], other: [-5]}


def test_what_is_asked_for(manager):
    """CloudWatch Logs selects the records by account, run, group and time; more than ten groups are selected here."""
    asked = []
    of = manager()
    manager.happens["before-call"]["FilterLogEvents"] = lambda params, **_: asked.append(json.loads(params["body"]))
    put([record()])
    since = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
    read(of, {**PLACE, "since": since.isoformat()}, [GROUP, "sg-2"], "a-run")
    assert asked[0] == {
        "logGroupName": LOG_GROUP,
        "startTime": int(since.timestamp() * 1000),
        "filterPattern": f'{{ (($.account = "{ACCOUNT}")) && (($.run = "a-run")) && '
        f'(($.group = "{GROUP}") || ($.group = "sg-2")) }}',
    }
    asked.clear()
    read(of, PLACE, [GROUP, *(f"sg-{number}" for number in range(9))], None)
    assert "$.group" in asked[0]["filterPattern"]
    assert '$.run = "*"' in asked[0]["filterPattern"]
    assert "startTime" not in asked[0]
    asked.clear()
    read(of, PLACE, [GROUP, *(f"sg-{number}" for number in range(10))], None)
    assert "$.group" not in asked[0]["filterPattern"]


def in_file(folder, lines):
    """Write lines into a log, and return what `from` says then."""
    (folder / "run.log").write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines))
    return {"url": (folder / "run.log").as_uri()}


def test_what_cannot_be_read(manager, tmp_path):
    """Lines that cannot be used are kept if they are or may be a group's, and each reason is named once."""
    bad = [record(traffic="all"), record(v=2), record(v=2), record(v=2, group="sg-3"), '{"v": 1, "cut']
    found = read(manager(), in_file(tmp_path, [record(), *bad]), [GROUP], None)
    version, odd, cut = found.unreadable_of(GROUP)
    assert (version, cut) == ("a record of version 2: this release knows version 1", "an incomplete record")
    assert odd.startswith("a record that cannot be read (")
    assert found.unreadable_of("sg-3") == [cut]
    only = f"^restore-ingress changed nothing: of {GROUP}, sg-2, the journal has only {version}, {cut}$"
    with pytest.raises(PolicyExecutionError, match=only):
        read(manager(), in_file(tmp_path, ['{"v": 1, "cut', *bad[1:]]), [GROUP, "sg-2"], None)


@pytest.mark.parametrize(("run", "of"), [("a-run", f"{GROUP}, sg-2 in run a-run"), (None, f"{GROUP}, sg-2")])
def test_a_journal_that_has_nothing(manager, run, of):
    """The error says what was looked for."""
    put([])
    put([], f"{LOG_GROUP}-daily")
    says = f"the journal has no record of {of}. Check the account, the log group, the run"
    with pytest.raises(PolicyExecutionError, match=f"^restore-ingress changed nothing: {says}"):
        read(manager(), PLACE, [GROUP, "sg-2"], run)


def test_a_file(manager, tmp_path):
    """A local run's log is read as it is; a file without a record, or that is not there, is named with what to do."""
    place = {"url": (tmp_path / "run.log").as_uri()}
    unread = f"the journal {place['url']} cannot be read: .*: is it the log of the run that closed the group, in this "
    with pytest.raises(PolicyExecutionError, match=f"^restore-ingress changed nothing: {unread}"):
        read(manager(), place, [GROUP], None)
    in_file(tmp_path, ["2026-01-31 12:00:00,000 - custodian.journal - INFO - " + json.dumps(record())])
    assert [*read(manager(), place, [GROUP], None).entries] == [GROUP]
    says = f"{place['url']} has no record of sg-2: name the log of the run that closed it"
    with pytest.raises(PolicyExecutionError, match=f"^restore-ingress changed nothing: {says}$"):
        read(manager(), place, ["sg-2"], None)


def test_a_log_group_that_is_not_there(manager):
    """The error names it, and what may be wrong."""
    says = "the journal nowhere, elsewhere cannot be read: .*ResourceNotFound.* in this account and region, and may "
    with pytest.raises(PolicyExecutionError, match=f"^restore-ingress changed nothing: {says}you read it"):
        read(manager(), {"log-groups": ["nowhere", "elsewhere"]}, [GROUP], None)
