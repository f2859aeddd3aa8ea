"""Which recipient gets a message, where it names the account, the region or the partition."""

from types import SimpleNamespace

import pytest

from c7n_ingress.aws.notify import with_place


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_a_topic_of_this_account_and_region(region, partition):
    """The place is filled in, and everything else is as it was written."""
    config = SimpleNamespace(account_id="123456789012", region=region)
    topic = "arn:{partition}:sns:{region}:{account_id}:a-topic"
    others = ["alice@example.com", "slack://#{other}", {"group": "{region}"}]
    assert with_place([topic, *others], config) == [f"arn:{partition}:sns:{region}:123456789012:a-topic", *others]
