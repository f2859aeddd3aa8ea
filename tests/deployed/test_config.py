import json
from datetime import datetime, timedelta, timezone

import pytest
from botocore.exceptions import ClientError
from c7n.resources.vpc import ConfigSG, SecurityGroup

from c7n_ingress_tools.embedded_aws.config import configuration_item, event, record

RULE = "custodian-open-ingress"
GROUP = {
    "GroupId": "sg-0a11a11a11a11a11a",
    "GroupName": "web",
    "Description": "web servers",
    "OwnerId": "123456789012",
    "VpcId": "vpc-0f00000000000001",
    "Tags": [{"Key": "Name", "Value": ""}, {"Key": "Team", "Value": "net"}],
    "IpPermissions": [
        {
            "IpProtocol": "tcp",
            "FromPort": 22,
            "ToPort": 22,
            "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all of it"}],
            "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
            "PrefixListIds": [],
            "UserIdGroupPairs": [{"GroupId": "sg-0b22b22b22b22b22b", "UserId": "123456789012"}],
        }
    ],
    "IpPermissionsEgress": [
        {
            "IpProtocol": "-1",
            "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
            "Ipv6Ranges": [],
            "PrefixListIds": [],
            "UserIdGroupPairs": [],
        }
    ],
}


@pytest.fixture
def config(cloud):
    """Return a client of an AWS Config that has a rule."""
    account = cloud.session()
    role = account.client("iam").create_role(RoleName="lambda", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    function = account.client("lambda").create_function(
        FunctionName=RULE, Runtime="python3.11", Role=role, Handler="a.b", Code={"ZipFile": b""}
    )
    client = account.client("config")
    client.put_config_rule(
        ConfigRule={
            "ConfigRuleName": RULE,
            "Scope": {"ComplianceResourceTypes": ["AWS::EC2::SecurityGroup"]},
            "Source": {
                "Owner": "CUSTOM_LAMBDA",
                "SourceIdentifier": function["FunctionArn"],
                "SourceDetails": [{"EventSource": "aws.config", "MessageType": "ConfigurationItemChangeNotification"}],
            },
        }
    )
    return client


def put(config, verdict="COMPLIANT", hour=12, **more):
    """Say what the rule says of the group, as it was at an hour."""
    captured = datetime(2026, 1, 31, hour, tzinfo=timezone.utc)
    evaluation = {
        "ComplianceResourceType": "AWS::EC2::SecurityGroup",
        "ComplianceResourceId": GROUP["GroupId"],
        "ComplianceType": verdict,
        "OrderingTimestamp": captured,
    }
    token = event(configuration_item(GROUP), RULE)["resultToken"]
    return config.put_evaluations(**{"Evaluations": [evaluation], "ResultToken": token} | more)


def refusal(call, *args, **kwargs):
    """Return the code of the error that a call ends with."""
    with pytest.raises(ClientError) as refused:
        call(*args, **kwargs)
    return refused.value.response["Error"]["Code"]


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_partition(region, partition):
    """The ARNs of an item and of an event name the partition of the region."""
    item = configuration_item(GROUP, region)
    sent = event(item, RULE)
    arns = [item["ARN"], sent["executionRoleArn"], sent["configRuleArn"]]
    assert {arn.split(":")[1] for arn in arns} == {partition}


def test_item():
    """An item has the group in camel case, IPv4 ranges as texts and as objects, and its tags once more as a map."""
    item = configuration_item(GROUP, captured=datetime(2019, 8, 22, 20, 35, 49, 316000, timezone.utc))
    assert item == {
        "relatedEvents": [],
        "relationships": [
            {
                "resourceId": "vpc-0f00000000000001",
                "resourceName": None,
                "resourceType": "AWS::EC2::VPC",
                "name": "Is contained in Vpc",
            }
        ],
        "configuration": {
            "description": "web servers",
            "groupName": "web",
            "ipPermissions": [
                {
                    "fromPort": 22,
                    "ipProtocol": "tcp",
                    "ipv6Ranges": [{"cidrIpv6": "::/0"}],
                    "prefixListIds": [],
                    "toPort": 22,
                    "userIdGroupPairs": [{"groupId": "sg-0b22b22b22b22b22b", "userId": "123456789012"}],
                    "ipv4Ranges": [{"cidrIp": "0.0.0.0/0", "description": "all of it"}],
                    "ipRanges": ["0.0.0.0/0"],
                }
            ],
            "ownerId": "123456789012",
            "groupId": "sg-0a11a11a11a11a11a",
            "ipPermissionsEgress": [
                {
                    "ipProtocol": "-1",
                    "ipv6Ranges": [],
                    "prefixListIds": [],
                    "userIdGroupPairs": [],
                    "ipv4Ranges": [{"cidrIp": "0.0.0.0/0"}],
                    "ipRanges": ["0.0.0.0/0"],
                }
            ],
            "tags": [{"key": "Name", "value": ""}, {"key": "Team", "value": "net"}],
            "vpcId": "vpc-0f00000000000001",
        },
        "supplementaryConfiguration": {},
        "tags": {"Name": "", "Team": "net"},
        "configurationItemVersion": "1.3",
        "configurationItemCaptureTime": "2019-08-22T20:35:49.316Z",
        "configurationStateId": 1566506149316,
        "awsAccountId": "123456789012",
        "configurationItemStatus": "OK",
        "resourceType": "AWS::EC2::SecurityGroup",
        "resourceId": "sg-0a11a11a11a11a11a",
        "resourceName": "web",
        "ARN": "arn:aws:ec2:us-east-1:123456789012:security-group/sg-0a11a11a11a11a11a",
        "awsRegion": "us-east-1",
        "availabilityZone": "Not Applicable",
        "configurationStateMd5Hash": "",
        "resourceCreationTime": None,
    }


def test_cloud_custodian_reads_the_group_out_of_the_item():
    """What c7n reads from an item is what EC2 describes."""
    assert ConfigSG(SecurityGroup).load_resource(configuration_item(GROUP)) == GROUP


def test_item_of_a_deleted_group():
    """An item of a group that is gone has no configuration, and nulls for much else."""
    item = configuration_item(GROUP, status="ResourceDeleted")
    assert {key for key, value in item.items() if value is None} == {
        "configuration",
        "resourceName",
        "availabilityZone",
        "resourceCreationTime",
    }
    assert (item["tags"], item["relationships"], item["resourceId"]) == ({}, [], GROUP["GroupId"])


def test_event():
    """A Lambda gets the item as text within the event, as a ConfigurationItemChangeNotification."""
    item = configuration_item(GROUP)
    sent = event(item, RULE)
    invoking = json.loads(sent["invokingEvent"])
    assert invoking["messageType"] == "ConfigurationItemChangeNotification"
    assert invoking["configurationItem"] == item
    assert (sent["configRuleName"], sent["accountId"], sent["eventLeftScope"]) == (RULE, "123456789012", False)
    assert json.loads(sent["ruleParameters"]) == {}


def test_item_that_is_too_large():
    """An item that is larger than a notification never reaches a rule."""
    many = GROUP | {"IpPermissions": GROUP["IpPermissions"] * 1000}
    with pytest.raises(ValueError, match="never sent"):
        event(configuration_item(many), RULE)


def test_evaluations(cloud, config):
    """Evaluations are kept in order; those of a test are not."""
    assert put(config, "NON_COMPLIANT", hour=12)["FailedEvaluations"] == []
    put(config, "COMPLIANT", hour=14)
    put(config, "NON_COMPLIANT", hour=13)
    put(config, "NOT_APPLICABLE", hour=15, TestMode=True)
    assert [each.verdict for each in cloud.evaluations] == ["NON_COMPLIANT", "COMPLIANT", "NON_COMPLIANT"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"ResultToken": "No token found."}, "InvalidResultTokenException"),
        ({"ResultToken": event(configuration_item(GROUP), "another")["resultToken"]}, "NoSuchConfigRuleException"),
        ({"Evaluations": []}, "InvalidParameterValueException"),
    ],
)
def test_refused_evaluations(cloud, config, more, code):
    """Evaluations need a token that Config issued for a rule of the account."""
    assert refusal(put, config, **more) == code
    assert cloud.evaluations == []


def test_unknown_rule(cloud):
    """A rule that is not there is an error, also where there is none at all."""
    config = cloud.session().client("config")
    assert refusal(config.describe_config_rules, ConfigRuleNames=[RULE]) == "NoSuchConfigRuleException"
    assert config.describe_config_rules()["ConfigRules"] == []


NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
ASKED = {"resourceType": "AWS::EC2::SecurityGroup", "resourceId": GROUP["GroupId"]}


@pytest.fixture
def history(cloud):
    """Return a client of an AWS Config that has recorded the group in each of 25 hours, and then that it is gone."""
    client = cloud.session().client("config")
    recorder = {"name": "default", "roleARN": "arn:aws:iam::123456789012:role/config-role"}
    client.put_configuration_recorder(ConfigurationRecorder=recorder)
    for hour in (*range(12, 25), *range(12)):  # the order of delivery says nothing
        record(configuration_item(GROUP, captured=NOON + timedelta(hours=hour)))
    record(configuration_item(GROUP, status="ResourceDeleted", captured=NOON + timedelta(hours=25)))
    record(configuration_item({**GROUP, "GroupId": "sg-0b22b22b22b22b22b"}, captured=NOON))
    return client


def test_item_in_a_history(history):
    """An item of a history has other names than one of an event, and its configuration as text, which c7n reads."""
    gone, item = history.get_resource_config_history(**ASKED, limit=2)["configurationItems"]
    assert (gone["configurationItemStatus"], gone["configuration"]) == ("ResourceDeleted", "null")
    assert item["configurationItemCaptureTime"] == NOON + timedelta(hours=24)
    assert (item["accountId"], item["version"], item["configurationItemStatus"]) == ("123456789012", "1.3", "OK")
    assert item["relationships"] == [
        {
            "resourceType": "AWS::EC2::VPC",
            "resourceId": "vpc-0f00000000000001",
            "relationshipName": "Is contained in Vpc",
        }
    ]
    assert ConfigSG(SecurityGroup).load_resource(item) == GROUP


@pytest.mark.parametrize(
    ("more", "hours"),
    [
        ({}, range(25, -1, -1)),
        ({"limit": 100}, range(25, -1, -1)),
        ({"limit": 0}, range(25, -1, -1)),
        ({"earlierTime": NOON + timedelta(hours=23)}, range(25, 22, -1)),
    ],
)
def test_pages_of_a_history(history, more, hours):
    """All of a history comes, the newest first, in pages of ten or as many as were asked for."""
    found, token, sizes = [], {}, []
    while True:
        page = history.get_resource_config_history(**ASKED, **more, **token)
        found += [item["configurationItemCaptureTime"] for item in page["configurationItems"]]
        sizes.append(len(page["configurationItems"]))
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert found == [NOON + timedelta(hours=hour) for hour in hours]
    assert set(sizes[:-1]) <= {more.get("limit") or 10}


def test_no_history(history):
    """What was never recorded, and an account without a recorder are errors."""
    ask = history.get_resource_config_history
    assert refusal(ask, **{**ASKED, "resourceId": "sg-1"}) == "ResourceNotDiscoveredException"
    history.delete_configuration_recorder(ConfigurationRecorderName="default")
    assert refusal(ask, **ASKED) == "NoAvailableConfigurationRecorderException"
