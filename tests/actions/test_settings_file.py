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
    rules_of,
    run,
    yaml_load,
)

GROUP = group_of(
    {"name": "web", "ingress": [{"protocol": "tcp", "ports": port, "source": "0.0.0.0/0"} for port in (22, 443, 8443)]},
    1,
)
POLICY = {
    "name": "closing",
    "resource": "aws.security-group",
    "filters": [
        {"type": "open-ingress", "OnlyPorts": "{public-ports}"},
        {
            "type": "exempt",
            "value": False,
            "exemptions": "{exemptions}",
            "exemptions-from": "{exemptions-from}",
        },
    ],
    "actions": [
        {
            "type": "replace-ingress",
            "authorized": "{authorized}",
            "authorized-from": "{authorized-from}",
            "at-most": "{at-most}",
            "notify": {
                "to": "{tell}",
                "template": "open-ingress",
                "transport": {"type": "sqs", "queue": "{queue}"},
            },
        }
    ],
}


def closing(cloud, folder, settings):
    """Run a policy that names the settings, with a settings file if there are any."""
    make_queue(cloud)
    load([GROUP])
    (path := folder / "closing.json").write_text(json.dumps({"policies": [POLICY]}))
    (given := folder / "settings.json").write_text(json.dumps(settings))
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


REFUSED = {
    "no settings file": ({}, "'{public-ports}' was not filled: add --vars-file settings.yml"),
    "an unknown key": (
        {"authorized": ["198.18.7.0/24"], "public-port": [443]},
        "'public-port' is no setting: write public-ports",
    ),
    "no networks": ({"at-most": 3}, "name the authorized networks by either authorized or authorized-from"),
    "a bad entry": (
        {"authorized": ["198.18.7.0/24"], "exemptions": [{"group": "web", "until": "2099-01-31"}]},
        "exemptions, entry 1: it has no reason",
    ),
    "a value of another kind": ({"authorized": ["198.18.7.0/24"], "at-most": "1"}, "at-most '1' is not a whole number"),
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


def test_the_examples_are_refused(cloud, tmp_path):
    """The settings file that the pack has is one that `check` takes, and a run refuses its networks."""
    settings = yaml_load((ROOT / "settings.yml").read_text())
    check(settings)
    done = closing(cloud, tmp_path, settings)
    assert done.returncode != 0
    assert "203.0.113.0/24 is an example from the documentation" in done.stderr
    assert made_changes(cloud) == []
