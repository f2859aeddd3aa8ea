import sys
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def often_switched():
    """Let Python change threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("often_switched")
def test_an_update_is_one_step(cloud):
    """Of many conditional updates at the same moment, as many succeed as the condition lets."""
    client = cloud.session().client("dynamodb")
    client.create_table(
        TableName="t",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )

    def add(number):
        try:
            client.update_item(
                TableName="t",
                Key={"id": {"S": "x"}},
                UpdateExpression="ADD members :members",
                ConditionExpression="attribute_not_exists(members) OR size(members) < :most",
                ExpressionAttributeValues={":members": {"SS": [str(number)]}, ":most": {"N": "5"}},
            )
        except client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(30) as pool:
        assert sum(pool.map(add, range(300))) == 5
    assert len(client.get_item(TableName="t", Key={"id": {"S": "x"}})["Item"]["members"]["SS"]) == 5
