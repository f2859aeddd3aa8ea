import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.managed import MANAGED, MANAGERS, managed_by
from tests.support.embedded import act, cases, group_of, load, make_queue, messages

CASES = cases("managed")["groups"]
NOTIFY = {
    "to": ["somebody@example.com"],
    "transport": {"type": "sqs", "queue": "https://sqs.us-east-1.amazonaws.com/123456789012/custodian-mailer"},
}


def marked(case):
    """Return a case's group as EC2 describes it."""
    return {
        "GroupId": "sg-00000000000000001",
        "GroupName": case.get("group-name", "web"),
        "Description": case.get("description", "a case"),
        "Tags": [{"Key": key, "Value": value} for key, value in case.get("tags", {}).items()],
    }


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_manager(case):
    """A group's manager is found by its marks, with the fix there."""
    found = managed_by(marked(case)) or {}
    assert found.get("by") == case.get("by")
    assert case.get("fix", "") in found.get("fix", "")


def test_every_manager_has_a_case():
    """Each manager is that of some case."""
    found = {managed_by(marked(case))["fix"] for case in CASES if "by" in case}
    assert found == {manager.fix for manager in MANAGERS}


@given(st.sampled_from([case for case in CASES if case.get("tags")]), st.text(max_size=400), st.randoms())
def test_what_somebody_typed(case, typed, random):
    """Any text of a tag, in any order of tags, stays within its quotes, on one line and short."""
    group = marked(case)
    group["Tags"] = [{**tag, "Value": typed} for tag in group["Tags"]]
    random.shuffle(group["Tags"])
    found = managed_by(group)
    if found:
        assert re.fullmatch(r'[^"\n]*( "[^"<>]{1,80}")?', found["by"])
        assert found["by"].isprintable()
        assert managed_by({**group, "Tags": group["Tags"][::-1]})["fix"] == found["fix"]


@given(st.sampled_from(CASES), st.sampled_from(["GroupName", "Description", "Tags"]))
def test_what_is_not_there(case, key):
    """A group without some of its fields is no error."""
    group = marked(case)
    managed_by({name: value for name, value in group.items() if name != key} | {key: None})


def test_the_message(cloud, tmp_path):
    """A message names the manager of each group that has one."""
    ssh = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
    kept, free = (
        group_of({"name": name, "ingress": [ssh], "tags": tags}, number)
        for number, (name, tags) in enumerate([("kept", {"elbv2.k8s.aws/cluster": "prod"}), ("free", {})], 1)
    )
    load([kept, free])
    make_queue(cloud)
    act(cloud, tmp_path, authorized=["198.18.7.0/24"], notify=NOTIFY)
    (message,) = messages(cloud)
    reported = {resource["GroupId"]: resource.get(MANAGED) for resource in message["resources"]}
    assert reported == {kept["GroupId"]: managed_by(kept), free["GroupId"]: None}
    assert reported[kept["GroupId"]]["by"].endswith('"prod"')
