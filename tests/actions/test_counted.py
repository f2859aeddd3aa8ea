"""How many groups are changed in an hour: what is counted in DynamoDB's table."""

import time
from datetime import datetime, timedelta, timezone
from functools import partial
from types import SimpleNamespace

import pytest
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.aws.brake import Brake
from c7n_ingress.decide import brake
from tests.support.embedded import make_table

NOW = datetime(2026, 1, 31, 23, 34, 56, tzinfo=timezone.utc)


@pytest.fixture
def table(embedded_aws):
    """Create the table, and return a function that makes an update and returns whether its condition held."""
    embedded_aws.reset()
    make_table(embedded_aws)
    client = embedded_aws.session().client("dynamodb")

    def holds(request):
        try:
            client.update_item(**request)
        except client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    holds.items = lambda: {each["id"]["S"]: each for each in client.scan(TableName=brake.TABLE)["Items"]}
    return holds


def outcome(group_id):
    """Return a group that is about to be changed."""
    return SimpleNamespace(group={"GroupId": group_id}, noted=[])


def braked(cloud, at_most):
    """Return the brake of a new run."""
    sessions = partial(cloud.session)
    sessions.region = "of this test"  # c7n keeps a session for each
    config = SimpleNamespace(region="us-east-1")
    return Brake(SimpleNamespace(session_factory=sessions, config=config), at_most)


def test_an_hour_that_is_full(table):
    """An hour has as many groups as the limit; one that is counted already does not count again."""
    assert [table(brake.counted(group, 2, NOW)) for group in ("sg-1", "sg-1", "sg-2", "sg-3", "sg-1")] == [
        True, True, True, False, True,
    ]  # fmt: skip
    assert table(brake.counted("sg-3", 3, NOW))
    assert table(brake.counted("sg-4", 1, NOW + timedelta(minutes=26)))
    items = table.items()
    assert {hour: set(item["groups"]["SS"]) for hour, item in items.items()} == {
        "2026-01-31T23": {"sg-1", "sg-2", "sg-3"},
        "2026-02-01T00": {"sg-4"},
    }
    assert items["2026-01-31T23"]["expires"] == {"N": str(int((NOW + brake.KEPT).timestamp()))}


def test_a_group_is_reported_once_an_hour(table):
    """A group that was noted as reported is not news for an hour, and is news after that note is taken back."""
    assert table(brake.reported("sg-1", NOW))
    assert not table(brake.reported("sg-1", NOW + timedelta(minutes=60)))
    assert table(brake.reported("sg-2", NOW))
    assert table(brake.reported("sg-1", NOW + timedelta(minutes=60, seconds=1)))
    assert not table(brake.reported("sg-1", NOW + timedelta(minutes=61)))
    assert table(brake.not_reported("sg-1"))
    assert table(brake.reported("sg-1", NOW + timedelta(minutes=61)))
    assert table.items()["sg-1"]["expires"] == {"N": str(int((NOW + timedelta(minutes=61) + brake.KEPT).timestamp()))}


def test_what_to_do():
    """Who reads that a group is left open reads the limit, the hour, and how to close it."""
    text = brake.left_open(7, "eu-west-1", NOW)
    assert "at-most is 7, and" in text
    assert "23:00 to 00:00 UTC" in text
    assert "replay" in text
    assert "eu-west-1" in text
    assert "after 00:00 UTC" in text
    assert brake.not_counted("denied").endswith(f"{brake.TABLE} could not count this group: denied")


def test_a_group_beyond_the_limit(embedded_aws, table):
    """It is not changed, and it is reported once; a group that is counted may be changed in the same run again."""
    if (left := 3600 - time.time() % 3600) < 10:
        time.sleep(left)  # all runs of this test are in one hour
    one = braked(embedded_aws, 1)
    first, second = outcome("sg-1"), outcome("sg-2")
    one.count(first)
    one.count(first)
    with pytest.raises(PolicyExecutionError, match=r"at-most is 1, .*us-east-1"):
        one.count(second)
    assert (first.noted, second.noted) == ([], [])
    assert one.unreported([first, second]) == [first, second]
    assert one.unreported([first, second]) == [first]
    one.forget([first])
    assert one.unreported([second]) == []
    one.forget([first, second])
    assert one.unreported([second]) == [second]
    another = braked(embedded_aws, 1)
    another.count(outcome("sg-1"))
    with pytest.raises(PolicyExecutionError):
        another.count(outcome("sg-3"))
    assert not {"sg-1", "sg-3"} & table.items().keys()


def test_a_table_that_is_not_there(embedded_aws):
    """A group is changed and reported all the same, and the message says that the limit was not applied."""
    embedded_aws.reset()
    one = braked(embedded_aws, 1)
    for group in (outcome("sg-1"), outcome("sg-2")):
        one.count(group)
        (noted,) = group.noted
        assert noted.startswith("at-most was not applied")
    one.stopped.add("sg-1")
    one.forget([outcome("sg-1")])
    assert len(one.unreported([outcome("sg-1")])) == 1
