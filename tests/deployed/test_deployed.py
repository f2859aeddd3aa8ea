import json
import sys
import zipfile
from datetime import datetime, timedelta, timezone

import pytest
from c7n.policy import LambdaMode

from c7n_ingress import bytecode
from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.embedded_aws.ec2 import load_prefix_list
from c7n_ingress_tools.functions.runtime import FunctionError, deployed
from tests.support.embedded import (
    CASES_OF_OPEN_INGRESS,
    MUTATING,
    check,
    load,
    made_changes,
    messages,
    rules_of,
    run,
    shipped,
    source_of,
)
from tests.support.kept import deploy_once, warm

RULE = "custodian-open-ingress"
"""The name of the Lambda, and of Config's rule."""

OPEN, *_ = CASES_OF_OPEN_INGRESS
AUTHORIZED = ["198.18.7.0/24", "198.18.8.0/24", "2001:2:0:7::/64"]

LONG_AGO = datetime(2026, 1, 31, tzinfo=timezone.utc)
"""When an item was captured that EC2 fully shows since."""


def plain(policy):
    """Make a policy look up nothing for its messages."""
    (action,) = policy["actions"]
    del action["behind"], action["reopened"]


def deploy(cloud, folder, public_ports=(), authorized=AUTHORIZED, change=None):
    """Make the stock command deploy open-ingress with a change."""
    deploy_once(cloud, folder, "open-ingress", authorized, change, public_ports=[*public_ports])


@pytest.fixture
def function(cloud, tmp_path):
    """Deploy open-ingress, and return its Lambda."""
    deploy(cloud, tmp_path)
    with warm(cloud, RULE) as function:
        yield function


def live(cloud, group_id):
    """Return a group as EC2 describes it."""
    found = cloud.session().client("ec2").describe_security_groups(GroupIds=[group_id])
    return found["SecurityGroups"][0]


def sources(group_id):
    """Return the sources of the group's ingress rules, sorted."""
    return sorted(source_of(rule) for rule in rules_of(group_id).values())


def verdicts(cloud, group_id):
    """Return the verdicts that Config received on a group, in order."""
    return [each.verdict for each in cloud.evaluations if each.resource == group_id]


@pytest.mark.parametrize("public_ports", [(), (80, 443)], ids=["closed", "a public website"])
def test_items(cloud, tmp_path, public_ports):
    """Config's item of each case gets the case's verdict, its open rules are replaced, the next item is COMPLIANT."""
    chosen = [(case, group) for case, group in CASES_OF_OPEN_INGRESS if case.get("public-ports", []) == [*public_ports]]
    deploy(cloud, tmp_path, public_ports)
    load(group for _, group in chosen)
    with warm(cloud, RULE) as function:
        for case, group in chosen:
            group_id = group["GroupId"]
            before = rules_of(group_id)
            function.invoke(event(configuration_item(live(cloud, group_id)), RULE))
            assert verdicts(cloud, group_id) == [case["verdict"]], case["name"]
            check(case, before, rules_of(group_id))

            cloud.calls.clear()
            function.invoke(event(configuration_item(live(cloud, group_id)), RULE))
            assert verdicts(cloud, group_id)[-1] == "COMPLIANT", case["name"]
            assert made_changes(cloud) == []


def test_what_a_warm_event_costs(cloud, tmp_path):
    """A warm event that closes a group asks for nothing twice, and makes one change, however many rules are open.

    That is where networks of one's own are authorized, and nothing is looked up for the message.
    """
    ports = range(2000, 2020)
    rules = [{"IpProtocol": "tcp", "FromPort": p, "ToPort": p, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]} for p in ports]
    group = {**OPEN[1], "IpPermissions": rules}
    item = event(configuration_item(group), RULE)
    deploy(cloud, tmp_path, authorized=["198.18.7.0/24"], change=plain)
    with warm(cloud, RULE) as function:
        load([group])
        function.invoke(item)
        load([group])
        cloud.calls.clear()
        function.invoke(item)
    assert [call.action for call in cloud.calls] == [
        "DescribeSecurityGroups",
        "DescribeSecurityGroupRules",
        "UpdateItem",
        "ModifySecurityGroupRules",
        "SendMessage",
        "PutEvaluations",
    ]


def test_what_a_warm_event_costs_that_looks_around(cloud, tmp_path):
    """The networks of a group's VPCs cost two calls before the change, and what the message explains three after it."""
    deploy(cloud, tmp_path, authorized=["vpc"])
    (vpc,) = cloud.session().client("ec2").describe_vpcs()["Vpcs"]
    group = {**OPEN[1], "VpcId": vpc["VpcId"]}
    with warm(cloud, RULE) as function:
        for _ in range(2):
            load([group])
            cloud.calls.clear()
            function.invoke(event(configuration_item(group), RULE))
    assert [call.action for call in cloud.calls] == [
        "DescribeSecurityGroupVpcAssociations",
        "DescribeVpcs",
        "DescribeSecurityGroups",
        "DescribeSecurityGroupRules",
        "UpdateItem",
        "ModifySecurityGroupRules",
        "GetResourceConfigHistory",
        "DescribeNetworkInterfaces",
        "DescribeVpcBlockPublicAccessOptions",
        "SendMessage",
        "PutEvaluations",
    ]
    assert sources(group["GroupId"]) == [vpc["CidrBlock"]]


def test_since_when_a_rule_was_open(cloud, function):
    """A record has the time at which AWS Config captured the item with the open rule, besides that of the change."""
    load([OPEN[1]])
    function.invoke(event(configuration_item(OPEN[1], captured=LONG_AGO), RULE))
    (message,) = messages(cloud)
    (resource,) = message["resources"]
    records = resource["c7n:replaced-ingress"]
    assert {record["opened"] for record in records} == {"2026-01-31T00:00:00.000000Z"}
    assert all(record["seconds_open"] > 86_400 for record in records)
    assert min(record["time"] for record in records) > "2026-02"


def test_what_a_cold_event_costs(cloud, function):
    """The first event of a process on a compliant group makes one call: that which says so."""
    function.stop()
    cloud.calls.clear()
    function.invoke(event(configuration_item({**OPEN[1], "IpPermissions": []}), RULE))
    assert [call.action for call in cloud.calls] == ["PutEvaluations"]


def test_an_event_of_a_failed_call(cloud, function):
    """An event about a failed call is skipped, as c7n does."""
    cloud.calls.clear()
    assert function.invoke({"detail": {"errorCode": "Client.UnauthorizedOperation"}}) is None
    assert cloud.calls == []


def test_prefix_lists_are_read_anew(cloud, function):
    """A warm process that has found a prefix list harmless finds out when the list is opened."""
    list_id, group_id = "pl-0a000000000000009", OPEN[1]["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "PrefixListIds": [{"PrefixListId": list_id}]}
    group = {**OPEN[1], "IpPermissions": [rule]}
    for entries, verdict in ((["10.0.0.0/8"], "COMPLIANT"), (["0.0.0.0/0"], "NON_COMPLIANT")):
        load_prefix_list(list_id, entries)
        load([group])
        function.invoke(event(configuration_item(live(cloud, group_id)), RULE))
        assert verdicts(cloud, group_id)[-1] == verdict


def test_a_repeated_item(cloud, function):
    """An item that Config delivers twice changes the group once, and is reported once."""
    load([OPEN[1]])
    item = event(configuration_item(OPEN[1]), RULE)
    function.invoke(item)
    function.invoke(item)
    assert sum(action == "ModifySecurityGroupRules" for action in made_changes(cloud)) == 1
    assert len(messages(cloud)) == 1


def test_a_stale_item(cloud, function):
    """A group that was closed since Config looked is left as it is now."""
    group_id = OPEN[1]["GroupId"]
    load([OPEN[1]])
    stale = event(configuration_item(OPEN[1], captured=LONG_AGO), RULE)
    cloud.session().client("ec2").revoke_security_group_ingress(
        GroupId=group_id, SecurityGroupRuleIds=list(rules_of(group_id))
    )
    function.invoke(stale)
    assert sources(group_id) == []
    assert messages(cloud) == []


def test_an_exemption_given_meanwhile(cloud, function):
    """A group that was exempted since Config looked is left open."""
    group_id = OPEN[1]["GroupId"]
    load([OPEN[1]])
    tomorrow = (datetime.now(timezone.utc).date() + timedelta(days=1)).isoformat()
    cloud.session().client("ec2").create_tags(
        Resources=[group_id], Tags=[{"Key": "open-ingress-until", "Value": tomorrow}]
    )
    function.invoke(event(configuration_item(OPEN[1]), RULE))
    assert sources(group_id) == ["0.0.0.0/0"]


def test_a_group_that_is_gone(cloud, function):
    """An item of a group that has been deleted since is no failure."""
    function.invoke(event(configuration_item(OPEN[1], captured=LONG_AGO), RULE))
    assert not MUTATING & {call.action for call in cloud.calls}


def opened(cloud, sources, lag=0):
    """Load the group without its open rule and add rules for the sources, which EC2 shows so many describes later."""
    load([{**OPEN[1], "IpPermissions": []}])
    if not sources:
        return
    cloud.ec2.lag = lag
    ranges = [{"CidrIp": source} for source in sources]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}
    cloud.session().client("ec2").authorize_security_group_ingress(GroupId=OPEN[1]["GroupId"], IpPermissions=[rule])
    cloud.ec2.lag = 0


def invoking(item, before=()):
    """Return the event of an item; it says for which source the group had a rule before."""
    sent = event(item, RULE)
    read = json.loads(sent["invokingEvent"])
    (permission, *_) = item["configuration"]["ipPermissions"]
    read["configurationItemDiff"] = {
        "changeType": "UPDATE",
        "changedProperties": {
            f"Configuration.IpPermissions.{number}": {
                "previousValue": {**permission, "ipRanges": [cidr], "ipv4Ranges": [{"cidrIp": cidr}]},
                "updatedValue": permission,
                "changeType": "UPDATE",
            }
            for number, cidr in enumerate(before)
        },
    }
    return sent | {"invokingEvent": json.dumps(read)}


def test_an_item_before_ec2_shows_the_rule(cloud, function):
    """A group is read again while EC2 does not show the rule of a new item, and is closed in the same run."""
    opened(cloud, ["0.0.0.0/0"], lag=2)
    function.invoke(event(configuration_item(OPEN[1]), RULE))
    assert sources(OPEN[1]["GroupId"]) == ["198.18.7.0/24", "198.18.8.0/24"]
    assert len(messages(cloud)) == 1


@pytest.mark.parametrize("shown", [[], ["10.0.0.0/8"]], ids=["nothing", "what was there before"])
def test_an_item_that_ec2_never_shows(cloud, function, shown):
    """Where EC2 still shows the group as it was before a new item, the function fails, so that Lambda tries again."""
    opened(cloud, shown)
    with pytest.raises(FunctionError, match=r"EC2 does not show tcp 22 from 0\.0\.0\.0/0 yet; Lambda tries"):
        function.invoke(invoking(configuration_item(OPEN[1]), before=shown))
    assert verdicts(cloud, OPEN[1]["GroupId"]) == ["NON_COMPLIANT"]
    assert messages(cloud) == []


def test_a_new_item_of_a_group_that_was_changed_since(cloud, function):
    """Where EC2 shows a rule that the group had neither in a new item nor before, nothing is read again."""
    opened(cloud, ["10.0.0.0/8"])
    cloud.calls.clear()
    function.invoke(invoking(configuration_item(OPEN[1]), before=["192.168.0.0/16"]))
    assert [call.action for call in cloud.calls if call.action.startswith("DescribeSecurity")] == [
        "DescribeSecurityGroups",
        "DescribeSecurityGroupRules",
    ]


def test_a_new_group_that_ec2_never_shows(function):
    """A new item of a group that EC2 does not show fails the function."""
    with pytest.raises(FunctionError, match=f"EC2 does not show {OPEN[1]['GroupId']} yet"):
        function.invoke(event(configuration_item(OPEN[1]), RULE))


def test_a_deletion(cloud, function):
    """The item of a deleted group, which has no configuration, is evaluated as not applicable."""
    function.invoke(event(configuration_item(OPEN[1], status="ResourceDeleted"), RULE))
    assert verdicts(cloud, OPEN[1]["GroupId"]) == ["NOT_APPLICABLE"]


def test_examples_are_not_deployed(cloud, tmp_path):
    """A policy whose settings authorize an example is refused with one line, and not deployed."""
    done = run(cloud, shipped("open-ingress", tmp_path, ["203.0.113.0/24"]), tmp_path)
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert "203.0.113.0/24 is an example from the documentation" in line
    assert cloud.session().client("lambda").list_functions()["Functions"] == []


# ---- Bytecode

OWN = f"python{sys.version_info.major}.{sys.version_info.minor}"
SHIPPED = "python3.13"
"""This Python as Lambda names its runtimes, and the one that the policies of the pack have."""


by_this_python = pytest.mark.skipif(
    OWN not in LambdaMode.schema["properties"]["runtime"]["enum"], reason=f"c7n deploys no function for {OWN}"
)


def of_this_python(policy):
    """Make a policy run on this Python."""
    policy["mode"]["runtime"] = OWN


def closes(function):
    """Make the function close a group that is open."""
    load([OPEN[1]])
    function.invoke(event(configuration_item(OPEN[1]), RULE))
    return "0.0.0.0/0" not in sources(OPEN[1]["GroupId"])


def own_task(folder):
    """Return what was deployed c7n and the pack of its own, to be changed: they are links to what others run, too."""
    task = folder / "task"
    with zipfile.ZipFile(folder / f"{RULE}.zip") as archive:
        for top in ("c7n", "c7n_ingress"):
            (task / top).unlink()
            archive.extractall(task, [name for name in archive.namelist() if name.startswith(f"{top}/")])
    return task


def sources_of(task):
    """Return the files of c7n and the pack that there is bytecode for, as deployed."""
    return [path.parents[1] / f"{path.name.partition('.')[0]}.py" for path in task.rglob("*.pyc")]


@by_this_python
def test_what_is_shipped_as_bytecode_is_not_compiled(cloud, tmp_path):
    """A function of this Python's version runs by the zip's bytecode alone: it never looks into those sources."""
    deploy(cloud, tmp_path, change=of_this_python)
    with deployed(cloud, RULE, folder=tmp_path) as function:
        task = own_task(tmp_path)
        shipped = sources_of(task)
        assert {
            "c7n/policy.py",
            "c7n/resources/vpc.py",
            "c7n_ingress/actions/replace_ingress.py",
            "c7n_ingress/lambda_entry.py",
        } < {str(path.relative_to(task)) for path in shipped}
        for path in shipped:
            path.write_text("this is no Python")
        assert closes(function)
        assert set(task.rglob("*.pyc")) == {
            path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc" for path in shipped
        }


@by_this_python
@pytest.mark.parametrize("damage", [b"", b"\0\0\0\0", None], ids=["cut off", "of another Python", "not there"])
def test_bytecode_that_does_not_fit(cloud, tmp_path, damage):
    """Where the zip's bytecode is of no use, the function compiles what it needs, and works."""
    deploy(cloud, tmp_path, change=of_this_python)
    with deployed(cloud, RULE, folder=tmp_path) as function:
        for path in own_task(tmp_path).rglob("*.pyc"):
            if damage is None:
                path.unlink()
            else:
                path.write_bytes(damage + path.read_bytes()[4:] if damage else b"")
        assert closes(function)


def test_a_runtime_of_another_python(cloud, tmp_path):
    """Where the zip has no bytecode for the Python that runs it, the function compiles what it needs, and works."""
    other = "python3.12" if OWN == SHIPPED else SHIPPED
    deploy(cloud, tmp_path, change=lambda policy: policy["mode"].update(runtime=other))
    with deployed(cloud, RULE, folder=tmp_path) as function:
        with zipfile.ZipFile(tmp_path / f"{RULE}.zip") as archive:
            made_for = {name.split(".")[-2] for name in archive.namelist() if name.endswith(".pyc")}
            is_on_the_path = bytecode.compiled_by(other, other, (("empty.py", b""),))
            assert made_for == ({other.replace("python3.", "cpython-3")} if is_on_the_path else set())
        assert closes(function)


@by_this_python
def test_bytecode_is_the_same_each_time(cloud, tmp_path):
    """To deploy again what has not changed leaves the function's code alone."""
    deploy(cloud, tmp_path, change=of_this_python)
    client = cloud.session().client("lambda")
    before = client.get_function_configuration(FunctionName=RULE)["CodeSha256"]
    cloud.calls.clear()
    again = shipped("open-ingress", tmp_path, AUTHORIZED, of_this_python, public_ports=[])
    result = run(cloud, again, tmp_path)
    assert result.returncode == 0, result.stderr
    assert client.get_function_configuration(FunctionName=RULE)["CodeSha256"] == before
    assert not [call.action for call in cloud.calls if call.action.startswith("UpdateFunctionCode")]
