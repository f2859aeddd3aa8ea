"""Which filters are refused, where `exempt` may be written, and which settings a policy lacks."""

import pytest

from c7n_ingress.decide.checks import check_exempt, check_filters
from c7n_ingress.decide.settings import unfilled

INGRESS, EXEMPT, OTHER = {"type": "open-ingress"}, {"type": "exempt"}, {"type": "unused"}


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [OTHER, "unused"],
        [INGRESS, EXEMPT],
        [INGRESS, {"not": [OTHER]}, "unused", EXEMPT],
        [{"or": [INGRESS, INGRESS]}, EXEMPT],
        [{"and": [{"or": [OTHER, INGRESS]}, OTHER]}, EXEMPT],
        [{"and": [INGRESS, EXEMPT]}],
        [{"or": [OTHER, {"and": [INGRESS, EXEMPT]}]}],
    ],
)
def test_a_place_for_exemptions(filters):
    """An `exempt` filter is accepted after one that matches rules, in the same list."""
    check_exempt(filters)


@pytest.mark.parametrize(
    "filters",
    [
        [EXEMPT],
        [EXEMPT, INGRESS],
        [OTHER, EXEMPT],
        [{"or": [INGRESS, EXEMPT]}],
        [{"not": [INGRESS]}, EXEMPT],
        [{"or": [OTHER, OTHER]}, EXEMPT],
        [INGRESS, {"and": [EXEMPT]}],
        [INGRESS, "unused", {"not": [EXEMPT]}],
        [INGRESS, EXEMPT, {"or": [INGRESS, EXEMPT]}],
    ],
)
def test_no_place_for_exemptions(filters):
    """An `exempt` filter is refused where no filter before it has matched rules."""
    with pytest.raises(ValueError, match="write it after that filter, in the same list"):
        check_exempt(filters)


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ([], "the policy has no '"),
        ([OTHER, "unused"], "filter: it says which rules are to be replaced"),
        ([INGRESS, {"type": "stale"}], "'stale' replaces what other filters match"),
        ([{"not": [INGRESS]}], "is under 'not': the rules that it excludes would be replaced"),
        ([{"or": [{"and": [INGRESS, OTHER]}, INGRESS]}], "is deeper than directly in an 'or'"),
        ([INGRESS, INGRESS], "must be branches of one 'or'"),
        ([{"or": [INGRESS]}, {"or": [INGRESS]}], "must be branches of one 'or'"),
    ],
)
def test_filters_that_match_other_rules(filters, says):
    """Filters that would replace rules that the policy does not match are refused with the reason."""
    with pytest.raises(ValueError, match="filter") as refused:
        check_filters(filters)
    assert says in str(refused.value)


def test_filters_that_match_the_policys_rules():
    """One filter that matches rules, or several that are branches of one `or`, are accepted."""
    for filters in ([INGRESS], [OTHER, INGRESS, "unused"], [{"or": [INGRESS, INGRESS]}], [{"and": [INGRESS, OTHER]}]):
        check_filters(filters)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"type": "replace-ingress", "authorized": "{authorized}"}, "authorized"),
        ({"authorized": ["198.18.7.0/24", "{tell}"]}, "tell"),
        ({"notify": {"to": ["{topic}"]}, "at-most": "{at-most}"}, "at-most"),
        ({"notify": {"to": ["{topic}"]}, "authorized": ["vpc"], "at-most": 5}, None),
        ({"only": "{only}"}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_setting_that_nothing_has_filled(data, name):
    """The first setting that a run needs is named; other variables, and those of one run, are not."""
    assert unfilled(data) == name
