"""The ways into instances whose port was closed, in words."""

import pytest

from c7n_ingress.decide.way_in import by_endpoint, by_session_manager, instances, is_closed, unread


@pytest.mark.parametrize(
    ("protocol", "first", "last", "closed"),
    [
        ("tcp", 22, 22, True),
        ("tcp", 3389, 3389, True),
        ("tcp", 20, 22, True),
        ("tcp", 3389, 4000, True),
        ("tcp", 23, 3388, False),
        ("tcp", 443, 443, False),
        ("udp", 22, 22, False),
        ("-1", -1, -1, True),
        ("icmp", -1, -1, False),
    ],
)
def test_a_port_by_which_people_come_in(protocol, first, last, closed):
    """SSH and RDP count where an open rule was closed, and where networks were only added they do not."""
    traffic = {"IpProtocol": protocol, "FromPort": first, "ToPort": last}
    web = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    assert is_closed([{"traffic": web, "was": "0.0.0.0/0"}, {"traffic": traffic, "was": "0.0.0.0/0"}]) is closed
    assert not is_closed([{"traffic": traffic, "was": None}])


def test_the_instances():
    """Instances are among the interfaces of a group, each with its VPC."""
    interfaces = [
        {"Attachment": {"InstanceId": "i-1"}, "VpcId": "vpc-1"},
        {"Attachment": {"InstanceId": "i-2"}},
        {"Attachment": {}, "VpcId": "vpc-2"},
        {"VpcId": "vpc-3"},
    ]
    assert instances(interfaces) == {"i-1": "vpc-1", "i-2": ""}


def test_session_manager():
    """Session Manager reaches the instances whose agent is online; five are named."""
    says = "without the open port, Session Manager reaches {} instances that use this group: {}"
    online = [f"i-{number}" for number in (6, 5, 4, 3, 2, 1, 9)]
    assert by_session_manager(["i-3", "i-1", "i-8"], online) == says.format("2 of 3", "i-1, i-3")
    assert by_session_manager(online[:5], online) == says.format("5 of 5", "i-2, i-3, i-4, i-5, i-6")
    assert by_session_manager(online[:6], online) == says.format("6 of 6", "i-1, i-2, i-3, i-4, i-5 and 1 more")
    assert by_session_manager(["i-8"], online) == "Session Manager reaches none of the instances that use this group"


def test_endpoints():
    """An endpoint reaches the instances if a rule allows its groups, or its address where it has none."""
    one, two = {"InstanceConnectEndpointId": "eice-1"}, {"InstanceConnectEndpointId": "eice-2"}
    says = "EC2 Instance Connect Endpoint {} reaches the instances if a rule allows {}"
    assert by_endpoint([]) == "no EC2 Instance Connect Endpoint is in the VPC of the instances"
    assert by_endpoint([two, one]) == says.format("eice-1, eice-2", "its address")
    grouped = [{**two, "SecurityGroupIds": ["sg-3", "sg-1"]}, {**one, "SecurityGroupIds": ["sg-1"]}]
    assert by_endpoint(grouped) == says.format("eice-1, eice-2", "security groups sg-1, sg-3")
    assert by_endpoint([{**one, "SecurityGroupIds": None}]) == says.format("eice-1", "its address")


def test_what_could_not_be_looked_up():
    """What could not be looked up is named with the reason."""
    expected = "whether Session Manager reaches the instances that use this group could not be looked up (denied)"
    assert unread("Session Manager", "denied") == expected
