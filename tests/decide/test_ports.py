"""How traffic is called, and how EC2 describes it."""

import pytest

from c7n_ingress.decide.ports import parse_ports, traffic_words
from c7n_ingress.decide.rules import Traffic, traffic


@pytest.mark.parametrize(
    ("protocol", "ports", "words"),
    [
        ("-1", "all", "all traffic"),
        ("tcp", "22", "TCP 22 (SSH)"),
        ("tcp", "all", "TCP, all ports"),
        ("udp", "all", "UDP, all ports"),
        ("tcp", "8000-8010", "TCP 8000-8010"),
        ("tcp", "1", "TCP 1"),
        ("icmp", "all", "ICMP, all types"),
        ("icmpv6", "all", "ICMPv6, all types"),
        ("icmp", "8", "ICMP 8"),
        ("50", "all", "protocol 50"),
    ],
)
def test_words(protocol, ports, words):
    """Traffic has one name, by its protocol and its ports."""
    assert traffic_words(protocol, ports) == words


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 23}, Traffic("tcp", 22, 23)),
        ({"IpProtocol": "TCP", "FromPort": 0, "ToPort": 0}, Traffic("tcp", 0, 0)),
        ({"IpProtocol": 6, "FromPort": 22, "ToPort": 22}, Traffic("tcp", 22, 22)),
        ({"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1}, Traffic("icmp", 8, -1)),
        ({"IpProtocol": "udp"}, Traffic("udp", -1, -1)),
        ({"IpProtocol": "-1", "FromPort": 22, "ToPort": 22}, Traffic("-1", -1, -1)),
        ({"IpProtocol": "47", "FromPort": 22, "ToPort": 22}, Traffic("47", -1, -1)),
    ],
)
def test_traffic(shape, expected):
    """A protocol other than EC2's four is open on all ports, even if the rule names ports."""
    assert traffic(shape) == expected


@pytest.mark.parametrize(
    ("value", "traffic"),
    [
        (443, {("tcp", 443, 443), ("udp", 443, 443)}),
        ("0-65535", {("tcp", 0, 65535), ("udp", 0, 65535)}),
        ("tcp/8000-8010", {("tcp", 8000, 8010)}),
        ("udp/53", {("udp", 53, 53)}),
    ],
)
def test_a_port_that_people_write(value, traffic):
    """A port or a range is for tcp and for udp, unless it names one."""
    assert parse_ports([value]) == {Traffic(*each) for each in traffic}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (443, "ports 443 are not a list: write [443] or [tcp/443]"),
        ([True], "True is not a port: write 443, tcp/443, udp/500 or 8000-8010"),
        (["icmp/8"], "'icmp/8' is not a port: write 443, tcp/443, udp/500 or 8000-8010"),
        (["tcp/65536"], "'tcp/65536' is not a port: ports are 0 to 65535, the lower one first"),
        (["23-22"], "'23-22' is not a port: ports are 0 to 65535, the lower one first"),
        (["x" * 200], f"'{'x' * 79} is not a port: write 443, tcp/443, udp/500 or 8000-8010"),
    ],
)
def test_a_port_that_is_none(value, says):
    """What is no port is refused with the fix."""
    with pytest.raises(ValueError, match=r".") as refused:
        parse_ports(value)
    assert str(refused.value) == says
