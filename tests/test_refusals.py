import re

import pytest
import yaml
from embedded import cases, custodian

CASES = cases("refusals")
REFUSED = CASES["refused"]


def policy(case, number):
    """Give the case's policy file: the good policy, changed where the case says so."""
    good = {**CASES["good"], **{key: case[key] for key in ("filters", "mode") if key in case}}
    (action,) = good["actions"]
    action = case.get("action", action)
    if "notify" in case:
        action = {**action, "notify": case["notify"]}
    return {"policies": [{"name": f"policy-{number}", **good, "actions": [action]}]}


@pytest.fixture(scope="module")
def said(embedded_aws, tmp_path_factory):
    """Have `custodian validate` look at all cases at once, and give what it says of each."""
    folder = tmp_path_factory.mktemp("policies")
    files = [folder / f"{number}.yml" for number in range(len(REFUSED) + 1)]
    for number, (file, case) in enumerate(zip(files, [*REFUSED, {}], strict=True)):
        file.write_text(yaml.safe_dump(policy(case, number)))
    result = custodian(embedded_aws, "validate", *files)
    assert "Traceback" not in result.stderr
    parts = re.split(r"Configuration (?=\w+: \S+/\d+\.yml)", result.stderr)
    assert len(parts) == len(files) + 1
    return parts[1:]


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[case["name"] for case in REFUSED])
def test_a_bad_policy_is_refused(said, number):
    """A policy that cannot be meant is refused, with the value and the mend, before anything runs."""
    assert said[number].startswith("invalid: ")
    assert REFUSED[number]["says"] in said[number]


def test_the_good_policy_is_valid(said):
    """The policy that the cases are made from has nothing wrong with it."""
    assert said[-1].startswith("valid: ")
