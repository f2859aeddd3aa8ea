"""A group's rules as EC2 lists them."""

import pytest

from c7n_ingress.decide.rules import Rule, Traffic, network, rule_from

LISTED = {"SecurityGroupRuleId": "sgr-1", "IpProtocol": "tcp", "FromPort": 22, "ToPort": 23}


@pytest.mark.parametrize(
    ("more", "source"),
    [
        ({"CidrIpv4": "198.18.7.0/24"}, network("198.18.7.0/24")),
        ({"CidrIpv6": "2001:2:0:7::/64"}, network("2001:2:0:7::/64")),
        ({"PrefixListId": "pl-1"}, "pl-1"),
        ({"ReferencedGroupInfo": {"GroupId": "sg-1", "UserId": "123456789012"}}, "sg-1"),
    ],
)
def test_a_rule_that_ec2_lists(more, source):
    """A rule has its source, whatever kind it is, and its description and tags, if it has any."""
    assert rule_from(LISTED | more) == Rule("sgr-1", Traffic("tcp", 22, 23), source, None, ())
    tags = [{"Key": "Owner", "Value": "web"}, {"Key": "Name", "Value": ""}]
    expected = Rule("sgr-1", Traffic("tcp", 22, 23), source, "text", (("Owner", "web"), ("Name", "")))
    assert rule_from(LISTED | more | {"Description": "text", "Tags": tags}) == expected
