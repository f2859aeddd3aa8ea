"""Which plans of approved changes are refused."""

import json

import pytest

from c7n_ingress.decide.approved import Planned, parse
from c7n_ingress.decide.rules import Traffic
from tests.support.cases import cases

SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
HERE = ("123456789012", "us-east-1")
CHANGE = {"group": "sg-1", "rule": "sgr-1", "traffic": SSH, "before": "0.0.0.0/0", "after": ["198.18.7.0/24"]}


def plan(*changes, **more):
    """Return a plan of this account and region."""
    return {"v": 1, "account": HERE[0], "region": HERE[1], "changes": changes, **more}


@pytest.mark.parametrize(
    "case", [case for case in cases("approved")["refused"] if case["plan"] != "no JSON"], ids=lambda case: case["says"]
)
def test_a_bad_plan(case):
    """A plan that is none, or is of another account or region, is refused with the value."""
    with pytest.raises(ValueError, match="plan") as refused:
        parse(json.loads(case["plan"]), *HERE)
    assert case["says"] in str(refused.value)


@pytest.mark.parametrize("bad", [{"before": "a/b"}, {"after": None}, {"traffic": None}, {"rule": []}])
def test_a_change_that_cannot_be_read(bad):
    """The refusal counts the changes, so that a person finds the one."""
    for good in ([], [CHANGE], [CHANGE, CHANGE | {"group": "sg-2"}, CHANGE | {"rule": "sgr-2"}]):
        with pytest.raises(ValueError, match=f"^change {len(good) + 1} of the plan cannot be read: "):
            parse(plan(*good, CHANGE | bad), *HERE)


def test_a_plan():
    """Each rule of each group becomes what the plan says."""
    alone = CHANGE | {"rule": "sgr-2", "before": "::/0", "after": []}
    found = parse(plan(CHANGE, alone, CHANGE | {"group": "sg-2"}), *HERE)
    replaced = Planned(Traffic("tcp", 22, 22), "0.0.0.0/0", frozenset({"198.18.7.0/24"}))
    revoked = Planned(Traffic("tcp", 22, 22), "::/0", frozenset())
    assert found == {"sg-1": {"sgr-1": replaced, "sgr-2": revoked}, "sg-2": {"sgr-1": replaced}}
