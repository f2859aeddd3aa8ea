"""What a message says of the ways into instances whose port for SSH or RDP was closed."""

import pytest
from botocore.exceptions import ReadTimeoutError

from c7n_ingress_tools.embedded_aws.ec2 import behaviour, load_interfaces
from tests.support.embedded import NOTIFY, act, aws_error, cases, group_of, load, make_queue, messages

VPC = "vpc-0f00000000000001"
ASKED = ["DescribeInstanceInformation", "DescribeInstanceConnectEndpoints"]
CASES = cases("way-in")


def put(case):
    """Put a group, the instances that use it, and what reaches them into AWS."""
    load([group_of({"name": "web", "ingress": [case["rule"]]}, 1)])
    group = {"GroupId": "sg-00000000000000001", "GroupName": "web"}
    load_interfaces(
        {
            "NetworkInterfaceId": f"eni-{number:017x}",
            "VpcId": VPC,
            "Status": "in-use",
            "Groups": [group],
            "Attachment": {"InstanceId": instance, "Status": "attached"},
        }
        for number, instance in enumerate(case.get("instances", ()), 1)
    )
    behaviour.nodes += [
        {"InstanceId": instance, "PingStatus": status} for instance, status in case.get("nodes", {}).items()
    ]
    behaviour.endpoints += [
        {"VpcId": VPC, "State": "create-complete", "InstanceConnectEndpointId": "eice-1", **each}
        for each in case.get("endpoints", ())
    ]


def said(cloud, folder, **more):
    """Close what is open, and return what the message notes of its group."""
    make_queue(cloud)
    act(cloud, folder, authorized=["198.18.7.0/24"], notify=NOTIFY, **{"behind": True, **more})
    ((resource,),) = [message["resources"] for message in messages(cloud)]
    return resource.get("c7n:noted-ingress", [])


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_what_is_said(cloud, tmp_path, case):
    """Where SSH or RDP was closed, the message says what still reaches the instances; AWS is asked only then."""
    put(case)
    assert said(cloud, tmp_path) == case["says"]
    assert [call.action for call in cloud.calls if call.action in ASKED] == (ASKED if case["says"] else [])


def test_that_nothing_is_asked_without_behind(cloud, tmp_path):
    """A policy without `behind` asks nothing."""
    put(CASES[0])
    assert said(cloud, tmp_path, behind=False) == []


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (aws_error("AccessDeniedException", "x"), "AccessDeniedException"),
        (ReadTimeoutError(endpoint_url="https://x"), "ReadTimeoutError"),
    ],
    ids=["denied", "no answer"],
)
@pytest.mark.parametrize(
    ("call", "number", "what"),
    [(ASKED[0], 0, "Session Manager"), (ASKED[1], 1, "an EC2 Instance Connect Endpoint")],
    ids=ASKED,
)
def test_what_cannot_be_looked_up(cloud, tmp_path, call, number, what, error, why):
    """Where AWS does not answer, the group is closed, and the message names what could not be looked up."""
    put(CASES[0])

    def fail(**_):
        raise error

    notes = said(cloud, tmp_path, before={call: fail})
    assert notes[number] == f"whether {what} reaches the instances that use this group could not be looked up ({why})"
    assert notes[1 - number] == CASES[0]["says"][1 - number]
