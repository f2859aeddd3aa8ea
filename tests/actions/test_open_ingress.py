import json
import textwrap
from ipaddress import ip_network

import pytest
from botocore.exceptions import ClientError
from c7n.exceptions import PolicyExecutionError

from c7n_ingress.decide.openness import are_open
from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.embedded_aws.ec2 import load_prefix_list
from c7n_ingress_tools.functions.runtime import deployed
from tests.support.embedded import (
    CASES_OF_OPEN_INGRESS,
    NOTIFY,
    PREFIX_LISTS,
    act,
    check,
    custodian,
    group_of,
    load,
    made_changes,
    make_queue,
    messages,
    rules_of,
    run,
    shipped,
    source_of,
)

OPEN_LIST, CLOSED_LIST = "pl-0e000000000000001", "pl-0a000000000000002"
SSH = {"protocol": "tcp", "ports": 22, "source": OPEN_LIST, "description": "ssh"}
FINDER = {"type": "open-ingress"}
READS = ["DescribeManagedPrefixLists", "GetManagedPrefixListEntries"]
AUTHORIZED = ["198.18.7.0/24", "198.18.8.0/24", "2001:2:0:7::/64"]


@pytest.fixture
def replace(cloud, tmp_path):
    """Run the filter and the action in this process, and return the records."""

    def run(before=None, after=None, filters=(FINDER,)):
        return act(cloud, tmp_path, before, after, list(filters), notify=NOTIFY, authorized=AUTHORIZED)

    return run


def sources(group_id):
    """Return the sources of the group's ingress rules, sorted."""
    return sorted(source_of(rule) for rule in rules_of(group_id).values())


def reads(cloud):
    """Return the calls that read prefix lists, in order."""
    return [call.action for call in cloud.calls if call.action in READS]


@pytest.mark.parametrize(
    ("cidrs", "verdict"),
    [
        ([], False),
        (["0.0.0.0/0"], True),
        (["12.0.0.0/7"], True),
        (["12.0.0.0/8"], False),
        (["12.0.0.0/8", "13.0.0.0/8"], True),
        (["12.0.0.0/8", "14.0.0.0/8"], True),
        (["12.0.0.0/8", "10.0.0.0/8", "12.1.0.0/16"], False),
        (["10.0.0.0/8", "11.0.0.0/8"], False),
        (["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], False),
        ([f"{n}.0.0.0/8" for n in range(256)], True),
        (["2a02::/15"], True),
        (["2a02::/16"], False),
        (["2a02::/16", "2a03::/16"], True),
        (["fc00::/7"], False),
        (["fc00::/8", "fd00::/8"], False),
        (["fc00::/6"], True),
    ],
)
def test_what_is_open(cidrs, verdict):
    """A list is open if an entry is, or if some of its entries together are as wide as that."""
    assert are_open(map(ip_network, cidrs)) is verdict


def test_the_networks_come_before_the_list_goes(cloud, group, replace):
    """The authorized networks of the list's family are added, the reference is revoked by its id; all is reported."""
    group_id = group(SSH)
    (rule_id,) = rules_of(group_id)
    records = replace()
    assert made_changes(cloud) == ["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"]
    assert sources(group_id) == AUTHORIZED[:2]
    told = [(r["how"], r["was"], r["now"]) for r in records]
    assert told == [
        ("authorized", None, AUTHORIZED[0]),
        ("authorized", None, AUTHORIZED[1]),
        ("revoked", OPEN_LIST, None),
    ]
    assert records[-1]["rule"] == rule_id
    (message,) = messages(cloud)
    assert message["action"]["subject"].startswith("Open ingress: 1 rule replaced in 1 group")


@pytest.mark.parametrize("key", [{"FromPort": 22}, {"ToPort": 22}, {"IpProtocol": "tcp"}, {"Ports": [22]}])
def test_which_traffic_is_meant(group, replace, key):
    """Of what is open, that is closed which the filter's keys name, and nothing else."""
    group_id = group({**SSH, "source": "0.0.0.0/0"}, {"protocol": "udp", "ports": 53, "source": "0.0.0.0/0"})
    replace(filters=[{**FINDER, **key}])
    assert {(rule["FromPort"], source_of(rule)) for rule in rules_of(group_id).values()} == {
        (22, AUTHORIZED[0]),
        (22, AUTHORIZED[1]),
        (53, "0.0.0.0/0"),
    }


PROTOCOLS = {
    "22": {"protocol": "tcp", "ports": 22},
    "20-30": {"protocol": "tcp", "ports": "20-30"},
    "all tcp": {"protocol": "tcp", "ports": "0-65535"},
    "udp 22": {"protocol": "udp", "ports": 22},
    "udp 500": {"protocol": "udp", "ports": 500},
    "all": {"protocol": "-1"},
    "gre": {"protocol": "47"},
    "esp": {"protocol": "50"},
    "ah": {"protocol": "51"},
    "icmp 3 4": {"protocol": "icmp", "ports": "3-4"},
    "icmp": {"protocol": "icmp"},
    "icmp 22": {"protocol": "icmp", "ports": "22--1"},
}


@pytest.mark.parametrize(
    ("key", "closed"),
    [
        ({"Ports": [22]}, {"22", "20-30", "all tcp", "udp 22", "all"}),
        ({"Ports": ["tcp/22"]}, {"22", "20-30", "all tcp", "all"}),
        ({"Ports": ["udp/22", 500]}, {"udp 22", "udp 500", "all tcp", "all"}),
        ({"Ports": [3, 4]}, {"all tcp", "all"}),
        ({"Ports": []}, {*PROTOCOLS}),
        ({"OnlyPorts": [22]}, {*PROTOCOLS} - {"22", "udp 22"}),
        ({"OnlyPorts": ["tcp/22"]}, {*PROTOCOLS} - {"22"}),
        ({"OnlyPorts": ["tcp/22", "udp/500"]}, {*PROTOCOLS} - {"22", "udp 500"}),
        ({"OnlyPorts": [3, 4, 47]}, {*PROTOCOLS}),
        ({"Ports": [22], "OnlyPorts": ["tcp/22"]}, {"20-30", "all tcp", "udp 22", "all"}),
    ],
    ids=lambda each: str(each) if isinstance(each, dict) else "closed",
)
def test_which_ports_are_meant(group, replace, key, closed):
    """A number is a port of TCP and of UDP, or of the one that is named; ICMP, GRE, ESP and AH have no ports."""
    named = {name: group({**each, "source": "0.0.0.0/0"}, number=n) for n, (name, each) in enumerate(PROTOCOLS.items())}
    replace(filters=[{**FINDER, **key}])
    assert {name for name, group_id in named.items() if "0.0.0.0/0" not in sources(group_id)} == closed


def test_nothing_is_read_where_no_rule_refers_to_a_list(cloud, group, replace):
    """Groups that refer to no prefix list cost no call more."""
    group({**SSH, "source": "0.0.0.0/0"})
    replace(filters=[{"or": [{"type": "ingress", "Cidr": "0.0.0.0/0"}, FINDER]}])
    assert reads(cloud) == []


def test_a_list_is_read_once_a_run(cloud, group, replace):
    """Two lists in three groups, each looked at twice, cost one describe and one reading of each list's entries."""
    for number in range(1, 4):
        group(SSH, {**SSH, "ports": 443, "source": CLOSED_LIST}, number=number)
    replace()
    assert reads(cloud) == [READS[0], READS[1], READS[1]]


def test_a_list_of_many_pages(cloud, group, replace):
    """An open network on a list's third page is found."""
    load_prefix_list("pl-00000000000000099", [*(f"10.0.{n}.0/24" for n in range(250)), "0.0.0.0/0"])
    group_id = group({**SSH, "source": "pl-00000000000000099"})
    replace()
    assert "pl-00000000000000099" not in sources(group_id)
    assert reads(cloud) == [READS[0], *[READS[1]] * 3]


@pytest.mark.parametrize(("owner", "left"), [("999999999999", AUTHORIZED[:2]), ("AWS", ["pl-00000000000000098"])])
def test_lists_of_others(group, replace, owner, left):
    """A list that another account shares is read as one's own; what AWS keeps is never open, whatever it holds."""
    load_prefix_list("pl-00000000000000098", ["0.0.0.0/0"], owner=owner)
    group_id = group({**SSH, "source": "pl-00000000000000098"})
    replace()
    assert sources(group_id) == left


@pytest.fixture(params=["no longer listed", "gone before its entries are read"])
def hide(request, cloud):
    """Make a list be no longer shared with the account, and return what is to happen just before EC2 is called."""

    def hidden(**_):
        load_prefix_list(OPEN_LIST, [])  # so that it is there to be deleted
        cloud.session().client("ec2").delete_managed_prefix_list(PrefixListId=OPEN_LIST)
        describe = cloud.session().client("ec2").describe_managed_prefix_lists
        while any(each["PrefixListId"] == OPEN_LIST for each in describe()["PrefixLists"]):
            pass  # moto shows it once more

    return {READS[0 if request.param == "no longer listed" else 1]: hidden}


def test_a_list_that_cannot_be_read(cloud, group, replace, hide):
    """A list that is no longer shared is left alone and reported, with its id; the group's open rules are closed."""
    group_id = group(SSH, {**SSH, "ports": 443, "source": "0.0.0.0/0"})
    replace(before=hide, filters=[{"or": [{"type": "ingress", "Cidr": "0.0.0.0/0"}, FINDER]}])
    assert sources(group_id) == [*AUTHORIZED[:2], OPEN_LIST]
    (message,) = messages(cloud)
    (left,) = message["resources"][0]["c7n:left-ingress"]
    assert left.startswith(f"tcp 22 from {OPEN_LIST}: that prefix list cannot be read")


@pytest.fixture(params=READS)
def unanswered(request):
    """Make EC2 not answer one of the calls that read lists, and return what is to happen just before it is called."""

    def down(**_):
        raise ClientError({"Error": {"Code": "InternalError", "Message": "An internal error has occurred."}}, "Get")

    return {request.param: down}


def test_a_list_that_ec2_does_not_return_stops_nothing_else(cloud, group, replace, unanswered):
    """If EC2 does not return what a list holds, its rule is left and reported as a failure; the others are closed."""
    group_id = group(SSH, {**SSH, "ports": 443, "source": "0.0.0.0/0"})
    with pytest.raises(PolicyExecutionError, match=f"tcp 22 from {OPEN_LIST}: EC2 did not list.*internal error"):
        replace(before=unanswered)
    assert sources(group_id) == [*AUTHORIZED[:2], OPEN_LIST]
    (message,) = messages(cloud)
    (failure,) = message["resources"][0]["c7n:failed-ingress"]
    assert failure.startswith(f"tcp 22 from {OPEN_LIST}: EC2 did not list what that prefix list holds")

    replace()
    assert OPEN_LIST not in sources(group_id)


def test_without_the_action_the_filter_fails(cloud, group, tmp_path, unanswered):
    """If EC2 does not return a list and no action reports it, the run fails: a harmless list must not look open."""
    group(SSH)
    with pytest.raises(PolicyExecutionError, match=f"EC2 did not return the entries of {OPEN_LIST}: .*internal error"):
        act(cloud, tmp_path, unanswered, None, [FINDER], type="remove-permissions", ingress="matched")


def test_both_finders_match_the_same_rule(group, replace):
    """A rule that a broad `ingress` filter matches too is replaced as an open list's, whichever branch comes first."""
    for number, branches in enumerate(([FINDER, {"type": "ingress", "Ports": [22]}],) * 2, 1):
        group_id = group(SSH, number=number)
        replace(filters=[{"or": branches[::-1] if number == 2 else branches}])
        assert sources(group_id) == AUTHORIZED[:2]


def test_an_item_of_aws_config(cloud, tmp_path):
    """The deployed policy finds the list in an item as AWS Config writes it, with boto3 and its own zip alone."""
    make_queue(cloud)
    role = {"RoleName": "custodian-open-ingress", "AssumeRolePolicyDocument": "{}"}
    cloud.session().client("iam").create_role(**role)
    done = custodian(
        cloud, "run", "--region", "us-east-1", "-s", tmp_path, *shipped("open-ingress", tmp_path, AUTHORIZED)
    )
    assert done.returncode == 0, done.stderr
    chosen = [(case, group) for case, group in CASES_OF_OPEN_INGRESS if lists_in(case) and "public-ports" not in case]
    load(group for _, group in chosen)
    with deployed(cloud, "custodian-open-ingress") as function:
        for case, group in chosen:
            before = rules_of(group["GroupId"])
            (told,) = (
                cloud.session().client("ec2").describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
            )
            function.invoke(event(configuration_item(told), "custodian-open-ingress"))
            check(case, before, rules_of(group["GroupId"]))
            assert cloud.evaluations[-1].verdict == case["verdict"]


def lists_in(case):
    """Return the prefix lists of a case whose entries are known."""
    return {rule["source"] for rule in case["ingress"]} & PREFIX_LISTS.keys()


def test_the_example(cloud, tmp_path):
    """The example that `custodian schema` shows is a whole policy, and valid."""
    shown = custodian(cloud, "schema", "aws.security-group.filters.open-ingress").stdout
    example = shown.partition(".. code-block:: yaml")[2].partition("Schema")[0]
    (tmp_path / "policy.yml").write_text(textwrap.dedent(example))
    result = custodian(cloud, "validate", tmp_path / "policy.yml")
    assert (result.returncode, "Configuration valid" in result.stderr) == (0, True), result.stderr


def test_another_action_on_what_matched(cloud, tmp_path):
    """c7n's own action removes what this filter matched, prefix lists included."""
    load([group_of({"name": "web", "ingress": [SSH, {**SSH, "source": "0.0.0.0/0"}]}, 1)])
    policy = {"name": "p", "resource": "aws.security-group", "filters": [FINDER]}
    policy["actions"] = [{"type": "remove-permissions", "ingress": "matched"}]
    (path := tmp_path / "p.yml").write_text(json.dumps({"policies": [policy]}))
    done = run(cloud, path, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sources(f"sg-{1:017x}") == []
