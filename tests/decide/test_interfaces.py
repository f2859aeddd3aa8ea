"""What uses a security group, by its network interfaces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.behind import EXPOSURES, behind, exposure
from tests.support.cases import cases, interface_of

CASES = cases("behind")["cases"]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_kind(case):
    """Each kind of interface has its words."""
    assert behind(map(interface_of, case["interfaces"])) == (case["exposure"], case["behind"])


interfaces = st.lists(
    st.sampled_from([each for case in CASES for each in case["interfaces"]]).map(interface_of), max_size=8
)


@given(interfaces, st.randoms())
def test_order(found, random):
    """In any order of the interfaces, the report is the same."""
    shuffled = random.sample(found, len(found))
    assert behind(shuffled) == behind(found)


@given(interfaces)
def test_the_worst_counts(found):
    """A group is as exposed as the most exposed of its interfaces, and unused without any."""
    assert behind(found).exposure == min([*map(exposure, found), "unused"], key=EXPOSURES.index)


def test_as_many_phrases_as_a_message_shows():
    """What cannot be seen is among the phrases that a message shows, however many kinds of interfaces there are."""
    kinds = [interface_of({"InterfaceType": f"kind-{number}"}, "sg-it") for number in range(20)]
    found = behind(kinds, ["something"])
    assert (len(found.behind), *found.behind[-2:]) == (10, "and 12 more", "something")
    assert found.exposure == "private"
    assert behind(kinds[:10]).behind == sorted(f"1 interface of kind-{number}" for number in range(10))


def test_nothing_that_can_be_seen():
    """A group that nothing uses that can be seen may be used by what cannot; templates find both."""
    found = behind([], ["something"])
    assert found == ("unknown", ["something"])
    assert found._asdict() == {"exposure": "unknown", "behind": ["something"]}
    assert behind([interface_of({})], ["something"]).exposure == "private"
