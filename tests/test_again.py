"""The filter `closed-again`, and the watch that tells of what something opens again and again."""

import json
from datetime import datetime, timedelta, timezone

import pytest
import yaml
from c7n.utils import yaml_load
from embedded import LOG_GROUP, ROOT, act, group_of, journal, load, run

from mode.mailer import preview

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
GROUP = group_of({"name": "web", "ingress": [SSH, {**SSH, "ports": 3389}]}, 1)
WATCH = ROOT / "mode" / "watch.yml"
AGAIN = {"type": "closed-again", "times": 3, "hours": 24, "log-groups": [LOG_GROUP]}


def closed(cloud, folder, *hours, **changes):
    """Have the group closed so many hours ago, each time by a run of its own, and give the records."""
    records = []
    for number, hour in enumerate(hours):
        load([GROUP])
        time = datetime.now(timezone.utc) - timedelta(hours=hour)
        told = {"run": f"run-{number}", "time": f"{time:%Y-%m-%dT%H:%M:%S.%fZ}", **changes}
        records += [{**record, **told} for record in act(cloud, folder, authorized=["198.18.7.0/24"])]
    return records


def find(cloud, folder, **changes):
    """Run a policy that has the filter, and give what came of it."""
    policy = {"name": "p", "resource": "aws.security-group", "source": "live", "filters": [{**AGAIN, **changes}]}
    path = folder / "policy.yml"
    path.write_text(yaml.safe_dump({"policies": [policy]}))
    return run(cloud, path, folder)


def matched(cloud, folder):
    """Give the groups of the account that the filter matches, with what it says of each."""
    done = find(cloud, folder)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "p" / "resources.json").read_text())
    return {group["GroupId"]: group["c7n:reopened-ingress"] for group in found}


def test_a_group_that_was_closed_three_times(cloud, tmp_path):
    """A group is matched that three runs closed in a day, and it is said how often, and how far apart."""
    records = closed(cloud, tmp_path, 3, 2, 1)
    journal(records)
    (said,) = matched(cloud, tmp_path).values()
    since = datetime.fromisoformat(records[0]["time"].replace("Z", "+00:00"))
    assert said == f"opened again, 3rd time since {since:%A %H:%M} UTC; something opens it every 60 minutes"


@pytest.mark.parametrize(
    ("hours", "changes"),
    [
        ((2, 1), {}),
        ((30, 28, 26, 2, 1), {}),
        ((3, 2.999, 2.998), {}),
        ((3, 2, 1), {"run": "one"}),
        ((3, 2, 1), {"how": "preview"}),
        ((3, 2, 1), {"how": "restored"}),
        ((3, 2, 1), {"account": "210987654321"}),
        ((3, 2, 1), {"region": "eu-west-1"}),
        ((3, 2, 1), {"group": "sg-00000000000000002"}),
        ((3, 2, 1), {"v": 2}),
    ],
    ids=str,
)
def test_what_is_not_again(cloud, tmp_path, hours, changes):
    """Neither what was closed less often, nor what was previewed or undone, nor other groups' records count."""
    journal(closed(cloud, tmp_path, *hours, **changes))
    assert matched(cloud, tmp_path) == {}


def test_other_lines(cloud, tmp_path):
    """Other lines of the log, and what somebody had logged behind other text, are passed over."""
    records = closed(cloud, tmp_path, 3, 2, 1)
    lines = [json.dumps(record) for record in records]
    journal(["START RequestId: 1", *lines[:4], lines[4][:80], f"somebody's words: {lines[5]}", "{}", "[]", "null"])
    assert matched(cloud, tmp_path) == {}


def test_a_log_that_cannot_be_read(cloud, tmp_path):
    """A log group that is not there is an error, and not taken for one without records."""
    load([GROUP])
    done = find(cloud, tmp_path, **{"log-groups": ["/aws/lambda/custodian-elsewhere"]})
    assert done.returncode != 0
    assert "ResourceNotFoundException" in done.stderr


@pytest.mark.parametrize("wrong", [{"times": 1}, {"hours": 0}, {"hours": 1000}, {"log-groups": []}], ids=str)
def test_wrong_keys(cloud, tmp_path, wrong):
    """What could never be, or would be of every group, is refused."""
    done = find(cloud, tmp_path, **wrong)
    assert done.returncode != 0
    assert str(next(iter(wrong.values()))) in done.stderr


def test_the_message():
    """The watch's messages name the groups, and how often each was opened; nothing in them is anybody's words."""
    (policy,) = (each for each in yaml_load(WATCH.read_text())["policies"] if each["name"].endswith("-again"))
    (action,) = policy["actions"]
    said = {f"sg-{number:017x}": f"opened again, {number}th time since Monday 10:00 UTC" for number in (4, 5)}
    resources = [{"GroupId": group, "GroupName": "<b>", "c7n:reopened-ingress": text} for group, text in said.items()]
    message = {**preview.sample(), "policy": policy, "action": action, "resources": resources}
    for template in ("open-ingress-watch", "open-ingress-watch.slack", "open-ingress-watch.pagerduty"):
        shown = preview.render(message, template)
        assert [(group in shown, text in shown) for group, text in said.items()] == [(True, True)] * 2
        assert "<b>" not in shown
    assert action["violation_desc"] in preview.render(message, "open-ingress-watch")
