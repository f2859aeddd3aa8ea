from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.plan import Match, Replacement, Rule, Traffic
from c7n_ingress.trace import (
    ADDED,
    LONGEST_VALUE,
    NOW,
    WAS,
    Author,
    batches,
    revoked,
    revoked_key,
    revoked_rule,
    trace_of,
)

AUTHOR = Author("open-ingress", lambda: "2026-01-31T12:00:00Z")
SSH = Traffic("tcp", 22, 22)
OPEN, OFFICE, VPN = map(ip_network, ("0.0.0.0/0", "198.18.7.0/24", "198.18.8.0/24"))

ports = st.integers(0, 65535)
codes = st.integers(-1, 255)
traffics = st.one_of(
    st.builds(Traffic, st.sampled_from(["tcp", "udp"]), ports, ports),
    st.builds(Traffic, st.sampled_from(["icmp", "icmpv6"]), st.integers(0, 255), codes),
    st.sampled_from([Traffic(protocol, -1, -1) for protocol in ("icmp", "icmpv6", "-1", "50", "255")]),
)
networks = st.ip_addresses().map(ip_network)
rules = st.builds(Rule, st.just("sgr-1"), traffics, networks, st.none() | st.text(min_size=1), st.just(()))
additions = st.lists(st.builds(Replacement, rules, networks), min_size=1, max_size=60)


@given(st.lists(st.builds(Replacement, rules, networks), max_size=60))
def test_every_part_fits_into_a_tag(replacements):
    """However many rules are changed at once, they are parted in order, and what is said of each part fits."""
    parts = list(batches(replacements))
    assert [each for part in parts for each in part] == replacements
    assert all(len(AUTHOR.added(part)[NOW]) <= LONGEST_VALUE for part in parts)


@given(additions)
def test_a_trace_knows_what_was_left(replacements):
    """A rule that was left is known by its trace, whatever its protocol, ports and source."""
    for part in batches(replacements):
        for rule, source in part:
            trace = trace_of(Rule("sgr-1", rule.traffic, source, None, tuple(AUTHOR.added(part).items())))
            assert trace.was == ADDED
            assert trace.is_left(Match(rule.traffic, source))


@given(rules)
def test_a_revoked_rule_is_remembered(rule):
    """A group's tag says all of a rule that was revoked, but its id."""
    tags, crowded = revoked([rule], [])
    ((key, value),) = tags.items()
    assert crowded == []
    assert len(key) <= 127
    assert revoked_rule(key, value) == rule._replace(id="")


def test_tags_are_for_people():
    """Tags can be read by people."""
    replaced = [Replacement(Rule("sgr-1", SSH, OPEN, None), OFFICE), Replacement(Rule("sgr-2", SSH, OPEN, None), VPN)]
    web = Replacement(Rule("sgr-3", Traffic("tcp", 8000, 8010), OPEN, None), OFFICE)
    ping = Replacement(Rule("sgr-4", Traffic("icmp", 8, -1), OPEN, None), OFFICE)
    at_and_by = {"c7n-ingress:at": "2026-01-31T12:00:00Z", "c7n-ingress:by": "open-ingress"}
    assert list(AUTHOR.replaced([*replaced, web, ping])) == [
        (
            ["sgr-1", "sgr-3", "sgr-4"],
            {WAS: "0.0.0.0/0", NOW: "tcp/22,8000-8010 icmp/8 from 198.18.7.0/24", **at_and_by},
        ),
        (["sgr-2"], {WAS: "0.0.0.0/0", NOW: "tcp/22 from 198.18.8.0/24", **at_and_by}),
    ]
    assert revoked_key(Match(SSH, OPEN)) == "c7n-ingress:was/tcp/22/0.0.0.0/0"


def test_one_place_is_kept_free():
    """A group's tags have room for its exemption, however many rules were revoked; AWS's own tags take no room."""
    rules = [Rule(f"sgr-{port}", Traffic("tcp", port, port), OPEN, "web") for port in range(60)]
    present = ["aws:cloudformation:stack-name", "owner", "team"]
    tags, crowded = revoked(rules, present)
    assert len(tags) == 50 - 2 - 1
    assert crowded == rules[47:]
    again, crowded = revoked(rules[:47], [*present, *tags])
    assert (again, crowded) == (tags, [])


@pytest.mark.parametrize(
    "tags",
    [
        {WAS: "everybody", NOW: "tcp/22 from 198.18.7.0/24"},
        {WAS: "::/0", NOW: "tcp/22 from 198.18.7.0/24"},
        {WAS: "pl-1", NOW: "tcp/22 from 198.18.7.0/24"},
        {WAS: "0.0.0.0/0", NOW: "tcp from 198.18.7.0/24"},
        {WAS: "0.0.0.0/0", NOW: "tcp/22 from 198.18.7.1/24"},
    ],
)
def test_what_somebody_wrote_into_a_trace(tags):
    """A trace that no change can have left is not taken for one."""
    with pytest.raises(ValueError, match=r"."):
        trace_of(Rule("sgr-1", SSH, OFFICE, None, tuple(tags.items())))
