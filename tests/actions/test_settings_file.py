"""Runs of the stock command with the settings file, and without it."""

import json
import logging
import os

import pytest
from c7n.exceptions import PolicyExecutionError
from c7n.utils import format_string_values, load_file
from c7n.varfmt import VarFormat

from c7n_ingress.aws.settings import RUN, refuse_twice
from c7n_ingress.decide.settings import check
from tests.support.embedded import (
    ROOT,
    act,
    group_of,
    load,
    loaded,
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
    "an unknown key": ({**OWN, "public-port": [443]}, "'public-port' is not a setting: write public-ports"),
    "no key that is known": ({"authorised": ["198.18.7.0/24"]}, "'authorised' is not a setting: write authorized"),
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


def fill(data, settings):
    """Fill settings into a policy as c7n does."""
    return format_string_values(data, formatter=VarFormat().format, **settings)


def refused(caplog, folder, data, given=None):
    """Return the one line by which a run of `custodian` refuses a policy that a settings file has filled."""
    data = fill(data, load_file(str(given)) if given else {})
    policy = loaded(data, folder, command=RUN, vars_file=given and str(given))
    caplog.clear()
    with pytest.raises(SystemExit, match="1"):
        policy.validate()
    ((_, level, line),) = caplog.record_tuples
    assert (level, len(line.splitlines())) == (logging.ERROR, 1)
    assert line.startswith(f"policy {data['name']}: ")
    return line


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(caplog, tmp_path, name):
    """A run without settings, or with wrong ones, is refused with one line before anything is changed."""
    settings, says = REFUSED[name]
    (given := tmp_path / "settings.json").write_text(json.dumps(settings))
    line = refused(caplog, tmp_path, policy_named("open-ingress-sweep"), given if settings else None)
    assert says in line
    assert (f": {given}: " in line) is bool(settings and name != "no network of their own")


def test_a_refusal_by_the_command(cloud, tmp_path):
    """The stock command prints that line, nothing else, and changes nothing."""
    done = closing(cloud, tmp_path, {})
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert REFUSED["no settings file"][1] in line
    assert made_changes(cloud) == []


def test_a_key_that_is_there_twice(caplog, tmp_path):
    """A key that a settings file has twice is refused: YAML would forget the first one, such as half of a register."""
    given = tmp_path / "settings.yml"
    given.write_text("authorized: [198.18.7.0/24]\nexemptions: []\nat-most: 3\nexemptions: []\n")
    line = refused(caplog, tmp_path, policy_named("open-ingress-sweep"), given)
    assert f"{given}: 'exemptions' is there twice: only the last one would count (line 4)" in line
    entry = "- group: web\n  reason: a shop\n  until: 2099-01-31\n  group: app\n"  # the second dash is missing
    given.write_text(f"authorized: &networks [198.18.7.0/24]\nauthorized-from: *networks\nexemptions:\n{entry}")
    line = refused(caplog, tmp_path, policy_named("open-ingress-sweep"), given)
    assert f"{given}: 'group' is there twice: only the last one would count (line 7)" in line


def test_a_key_that_is_merged():
    """A key that a mapping takes over from another one, and overwrites, is not there twice, wherever it is used."""
    refuse_twice(b"vars: {all: &all {env: test}, own: &own {<<: *all, env: live}}\nlast: {<<: *own, env: next}\n")


def test_a_file_that_was_changed(caplog, tmp_path):
    """A settings file is read again once it was changed."""
    given = tmp_path / "settings.json"
    for number, value in enumerate(("many", "few")):
        given.write_text(json.dumps({**OWN, "at-most": value}))
        os.utime(given, (number, number))
        line = refused(caplog, tmp_path, policy_named("open-ingress-sweep"), given)
        assert f"{given}: at-most '{value}' is not a whole number" in line


NO_NETWORKS = "name the authorized networks by either authorized or authorized-from"
EXEMPT = {"type": "exempt", "value": False, "exemptions": "{exemptions}"}
REPLACE = {"type": "replace-ingress", "authorized": ["198.18.7.0/24"]}
PARTS = {
    "no setting is wanted, and a wrong one is there": ([], REPLACE, {"at-most": 0}, "at-most 0 is not a whole number"),
    "no setting is wanted, and none is there": ([], REPLACE, {"of-somebody-else": 1}, None),
    "no networks are wanted, and none are there": ([EXEMPT], REPLACE, {"exemptions": []}, None),
    "networks are wanted": ([], {**REPLACE, "authorized": "{authorized}"}, {"at-most": 3}, NO_NETWORKS),
    "a list of networks is wanted": (
        [],
        {"type": "replace-ingress", "authorized-from": "{authorized-from}"},
        {"at-most": 3},
        NO_NETWORKS,
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_what_a_policy_wants_of_the_settings(caplog, tmp_path, name):
    """A policy runs with a settings file that names no networks, or nothing at all, if it needs none of them."""
    filters, action, settings, says = PARTS[name]
    (given := tmp_path / "settings.json").write_text(json.dumps(settings))
    data = {"name": "own", "resource": "aws.security-group", "filters": [{"type": "open-ingress"}, *filters]}
    data["actions"] = [action]
    if says:
        assert f"policy own: {given}: {says}" in refused(caplog, tmp_path, data, given)
    else:
        loaded(fill(data, settings), tmp_path, command=RUN, vars_file=str(given)).validate()


def test_the_examples_are_refused(caplog, tmp_path):
    """The settings file of the pack is valid, and a run refuses its networks."""
    check(yaml_load((ROOT / "settings.yml").read_text()))
    line = refused(caplog, tmp_path, policy_named("open-ingress-sweep"), ROOT / "settings.yml")
    assert "203.0.113.0/24 is an example from the documentation" in line


def test_a_plan_deploys_nothing(caplog, tmp_path):
    """Settings that name a plan deploy no policy, be it one without a plan: it would close what is not in the plan."""
    (given := tmp_path / "settings.json").write_text(json.dumps({**OWN, "only": "plan.json"}))
    for name in ("open-ingress", "open-ingress-notice"):
        line = refused(caplog, tmp_path, policy_named(name), given)
        assert f"{given}: only: a plan is carried out once, and this policy has a mode" in line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda policy: policy["filters"][1].update(exemptions=5), "exempt: exemptions 5 is not a list of entries"),
        (lambda policy: policy["filters"][1].update(exemptions=[{"group": "web"}]), "entry 1: it has no until"),
        (lambda policy: policy["actions"][0].update(authorized=["198.18.7.1/24"]), "'198.18.7.1/24' is not a CIDR"),
    ],
)
def test_a_value_in_a_policy_that_is_wrong(caplog, tmp_path, change, says):
    """A value that somebody writes into a policy is refused with one line, too."""
    (given := tmp_path / "settings.json").write_text(json.dumps(OWN))
    change(data := policy_named("open-ingress-sweep"))
    assert says in refused(caplog, tmp_path, data, given)


def test_a_value_that_nothing_fills(cloud, tmp_path):
    """A policy may be checked before a variable is filled; its run fails where nothing has filled it."""
    load([GROUP])
    says = r"^open-ingress matched nothing: Ports '\{ports\}' was not filled"
    with pytest.raises(PolicyExecutionError, match=says):
        act(cloud, tmp_path, filters=[{"type": "open-ingress", "Ports": "{ports}"}], **OWN)


def test_a_dry_run_with_the_examples(cloud, tmp_path):
    """A dry run changes nothing, and so takes networks that are examples."""
    settings = yaml_load((ROOT / "settings.yml").read_text())
    load([GROUP])
    (given := tmp_path / "settings.json").write_text(json.dumps(settings))
    sweep = ROOT / "policies" / "open-ingress-sweep.yml"
    done = run(cloud, sweep, tmp_path / "out", "--dryrun", "--vars-file", given)
    assert done.returncode == 0, done.stderr
    assert "203.0.113.0/24 is an example from the documentation" in done.stderr
