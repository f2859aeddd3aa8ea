import copy
import json
import re

import pytest
from parliament import analyze_policy_string

from tests.support.embedded import ACCOUNT, ROOT, cases

SCP = (ROOT / "mode" / "exemptions-scp.json").read_text()
REQUESTS = cases("exemptions-scp")["requests"]
MOST_CHARACTERS = 5120  # https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html


def like(pattern, text):
    """Match as IAM does: * and ? match anything."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text) is not None


def as_list(value):
    """Return what IAM takes as one text or a list, as a list."""
    return value if isinstance(value, list) else [value]


def any_like(patterns, values):
    """ForAnyValue:StringLike: one of the request's values matches; without values, none does."""
    return any(like(pattern, value) for pattern in as_list(patterns) for value in values)


def none_like(patterns, values):
    """ArnNotLike: no pattern matches, part by part between the colons."""
    (arn,) = values
    return not any(
        all(like(*parts) for parts in zip(pattern.split(":", 5), arn.split(":", 5), strict=True))
        for pattern in as_list(patterns)
    )


def is_null(wanted, values):
    """Null: the request lacks the key if that is wanted, has it if not."""
    return (wanted == "true") is (not values)


OPERATORS = {"ForAnyValue:StringLike": any_like, "ArnNotLike": none_like, "Null": is_null}
"""As far as the policy uses them; another one is a KeyError.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""


def denied(policy, case, partition="aws"):
    """Whether a policy denies a request in a partition: action, resource and all conditions of a statement match."""
    resource = f"arn:{partition}:ec2:a-region:{ACCOUNT}:{case.get('resource', 'security-group/sg-0123456789abcdef0')}"
    context = {"aws:PrincipalArn": [f"arn:{partition}:iam::{ACCOUNT}:{case['who']}"], "aws:TagKeys": case["tags"]}
    return any(
        case["action"] in as_list(statement["Action"])
        and any(like(pattern, resource) for pattern in as_list(statement["Resource"]))
        and all(
            OPERATORS[operator](wanted, context[key])
            for operator, keys in statement["Condition"].items()
            for key, wanted in keys.items()
        )
        for statement in policy["Statement"]
    )


def test_lint():
    """Parliament has nothing to say of it, and says so of a slip; it is no larger than AWS takes it."""
    assert analyze_policy_string(SCP).findings == []
    assert analyze_policy_string(SCP.replace("aws:TagKeys", "aws:TagKey")).findings
    assert len(SCP) <= MOST_CHARACTERS
    assert {statement["Effect"] for statement in json.loads(SCP)["Statement"]} == {"Deny"}


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn", "aws-eusc"])
@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case["name"])
def test_who_may_tag(case, partition):
    """In every partition, only two roles touch the tags that the policies read, by name or all at once."""
    assert denied(json.loads(SCP), case, partition) is not case["allowed"]


@pytest.mark.parametrize("statement", range(2))
@pytest.mark.parametrize("operator", ["ForAnyValue:StringLike", "ArnNotLike", "Null"])
def test_nothing_of_it_is_idle(statement, operator):
    """Without any one of its conditions, the policy would deny what it must not."""
    policy = copy.deepcopy(json.loads(SCP))
    if policy["Statement"][statement]["Condition"].pop(operator, None):
        assert any(denied(policy, case) is case["allowed"] for case in REQUESTS)


def test_the_roles_are_the_stacks():
    """The exception is for the role of the stack, and for the one that docs/configure.md names."""
    (exempt,) = [s["Condition"]["ArnNotLike"] for s in json.loads(SCP)["Statement"] if "ArnNotLike" in s["Condition"]]
    names = [arn.rpartition("/")[2] for arn in exempt["aws:PrincipalArn"]]
    assert f"RoleName: {names[0]}\n" in (ROOT / "mode" / "stack.yml").read_text()
    assert f"`{names[1]}`" in (ROOT / "docs" / "configure.md").read_text()
