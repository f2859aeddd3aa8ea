"""How bad an open rule is: one order for what is closed, reported and shown first."""

import time

from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.rules import Match, Traffic, network
from c7n_ingress.decide.severity import SEVERITIES, severity, worst
from tests.support.cases import cases

ANYBODY = network("0.0.0.0/0")
PORTS = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted) | st.just((-1, -1))
TRAFFIC = st.builds(lambda protocol, ports: Traffic(protocol, *ports), st.sampled_from(("tcp", "udp")), PORTS)
TRAFFIC |= st.sampled_from(("-1", "icmp", "icmpv6", "50")).map(lambda protocol: Traffic(protocol, -1, -1))


def urgency(traffic):
    """Return a rule's place in the order."""
    return worst([Match(traffic, ANYBODY)])


def test_the_order():
    """The rules of the cases are closed in the order of the file."""
    places = [urgency(Traffic(protocol, *ports)) for protocol, *ports in cases("severity")["worst first"]]
    assert sorted(set(places)) == places


@given(st.lists(TRAFFIC, min_size=1), st.lists(TRAFFIC, min_size=1))
def test_what_is_shown_as_worse_is_closed_first(some, others):
    """Whichever group has a rule that the report calls worse than all rules of another is closed before it."""
    levels = [min(SEVERITIES.index(severity(each).level) for each in of) for of in (some, others)]
    if levels[0] < levels[1]:
        assert worst(Match(each, ANYBODY) for each in some) < worst(Match(each, ANYBODY) for each in others)


@given(TRAFFIC)
def test_a_group_without_open_rules_comes_last(traffic):
    """A group without open rules comes after every other."""
    assert worst([]) > urgency(traffic)


def test_thousands_of_groups_are_put_in_order_at_once():
    """A rule like one before costs next to nothing: a sweep puts all rules of an account in order before it starts."""
    matches = [Match(Traffic("tcp", 22, 6000), ANYBODY)] * 50_000
    started = time.process_time()
    worst(matches)
    assert time.process_time() - started < 0.25
