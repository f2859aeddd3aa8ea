"""A group's rules as EC2 lists them."""

import pytest

from c7n_ingress.decide.rules import (
    Match,
    Rule,
    Traffic,
    matches_from,
    network,
    permission,
    ports_text,
    rule_from,
    rule_request,
    source_from,
    text_of,
    traffic_arguments,
)

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


SSH, GRE = Traffic("tcp", 22, 22), Traffic("47", -1, -1)
SHAPES = [
    ("198.18.7.0/24", "IpRanges", "CidrIp", "CidrIpv4"),
    ("2001:2:0:7::/64", "Ipv6Ranges", "CidrIpv6", "CidrIpv6"),
    ("pl-1", "PrefixListIds", "PrefixListId", "PrefixListId"),
]


@pytest.mark.parametrize(("text", "listing", "key", "name"), SHAPES, ids=[shape[0] for shape in SHAPES])
def test_how_calls_name_a_rule(text, listing, key, name):
    """A rule is written as EC2's calls take it, with its description if it has one, and is read from that again."""
    source, ports = source_from(text), {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    for description, more in ((None, {}), ("ssh", {"Description": "ssh"})):
        rule = Rule("sgr-1", SSH, network("0.0.0.0/0"), description)
        request = {"SecurityGroupRuleId": "sgr-1", "SecurityGroupRule": {**ports, name: text, **more}}
        assert rule_request(rule, source) == request
        assert permission(SSH, source, description) == {**ports, listing: [{key: text, **more}]}
        assert matches_from([permission(SSH, source, description)]) == {Match(SSH, source)}
    assert traffic_arguments(GRE) == {"IpProtocol": "47"}


def test_the_sources_of_a_permission():
    """A permission is one rule for each of its sources, of all kinds."""
    listed = {listing: [{key: text}] for text, listing, key, _ in SHAPES} | {"UserIdGroupPairs": [{"GroupId": "sg-1"}]}
    sources = [*(source_from(text) for text, *_ in SHAPES), "sg-1"]
    assert matches_from([{"IpProtocol": "47", **listed}]) == {Match(GRE, source) for source in sources}
    assert matches_from([{"IpProtocol": "47", "IpRanges": None}]) == set()


@pytest.mark.parametrize(
    ("traffic", "text"),
    [
        (SSH, "22"),
        (Traffic("tcp", 0, 0), "0"),
        (Traffic("tcp", 8000, 8010), "8000-8010"),
        (Traffic("tcp", 0, 65535), "all"),
        (Traffic("tcp", 1, 65535), "1-65535"),
        (Traffic("udp", -1, -1), "all"),
        (GRE, "all"),
        (Traffic("icmp", -1, -1), "all"),
        (Traffic("icmp", 3, -1), "type 3"),
        (Traffic("icmp", 3, 4), "type 3 code 4"),
        (Traffic("icmpv6", 1, 1), "type 1 code 1"),
    ],
    ids=str,
)
def test_ports_for_people(traffic, text):
    """Ports are written as people write them, and ICMP by its type and code."""
    assert ports_text(traffic) == text
    assert text_of(Match(traffic, "pl-1")) == f"{traffic.protocol} {text} from pl-1"
