"""Runs of the stock command with the settings file, and without it."""

import json

import pytest

from c7n_ingress.decide.settings import check
from tests.support.embedded import (
    ROOT,
    group_of,
    load,
    made_changes,
    make_queue,
    messages,
    policy_named,
    rules_of,
    run,
    yaml_load,
)

GROUP = group_of(
    {"name": "web", "ingress": [{"protocol": "tcp", "ports": port, "source": "0.0.0.0/0"} for port in (22, 443, 8443)]},
    1,
)


def closing(cloud, folder, settings, policy="open-ingress-sweep", change=None):
    """Run a policy of the pack, with a settings file if there are any, and a copy of it that a function changes."""
    make_queue(cloud)
    load([GROUP])
    (given := folder / "settings.json").write_text(json.dumps(settings, default=str))
    data = policy_named(policy)
    if change:
        change(data)
    (path := folder / f"{policy}.json").write_text(json.dumps({"policies": [data]}))
    return run(cloud, path, folder / "out", *(["--vars-file", given] if settings else []))


def test_the_settings_fill_the_policy(cloud, tmp_path):
    """What settings name is done; what they leave out counts as its default; recipients get account and region."""
    settings = {
        "authorized": ["198.18.7.0/24"],
        "public-ports": [443],
        "exemptions": [{"group": "web", "ports": ["tcp/8443"], "until": "2099-01-31", "reason": "a shop"}],
    }
    done = closing(cloud, tmp_path, settings)
    assert done.returncode == 0, done.stderr
    sources = {rule["FromPort"]: rule["CidrIpv4"] for rule in rules_of(GROUP["GroupId"]).values()}
    assert sources == {22: "198.18.7.0/24", 443: "0.0.0.0/0", 8443: "0.0.0.0/0"}
    (message,) = messages(cloud)
    assert message["action"]["to"] == ["arn:aws:sns:us-east-1:123456789012:open-ingress"]


OWN = {"authorized": ["198.18.7.0/24"]}
REFUSED = {
    "no settings file": ({}, "'{public-ports}' was not filled: add --vars-file settings.yml"),
    "an unknown key": ({**OWN, "public-port": [443]}, "'public-port' is no setting: write public-ports"),
    "no key that is known": ({"authorised": ["198.18.7.0/24"]}, "'authorised' is no setting: write authorized"),
    "no networks": ({"at-most": 3}, "name the authorized networks by either authorized or authorized-from"),
    "no network of their own": ({"authorized": ["203.0.113.0/24"]}, "203.0.113.0/24 is an example"),
    "a bad entry": (
        {**OWN, "exemptions": [{"group": "web", "until": "2099-01-31"}]},
        "exemptions, entry 1: it has no reason",
    ),
    "a value of another kind": ({**OWN, "at-most": "1"}, "at-most '1' is not a whole number"),
    "a list that nothing can read": (
        {"authorized-from": "s3://networks/office.txt"},
        "authorized-from 's3://networks/office.txt' names no list: ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(cloud, tmp_path, name):
    """A run without settings, or with wrong ones, is refused with one line before anything is changed."""
    settings, says = REFUSED[name]
    done = closing(cloud, tmp_path, settings)
    assert done.returncode != 0
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert made_changes(cloud) == []


def test_a_key_that_is_there_twice(cloud, tmp_path):
    """A key that a settings file has twice is refused: YAML would forget the first one, such as half of a register."""
    (given := tmp_path / "settings.yml").write_text(
        "authorized: [198.18.7.0/24]\nexemptions: []\nat-most: 3\nexemptions: []\n"
    )
    load([GROUP])
    done = run(cloud, ROOT / "policies" / "open-ingress-sweep.yml", tmp_path / "out", "--vars-file", given)
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert f"{given}: 'exemptions' is there twice: only the last one would count" in line
    assert made_changes(cloud) == []


def test_the_examples_are_refused(cloud, tmp_path):
    """The settings file of the pack is valid, and a run refuses its networks."""
    settings = yaml_load((ROOT / "settings.yml").read_text())
    check(settings)
    done = closing(cloud, tmp_path, settings)
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert "203.0.113.0/24 is an example from the documentation" in line
    assert made_changes(cloud) == []


def test_a_plan_deploys_nothing(cloud, tmp_path):
    """Settings that name a plan deploy no policy: it would close what is not in the plan."""
    done = closing(cloud, tmp_path, {**OWN, "only": "plan.json"}, "open-ingress")
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert "only: a plan is carried out once, and this policy has a mode" in line
    assert cloud.session().client("lambda").list_functions()["Functions"] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda policy: policy["filters"][1].update(exemptions=5), "exempt: exemptions 5 is not a list of entries"),
        (lambda policy: policy["filters"][1].update(exemptions=[{"group": "web"}]), "entry 1: it has no until"),
        (lambda policy: policy["actions"][0].update(authorized=["198.18.7.1/24"]), "'198.18.7.1/24' is not a CIDR"),
    ],
)
def test_a_value_in_a_policy_that_is_wrong(cloud, tmp_path, change, says):
    """A value that somebody writes into a policy is refused with one line, too."""
    done = closing(cloud, tmp_path, OWN, change=change)
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert says in line
    assert made_changes(cloud) == []


def test_a_dry_run_with_the_examples(cloud, tmp_path):
    """A dry run changes nothing, and so takes networks that are examples."""
    settings = yaml_load((ROOT / "settings.yml").read_text())
    load([GROUP])
    (given := tmp_path / "settings.json").write_text(json.dumps(settings))
    sweep = ROOT / "policies" / "open-ingress-sweep.yml"
    done = run(cloud, sweep, tmp_path / "out", "--dryrun", "--vars-file", given)
    assert done.returncode == 0, done.stderr
    assert "203.0.113.0/24 is an example from the documentation" in done.stderr
