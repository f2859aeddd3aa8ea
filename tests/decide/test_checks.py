"""What of a policy is refused: filters, values, settings that it lacks, and messages that nobody would read."""

import re

import pytest

from c7n_ingress.decide.checks import (
    UNFILLED,
    check_exempt,
    check_filters,
    check_ingress,
    check_notify,
    check_once,
    check_query,
    check_values,
    matches_portless,
    or_unfilled,
)
from c7n_ingress.decide.settings import check_filled, unfilled

INGRESS, EXEMPT, OTHER = {"type": "open-ingress"}, {"type": "exempt"}, {"type": "unused"}


def refuses(check, says):
    """See that a check raises an error that begins like this, or none if this is None."""
    if says is None:
        check()
    else:
        with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
            check()


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [OTHER, "unused"],
        [INGRESS, EXEMPT],
        ["open-ingress", EXEMPT],
        [{"and": ["ingress", EXEMPT]}],
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
        ([], "the policy has no 'ingress' or 'open-ingress' filter: it says which rules are to be replaced"),
        ([OTHER, "unused"], "filter: it says which rules are to be replaced"),
        ([INGRESS, {"type": "stale"}], "'stale' replaces what other filters match"),
        ([{"not": [INGRESS]}], "is under 'not': the rules that it excludes would be replaced"),
        ([{"or": [{"and": [INGRESS, OTHER]}, INGRESS]}], "is deeper than directly in an 'or'"),
        ([INGRESS, INGRESS], "must be branches of one 'or'"),
        ([{"or": [INGRESS]}, {"or": [INGRESS]}], "must be branches of one 'or'"),
        ([{"and": [INGRESS, INGRESS]}], "must be branches of one 'or'"),
        ([{"or": [INGRESS, INGRESS]}, INGRESS], "must be branches of one 'or'"),
        (
            [INGRESS, "stale"],
            "'stale' replaces what other filters match by stale references: write a policy of its own",
        ),
        ([{"or": [INGRESS, {"not": [{"and": [INGRESS]}]}]}], "is under 'not'"),
        ([{"or": [{"or": [INGRESS, INGRESS]}, OTHER]}], "is deeper than directly in an 'or'"),
    ],
)
def test_filters_that_match_other_rules(filters, says):
    """Filters that would replace rules that the policy does not match are refused with the reason."""
    with pytest.raises(ValueError, match="filter") as refused:
        check_filters(filters)
    assert says in str(refused.value)


def test_filters_that_match_the_policys_rules():
    """One filter that matches rules, or several that are branches of one `or`, are accepted."""
    for filters in (
        [INGRESS],
        ["ingress"],
        [OTHER, INGRESS, "unused"],
        [{"or": [INGRESS, INGRESS]}],
        [{"and": [INGRESS, OTHER]}],
        [{"and": [{"or": [INGRESS, INGRESS]}]}],
        [{"not": [OTHER]}, {"or": [OTHER, INGRESS, "ingress"]}],
    ):
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


NUMBER = {"type": "integer", "minimum": 1, "maximum": 5}
SCHEMA = {
    "type": "object",
    "required": ["at-most"],
    "additionalProperties": False,
    "properties": {
        "type": {"enum": ["replace-ingress"]},
        "at-most": or_unfilled(NUMBER),
        "ports": {"anyOf": [{"type": "array", "items": {"anyOf": [{"type": "integer"}, UNFILLED]}}, UNFILLED]},
        "from": {"$ref": "#/definitions/elsewhere"},
        "either": {"anyOf": [{"type": "boolean"}, {"type": "number"}]},
    },
}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, None),
        ({"at-most": "{at-most}", "ports": "{public-ports}"}, None),
        ({"ports": [22, "{port}"], "from": 7}, None),
        ({"at-most": 6}, "at-most 6: 6 is greater than the maximum of 5; write it as `custodian schema` says"),
        ({"at-most": "five"}, "at-most 'five': 'five' is not of type 'integer'; write it as"),
        ({"at-most": "{a} {b}"}, "at-most '{a} {b}': '{a} {b}' is not of type 'integer'; write it as"),
        ({"ports": "22"}, "ports '22': '22' is not of type 'array'; write it as"),
        ({"ports": [22, "x"]}, "ports.1 'x': 'x' is not of type 'integer'; write it as"),
        ({"ports": ["{port}", "x"]}, "ports.1 'x': 'x' is not of type 'integer'; write it as"),
        ({"either": "x"}, "either 'x': 'x' is not of type 'boolean'; or 'x' is not of type 'number'; write it as"),
        ({"at-most": "x" * 500}, f"at-most '{'x' * 79}: '{'x' * 299}; write it as"),
        ({"more": 1}, " {"),
    ],
)
def test_values_that_a_variable_has_filled(more, says):
    """A filled value is refused by its own schema, with what it should be; what is not filled yet is not checked."""
    data = {"type": "replace-ingress", "at-most": 5, **more}
    refuses(lambda: check_values(data, SCHEMA), says)


def test_a_number_that_a_variable_may_fill():
    """A number may be a variable, too, and c7n's schema then admits no other text."""
    assert or_unfilled(NUMBER) == {**NUMBER, "type": ["integer", "string"], "pattern": UNFILLED["pattern"]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"Cidr": "0.0.0.0/0"}, None),
        ({"CidrV6": {"value": ["::/0"], "op": "in"}}, None),
        ({"Cidr": {"value": "::/0", "op": "ne"}}, None),
        ({"Cidr": {"value": "everywhere"}}, None),
        ({"Cidr": {"value": 6}, "Ports": [22]}, None),
        ({"Cidr": "0.0.0.0/0", "CidrV6": "::/0", "match-operator": "or"}, None),
        ({"Cidr": "0.0.0.0/0", "CidrV6": "::/0"}, "no rule has Cidr and CidrV6 at once; add 'match-operator: or'"),
        ({"Cidr": "::/0", "CidrV6": "::/0", "match-operator": "and"}, "no rule has Cidr and CidrV6 at once"),
        ({"Cidr": "::/0"}, "Cidr '::/0' matches no rule: Cidr is for IPv4; write CidrV6 in a second ingress filter"),
        ({"CidrV6": "0.0.0.0/0"}, "CidrV6 '0.0.0.0/0' matches no rule: CidrV6 is for IPv6; write Cidr in a second"),
        ({"Cidr": {"value": ["0.0.0.0/0", "::/0"], "op": "in"}}, "Cidr '::/0' matches no rule"),
        ({"Cidr": {"value": "::/0"}}, "Cidr '::/0' matches no rule"),
        ({"Cidr": {"value": "::/0", "op": "eq"}}, "Cidr '::/0' matches no rule"),
        ({"Cidr": {"value": "::/0", "op": "equal"}}, "Cidr '::/0' matches no rule"),
    ],
    ids=str,
)
def test_sources_that_no_rule_has(data, says):
    """Sources of c7n's own filter that no rule ever has are refused with the key that is right."""
    refuses(lambda: check_ingress(data), says and f"ingress: {says}")


@pytest.mark.parametrize(
    ("data", "warns"),
    [
        ({"type": "ingress", "Ports": [22]}, True),
        ({"type": "ingress", "Ports": [22], "IpProtocol": "tcp"}, False),
        ({"type": "ingress", "Cidr": "0.0.0.0/0"}, False),
        ({"type": "open-ingress", "Ports": [22]}, False),
    ],
)
def test_ports_that_match_other_protocols(data, warns):
    """There is a warning where c7n's filter names ports, because it matches protocols without ports, too."""
    warning = matches_portless(data)
    assert (warning is not None) is warns
    assert not warns or warning.startswith("ingress: Ports also matches every protocol that has no ports")


def test_what_a_policy_may_not_have():
    """A query that nothing reads, and an approved plan in a policy that may run again, are refused."""
    for policy in ({}, {"source": "config"}, {"source": "config", "query": []}):
        check_query(policy)
    for policy in ({"query": [{"a": "b"}]}, {"query": [{"a": "b"}], "source": "describe-sg"}):
        with pytest.raises(ValueError, match=r"^query \[\{'a': 'b'\}\]: nothing reads it for security groups"):
            check_query(policy)
    check_once(None, {"mode": {}})
    check_once("plan.json", {})
    with pytest.raises(ValueError, match=r"^only: a plan is carried out once, and this policy has a mode"):
        check_once("plan.json", {"mode": {}})


@pytest.mark.parametrize(
    ("notify", "says"),
    [
        ({"to": ["a@example.com"]}, None),
        ({"to": [None, "a@example.com"], "subject": "x" * 99}, None),
        ({"to_from": {"url": "s3://a/b.json"}}, None),
        ({}, "notify: nobody would be notified; name somebody under 'to' or 'to_from'"),
        ({"to": None}, "notify: nobody would be notified"),
        ({"to": ["  ", "", None]}, "notify: nobody would be notified"),
        ({"to": ["a"], "subject": "x" * 100}, f"subject '{'x' * 100}': SNS takes up to 99 printable ASCII characters"),
        ({"to": ["a"], "subject": "café"}, "subject 'café': SNS takes up to 99 printable ASCII characters"),
        ({"to": ["a"], "subject": "a\nb"}, r"subject 'a\nb': SNS takes up to 99 printable ASCII characters"),
        ({"to": ["a"], "subject": "{{ x }}"}, "subject '{{ x }}': c7n-mailer would run it as a template"),
        ({"to": ["a"], "subject": "{% x %}"}, "subject '{% x %}': c7n-mailer would run it as a template"),
    ],
    ids=str,
)
def test_a_message_that_nobody_would_get(notify, says):
    """A notification needs somebody who gets it, and a subject that SNS takes and that is no template."""
    refuses(lambda: check_notify(notify), says)


@pytest.mark.parametrize(
    ("data", "but", "where"),
    [
        ({"a": ["{a} b"], "b": 5, "c": None}, (), None),
        ({"type": "{kind}"}, (), "type '{kind}'"),
        ({"a": {"b": [1, "{c}"]}}, (), "a.b.1 '{c}'"),
        ({"a": {"b": "{c}"}, "d": "{e}"}, ("a",), "d '{e}'"),
        ({"a": {"b": ["{c}"]}}, ("a",), None),
        ({"a": {"b": "{c}"}}, ("b",), "a.b '{c}'"),
    ],
)
def test_a_value_that_nothing_has_filled(data, but, where):
    """A value that is not filled is refused with its place, but below a key that is checked elsewhere."""
    if where is None:
        check_filled(data, but)
        return
    with pytest.raises(ValueError, match="was not filled: a --vars-file or an account's vars fill it") as refused:
        check_filled(data, but)
    assert str(refused.value).startswith(where)


def test_the_place_of_a_value():
    """A value's place is below that of the data."""
    with pytest.raises(ValueError, match=r"^filters\.0\.Ports '{ports}' was not filled"):
        check_filled({"Ports": "{ports}"}, (), "filters.0")


FILTERS = "'ingress' or 'open-ingress'"
REFUSALS = [
    (
        lambda: check_filters([INGRESS, "stale"]),
        "'stale' replaces what other filters match by stale references: write a policy of its own for it",
    ),
    (
        lambda: check_filters([OTHER]),
        f"the policy has no {FILTERS} filter: it says which rules are to be replaced",
    ),
    (
        lambda: check_filters([{"not": [INGRESS]}]),
        f"an {FILTERS} filter is under 'not': the rules that it excludes would be replaced",
    ),
    (
        lambda: check_filters([{"or": [{"and": [INGRESS, OTHER]}]}]),
        (
            f"an {FILTERS} filter is deeper than directly in an 'or': its rules would be replaced though another "
            "filter of its branch fails; put what every group must be before the 'or', or write two policies"
        ),
    ),
    (
        lambda: check_filters([INGRESS, INGRESS]),
        (
            f"several {FILTERS} filters must be branches of one 'or': the rules of each one would be replaced, though "
            "not all of them match"
        ),
    ),
    (
        lambda: check_exempt([EXEMPT]),
        "it narrows what open-ingress matched: write it after that filter, in the same list",
    ),
    (
        lambda: check_query({"query": []}),
        (
            "query []: nothing reads it for security groups, so groups that it leaves out would be changed, too; write "
            "a filter, such as 'VpcId: vpc-0a1b2c3d'"
        ),
    ),
    (
        lambda: check_once("plan.json", {"mode": {}}),
        "only: a plan is carried out once, and this policy has a mode: remove `only` or the mode",
    ),
    (
        lambda: check_ingress({"Cidr": "::/0", "CidrV6": "::/0"}),
        "ingress: no rule has Cidr and CidrV6 at once; add 'match-operator: or', or write two filters",
    ),
    (
        lambda: check_ingress({"Cidr": "::/0"}),
        (
            "ingress: Cidr '::/0' matches no rule: Cidr is for IPv4; write CidrV6 in a second ingress filter, both in "
            "one 'or'"
        ),
    ),
    (
        lambda: check_filled({"a": "{b}"}),
        "a '{b}' was not filled: a --vars-file or an account's vars fill it; or write the value into the policy",
    ),
    (
        lambda: check_notify({"to": ["a"], "subject": "{{"}),
        "subject '{{': c7n-mailer would run it as a template; the action makes one of its own",
    ),
]


@pytest.mark.parametrize(("call", "says"), REFUSALS, ids=[says[:60] for _, says in REFUSALS])
def test_the_words_of_a_refusal(call, says):
    """A refusal has the reason and the fix, in one line."""
    with pytest.raises(ValueError, match=r".") as refused:
        call()
    assert str(refused.value) == says


def test_the_words_of_a_warning():
    """The warning has the reason and the fix, in one line."""
    assert matches_portless({"type": "ingress", "Ports": [22]}) == (
        "ingress: Ports also matches every protocol that has no ports, such as the ESP and GRE of a VPN; write "
        "open-ingress, which does not, or add IpProtocol"
    )
