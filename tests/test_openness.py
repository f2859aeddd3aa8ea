from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st
from search import examples

from c7n_ingress.decide.openness import open_sources
from c7n_ingress.decide.rules import Traffic

networks = st.builds(
    lambda version, number, prefix: ip_network(
        (number << (24 if version == 4 else 112), prefix if version == 4 else 2 * prefix), strict=False
    ),
    st.sampled_from([4, 6]),
    st.integers(1, 200),
    st.integers(6, 18),
)
ports = st.builds(lambda first, more: Traffic("tcp", first, first + more), st.integers(20, 26), st.integers(0, 4))
traffic = ports | st.sampled_from([Traffic("-1", -1, -1), Traffic("udp", 22, 22), Traffic("icmp", 8, -1)])
groups = st.lists(st.tuples(traffic, networks), max_size=12, unique=True)


def judged(rules):
    """Give which of the rules, each with its traffic and network, are open."""
    found = open_sources(
        {number: each for number, (each, _) in enumerate(rules)},
        {number: [network] for number, (_, network) in enumerate(rules)},
    )
    return {rules[number] for number in found}


@examples(200)
@given(groups, st.randoms(use_true_random=False))
def test_the_order_of_rules_does_not_matter(rules, random):
    """A group is judged alike in whatever order its rules come."""
    shuffled = random.sample(rules, len(rules))
    assert judged(shuffled) == judged(rules)


@examples(200)
@given(groups)
def test_what_is_left_is_not_open(rules):
    """Without the rules that are found, nothing is open any more; and each of them would make it so."""
    found = judged(rules)
    left = [rule for rule in rules if rule not in found]
    assert judged(left) == set()
    for rule in found:
        assert judged([*left, rule])
