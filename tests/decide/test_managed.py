import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.managed import MANAGERS, managed_by
from tests.support.cases import cases

CASES = cases("managed")["groups"]


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
