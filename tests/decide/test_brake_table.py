"""The updates of the brake's table, and the commands that messages carry."""

from datetime import datetime, timezone

import pytest

from c7n_ingress.decide import brake
from c7n_ingress.decide.commands import Undo, authorize_line, replay_line, undo_line

NOW = datetime(2026, 1, 31, 23, 34, 56, tzinfo=timezone.utc)
SECONDS = 1769902496
EXPIRES = {"N": str(SECONDS + 3 * 3600)}
LEFT_OPEN = (
    "at-most is 7, and as many groups were changed from 23:00 to 00:00 UTC. So this group was not changed. Look at "
    "what was closed in this hour. If that was right, run c7n-ingress replay --region eu-west-1 after 00:00 UTC, or "
    "raise at-most and deploy the policy again. The daily policy closes the worst groups first"
)


@pytest.mark.parametrize(
    ("update", "request_"),
    [
        (
            lambda: brake.counted("sg-1", 7, NOW),
            {
                "TableName": "custodian-open-ingress-brake",
                "Key": {"id": {"S": "2026-01-31T23"}},
                "UpdateExpression": "ADD #groups :groups SET #expires = :expires",
                "ConditionExpression": (
                    "attribute_not_exists(#groups) OR size(#groups) < :most OR contains(#groups, :group)"
                ),
                "ExpressionAttributeNames": {"#groups": "groups", "#expires": "expires"},
                "ExpressionAttributeValues": {
                    ":groups": {"SS": ["sg-1"]},
                    ":group": {"S": "sg-1"},
                    ":most": {"N": "7"},
                    ":expires": EXPIRES,
                },
            },
        ),
        (
            lambda: brake.reported("sg-1", NOW),
            {
                "TableName": "custodian-open-ingress-brake",
                "Key": {"id": {"S": "sg-1"}},
                "UpdateExpression": "SET #reported = :now, #expires = :expires",
                "ConditionExpression": "attribute_not_exists(#reported) OR #reported < :before",
                "ExpressionAttributeNames": {"#reported": "reported", "#expires": "expires"},
                "ExpressionAttributeValues": {
                    ":now": {"N": str(SECONDS)},
                    ":before": {"N": str(SECONDS - 3600)},
                    ":expires": EXPIRES,
                },
            },
        ),
        (
            lambda: brake.not_reported("sg-1"),
            {
                "TableName": "custodian-open-ingress-brake",
                "Key": {"id": {"S": "sg-1"}},
                "UpdateExpression": "REMOVE #reported",
                "ExpressionAttributeNames": {"#reported": "reported"},
            },
        ),
    ],
    ids=["counted", "reported", "not reported"],
)
def test_an_update_of_the_table(update, request_):
    """One update counts a group in its hour, notes that it was reported, or takes that note back."""
    assert update() == request_


def test_what_people_do_about_a_group_that_was_left_open():
    """The sentence has the limit, the hour, the command, and what closes the group besides."""
    assert brake.left_open(7, "eu-west-1", NOW) == LEFT_OPEN
    table = "at-most was not applied, because the table custodian-open-ingress-brake could not count this group: denied"
    assert brake.not_counted("denied") == table


def test_the_lines_that_messages_carry():
    """A line can be copied into a shell, whatever is in it."""
    undo = Undo("sg-1", "a run", "eu-west-1", None)
    assert undo_line(undo) == "c7n-ingress undo sg-1 --run 'a run' --region eu-west-1"
    journal = undo._replace(run="1", journal="/custodian/#prod")
    assert undo_line(journal) == "c7n-ingress undo sg-1 --run 1 --region eu-west-1 --journal '/custodian/#prod'"
    assert replay_line("eu-west-1") == "c7n-ingress replay --region eu-west-1"
    assert authorize_line({"GroupId": "sg-1"}, "eu-west-1") == (
        'aws ec2 authorize-security-group-ingress --region eu-west-1 --cli-input-json \'{"GroupId": "sg-1"}\''
    )
