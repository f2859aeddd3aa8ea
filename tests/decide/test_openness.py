import itertools
import random
from ipaddress import collapse_addresses, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.openness import (
    MOST,
    PRIVATE,
    UNUSABLE,
    are_open,
    covering,
    is_private,
    is_wide,
    lets_in,
    open_sources,
    unusable,
)
from c7n_ingress.decide.ports import any_in
from c7n_ingress.decide.rules import Traffic
from tests.support.search import examples

ASIDE = [*PRIVATE, *UNUSABLE]
NARROW = {4: 1 << 16, 6: 1 << 96}
MOST_ADDRESSES = {4: 1 << 24, 6: 1 << 112}


def networks_of(version):
    """Return networks that are near each other, some in others, some private."""
    return st.builds(
        lambda number, prefix: ip_network(
            (number << (24 if version == 4 else 112), prefix if version == 4 else 2 * prefix), strict=False
        ),
        st.sampled_from([10, 11, 12, 13, 169, 172, 223, 224]) | st.integers(1, 200),
        st.integers(6, 18),
    ) | st.builds(
        lambda number, prefix: ip_network(
            ((11 << 8 | number) << (16 if version == 4 else 104), prefix if version == 4 else 2 * prefix), strict=False
        ),
        st.integers(0, 511),
        st.integers(7, 16),
    )


sources = st.sampled_from([4, 6]).flatmap(
    lambda version: (
        networks_of(version).map(lambda network: (network,))
        | st.lists(networks_of(version), min_size=1, max_size=3, unique=True).map(tuple)
    )
)
ports = st.builds(lambda first, more: Traffic("tcp", first, first + more), st.integers(20, 26), st.integers(0, 4))
icmp = st.sampled_from([(-1, -1), (8, -1), (8, 0), (3, -1), (3, 4)]).map(lambda kind: Traffic("icmp", *kind))
traffic = ports | icmp | st.sampled_from([Traffic("-1", -1, -1), Traffic("udp", 22, 22), Traffic("50", -1, -1)])
groups = st.lists(st.tuples(traffic, sources), max_size=12, unique=True)


def judged(rules):
    """Return which of the rules, each with its traffic and networks, are open."""
    found = open_sources(
        {number: each for number, (each, _) in enumerate(rules)},
        {number: networks for number, (_, networks) in enumerate(rules)},
    )
    return {rules[number] for number in found}


# -- the definition, as slow as it is plain


def extent(networks):
    """Count the addresses that networks hold together and from which somebody can come over the internet."""
    count = 0
    for network in collapse_addresses(networks):
        others = [each for each in ASIDE if each.version == network.version and each.overlaps(network)]
        count += max(0, network.num_addresses - sum(min(each, network, key=size).num_addresses for each in others))
    return count


def size(network):
    """Return how many addresses a network has."""
    return network.num_addresses


def places(of):
    """Return all traffic that a rule lets in: a protocol, and a port or a type with its code."""
    every = {("any other", 0), ("50", 0), ("udp", 22), *(("tcp", port) for port in range(20, 31))}
    every |= {("icmp", (kind, code)) for kind in (3, 8, 9) for code in (0, 4, 5)}
    if of.protocol == "-1":
        return every
    own = {place for place in every if place[0] == of.protocol}
    if of.from_port == -1:
        return own
    if of.protocol == "icmp":
        return {(name, at) for name, at in own if at[0] == of.from_port and of.to_port in (-1, at[1])}
    return {(name, at) for name, at in own if of.from_port <= at <= of.to_port}


def model(rules):
    """Return which rules are open: the narrowest are kept as long as no port is open by those that are kept."""
    found = {rule for rule in rules if are_open(rule[1])}
    wide = [rule for rule in rules if rule not in found and extent(rule[1]) > NARROW[rule[1][0].version]]
    kept = []
    for rule in sorted(wide, key=lambda rule: (extent(rule[1]), order(rule[1]), rule[0])):
        together = [
            [network for of, networks in [*kept, rule] if place in places(of) for network in networks]
            for place in places(rule[0])
        ]
        version = rule[1][0].version
        if any(extent(n for n in each if n.version == version) > MOST_ADDRESSES[version] for each in together):
            found.add(rule)
        else:
            kept.append(rule)
    return found


def order(networks):
    """Return the networks that are not within others, in order."""
    outermost = [each for each in networks if not any(each != other and each.subnet_of(other) for other in networks)]
    return sorted((int(each.network_address), -each.num_addresses) for each in outermost)


@examples(50)
@given(groups)
def test_as_the_plain_definition_says(rules):
    """Those rules of a group are open that the definition says, read word by word."""
    assert judged(rules) == model(rules)


NESTED = [f"{first}.0.0.0/{prefix}" for first in (11, 12) for prefix in (8, 9, 10, 12, 15)] + ["11.128.0.0/9"]
NEAR = [Traffic("tcp", first, last) for first, last in ((22, 22), (23, 23), (22, 23), (23, 24))]


@pytest.mark.parametrize("seed", range(20))
def test_networks_that_hold_each_other(seed):
    """Networks within others count once for each port, in whatever order they are kept."""
    every = [(traffic, (ip_network(cidr),)) for traffic, cidr in itertools.product(NEAR, NESTED)]
    rules = random.Random(seed).sample(every, 9)
    assert judged(rules) == model(rules)


@examples(30)
@given(groups, st.randoms(use_true_random=False))
def test_the_order_of_rules_does_not_matter(rules, random):
    """A group is judged alike in whatever order its rules come."""
    shuffled = random.sample(rules, len(rules))
    assert judged(shuffled) == judged(rules)


@examples(30)
@given(groups)
def test_what_is_left_is_not_open(rules):
    """Without the rules that are found, nothing is open any more; and each of them would make it so."""
    found = judged(rules)
    left = [rule for rule in rules if rule not in found]
    assert judged(left) == set()
    for rule in found:
        assert judged([*left, rule])


@pytest.mark.parametrize(
    "family", [["12.0.0.0/15", "12.0.0.0/12", "12.0.0.0/9"], ["2a02::/31", "2a02::/24", "2a02::/17"]]
)
@pytest.mark.parametrize("beside", [0, 1])
def test_networks_within_networks_count_once(family, beside):
    """A rule counts only what no rule for a network within its own holds already, however deep that is."""
    *_, widest = networks = [ip_network(cidr) for cidr in family]
    whole = widest.supernet()
    _, other = whole.supernet().subnets()
    narrow = next(other.subnets(new_prefix=networks[0].prefixlen))
    more = [[networks[0], narrow]] if beside else []  # a list with one network that is held, and one that is not
    rules = [(Traffic("tcp", 22, 22), tuple(each)) for each in [*([each] for each in networks), [whole], *more]]
    elsewhere = (Traffic("tcp", 23, 23), (other,))  # so that all rules together are open, and each port is looked at
    assert judged([*rules, elsewhere]) == model([*rules, elsewhere]) == ({rules[3]} if beside else set())


@pytest.mark.parametrize(
    ("cidrs", "verdict"),
    [
        (["224.0.0.0/3"], False),
        (["224.0.0.0/4", "11.0.0.0/8"], False),
        (["240.0.0.0/4"], False),
        (["127.0.0.0/8", "0.0.0.0/8", "169.0.0.0/8"], False),
        (["223.0.0.0/8", "224.0.0.0/8", "225.0.0.0/8"], False),
        (["223.0.0.0/8", "222.0.0.0/8"], True),
        (["fe80::/10", "ff00::/8"], False),
        (["fe80::/10", "2a02::/16"], False),
        (["fe00::/9"], True),
        (["::/16", "2a02::/17"], True),
        (["192.0.0.0/2"], True),
        (["10.0.0.0/7"], True),
        ([f"{n}.0.0.0/8" for n in (10, 127, 0, 239, 255)], False),
        ([f"2a02:{n:x}::/32" for n in range(1 << 10)], False),
    ],
)
def test_who_can_come_over_the_internet(cidrs, verdict):
    """Multicast, link-local, loopback and reserved addresses do not count, alone or beside others."""
    assert are_open(map(ip_network, cidrs)) is verdict


def test_a_family_has_as_many_as_the_other():
    """The widest networks that are not open count alike in both families."""
    assert ip_network("11.0.0.0/8").num_addresses == MOST
    assert are_open([ip_network("2a02::/16"), ip_network("2a03::/40")])
    assert not are_open([ip_network("2a02::/17"), ip_network("2a02:8000::/17")])


@pytest.mark.parametrize(
    ("wide", "narrow", "does"),
    [
        (("-1", -1, -1), ("tcp", 22, 22), True),
        (("tcp", 22, 22), ("-1", -1, -1), False),
        (("tcp", 20, 22), ("tcp", 22, 80), True),
        (("tcp", 20, 21), ("tcp", 22, 80), False),
        (("tcp", 22, 80), ("tcp", 22, 22), True),
        (("tcp", 23, 80), ("tcp", 22, 22), False),
        (("tcp", 0, 65535), ("udp", 53, 53), False),
        (("icmp", -1, -1), ("icmp", 8, 0), True),
        (("icmp", 8, -1), ("icmp", 8, 0), True),
        (("icmp", 3, -1), ("icmp", 8, 0), False),
        (("50", -1, -1), ("50", -1, -1), True),
    ],
)
def test_traffic_that_covers_other_traffic(wide, narrow, does):
    """Traffic covers other traffic of its protocol whose first port, or type and code, it has."""
    assert lets_in(Traffic(*wide), Traffic(*narrow)) is does


TRAFFIC = st.builds(
    lambda protocol, first, more: Traffic(protocol, first, -1 if first == -1 else first + more),
    st.sampled_from(["tcp", "udp", "icmp", "50", "-1"]),
    st.integers(-1, 9),
    st.integers(0, 3),
)


@given(st.lists(TRAFFIC), st.lists(TRAFFIC))
def test_traffic_that_covers_any_of_other_traffic(wide, narrow):
    """What covers any of several is found as if each were compared with each."""
    assert covering(wide, narrow) == {each for each in wide if any(lets_in(each, other) for other in narrow)}


@pytest.mark.parametrize(
    ("cidr", "what"),
    [
        ("198.18.7.0/24", None),
        ("10.0.0.0/8", None),
        ("fd00::/8", None),
        ("2a02::/32", None),
        ("127.0.0.0/8", "loopback"),
        ("127.0.0.1/32", "loopback"),
        ("::/128", "unspecified"),
        ("fe80::/64", "link-local"),
        ("255.0.0.0/8", "reserved"),
        ("224.0.0.0/3", "reserved"),
        ("4000::/8", None),
    ],
)
def test_what_is_of_no_use(cidr, what):
    """A network from which no packet comes to a group is called by what it is."""
    assert unusable(ip_network(cidr)) == what


@pytest.mark.parametrize(
    ("cidr", "is_one"),
    [("10.0.0.0/8", True), ("172.31.0.0/16", True), ("10.0.0.0/7", False), ("fd00::/8", True), ("fe80::/10", False)],
)
def test_a_private_network(cidr, is_one):
    """A network is private if all of it is."""
    assert is_private(ip_network(cidr)) is is_one


OVERLAPS = [
    (("tcp", 22, 22), ("tcp", 22, 22), True),
    (("tcp", 22, 22), ("tcp", 23, 23), False),
    (("tcp", 20, 22), ("tcp", 22, 30), True),
    (("tcp", 20, 21), ("tcp", 22, 30), False),
    (("tcp", 0, 65535), ("tcp", 22, 22), True),
    (("tcp", -1, -1), ("tcp", 65535, 65535), True),
    (("tcp", -1, -1), ("tcp", 0, 0), True),
    (("tcp", 22, 22), ("udp", 22, 22), False),
    (("tcp", 65535, 65535), ("udp", 0, 0), False),
    (("tcp", -1, -1), ("udp", -1, -1), False),
    (("-1", -1, -1), ("-1", -1, -1), True),
    (("-1", -1, -1), ("tcp", 0, 0), True),
    (("-1", -1, -1), ("udp", 65535, 65535), True),
    (("-1", -1, -1), ("icmpv6", 255, 255), True),
    (("-1", -1, -1), ("50", -1, -1), True),
    (("50", -1, -1), ("50", -1, -1), True),
    (("50", -1, -1), ("51", -1, -1), False),
    (("icmp", 3, 4), ("icmp", 3, 4), True),
    (("icmp", 3, 4), ("icmp", 3, 5), False),
    (("icmp", 3, 4), ("icmp", 4, 3), False),
    (("icmp", 3, -1), ("icmp", 3, 0), True),
    (("icmp", 3, -1), ("icmp", 3, 255), True),
    (("icmp", 3, -1), ("icmp", 2, 255), False),
    (("icmp", 3, -1), ("icmp", 4, 0), False),
    (("icmp", 3, -1), ("icmp", 4, -1), False),
    (("icmp", -1, -1), ("icmp", 255, 255), True),
    (("icmp", -1, -1), ("icmpv6", 0, 0), False),
]


@pytest.mark.parametrize(("one", "other", "overlap"), OVERLAPS, ids=map(str, OVERLAPS))
def test_traffic_that_has_a_port_in_common(one, other, overlap):
    """Two networks of a /8 each are open together, if their rules have any port in common; the second one is found."""
    one, other = Traffic(*one), Traffic(*other)
    networks = {"one": [ip_network("11.0.0.0/8")], "other": [ip_network("12.0.0.0/8")]}
    for first, second in ((one, other), (other, one)):
        assert open_sources({"one": first, "other": second}, networks) == ({"other"} if overlap else set())
    beside = {"beside": Traffic("6", 1, 1), "one": one, "other": other}
    more = {"beside": [ip_network("13.0.0.0/8")], **networks}
    others = {"beside"} if "-1" in (one.protocol, other.protocol) else set()
    assert open_sources(beside, more) == others | ({"other"} if overlap else set())
    assert (lets_in(one, other) or lets_in(other, one)) is overlap
    if other.protocol in ("tcp", "udp"):
        assert any_in([other], one) is overlap


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({"empty": []}, []),
        ({"half": ["11.0.0.0/8"]}, []),
        ({"list": ["11.0.0.0/8", "12.0.0.0/8"]}, ["list"]),
        ({"list": [f"{first}.0.0.0/8" for first in range(11, 15)]}, ["list"]),
        ({"list": ["11.0.0.0/8", "11.1.0.0/16"]}, []),
        ({"wide": ["12.0.0.0/8"], "narrow": ["11.0.0.0/16"]}, []),
        ({"wide": ["12.0.0.0/8"], "less narrow": ["11.0.0.0/15"]}, ["wide"]),
        ({"wide": ["2a02::/16"], "narrow": ["2a03::/32"]}, []),
        ({"wide": ["2a02::/16"], "less narrow": ["2a03::/31"]}, ["wide"]),
        ({"wide": ["2a02::/16"], "alike": [f"2a03:0:0:{n:x}::/64" for n in range(300)]}, []),
        ({"wide": ["2a02::/16"], "many": [f"2a03:{m}:{2 * n:x}00::/40" for m in (0, 1) for n in range(100)]}, []),
        ({"wide": ["2a02::/16"], "IPv4": ["11.0.0.0/8"]}, []),
        ({"inside": ["11.0.0.0/9"], "outside": ["11.0.0.0/8"]}, []),
        ({"inside": ["11.0.0.0/9"], "outside": ["11.0.0.0/8"], "beside": ["12.0.0.0/15"]}, ["outside"]),
        ({"inside": ["11.0.0.0/9"], "beside": ["12.0.0.0/9"], "outside": ["11.0.0.0/8"]}, ["outside"]),
        ({"private": ["10.0.0.0/8"], "loopback": ["127.0.0.0/8"], "wide": ["11.0.0.0/8"]}, []),
    ],
    ids=str,
)
def test_sources_that_are_open_together(sources, found):
    """A narrow source does not count beside others, nor does one that is within another."""
    traffic = dict.fromkeys(sources, Traffic("tcp", 22, 22))
    assert open_sources(traffic, {name: [*map(ip_network, each)] for name, each in sources.items()}) == set(found)


def test_a_wide_network():
    """A network is part of what is open together if it is wider than a /16, or for IPv6 a /32."""
    assert [is_wide(ip_network(f"11.0.0.0/{prefix}")) for prefix in (8, 15, 16, 24)] == [True, True, False, False]
    assert [is_wide(ip_network(f"2a02::/{prefix}")) for prefix in (16, 31, 32, 64)] == [True, True, False, False]
