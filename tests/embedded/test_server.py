import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from c7n_ingress_tools.embedded_aws.ec2 import load_groups
from c7n_ingress_tools.embedded_aws.server import Call
from tests.support.throttling import Throttling

OTHER = "210987654321"
GROUP = {"GroupId": "sg-0a11a11a11a11a11a", "VpcId": "vpc-1", "IpPermissions": []}


def groups(client):
    """Return the ids of the groups outside default VPCs."""
    found = client.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": ["vpc-1"]}])["SecurityGroups"]
    return [group["GroupId"] for group in found]


def test_calls(cloud):
    """Each call is noted with service, action and region, and the error code if it failed."""
    session = cloud.session("eu-west-1")
    session.client("sts").get_caller_identity()
    session.client("logs").describe_log_groups()
    session.client("lambda").list_functions()
    session.client("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with pytest.raises(ClientError):
        session.client("lambda").get_function(FunctionName="none")
    with pytest.raises(ClientError):
        session.client("ec2").describe_security_groups(GroupIds=["sg-0a11a11a11a11a11a"])
    assert cloud.calls == [
        Call("sts", "GetCallerIdentity", "eu-west-1", None),
        Call("logs", "DescribeLogGroups", "eu-west-1", None),
        Call("lambda", "ListFunctions", "eu-west-1", None),
        Call("s3", "CreateBucket", "eu-west-1", None),
        Call("lambda", "GetFunction", "eu-west-1", "ResourceNotFoundException"),
        Call("ec2", "DescribeSecurityGroups", "eu-west-1", "InvalidGroup.NotFound"),
    ]


def test_calls_at_once(cloud):
    """No call is lost when many come at once."""
    client = cloud.session().client("sts")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: client.get_caller_identity(), range(80)))
    assert len(cloud.calls) == 80


def test_reset(cloud):
    """After a reset nothing is left, and EC2 behaves as it does by default."""
    load_groups([GROUP])
    cloud.ec2.lag = 3
    client = cloud.session().client("ec2")
    assert groups(client) == [GROUP["GroupId"]]
    cloud.reset()
    assert (groups(client), cloud.ec2.lag, len(cloud.calls)) == ([], 0, 1)


def test_accounts(cloud):
    """Accounts are apart, and a role of the other is the way from one to another."""
    load_groups([GROUP | {"OwnerId": OTHER}])
    assert groups(cloud.session(account=OTHER).client("ec2")) == [GROUP["GroupId"]]
    assert groups(cloud.session().client("ec2")) == []
    role = (
        cloud.session()
        .client("sts")
        .assume_role(RoleArn=f"arn:aws:iam::{OTHER}:role/custodian", RoleSessionName="sweep")["Credentials"]
    )
    member = boto3.Session(role["AccessKeyId"], role["SecretAccessKey"], role["SessionToken"], "us-east-1")
    assert groups(member.client("ec2")) == [GROUP["GroupId"]]


def test_children(cloud):
    """A child process has no AWS but this one, whatever the caller has set up."""
    who = "import boto3, json; print(json.dumps(boto3.client('sts').get_caller_identity()['Account']))"
    for account in ("123456789012", OTHER):
        environment = cloud.environment(account=account)
        assert {"AWS_PROFILE", "AWS_ROLE_ARN"}.isdisjoint(environment)
        ran = subprocess.run([sys.executable, "-c", who], env=environment, capture_output=True, check=True)
        assert json.loads(ran.stdout) == account


def test_this_process(embedded_aws):
    """While it serves, this process has no other AWS either: what is in the way is out of the way."""
    assert os.environ["AWS_ENDPOINT_URL"] == embedded_aws.endpoint
    assert boto3.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_environment_is_given_back():
    """When it has served, the environment is as it was, and the port is closed."""
    code = (
        "import os, socket; from c7n_ingress_tools.embedded_aws.server import serving\n"
        "os.environ['AWS_PROFILE'] = 'none'; before = dict(os.environ)\n"
        "with serving() as cloud: cloud.session().client('sts').get_caller_identity()\n"
        "assert dict(os.environ) == before\n"
        "assert socket.socket().connect_ex(('127.0.0.1', int(cloud.endpoint.rpartition(':')[2])))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_queue_of_another_name(cloud):
    """A queue's URL may name AWS's host, as those do that Cloud Custodian makes up."""
    sqs = cloud.session().client("sqs")
    sqs.create_queue(QueueName="custodian-mailer")
    sqs.send_message(QueueUrl="https://sqs.us-east-1.amazonaws.com/123456789012/custodian-mailer", MessageBody="hello")
    url = sqs.get_queue_url(QueueName="custodian-mailer")["QueueUrl"]
    assert [message["Body"] for message in sqs.receive_message(QueueUrl=url)["Messages"]] == ["hello"]


def test_throttling(cloud):
    """A call for which the account has no token left is refused, until tokens have come back."""
    seconds = 0.0
    throttling = Throttling(clock=lambda: seconds)
    load_groups([GROUP])
    ec2 = cloud.session().client("ec2", config=Config(retries={"total_max_attempts": 1}))
    rule = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "198.18.0.0/15"}]}
    revoke = {"GroupId": GROUP["GroupId"], "IpPermissions": [rule]}

    def revoked(times):
        for _ in range(times):
            with pytest.raises(ClientError) as refused:
                ec2.revoke_security_group_ingress(**revoke)
            yield refused.value.response["Error"]["Code"]

    with throttling.in_ec2():
        assert set(revoked(50)) == {"InvalidPermission.NotFound"}
        assert list(revoked(2)) == ["RequestLimitExceeded"] * 2
        assert throttling.refused == 2
        ec2.authorize_security_group_ingress(**revoke)  # every API has a bucket of its own
        seconds = 0.2
        ec2.revoke_security_group_ingress(**revoke)
        assert list(revoked(1)) == ["RequestLimitExceeded"]
