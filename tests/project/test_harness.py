import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.embedded import CASES_OF_OPEN_INGRESS, CUSTODIAN, ROOT, load, rules_of
from tests.support.forked import forked

SEARCH = "import search; search.settings.load_profile({!r}); print(search.examples(30).max_examples)"


@pytest.mark.parametrize(
    "arguments",
    [
        ["version"],
        ["schema", "aws.security-group.actions.replace-ingress"],
        ["run", "--regions", "us-east-1", "no-such-file.yml"],
        ["validate", "policies/open-ingress-sweep.yml"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_forked_command_is_the_command(cloud, tmp_path, arguments):
    """Forked, `custodian` ends as it does when it is started, and says the same but for the time."""
    environment = cloud.environment() | {"HOME": str(tmp_path)}
    done = forked([CUSTODIAN, *arguments], env=environment, cwd=ROOT)
    wanted = subprocess.run(
        [CUSTODIAN, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    timeless = lambda text: [line.partition(": ")[2] or line for line in text.splitlines()]  # noqa: E731 - shorter so
    assert done.returncode == wanted.returncode
    assert done.stdout == wanted.stdout
    assert timeless(done.stderr) == timeless(wanted.stderr)


@pytest.mark.parametrize(("profile", "number"), [("default", 30), ("nightly", 1500)])
def test_a_profile_stretches_every_search(profile, number):
    """A test that names a number of examples gets fifty times as many in the profile `nightly`."""
    python = [sys.executable, "-c", SEARCH.format(profile)]
    folder = Path(__file__).parents[1] / "support"
    assert int(subprocess.run(python, cwd=folder, capture_output=True, text=True, check=True).stdout) == number


def test_rules_are_as_ec2_tells_them(cloud):
    """What the tests see of a group's rules is, to the letter, what DescribeSecurityGroupRules answers."""
    groups = [group for _, group in CASES_OF_OPEN_INGRESS]
    load(groups)
    pages = cloud.session().client("ec2").get_paginator("describe_security_group_rules").paginate()
    there = {group["GroupId"] for group in groups}
    told = [each for each in pages.build_full_result()["SecurityGroupRules"] if each["GroupId"] in there]
    seen = {key: rule for group in groups for key, rule in rules_of(group["GroupId"]).items()}
    assert seen == {each["SecurityGroupRuleId"]: each for each in told if not each["IsEgress"]}
    assert rules_of("sg-0fffffffffffffff0") == {}
