"""The word `vpc` in the authorized list."""

import re
from contextlib import nullcontext
from ipaddress import ip_network

import pytest
from botocore.exceptions import ConnectTimeoutError
from c7n.exceptions import PolicyExecutionError

from c7n_ingress_tools.embedded_aws.ec2 import backend_of, load_vpcs
from tests.support.embedded import (
    ACCOUNT,
    NOTIFY,
    act,
    aws_error,
    group_of,
    load,
    made_changes,
    make_queue,
    messages,
    rules_of,
    source_of,
    watched,
)

IPV4 = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
IPV6 = {**IPV4, "source": "::/0"}
OFFICE = "198.18.7.0/24"


@pytest.fixture
def vpc(cloud):
    """Make VPCs with an open group in each, and return the VPC's and the group's id."""
    ec2 = cloud.session().client("ec2")
    make_queue(cloud)

    def make(cidr, *more, number=1, ingress=(IPV4, IPV6), ipv6=False):
        vpc_id = ec2.create_vpc(CidrBlock=cidr, AmazonProvidedIpv6CidrBlock=ipv6)["Vpc"]["VpcId"]
        for each in more:
            ec2.associate_vpc_cidr_block(VpcId=vpc_id, CidrBlock=each)
        group = {**group_of({"name": f"g{number}", "ingress": ingress}, number), "VpcId": vpc_id}
        load([group])
        cloud.calls.clear()
        return vpc_id, group["GroupId"]

    return make


def ipv6_of(cloud, vpc_id):
    """Return a VPC's IPv6 CIDR, canonical, as moto does not write it."""
    (found,) = cloud.session().client("ec2").describe_vpcs(VpcIds=[vpc_id])["Vpcs"]
    return str(ip_network(found["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]))


def sources(group_id):
    """Return the sources of a group's rules."""
    return {source_of(rule) for rule in rules_of(group_id).values()}


def test_both_families(cloud, tmp_path, vpc):
    """The word means all of the VPC's networks, IPv4 and IPv6, beside the other authorized ones."""
    vpc_id, group_id = vpc("10.1.0.0/16", "10.2.0.0/20", ipv6=True)
    act(cloud, tmp_path, authorized=[OFFICE, "vpc"])
    assert sources(group_id) == {OFFICE, "10.1.0.0/16", "10.2.0.0/20", ipv6_of(cloud, vpc_id)}


def test_each_group_its_own(cloud, tmp_path, vpc):
    """Each group gets the networks of its own VPC, and EC2 is asked once for all, before anything changes."""
    groups = {vpc(f"10.{n}.0.0/16", number=n, ingress=[IPV4])[1]: f"10.{n}.0.0/16" for n in range(1, 6)}
    act(cloud, tmp_path, authorized=["vpc"])
    assert {group_id: sources(group_id) for group_id in groups} == {each: {groups[each]} for each in groups}
    calls = [call.action for call in cloud.calls]
    assert calls.count("DescribeVpcs") == 1
    assert calls.index("DescribeVpcs") < calls.index("ModifySecurityGroupRules")


@pytest.mark.parametrize("authorized", [["vpc", OFFICE], [OFFICE, "vpc"]], ids=["first", "last"])
def test_order(cloud, tmp_path, vpc, authorized):
    """The open rule becomes one for the first network, be it the VPC's or another."""
    _, group_id = vpc("10.1.0.0/16", ingress=[IPV4])
    (open_rule,) = rules_of(group_id)
    act(cloud, tmp_path, authorized=authorized)
    assert source_of(rules_of(group_id)[open_rule]) == {"vpc": "10.1.0.0/16"}.get(authorized[0], authorized[0])


def test_a_vpc_from_an_export(cloud, tmp_path):
    """VPCs that somebody exported are reported as they were, and their networks authorized."""
    associated = {"State": "associated"}
    shape = {
        "VpcId": "vpc-0a1b2c3d4e5f60718",
        "CidrBlock": "10.9.0.0/16",
        "CidrBlockAssociationSet": [
            {"AssociationId": "vpc-cidr-assoc-1", "CidrBlock": "10.9.0.0/16", "CidrBlockState": associated},
            {"AssociationId": "vpc-cidr-assoc-2", "CidrBlock": "10.8.0.0/20", "CidrBlockState": associated},
            {"AssociationId": "vpc-cidr-assoc-3", "CidrBlock": "10.7.0.0/20", "CidrBlockState": {"State": "failed"}},
        ],
        "Ipv6CidrBlockAssociationSet": [
            {
                "AssociationId": "vpc-cidr-assoc-4",
                "Ipv6CidrBlock": "2001:2:0:900::/56",
                "Ipv6CidrBlockState": associated,
            }
        ],
    }
    load_vpcs([shape])
    (told,) = cloud.session().client("ec2").describe_vpcs(VpcIds=[shape["VpcId"]])["Vpcs"]
    for listing in ("CidrBlockAssociationSet", "Ipv6CidrBlockAssociationSet"):
        assert [each | wanted for each, wanted in zip(told[listing], shape[listing], strict=True)] == told[listing]
    load([{**group_of({"name": "g", "ingress": [IPV4, IPV6]}, 1), "VpcId": shape["VpcId"]}])
    make_queue(cloud)
    act(cloud, tmp_path, authorized=["vpc"])
    assert sources(f"sg-{1:017x}") == {"10.9.0.0/16", "10.8.0.0/20", "2001:2:0:900::/56"}


def test_no_ipv6(cloud, tmp_path, vpc):
    """In a VPC without IPv6, and with no other IPv6 network authorized, an open IPv6 rule is revoked."""
    _, group_id = vpc("10.1.0.0/16")
    act(cloud, tmp_path, authorized=["vpc"])
    assert sources(group_id) == {"10.1.0.0/16"}


def test_networks_that_are_going(cloud, tmp_path, vpc):
    """A network that is no longer the VPC's, or not yet, is not authorized."""
    _, group_id = vpc("10.1.0.0/16", "10.2.0.0/20", ingress=[IPV4])

    def going(parsed, **_):
        parsed["Vpcs"][0]["CidrBlockAssociationSet"][1]["CidrBlockState"]["State"] = "disassociating"

    act(cloud, tmp_path, after={"DescribeVpcs": going}, authorized=["vpc"])
    assert sources(group_id) == {"10.1.0.0/16"}


def refused(**_):
    """Answer as EC2 does to somebody who may not ask."""
    raise aws_error("UnauthorizedOperation", "DescribeVpcs")


def unreachable(**_):
    """Do not answer."""
    raise ConnectTimeoutError(endpoint_url="https://ec2")


def gone(parsed, **_):
    """Answer that there is no such VPC."""
    parsed["Vpcs"] = []


def wide_open(parsed, **_):
    """Answer with a network that AWS allows no VPC."""
    parsed["Vpcs"][0]["CidrBlockAssociationSet"][0]["CidrBlock"] = "0.0.0.0/0"


def unfamiliar(parsed, **_):
    """Answer with a network that is not said to be in use or not."""
    del parsed["Vpcs"][0]["CidrBlockAssociationSet"][0]["CidrBlockState"]


UNREADABLE = {
    "refused": ({"before": {"DescribeVpcs": refused}}, "cannot be read: allow it, as .*UnauthorizedOperation"),
    "unreachable": ({"before": {"DescribeVpcs": unreachable}}, "cannot be read: .*timeout"),
    "gone": ({"after": {"DescribeVpcs": gone}}, "EC2 does not find {vpc}"),
    "open": ({"after": {"DescribeVpcs": wide_open}}, "cannot be authorized: '0.0.0.0/0' is itself open"),
    "unfamiliar": ({"after": {"DescribeVpcs": unfamiliar}}, "the networks of {vpc} cannot be read: .*CidrBlockState"),
}


@pytest.mark.parametrize("preview", [False, True], ids=["for good", "preview"])
@pytest.mark.parametrize("trouble", UNREADABLE)
def test_a_vpc_that_cannot_be_read(cloud, tmp_path, vpc, trouble, preview):
    """Groups fail aloud, and nothing is revoked, where the networks of their VPC are not known; a preview says so."""
    vpc_id, group_id = vpc("10.1.0.0/16")
    happens, says = UNREADABLE[trouble]
    fails = pytest.raises(PolicyExecutionError, match=says.format(vpc=vpc_id))
    with nullcontext() if preview else fails:
        act(cloud, tmp_path, **happens, authorized=[OFFICE, "vpc"], notify=NOTIFY, preview=preview)
    assert made_changes(cloud) == []
    assert sources(group_id) == {"0.0.0.0/0", "::/0"}
    ((told,),) = [message["resources"] for message in messages(cloud)]
    assert re.search(says.format(vpc=vpc_id), told["c7n:failed-ingress"][0])
    assert "the group is left as it is" in told["c7n:failed-ingress"][0]


def test_a_preview_that_notifies_nobody(cloud, tmp_path, vpc):
    """A preview without a message fails where a group would."""
    vpc("10.1.0.0/16")
    with pytest.raises(PolicyExecutionError, match="EC2 does not find"):
        act(cloud, tmp_path, after={"DescribeVpcs": gone}, authorized=["vpc"], preview=True)


def hidden(vpc_id):
    """Answer without one of the VPCs."""

    def hide(parsed, **_):
        parsed["Vpcs"] = [each for each in parsed["Vpcs"] if each["VpcId"] != vpc_id]

    return {"DescribeVpcs": hide}


def without_source(group_id):
    """Answer with rules of a group that say nothing of who comes in."""

    def strip(parsed, **_):
        for rule in parsed["SecurityGroupRules"]:
            if rule["GroupId"] == group_id:
                del rule["CidrIpv4"]

    return {"DescribeSecurityGroupRules": strip}


@pytest.mark.parametrize("trouble", ["its VPC", "its rules"])
def test_beyond_at_most(cloud, tmp_path, vpc, trouble):
    """A group that fails is reported, and fails the run, though as many groups are changed as may be."""
    vpc("10.1.0.0/16", number=1, ingress=[IPV4])
    vpc_id, group_id = vpc("10.2.0.0/16", number=2, ingress=[IPV4])
    answers = hidden(vpc_id) if trouble == "its VPC" else without_source(group_id)
    with pytest.raises(PolicyExecutionError, match=f"{group_id}: "):
        act(cloud, tmp_path, after=answers, authorized=["vpc"], notify=NOTIFY, **{"at-most": 1})
    ((_, told),) = [message["resources"] for message in messages(cloud)]
    assert (told["GroupId"], len(told["c7n:failed-ingress"])) == (group_id, 1)


def test_not_asked_for(cloud, tmp_path, vpc):
    """EC2 is not asked for VPCs where nobody authorizes them."""
    vpc("10.1.0.0/16")
    act(cloud, tmp_path, authorized=[OFFICE])
    assert not {"DescribeVpcs", "DescribeSecurityGroupVpcAssociations"} & {call.action for call in cloud.calls}


@pytest.fixture
def associated(cloud, vpc):
    """Make an open group, and VPCs that it is associated with; return the group's id and theirs."""
    ec2 = cloud.session().client("ec2")

    def make(*cidrs, number=1):
        _, group_id = vpc(f"10.{number}.0.0/16", number=number, ingress=[IPV4])
        vpc_ids = [ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"] for cidr in cidrs]
        for vpc_id in vpc_ids:
            backend_of(ACCOUNT, "us-east-1").group(group_id).vpc_associations[vpc_id] = "associated"
        cloud.calls.clear()
        return group_id, *vpc_ids

    return make


def test_each_vpc_that_a_group_is_associated_with(cloud, tmp_path, associated):
    """The word authorizes the networks of each VPC that a group is associated with, by one more call for all groups."""
    groups = [associated(f"10.{n}1.0.0/16", f"10.{n}2.0.0/16", number=n)[0] for n in (1, 2)]
    (alone,) = associated(number=3)
    act(cloud, tmp_path, authorized=["vpc"])
    wanted = [{f"10.{n}.0.0/16", f"10.{n}1.0.0/16", f"10.{n}2.0.0/16"} for n in (1, 2)]
    assert [sources(each) for each in (*groups, alone)] == [*wanted, {"10.3.0.0/16"}]
    calls = [call.action for call in cloud.calls]
    assert [calls.count(each) for each in ("DescribeSecurityGroupVpcAssociations", "DescribeVpcs")] == [1, 1]


@pytest.mark.parametrize(
    ("state", "counts"),
    {
        "associating": True,
        "associated": True,
        "association-failed": False,
        "disassociating": True,
        "disassociated": False,
        "disassociation-failed": True,
    }.items(),
)
def test_states_of_an_association(cloud, tmp_path, associated, state, counts):
    """A VPC counts from the time that it may have an interface with the group until it can have none any more."""
    group_id, _ = associated("10.2.0.0/16")

    def in_state(parsed, **_):
        parsed["SecurityGroupVpcAssociations"][0]["State"] = state

    act(cloud, tmp_path, after={"DescribeSecurityGroupVpcAssociations": in_state}, authorized=["vpc"])
    assert sources(group_id) == {"10.1.0.0/16", *(["10.2.0.0/16"] if counts else [])}


def noted(cloud):
    """Return what the one message notes of its one group."""
    ((told,),) = [message["resources"] for message in messages(cloud)]
    assert "c7n:failed-ingress" not in told
    return told.get("c7n:noted-ingress")


@pytest.mark.parametrize("preview", [False, True], ids=["for good", "preview"])
@pytest.mark.parametrize("code", ["UnauthorizedOperation", "AccessDenied", "InvalidAction"])
def test_associations_that_ec2_does_not_list(cloud, tmp_path, associated, code, preview):
    """A group is closed for its own VPC where EC2 does not list its associations, and the message says so."""
    group_id, _ = associated("10.2.0.0/16")

    def refuse(**_):
        raise aws_error(code, "DescribeSecurityGroupVpcAssociations")

    refused = {"DescribeSecurityGroupVpcAssociations": refuse}
    act(cloud, tmp_path, before=refused, authorized=["vpc"], notify=NOTIFY, preview=preview)
    assert sources(group_id) == ({"0.0.0.0/0"} if preview else {"10.1.0.0/16"})
    (text,) = noted(cloud)
    assert text.startswith(
        "'vpc' authorizes only the networks of the group's own VPC; if the group is associated with "
    )
    assert "their clients are blocked: EC2 refuses DescribeSecurityGroupVpcAssociations: " in text
    assert code in text


def test_what_is_noted_of_a_group_that_is_not_changed(cloud, tmp_path, associated):
    """Of a group that could not be changed, the message says why, and nothing about its VPCs."""
    associated("10.2.0.0/16")

    def refuse(**_):
        raise aws_error("UnauthorizedOperation")

    refused = dict.fromkeys(["DescribeSecurityGroupVpcAssociations", "ModifySecurityGroupRules"], refuse)
    with pytest.raises(PolicyExecutionError, match="UnauthorizedOperation"):
        act(cloud, tmp_path, before=refused, authorized=["vpc"], notify=NOTIFY)
    ((resource,),) = [message["resources"] for message in messages(cloud)]
    assert "c7n:failed-ingress" in resource
    assert "c7n:noted-ingress" not in resource


def test_a_client_that_knows_no_associations(cloud, tmp_path, associated, monkeypatch):
    """A botocore that is older than associations closes a group for its own VPC, and the message says so."""
    group_id, _ = associated("10.2.0.0/16")
    session, _ = watched(cloud)
    create = session.client

    def old(*args, **more):
        client = create(*args, **more)
        if client.meta.service_model.service_name == "ec2":
            monkeypatch.delattr(type(client), "describe_security_group_vpc_associations", raising=False)
        return client

    monkeypatch.setattr(session, "client", old)
    act(cloud, tmp_path, authorized=["vpc"], notify=NOTIFY)
    assert sources(group_id) == {"10.1.0.0/16"}
    (text,) = noted(cloud)
    assert re.search(r"their clients are blocked: botocore \S+ is too old to know DescribeSecurityGroupVpc", text)


def test_associations_that_cannot_be_read_now(cloud, tmp_path, associated):
    """A group fails, and stays as it is, where a later run can read its associations."""
    group_id, _ = associated("10.2.0.0/16")
    lost = {"DescribeSecurityGroupVpcAssociations": unreachable}
    with pytest.raises(PolicyExecutionError, match=r"VPCs that the group is associated with cannot be read: .*timeout"):
        act(cloud, tmp_path, before=lost, authorized=["vpc"])
    assert sources(group_id) == {"0.0.0.0/0"}


def test_an_associated_vpc_that_is_not_shared_any_more(cloud, tmp_path, associated):
    """A group is closed though EC2 does not show a VPC that it is associated with, and the message names that VPC."""
    group_id, vpc_id = associated("10.2.0.0/16")
    act(cloud, tmp_path, after=hidden(vpc_id), authorized=["vpc"], notify=NOTIFY)
    assert sources(group_id) == {"10.1.0.0/16"}
    (text,) = noted(cloud)
    blocked = "Clients in a VPC that the group is associated with are blocked"
    assert text.startswith(f"{blocked}: EC2 does not find {vpc_id}")


def test_nothing_to_note(cloud, tmp_path, associated):
    """A message notes nothing where all networks are known."""
    associated("10.2.0.0/16")
    act(cloud, tmp_path, authorized=["vpc"], notify=NOTIFY)
    assert noted(cloud) is None


def test_associations_in_the_embedded_aws(cloud, associated):
    """Associations are listed by each of EC2's filters."""
    group_id, vpc_id = associated("10.2.0.0/16")
    ec2 = cloud.session().client("ec2")

    def states(**filters):
        wanted = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
        found = ec2.describe_security_group_vpc_associations(Filters=wanted)["SecurityGroupVpcAssociations"]
        return [(each["GroupId"], each["VpcId"], each["State"]) for each in found]

    assert states() == states(group_id=group_id) == states(vpc_id=vpc_id) == [(group_id, vpc_id, "associated")]
    assert states(state="disassociated") == []


def test_a_group_without_a_vpc(cloud, tmp_path, vpc):
    """A group whose VPC EC2 does not list fails alone; the others get the networks of their VPCs."""
    (_, strange), (_, good) = (vpc(f"10.{number}.0.0/16", number=number, ingress=[IPV4]) for number in (1, 2))

    def distort(parsed, **_):
        for each in parsed["SecurityGroups"]:
            if each["GroupId"] == strange:
                del each["VpcId"]

    with pytest.raises(PolicyExecutionError, match=f"{strange}: EC2 lists no VPC of the group"):
        act(cloud, tmp_path, after={"DescribeSecurityGroups": distort}, authorized=[OFFICE, "vpc"], notify=NOTIFY)
    assert (sources(strange), sources(good)) == ({"0.0.0.0/0"}, {OFFICE, "10.2.0.0/16"})
    assert {each["GroupId"] for message in messages(cloud) for each in message["resources"]} == {strange, good}
