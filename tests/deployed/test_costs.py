import re

import pytest
from c7n.utils import yaml_load

from tests.support.docs import PAGES
from tests.support.embedded import ROOT
from tests.support.stacked import create, of_type

PAGE = PAGES["docs/costs.md"]
WATCH = yaml_load((ROOT / "mode" / "watch.yml").read_text())["policies"]
POLICIES = yaml_load((ROOT / "policies" / "open-ingress.yml").read_text())["policies"]
CENTRAL = {"CentralQueueArn": "arn:aws:sqs:us-east-1:210987654321:custodian-mailer"}
ENCRYPTED = {"EncryptTopic": "yes"}
WHOLE = {
    "Email": "team@example.com",
    "OrganizationId": "o-abcdefghij",
    "RecordSecurityGroups": "yes",
}
FREE = {
    "AWS::Config::ConfigurationRecorder",
    "AWS::Config::DeliveryChannel",
    "AWS::DynamoDB::Table",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::Logs::LogGroup",
    "AWS::Logs::QueryDefinition",
    "AWS::S3::Bucket",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
}
"""What AWS charges nothing for while nobody uses it."""
PRICED = {
    "alarms": ("AWS::CloudWatch::Alarm", 0.10),
    "KMS keys": ("AWS::KMS::Key", 1.00),
    "dashboards": ("AWS::CloudWatch::Dashboard", 3.00),
}
REGION_ACCOUNTS = 3_000


def table(heading):
    """Return the rows of the first table under a heading: first cell -> the other cells."""
    _, _, after = PAGE.partition(f"{heading}\n")
    _, _, *rows = re.search(r"(?:^\|.*\n)+", after, re.MULTILINE)[0].splitlines()
    cells = [[cell.strip(" *") for cell in row.strip("|").split("|")] for row in rows]
    return {first: others for first, *others in cells}


def number(text):
    """Return a number as the page writes it."""
    return float(text.replace(",", ""))


COUNTED = {what: [number(cell) for cell in cells] for what, cells in table("## How it is counted").items()}
MAILERS_QUEUE = "Lambda asks the mailer's queue"


def dollars(changes, alarms, *names):
    """Return what so many changes a month cost, of these names of the page's table."""
    return sum(
        price * ((alarms if name == "alarm" else idle) + per_change * changes)
        for name, (price, idle, per_change) in COUNTED.items()
        if name in names
    )


@pytest.mark.parametrize("changes", [0, 10, 1_000])
def test_the_dollars(changes):
    """Each sum of the page's first table is what its prices and counts make."""
    column = [0, 10, 1_000].index(changes)
    rows = {what: cells[column] for what, cells in table("# Costs").items()}
    config = [name for name in COUNTED if name.startswith("AWS Config")]
    others = [name for name in COUNTED if name not in (*config, "alarm", MAILERS_QUEUE)]
    central = [*config, *others, "alarm"]
    assert rows == {
        "the stack itself": f"{dollars(changes, 5, 'alarm'):.2f}",
        "AWS Config": f"{dollars(changes, 5, *config):.2f}",
        "the mailer's queue": f"{dollars(changes, 5, MAILERS_QUEUE):.2f}",
        "everything else": f"{dollars(changes, 5, *others):.2f}",
        "together": f"{dollars(changes, 5, *COUNTED):.2f}",
        "3,000 of them, each with a mailer": f"{REGION_ACCOUNTS * dollars(changes, 5, *COUNTED):,.0f}",
        "3,000 of them, one mailer for all": f"{REGION_ACCOUNTS * dollars(changes, 3, *central):,.0f}",
    }


@pytest.mark.parametrize(
    ("row", "parameters"),
    [
        ("alarms, by default", {}),
        ("alarms, with `CentralQueueArn`", CENTRAL),
        ("KMS keys, by default", {}),
        ("KMS keys, with `EncryptTopic=yes`", ENCRYPTED),
        ("dashboards, by default", {}),
        ("dashboards, with `Dashboard=yes`", {"Dashboard": "yes"}),
    ],
)
def test_what_the_stack_has(cloud, row, parameters):
    """The stack has as many resources with a price as the page says, whatever else is asked of it."""
    kind, price = PRICED[row.partition(",")[0]]
    resources = create(cloud, **{**WHOLE, **parameters})
    found = of_type(resources, kind)
    count, sum_ = table("## The stack")[row]
    assert (str(len(found)), f"{price * len(found):.2f}") == (count, sum_)
    assert {each["Type"] for each in resources.values()} <= FREE | {kind for kind, _ in PRICED.values()}


def test_the_table_is_paid_by_the_write(cloud):
    """The stack's table has no capacity that is paid for while nobody writes, and loses its items by itself."""
    (table,) = of_type(create(cloud), "AWS::DynamoDB::Table").values()
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert not {"GlobalSecondaryIndexes", "PointInTimeRecoverySpecification", "SSESpecification"} & set(table)
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}


def test_the_most_it_costs_by_default(cloud):
    """By default, the stack costs at most $0.60 a month, and each alarm reads one metric, for which AWS charges."""
    resources = create(cloud)
    assert sum(price * len(of_type(resources, kind)) for kind, price in PRICED.values()) <= 0.60
    assert not any("Metrics" in alarm for alarm in of_type(resources, "AWS::CloudWatch::Alarm").values())


def test_what_is_counted(cloud):
    """An idle month has as many alarms, runs and metrics as the stack and the watch have."""
    assert COUNTED["alarm"][1] == len(of_type(create(cloud), "AWS::CloudWatch::Alarm"))
    a_day = len(WATCH) + 1 + 1 / 7
    assert COUNTED["run of a Lambda, 10 seconds at 512 MB"][1] == round(a_day * 30, 1)
    functions = len(WATCH) + len(POLICIES) + len({"the mailer"})
    assert COUNTED["metric that the watch reads"][1] == (functions * 3 + 1) * 30
