"""Prefix lists among the authorized networks."""

import pytest
from botocore.exceptions import ConnectTimeoutError
from c7n.exceptions import PolicyExecutionError, PolicyValidationError

from c7n_ingress_tools.embedded_aws.ec2 import load_prefix_list, load_vpcs
from tests.support.embedded import (
    NOTIFY,
    VPC,
    act,
    aws_error,
    cases,
    made_changes,
    messages,
    rules_of,
    source_of,
)

CASES = cases("prefix-lists")
SSH = {"protocol": "tcp", "ports": 22}
OPEN = [{**SSH, "source": "0.0.0.0/0"}, {**SSH, "source": "::/0"}]
ENTRIES = "GetManagedPrefixListEntries"


@pytest.fixture
def opened(group):
    """Put an open group and the prefix lists of the cases into EC2, and return the group's id."""

    def put(ingress=OPEN, owner=None, number=1):
        for list_id, cidrs in CASES["lists"].items():
            load_prefix_list(list_id, cidrs, owner=owner)
        return group(*ingress, number=number)

    return put


def sources(group_id):
    """Return the sources of a group's rules."""
    return {source_of(rule) for rule in rules_of(group_id).values()}


@pytest.mark.parametrize("case", CASES["closed"], ids=lambda case: case["name"])
def test_the_entries_are_authorized(cloud, tmp_path, opened, case):
    """The entries of a list replace an open source, in order of preference where its id is written."""
    versions = {":" in each for each in case["sources"]}
    group_id = opened([rule for rule in OPEN if (":" in rule["source"]) in versions], case.get("owner"))
    before = set(rules_of(group_id))
    act(cloud, tmp_path, authorized=case["authorized"])
    after = rules_of(group_id)
    assert {source_of(rule) for rule in after.values()} == set(case["sources"])
    assert {source_of(after[rule_id]) for rule_id in before} == set(case["first"])


@pytest.mark.parametrize("case", CASES["left"], ids=lambda case: case["name"])
def test_a_list_that_cannot_be_authorized(cloud, tmp_path, opened, case):
    """A list that cannot be read, is empty or must not be authorized leaves the group as it is; one line says why."""
    group_id = opened()
    with pytest.raises(PolicyExecutionError) as failed:
        act(cloud, tmp_path, authorized=case["authorized"], notify=NOTIFY)
    assert case["says"] in str(failed.value)
    assert (made_changes(cloud), sources(group_id)) == ([], {"0.0.0.0/0", "::/0"})
    ((told,),) = [message["resources"] for message in messages(cloud)]
    (why,) = told["c7n:failed-ingress"]
    assert case["says"] in why
    assert why.endswith("; the group is left as it is")


def denied(**_):
    """Answer as EC2 does to anyone who may not read the list."""
    raise aws_error("UnauthorizedOperation", ENTRIES)


def unreachable(**_):
    """Do not answer."""
    raise ConnectTimeoutError(endpoint_url="https://ec2")


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (denied, "pl-0a cannot be read: allow it, as the stack does"),
        (unreachable, "pl-0a cannot be read: Connect"),
    ],
)
def test_a_list_that_ec2_does_not_answer_for(cloud, tmp_path, opened, trouble, says):
    """Where EC2 does not list the entries, the group is left as it is."""
    group_id = opened()
    with pytest.raises(PolicyExecutionError, match=says):
        act(cloud, tmp_path, before={ENTRIES: trouble}, authorized=["198.18.1.0/24", "pl-0a"])
    assert sources(group_id) == {"0.0.0.0/0", "::/0"}


def test_lists_are_read_once_a_run(cloud, tmp_path, opened):
    """Each list is read once for all groups, past c7n's cache: the next run authorizes what it holds by then."""
    groups = [opened(number=number) for number in range(1, 4)]
    cloud.calls.clear()
    act(cloud, tmp_path, authorized=["pl-0a", "pl-0b", "pl-0a"])
    assert [call.action for call in cloud.calls].count(ENTRIES) == 2
    assert {frozenset(sources(each)) for each in groups} == {
        frozenset([*CASES["lists"]["pl-0a"], *CASES["lists"]["pl-0b"]])
    }
    later = opened(OPEN[:1], number=4)
    load_prefix_list("pl-0a", ["198.18.9.0/24"])
    act(cloud, tmp_path, authorized=["pl-0a"])
    assert sources(later) == {"198.18.9.0/24"}


def test_lists_and_vpcs(cloud, tmp_path, opened):
    """A list and the word vpc are authorized beside each other, in order of preference."""
    load_vpcs([{"VpcId": VPC, "CidrBlock": "10.1.0.0/16"}])
    group_id = opened(OPEN[:1])
    (rule,) = rules_of(group_id)
    act(cloud, tmp_path, authorized=["vpc", "pl-0a"])
    assert source_of(rules_of(group_id)[rule]) == "10.1.0.0/16"
    assert sources(group_id) == {"10.1.0.0/16", *CASES["lists"]["pl-0a"]}


def test_a_list_from_elsewhere_names_lists(cloud, tmp_path, opened):
    """A list that is read from S3 may name prefix lists and the word vpc."""
    s3 = cloud.session().client("s3")
    s3.create_bucket(Bucket="lists")
    s3.put_object(Bucket="lists", Key="networks.txt", Body="198.18.1.0/24\npl-0a\nvpc\n")
    load_vpcs([{"VpcId": VPC, "CidrBlock": "10.1.0.0/16"}])
    group_id = opened(OPEN[:1])
    act(cloud, tmp_path, **{"authorized-from": {"url": "s3://lists/networks.txt"}})
    assert sources(group_id) == {"198.18.1.0/24", "10.1.0.0/16", *CASES["lists"]["pl-0a"]}


def test_a_preview_shows_examples(cloud, tmp_path, opened):
    """A preview shows what a list of documentation networks would do, as it does for networks."""
    opened(OPEN[:1])
    (record,) = act(cloud, tmp_path, authorized=["pl-0d"], preview=True)
    assert record["now"] == "203.0.113.0/24"


@pytest.mark.parametrize("case", CASES["refused"], ids=str)
def test_an_id_that_is_none(cloud, tmp_path, case):
    """What only looks like a list's id is refused before anything runs."""
    with pytest.raises(PolicyValidationError, match=case["says"]):
        act(cloud, tmp_path, authorized=case["authorized"])
