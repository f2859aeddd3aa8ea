import itertools
import re

import pytest
import yaml

from c7n_ingress.decide.authorized import documentation, parse_fixed
from tests.support.embedded import ROOT, cases, custodian

CASES = cases("refusals")
ALL = [(verdict, case) for verdict in ("refused", "warned", "valid") for case in CASES[verdict]]
POLICY_KEYS = ("filters", "mode", "query", "source")


def policy(case, number):
    """Return the case's policy file: the good policy, changed where the case says so."""
    good = {**CASES["good"], **{key: case[key] for key in POLICY_KEYS if key in case}}
    (action,) = good["actions"]
    action = case.get("action", action)
    if "notify" in case:
        action = {**action, "notify": case["notify"]}
    return {"policies": [{"name": f"policy-{number}", **good, "actions": [action]}]}


@pytest.fixture(scope="module")
def said(embedded_aws, tmp_path_factory):
    """Make `custodian validate` look at all cases at once, and return what it says of each."""
    folder = tmp_path_factory.mktemp("policies")
    files = [folder / f"{number}.yml" for number in range(len(ALL))]
    for number, (_, case) in enumerate(ALL):
        files[number].write_text(yaml.safe_dump(policy(case, number)))
    result = custodian(embedded_aws, "validate", *files)
    assert "Traceback" not in result.stderr
    # A warning is before the line that says whether its file is valid, an error is after it.
    parts = re.split(r"Configuration (?=\w+: \S+/\d+\.yml)", result.stderr)
    assert len(parts) == len(files) + 1
    return list(itertools.pairwise(parts))


@pytest.mark.parametrize("number", range(len(ALL)), ids=[f"{verdict}: {case['name']}" for verdict, case in ALL])
def test_what_validate_says(said, number):
    """A policy that cannot be meant is refused, an unlikely one is warned of, with the value and the fix."""
    verdict, case = ALL[number]
    before, after = said[number]
    assert after.startswith("invalid: " if verdict == "refused" else "valid: ")
    assert case.get("says-nothing-of", "\0") not in before
    assert case.get("says", "") in (before if verdict == "warned" else after)


def test_examples_are_refused_in_a_run():
    """Each network that the docstrings and settings.yml authorize is one that a run refuses: a copy blocks nobody."""
    texts = [path.read_text() for path in (ROOT / "actions" / "c7n_ingress").rglob("*.py")]
    examples = [
        yaml.safe_load(found) for text in texts for found in re.findall(r"^ +authorized: (\[.*\])$", text, re.MULTILINE)
    ]
    assert examples
    settings = yaml.safe_load((ROOT / "settings.yml").read_text())
    for networks in map(parse_fixed, [*examples, settings["authorized"]]):
        assert networks == documentation(networks)
