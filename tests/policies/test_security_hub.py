"""Findings in Security Hub, by c7n's own post-finding and the steps in policies/security-hub/README.md."""

import json
import re
from textwrap import dedent

import pytest
from c7n.utils import yaml_load

from tests.support.embedded import (
    ROOT,
    group_of,
    load,
    made_changes,
    make_queue,
    policy_named,
    rules_of,
    run,
    settings,
    shipped,
    source_of,
)

FOLDER = ROOT / "policies" / "security-hub"
RESOLVED = FOLDER / "open-ingress-resolved.yml"
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "from anywhere"}
TAG = "c7n:FindingId:open-ingress"
GROUP = f"sg-{1:017x}"
OPEN, CLOSED = ("ACTIVE", "FAILED"), ("ARCHIVED", "PASSED")


@pytest.fixture
def hub(cloud):
    """Enable Security Hub, and return what lists its findings."""
    client = cloud.session().client("securityhub")
    client.enable_security_hub()
    make_queue(cloud)
    return lambda: client.get_findings()["Findings"]


def closing(folder):
    """Return the sweep with the README's action at its end, where people put it."""
    (action,) = re.findall(r"```yaml\n(.*?)```", (FOLDER / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    own = ["198.18.7.0/24", "2001:2:0:7::/64"]
    return shipped("open-ingress-sweep", folder, own, lambda policy: policy["actions"].extend(yaml_load(action)))


def resolving(folder):
    """Return the policy that resolves, to run here and now, without its Lambda."""
    (policy,) = yaml_load(RESOLVED.read_text())["policies"]
    del policy["mode"]
    path = folder / "resolved.json"
    path.write_text(json.dumps({"policies": [policy]}))
    return ["--vars-file", settings(folder, ["198.18.7.0/24"]), path]


def sweep(cloud, policy, folder):
    """Run a policy."""
    done = run(cloud, policy, folder / "out")
    assert done.returncode == 0, done.stderr


def state(finding):
    """Return a finding's record state and compliance."""
    return finding["RecordState"], finding["Compliance"]["Status"]


def tags(cloud, group_id=GROUP):
    """Return the keys of a group's tags."""
    (group,) = cloud.session().client("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    return {tag["Key"] for tag in group.get("Tags", [])}


def open_again(cloud):
    """Open a port again, as somebody does."""
    permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    cloud.session().client("ec2").authorize_security_group_ingress(GroupId=GROUP, IpPermissions=[permission])


def test_a_finding_lives_and_dies_with_its_group(cloud, hub, tmp_path):
    """Closed, resolved, opened again: it is one finding all the time."""
    load([group_of({"name": "web", "ingress": [SSH]}, 1)])
    sweep(cloud, closing(tmp_path), tmp_path)
    (finding,) = hub()
    assert state(finding) == OPEN
    assert finding["Title"] == "open-ingress"
    (resource,) = finding["Resources"]
    assert resource["Id"] == f"arn:aws:ec2:us-east-1:123456789012:security-group/{GROUP}"
    assert resource["Type"] == "AwsEc2SecurityGroup"
    assert "198.18.7.0/24" in resource["Details"]["Other"]["c7n:replaced-ingress"]
    assert [source_of(rule) for rule in rules_of(GROUP).values()] == ["198.18.7.0/24"]

    sweep(cloud, resolving(tmp_path), tmp_path)
    (resolved,) = hub()
    assert (state(resolved), resolved["Id"]) == (CLOSED, finding["Id"])
    assert TAG not in tags(cloud)

    open_again(cloud)
    sweep(cloud, closing(tmp_path), tmp_path)
    (again,) = hub()
    assert (state(again), again["Id"]) == (OPEN, finding["Id"])


def test_a_group_that_is_open_is_not_resolved(cloud, hub, tmp_path):
    """A group that was opened again before the hour was over keeps its finding; one without a finding gets none."""
    load([group_of({"name": "web", "ingress": [SSH]}, 1), group_of({"name": "quiet", "ingress": []}, 2)])
    sweep(cloud, closing(tmp_path), tmp_path)
    open_again(cloud)
    cloud.calls.clear()
    sweep(cloud, resolving(tmp_path), tmp_path)
    (finding,) = hub()
    assert state(finding) == OPEN
    assert TAG in tags(cloud)
    assert "BatchImportFindings" not in [call.action for call in cloud.calls]


def test_nothing_is_posted_twice(cloud, hub, tmp_path):
    """What was resolved is not resolved again an hour later, and changes no rule."""
    load([group_of({"name": "web", "ingress": [SSH]}, 1)])
    sweep(cloud, closing(tmp_path), tmp_path)
    sweep(cloud, resolving(tmp_path), tmp_path)
    cloud.calls.clear()
    sweep(cloud, resolving(tmp_path), tmp_path)
    assert "BatchImportFindings" not in [call.action for call in cloud.calls]
    assert made_changes(cloud) == []
    assert len(hub()) == 1


@pytest.mark.parametrize("value", ["x", "x:y", ":", "us-east-1/999999999999/a/b:2026-01-01T00:00:00+00:00"])
def test_a_forged_tag_keeps_no_group_open(cloud, hub, tmp_path, value):
    """Whatever somebody writes into the tag in which c7n remembers, the group is closed."""
    load([group_of({"name": "web", "ingress": [SSH], "tags": {TAG: value}}, 1)])
    run(cloud, closing(tmp_path), tmp_path / "out")
    assert [source_of(rule) for rule in rules_of(GROUP).values()] == ["198.18.7.0/24"]
    assert len(hub()) <= 1


def test_what_is_resolved_is_what_the_other_policies_do_not_close():
    """The filters are the opposite of those of open-ingress, exemptions apart; the file's name is the policy's."""
    (resolved,) = yaml_load(RESOLVED.read_text())["policies"]
    closing = policy_named("open-ingress")
    assert resolved["name"] == RESOLVED.stem
    *wrong, _exempt = closing["filters"]
    assert resolved["filters"][1:] == [{"not": wrong}]


def test_the_documented_action_is_yaml_as_it_is():
    """The README's block is one action."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (FOLDER / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (action,) = yaml_load(dedent(block))
    assert (action["type"], action["title"]) == ("post-finding", "open-ingress")
