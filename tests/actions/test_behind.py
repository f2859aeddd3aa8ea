import botocore
import pytest
import yaml
from botocore.exceptions import ClientError
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.decide.behind import behind
from c7n_ingress_tools.embedded_aws.ec2 import load_groups, load_interfaces
from tests.support.cases import interface_of
from tests.support.embedded import (
    ACCOUNT,
    NOTIFY,
    act,
    aws_error,
    cases,
    custodian,
    group_of,
    load,
    made_changes,
    make_queue,
    messages,
    rules_of,
    source_of,
    watched,
)

CASES = cases("behind")["cases"]
READS = ["DescribeNetworkInterfaces", "DescribeVpcBlockPublicAccessOptions"]
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
HTTPS = {**SSH, "ports": 443}
PUBLIC, PRIVATE = {"instance": "i-0a", "public": "198.18.1.1"}, {"instance": "i-0b"}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_kinds(cloud, case):
    """Each kind of interface is reported in words, as EC2 describes it."""
    load_interfaces([interface_of({}, "sg-other"), *(interface_of(each, "sg-it") for each in case["interfaces"])])
    filters = [{"Name": "group-id", "Values": ["sg-it"]}]
    found = cloud.session().client("ec2").describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
    assert behind(found) == (case["exposure"], case["behind"])


def open_groups(cloud, *standing, rules=(SSH,)):
    """Put open groups into EC2, each with interfaces behind it, and return their ids."""
    make_queue(cloud)
    groups = [group_of({"name": f"g{number}", "ingress": rules}, number) for number in range(1, len(standing) + 1)]
    load(groups)
    load_interfaces(
        interface_of(each, group["GroupId"]) for group, some in zip(groups, standing, strict=True) for each in some
    )
    return [group["GroupId"] for group in groups]


@pytest.mark.parametrize(
    ("value", "closed"),
    [("internet", [0]), ("private", [1]), ("unused", [2]), (["internet", "unused"], [0, 2])],
    ids=str,
)
def test_filter(cloud, tmp_path, value, closed):
    """A policy closes the groups alone whose exposure it names, and asks EC2 once for all of them."""
    ids = open_groups(cloud, [PUBLIC, PRIVATE], [PRIVATE], [])
    policy = tmp_path / "policy.yml"
    filters = [{"type": "open-ingress"}, {"type": "exposure", "value": value}]
    action = {"type": "replace-ingress", "authorized": ["198.18.7.0/24"], "behind": True, "notify": NOTIFY}
    policy.write_text(
        yaml.safe_dump(
            {"policies": [{"name": "p", "resource": "aws.security-group", "filters": filters, "actions": [action]}]}
        )
    )
    cloud.calls.clear()
    result = custodian(cloud, "run", "--region", "us-east-1", "--cache-period", "0", "-s", tmp_path, policy)
    assert result.returncode == 0, result.stderr
    still_open = [source_of(rule) == "0.0.0.0/0" for group in ids for rule in rules_of(group).values()]
    assert still_open == [number not in closed for number in range(3)]
    assert [call.action for call in cloud.calls].count("DescribeNetworkInterfaces") == 1
    (message,) = messages(cloud)
    assert [each["GroupId"] for each in message["resources"]] == [ids[number] for number in closed]


def test_a_filter_that_cannot_look(cloud, tmp_path):
    """A policy that cannot find out who is exposed takes nobody for unused: it fails."""
    open_groups(cloud, [])

    def refuse(**_):
        raise aws_error("UnauthorizedOperation", "DescribeNetworkInterfaces")

    filters = [{"type": "open-ingress"}, {"type": "exposure", "value": "internet"}]
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        act(cloud, tmp_path, {"DescribeNetworkInterfaces": refuse}, filters=filters, authorized=["198.18.7.0/24"])


def test_reported_worst_first(cloud, tmp_path):
    """Messages say what uses each group, first of what the internet reaches; looked up after the changes."""
    unused, private, internet = open_groups(cloud, [], [PRIVATE], [PUBLIC])
    cloud.calls.clear()
    act(cloud, tmp_path, behind=True, notify=NOTIFY, authorized=["198.18.7.0/24"])
    wanted = ["ModifySecurityGroupRules", *READS, "SendMessage"]
    assert [call.action for call in cloud.calls if call.action in wanted] == [wanted[0]] * 3 + wanted[1:]
    (message,) = messages(cloud)
    assert [(each["GroupId"], each["c7n:behind-ingress"]) for each in message["resources"]] == [
        (internet, {"exposure": "internet", "behind": ["1 instance"]}),
        (private, {"exposure": "private", "behind": ["1 instance"]}),
        (unused, {"exposure": "unused", "behind": []}),
    ]


def test_closed_worst_first(cloud, tmp_path):
    """Where not all can be closed at once, what the internet reaches is, whatever its port, and EC2 is asked once."""
    unused, private, internet = open_groups(cloud, [], [PRIVATE], [PUBLIC])
    closed = group_of({"name": "web", "ingress": [HTTPS]}, 4)
    load([closed])
    load_interfaces(
        [interface_of(PUBLIC, closed["GroupId"]), interface_of(PUBLIC, internet), interface_of(PRIVATE, private)]
    )
    cloud.calls.clear()
    with pytest.raises(PolicyExecutionError, match="2 more groups are open: one run changes 2"):
        act(cloud, tmp_path, behind=True, notify=NOTIFY, authorized=["198.18.7.0/24"], **{"at-most": 2})
    still = {group for group in (unused, private, internet, closed["GroupId"]) if "0.0.0.0/0" in sources(group)}
    assert still == {unused, private}
    assert [call.action for call in cloud.calls].count("DescribeNetworkInterfaces") == 1
    (message,) = messages(cloud)
    assert [each["GroupId"] for each in message["resources"]] == [internet, closed["GroupId"]]


def sources(group_id):
    """Return the sources of a group's rules."""
    return {source_of(rule) for rule in rules_of(group_id).values()}


def test_closed_though_nothing_can_be_looked_up(cloud, tmp_path):
    """If EC2 does not return what uses the groups, as many are closed as may be, the worst ports first."""
    web, ssh = open_groups(cloud, [PUBLIC], rules=[HTTPS]), group_of({"name": "ssh", "ingress": [SSH]}, 4)
    load([ssh])

    def refuse(**_):
        raise aws_error("UnauthorizedOperation", "DescribeNetworkInterfaces")

    with pytest.raises(PolicyExecutionError, match="1 more group is open: one run changes 1"):
        act(
            cloud,
            tmp_path,
            {"DescribeNetworkInterfaces": refuse},
            behind=True,
            notify=NOTIFY,
            authorized=["198.18.7.0/24"],
            **{"at-most": 1},
        )
    assert "0.0.0.0/0" in sources(web[0])
    assert "0.0.0.0/0" not in sources(ssh["GroupId"])


def test_pages(cloud, tmp_path):
    """Interfaces beyond EC2's first page are counted."""
    open_groups(cloud, [{"instance": f"i-{number}"} for number in range(1001)])
    act(cloud, tmp_path, behind=True, notify=NOTIFY, authorized=["198.18.7.0/24"])
    assert reported(cloud) == [{"exposure": "private", "behind": ["1,001 instances"]}]


HIDDEN = {"instance": "i-0c", "public": "198.18.1.1", "Operator": {"Managed": True, "HiddenByDefault": True}}
"""An interface that a service manages: EC2 lists it only if somebody asks for it."""


@pytest.fixture
def old_client(cloud, monkeypatch):
    """Make clients of EC2 of the time before interfaces were hidden: they refuse a parameter that they do not know."""
    session, _ = watched(cloud)
    create = session.client

    def client(*args, **more):
        made = create(*args, **more)
        if made.meta.service_model.service_name == "ec2":
            asked = made.meta.service_model.operation_model("DescribeNetworkInterfaces").input_shape.members
            monkeypatch.delitem(asked, "IncludeManagedResources", raising=False)
        return made

    monkeypatch.setattr(session, "client", client)


def test_interfaces_that_a_service_manages(cloud, tmp_path):
    """Interfaces that a service manages and hides are counted."""
    open_groups(cloud, [HIDDEN])
    act(cloud, tmp_path, behind=True, notify=NOTIFY, authorized=["198.18.7.0/24"])
    assert reported(cloud) == [{"exposure": "internet", "behind": ["1 instance"]}]


@pytest.mark.usefixtures("old_client")
def test_interfaces_that_an_old_client_cannot_see(cloud, tmp_path):
    """A client that cannot list hidden interfaces says so, and calls no group unused."""
    open_groups(cloud, [HIDDEN], [PRIVATE], [PUBLIC])
    act(cloud, tmp_path, behind=True, notify=NOTIFY, authorized=["198.18.7.0/24"])
    found = [(each["exposure"], *each["behind"]) for each in reported(cloud)]
    unseen = f"interfaces that AWS services hide cannot be seen: botocore {botocore.__version__} is too old"
    assert found == [("internet", "1 instance", unseen), ("unknown", unseen), ("private", "1 instance", unseen)]


@pytest.mark.usefixtures("old_client")
@pytest.mark.parametrize(("value", "closed"), [("unused", False), ("unknown", True)])
def test_filter_of_what_cannot_be_seen(cloud, tmp_path, value, closed):
    """A group is not unused while interfaces may be hidden: it is unknown."""
    (group,) = open_groups(cloud, [])
    filters = [{"type": "open-ingress"}, {"type": "exposure", "value": value}]
    act(cloud, tmp_path, filters=filters, authorized=["198.18.7.0/24"])
    assert (sources(group) == {"198.18.7.0/24"}) is closed


def test_a_group_that_is_shared_with_this_account(cloud, tmp_path):
    """Nobody knows whether a group is used that another account owns: that account's interfaces are not listed here."""
    make_queue(cloud)
    group = {**group_of({"name": "theirs", "ingress": [SSH]}, 1), "OwnerId": "999999999999"}
    load_groups([group], account=ACCOUNT)
    act(cloud, tmp_path, behind=True, notify=NOTIFY, authorized=["198.18.7.0/24"])
    assert reported(cloud) == [{"exposure": "unknown", "behind": ["interfaces of other accounts may be missing here"]}]


def reported(cloud):
    """Return what the messages say of what uses the groups."""
    return [each["c7n:behind-ingress"] for message in messages(cloud) for each in message["resources"]]


@pytest.mark.parametrize("mode", ["block-ingress", "block-bidirectional"])
def test_block_public_access(cloud, tmp_path, mode):
    """Where VPC Block Public Access is on, that is reported; it is no reason to leave a group open."""
    open_groups(cloud, [PUBLIC])
    cloud.ec2.block_public_access = mode
    act(cloud, tmp_path, behind=True, notify=NOTIFY, authorized=["198.18.7.0/24"])
    assert made_changes(cloud) == ["ModifySecurityGroupRules"]
    (found,) = reported(cloud)
    sentence = f"VPC Block Public Access ({mode}) keeps the internet out, but for what is excluded from it."
    assert found == {"exposure": "internet", "behind": ["1 instance"], "blocked": sentence}


SAID = [
    {"exposure": "unknown", "behind": ["could not be looked up"]},
    {
        "exposure": "internet",
        "behind": ["1 instance"],
        "blocked": "Whether VPC Block Public Access is on could not be looked up.",
    },
]


@pytest.mark.parametrize(("operation", "said"), zip(READS, SAID, strict=True), ids=READS)
def test_trouble(cloud, tmp_path, operation, said):
    """What cannot be looked up is reported as such, and groups are closed all the same."""
    open_groups(cloud, [PUBLIC])

    def refuse(**_):
        raise aws_error("UnauthorizedOperation", operation)

    act(cloud, tmp_path, {operation: refuse}, behind=True, notify=NOTIFY, authorized=["198.18.7.0/24"])
    assert made_changes(cloud) == ["ModifySecurityGroupRules"]
    assert reported(cloud) == [said]


def test_what_a_filter_has_read(cloud, tmp_path):
    """What a filter of the policy has read is reported, and not read again."""
    open_groups(cloud, [PUBLIC])
    cloud.calls.clear()
    filters = [{"type": "open-ingress"}, {"type": "exposure", "value": "internet"}]
    act(cloud, tmp_path, filters=filters, behind=True, notify=NOTIFY, authorized=["198.18.7.0/24"])
    assert reported(cloud) == [{"exposure": "internet", "behind": ["1 instance"]}]
    assert [call.action for call in cloud.calls].count("DescribeNetworkInterfaces") == 1


def test_not_asked_for(cloud, tmp_path):
    """Nothing is looked up where nobody asks for it, where nobody is notified, and where there is nothing to report."""
    for more in ({"notify": NOTIFY}, {"behind": True}, {"behind": True, "notify": NOTIFY, "filters": [CLOSED]}):
        open_groups(cloud, [PUBLIC])
        act(cloud, tmp_path, authorized=["198.18.7.0/24"], **more)
    assert not set(READS) & {call.action for call in cloud.calls}


CLOSED = {"type": "ingress", "Ports": [9999]}
