import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.embedded import CASES_OF_OPEN_INGRESS, load, rules_of

SEARCH = "import search; search.settings.load_profile({!r}); print(search.examples(30).max_examples)"


@pytest.mark.parametrize(("profile", "number"), [("default", 30), ("nightly", 1500)])
def test_a_profile_stretches_every_search(profile, number):
    """A test that names a number of examples gets fifty times as many in the profile `nightly`."""
    python = [sys.executable, "-c", SEARCH.format(profile)]
    folder = Path(__file__).parents[1] / "support"
    assert int(subprocess.run(python, cwd=folder, capture_output=True, text=True, check=True).stdout) == number


def test_rules_are_as_ec2_lists_them(cloud):
    """What the tests see of a group's rules is, to the letter, what DescribeSecurityGroupRules answers."""
    groups = [group for _, group in CASES_OF_OPEN_INGRESS]
    load(groups)
    pages = cloud.session().client("ec2").get_paginator("describe_security_group_rules").paginate()
    there = {group["GroupId"] for group in groups}
    reported = [each for each in pages.build_full_result()["SecurityGroupRules"] if each["GroupId"] in there]
    seen = {key: rule for group in groups for key, rule in rules_of(group["GroupId"]).items()}
    assert seen == {each["SecurityGroupRuleId"]: each for each in reported if not each["IsEgress"]}
    assert rules_of("sg-0fffffffffffffff0") == {}
