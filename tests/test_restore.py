import re
from datetime import datetime, timezone

import pytest
from botocore.exceptions import ClientError
from c7n.exceptions import PolicyExecutionError
from embedded import (
    ACCOUNT,
    NOTIFY,
    ROOT,
    act,
    cases,
    day,
    edited,
    group_of,
    load,
    make_queue,
    messages,
    permission,
    records,
    rules_of,
    run,
    shape,
    source_of,
    wanted_shape,
)

from c7n_ingress.decide.undo import exemption

CASES = cases("restore-ingress")
AUTHORIZED = CASES["authorized"]
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "ssh"}
WEB = {"protocol": "tcp", "ports": 443, "source": "::/0", "description": "web"}
TRACE = {"c7n-ingress:was", "c7n-ingress:now", "c7n-ingress:at", "c7n-ingress:by"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Look at a group again at once."""
    monkeypatch.setattr("c7n_ingress.aws.run.time.sleep", lambda _seconds: None)


@pytest.fixture
def replace(cloud, tmp_path):
    """Close all groups, and give the records; what is told of it is not of interest."""

    def close(before=None, after=None, **action):
        done = act(cloud, tmp_path, before, after, **{"notify": NOTIFY, "authorized": AUTHORIZED, **action})
        messages(cloud)
        return done

    return close


@pytest.fixture
def restore(cloud, tmp_path):
    """Restore all groups, and give the records."""

    def undo(before=None, after=None, filters=({"VpcId": "present"},), **action):
        cloud.calls.clear()
        action = {"type": "restore-ingress", "days": 30, "notify": NOTIFY, **action}
        return act(cloud, tmp_path, before, after, list(filters), **action)

    return undo


def tags_of(cloud, group_id):
    """Give a group's tags."""
    (group,) = cloud.session().client("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    return {tag["Key"]: tag["Value"] for tag in group["Tags"]}


def trace_of(rule):
    """Give the trace on a rule."""
    return {tag["Key"]: tag["Value"] for tag in rule["Tags"] if tag["Key"] in TRACE}


def shapes(rules):
    """Give what rules let in, and how they are described, sorted."""
    return sorted(map(shape, rules), key=str)


def by_source(cloud, group_id):
    """Give the group's rules by their source."""
    return {source_of(rule): rule for rule in rules_of(cloud, group_id).values()}


def calls(cloud):
    """Give the names of the calls that changed anything in EC2, in order."""
    return [each.action for each in cloud.calls if each.service == "ec2" and not each.action.startswith("Describe")]


def told(cloud):
    """Give the subject of the one message that was sent, and what it says of each group."""
    (message,) = messages(cloud)
    return message["action"]["subject"], {resource["GroupId"]: resource for resource in message["resources"]}


# -- cases


def edit(cloud, group_id, since):
    """Do what people did since the group was closed."""
    ec2 = cloud.session().client("ec2")
    rule_id = by_source(cloud, group_id)[since["rule"]]["SecurityGroupRuleId"]
    if "becomes" not in since:
        ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=[rule_id])
        return
    said = permission(since["becomes"])
    (source,) = said.pop("IpRanges")
    request = {**said, "CidrIpv4": source["CidrIp"], "Description": source["Description"]}
    ec2.modify_security_group_rules(
        GroupId=group_id, SecurityGroupRules=[{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": request}]
    )


def test_cases(cloud, tmp_path):
    """Closed and restored, each group is as its case says, ids, tags and descriptions too, and needs nothing more."""
    groups = [group_of(case, number) for number, case in enumerate(CASES["groups"], 1)]
    load(groups)
    make_queue(cloud)
    before = {group["GroupId"]: rules_of(cloud, group["GroupId"]) for group in groups}
    act(cloud, tmp_path, authorized=AUTHORIZED)
    for case, group in zip(CASES["groups"], groups, strict=True):
        for since in case.get("since", ()):
            edit(cloud, group["GroupId"], since)

    restoring = {"type": "restore-ingress", "days": 30, "filters": [{"VpcId": "present"}], "notify": NOTIFY}
    act(cloud, tmp_path, **restoring)

    _, resources = told(cloud)
    for case, group in zip(CASES["groups"], groups, strict=True):
        group_id, after = group["GroupId"], rules_of(cloud, group["GroupId"])
        if "since" in case:
            wanted = case.get("afterwards", case["ingress"])
            assert shapes(after.values()) == sorted(map(wanted_shape, wanted), key=str), case["name"]
        else:
            same = {key: rule for key, rule in before[group_id].items() if source_of(rule) not in case.get("new", ())}
            assert {key: rule for key, rule in after.items() if key in same} == same, case["name"]
            assert shapes(after.values()) == shapes(before[group_id].values()), case["name"]
        left = resources.get(group_id, {}).get("c7n:left-ingress", [])
        assert [re.sub("sgr-[0-9a-f]+", "sgr-", text) for text in left] == case.get("left", []), case["name"]
        exempt = {} if after == before[group_id] and group_id not in resources else {"open-ingress-until": day("+30")}
        if not left:
            assert tags_of(cloud, group_id) == exempt, case["name"]
            assert [rule for rule in after.values() if trace_of(rule)] == [], case["name"]

    cloud.calls.clear()
    assert act(cloud, tmp_path, **restoring) == []
    assert calls(cloud) == []


def test_the_policy(cloud, group, replace, tmp_path):
    """`custodian run` on the shipped file, with a group's id put in, restores that group, and the sweep heeds it."""
    group_id, other = group(SSH), group(SSH, number=2)
    before = rules_of(cloud, group_id)
    replace()
    text = (ROOT / "policies" / "restore-ingress.yml").read_text()
    policy = tmp_path / "restore-ingress.yml"
    policy.write_text(text.replace("&group sg-0123456789abcdef0", f"&group {group_id}"))

    result = run(cloud, policy, tmp_path)

    assert result.returncode == 0, result.stderr
    assert rules_of(cloud, group_id) == before
    assert set(by_source(cloud, other)) == set(AUTHORIZED)
    assert {record["group"] for record in records(result.stderr)} == {group_id}

    sweep = run(cloud, edited("open-ingress-sweep", tmp_path, AUTHORIZED), tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    assert rules_of(cloud, group_id) == before


# -- the trace


def test_a_changed_rule_bears_its_trace(cloud, group, replace):
    """On a rule that became another, and on one that was added, tags say what was, what is, when and who did it."""
    group_id = group(SSH)
    records = replace()
    rules = by_source(cloud, group_id)
    modified, added = (trace_of(rules[network]) for network in AUTHORIZED)
    at = {record["time"] for record in records}
    assert {modified.pop("c7n-ingress:at"), added.pop("c7n-ingress:at")} <= at | {max(at)}
    assert modified == {
        "c7n-ingress:was": "0.0.0.0/0",
        "c7n-ingress:now": "tcp/22 from 198.18.7.0/24",
        "c7n-ingress:by": "a-policy",
    }
    assert added == {
        "c7n-ingress:was": "-",
        "c7n-ingress:now": "tcp/22 from 198.18.8.0/24",
        "c7n-ingress:by": "a-policy",
    }


def test_a_revoked_rule_leaves_its_trace_on_the_group(cloud, group, replace):
    """For a rule that was revoked, a tag of the group says what it was, and how it was described."""
    group_id = group(WEB)
    replace()
    assert tags_of(cloud, group_id) == {"c7n-ingress:was/tcp/443/::/0": "web"}


def test_one_call_marks_all_rules_of_a_kind(cloud, group, replace):
    """Any number of rules that shared a source and now share another take one call more than without a trace."""
    group(*({**SSH, "ports": port} for port in range(1, 21)))
    cloud.calls.clear()
    replace(authorized=["198.18.7.0/24"])
    assert calls(cloud) == ["ModifySecurityGroupRules", "CreateTags"]


def test_a_run_that_is_stopped_tells_and_can_be_undone(cloud, group, replace):
    """If somebody stops the run, each group that was changed by then bears its trace, and is told of."""
    ids = [group(SSH, number=number) for number in range(1, 6)]
    stopped = []

    def stop(**_):
        stopped.append(1)
        if len(stopped) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace({"ModifySecurityGroupRules": stop}, authorized=["198.18.7.0/24"])
    traces = [trace_of(rule) for group_id in ids for rule in rules_of(cloud, group_id).values()]
    traced = {group_id for group_id, trace in zip(ids, traces, strict=True) if trace}
    assert len(traced) == 3
    (message,) = messages(cloud)
    assert {resource["GroupId"] for resource in message["resources"]} == traced


def test_a_rule_that_is_gone_costs_no_other_its_trace(cloud, group, replace):
    """If one of the groups' rules goes before it is marked, all others are marked."""
    ids = [group(SSH, number=number) for number in range(1, 6)]
    gone = []

    def goes(**_):
        if not gone:
            gone.extend(rules_of(cloud, ids[2]))
            cloud.session().client("ec2").revoke_security_group_ingress(GroupId=ids[2], SecurityGroupRuleIds=gone)

    replace({"CreateTags": goes}, authorized=["198.18.7.0/24"])
    traces = [trace_of(rule) for group_id in ids for rule in rules_of(cloud, group_id).values()]
    assert [set(trace) for trace in traces] == [TRACE] * 4


def test_added_rules_are_marked_by_the_call_that_adds_them(cloud, group, replace):
    """The trace of added rules takes no call."""
    group(SSH, {**SSH, "ports": 23})
    cloud.calls.clear()
    replace()
    assert calls(cloud) == ["AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules", "CreateTags"]


@pytest.mark.parametrize("how", [{"trace": False}, {"preview": True}])
def test_no_trace(cloud, group, replace, how):
    """With `trace: false`, and in a preview, no tag is set."""
    group_id = group(SSH, WEB)
    cloud.calls.clear()
    replace(**how)
    assert "CreateTags" not in calls(cloud)
    assert tags_of(cloud, group_id) == {}
    assert [rule for rule in rules_of(cloud, group_id).values() if rule["Tags"]] == []


def refused(code="UnauthorizedOperation", operation="CreateTags"):
    """Make something that happens: EC2 refuses the call."""

    def refuse(**_):
        raise ClientError(
            {
                "Error": {"Code": code, "Message": "not you"},
                "ResponseMetadata": {"RetryAttempts": 0, "HTTPStatusCode": 403},
            },
            operation,
        )

    return refuse


def test_who_may_not_tag_closes_all_the_same(cloud, group, replace):
    """If tags are refused, the group is closed all the same, added networks included, and that is told of and fails."""
    group_id = group(SSH)

    def refuse_tags(params, **_):
        if "TagSpecification" in str(params["body"]):
            refused(operation="AuthorizeSecurityGroupIngress")()

    before = {"AuthorizeSecurityGroupIngress": refuse_tags, "CreateTags": refused()}
    with pytest.raises(PolicyExecutionError, match=r"bears no trace for restore-ingress: .* \(and 1 more"):
        replace(before)
    assert set(by_source(cloud, group_id)) == set(AUTHORIZED)
    _, resources = told(cloud)
    assert len(resources[group_id]["c7n:replaced-ingress"]) == 2
    assert len(resources[group_id]["c7n:failed-ingress"]) == 2


def test_a_rule_that_goes_before_it_is_marked(cloud, group, replace):
    """If somebody revokes one of the rules before they are marked, the others are marked, and nothing fails."""
    group_id = group(SSH, {**SSH, "ports": 23})
    gone = []

    def goes(**_):
        if not gone:
            gone.append(min(rules_of(cloud, group_id)))
            ec2 = cloud.session().client("ec2")
            ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=gone)

    replace({"CreateTags": goes}, authorized=["198.18.7.0/24"])
    (rule,) = rules_of(cloud, group_id).values()
    assert set(trace_of(rule)) == TRACE


def test_a_group_without_room_for_tags(cloud, group, replace):
    """If the group has no room for another tag, its rule is revoked all the same, and told of with what it was."""
    group_id = group(WEB, Tags=[{"Key": f"tag {n}", "Value": ""} for n in range(49)])
    with pytest.raises(PolicyExecutionError, match="tcp 443 from ::/0 was revoked, but its trace found no room"):
        replace()
    assert rules_of(cloud, group_id) == {}
    assert len(tags_of(cloud, group_id)) == 49


# -- what is told


def test_records(cloud, group, replace, restore):
    """What was turned back or came back is recorded as restored, what was added as removed."""
    group_id = group(SSH, WEB)
    replace()
    records = restore()
    assert [(r["how"], r["ports"], r["was"], r["now"], r["description"]) for r in records] == [
        ("restored", "443", None, "::/0", "web"),
        ("restored", "22", "198.18.7.0/24", "0.0.0.0/0", "ssh"),
        ("removed", "22", "198.18.8.0/24", None, "ssh"),
    ]
    assert {record["account"] for record in records} == {ACCOUNT}
    assert {record["rule"] for record in records if record["now"]} == set(rules_of(cloud, group_id))


def test_a_message_says_what_was_restored(cloud, group, replace, restore):
    """The subject says how many rules were restored, and until when; the message has the records and the day."""
    group_id = group(SSH, WEB)
    replace()
    records = restore()
    subject, resources = told(cloud)
    assert subject == f"Open ingress: 2 rules restored in 1 group until {day('+30')} (123456789012 us-east-1)"
    assert resources[group_id]["c7n:restored-ingress"] == records
    assert resources[group_id]["c7n:exempt-ingress"] == day("+30")


def test_preview(cloud, group, replace, restore):
    """A preview tells what would be restored, and changes nothing, the exemption included."""
    group_id = group(SSH, WEB)
    replace()
    before = rules_of(cloud, group_id), tags_of(cloud, group_id)
    assert {record["how"] for record in restore(preview=True)} == {"preview"}
    assert calls(cloud) == []
    assert (rules_of(cloud, group_id), tags_of(cloud, group_id)) == before
    subject, _ = told(cloud)
    assert subject == "Open ingress: 2 rules would be restored in 1 group (123456789012 us-east-1)"


def test_what_is_left_alone_is_told_without_failing(cloud, group, replace, restore):
    """If all that was replaced has been changed since, the group is not exempted nor changed, and people are told."""
    group_id = group(SSH)
    replace(authorized=["198.18.7.0/24"])
    edit(cloud, group_id, {"rule": "198.18.7.0/24", "becomes": {**SSH, "source": "198.18.7.7/32"}})
    assert restore() == []
    assert calls(cloud) == []
    subject, _ = told(cloud)
    assert subject == "Open ingress: 1 rule left alone (123456789012 us-east-1)"


# -- in which order


def test_order(cloud, group, replace, restore):
    """The exemption comes first, then what comes back, then what goes, and the trace is cleared last: a call each."""
    group(SSH, {**SSH, "ports": 23}, WEB)
    replace()
    restore()
    assert calls(cloud) == [
        "CreateTags",
        "AuthorizeSecurityGroupIngress",
        "ModifySecurityGroupRules",
        "RevokeSecurityGroupIngress",
        "DeleteTags",
    ]


def test_without_an_exemption_nothing_is_opened(cloud, group, replace, restore):
    """If the exemption is refused, nothing is restored, and the run fails."""
    group_id = group(SSH)
    replace()
    with pytest.raises(PolicyExecutionError, match="not you"):
        restore({"CreateTags": refused()})
    assert set(by_source(cloud, group_id)) == set(AUTHORIZED)


@pytest.mark.parametrize(
    ("present", "until"),
    [("+60", "+60"), ("+10", "+30"), ("+91", "+30"), ("9999-12-31", "+30"), ("friday", "+30"), ("2026-1-1", "+30")],
)
def test_an_exemption_that_is_there_already(present, until):
    """An exemption that lasts longer stays; one that does not, or that the policies do not heed, is overwritten."""
    today = datetime.now(timezone.utc).date()
    assert exemption(today, 30, day(present)) == day(until)


# -- when EC2 says no


class Once:
    """Do something the first time only."""

    def __init__(self, happens):
        self.happens = happens
        self.times = 0

    def __call__(self, **_):
        """Count, and do it if it is the first time."""
        self.times += 1
        if self.times == 1:
            self.happens()


def test_a_run_that_broke_off_is_finished(cloud, group, replace, restore):
    """If a run breaks off between two calls, the next one does the rest."""
    group_id = group(SSH, WEB)
    before = shapes(rules_of(cloud, group_id).values())
    replace()
    for operation in ("AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress", "DeleteTags"):
        with pytest.raises(PolicyExecutionError, match="not you"):
            restore({operation: refused(operation=operation)})
    restore()
    assert shapes(rules_of(cloud, group_id).values()) == before
    assert tags_of(cloud, group_id) == {"open-ingress-until": day("+30")}
    assert [rule for rule in rules_of(cloud, group_id).values() if trace_of(rule)] == []


def test_a_rule_that_comes_meanwhile(cloud, group, replace, restore):
    """If somebody puts a revoked rule back between read and write, the rest is restored all the same."""
    group_id = group(SSH, WEB)
    replace()
    authorize = cloud.session().client("ec2").authorize_security_group_ingress
    comes = Once(lambda: authorize(GroupId=group_id, IpPermissions=[permission(WEB)]))
    restore({"AuthorizeSecurityGroupIngress": comes})
    assert set(by_source(cloud, group_id)) == {"0.0.0.0/0", "::/0"}
    assert tags_of(cloud, group_id) == {"open-ingress-until": day("+30")}


@pytest.mark.parametrize("operation", ["CreateTags", "ModifySecurityGroupRules", "DeleteTags"])
def test_a_group_that_goes_meanwhile(cloud, group, replace, restore, operation):
    """If somebody deletes the group between two calls, that is no failure."""
    group_id = group(SSH)
    replace()
    restore({operation: Once(lambda: cloud.session().client("ec2").delete_security_group(GroupId=group_id))})


def test_a_group_that_never_stands_still(cloud, group, replace, restore):
    """If somebody changes the group each time, the third time is the last, and it fails aloud."""
    group_id = group(SSH, {**WEB, "source": "::/1"}, WEB)
    replace()
    ec2 = cloud.session().client("ec2")

    def comes_and_goes(**_):
        if "::/0" in by_source(cloud, group_id):
            rule_id = by_source(cloud, group_id)["::/0"]["SecurityGroupRuleId"]
            ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=[rule_id])
        else:
            ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[permission(WEB)])

    def gone_again(**_):
        if "::/0" in by_source(cloud, group_id):
            comes_and_goes()

    with pytest.raises(PolicyExecutionError, match="changed by somebody else 3 times while it was being restored"):
        restore({"AuthorizeSecurityGroupIngress": comes_and_goes}, {"AuthorizeSecurityGroupIngress": gone_again})


def test_a_full_group(cloud, group, replace, restore):
    """If there is room for what was revoked only when what was added is gone, it comes back all the same."""
    halves = [{**SSH, "source": source} for source in ("0.0.0.0/1", "128.0.0.0/1")]
    many = [{**SSH, "ports": port, "source": "10.0.0.0/8"} for port in range(1000, 1058)]
    group_id = group(*halves, *many)
    before = shapes(rules_of(cloud, group_id).values())
    replace()
    restore()
    assert shapes(rules_of(cloud, group_id).values()) == before


def test_what_finds_no_room_is_told_and_comes_back_later(cloud, group, replace, restore):
    """If the group has been filled since, what finds no room is told of; its trace stays, and it comes back later."""
    group_id = group(WEB, SSH)
    replace(authorized=["198.18.7.0/24"])
    filler = [{**WEB, "ports": port, "source": "fd00::/8"} for port in range(1000, 1060)]
    ec2 = cloud.session().client("ec2")
    filled = ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=list(map(permission, filler)))
    with pytest.raises(PolicyExecutionError, match="tcp 443 from ::/0 found no room"):
        restore()
    assert "c7n-ingress:was/tcp/443/::/0" in tags_of(cloud, group_id)
    ids = [rule["SecurityGroupRuleId"] for rule in filled["SecurityGroupRules"]]
    ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=ids)
    restore()
    assert set(by_source(cloud, group_id)) == {"0.0.0.0/0", "::/0"}
    assert set(tags_of(cloud, group_id)) == {"open-ingress-until"}


def test_another_accounts_group(cloud, group, replace, restore):
    """A group of an account that shares its VPC is skipped, and told."""
    group_id = group(SSH)
    replace()

    def belongs_elsewhere(parsed, **_):
        for each in parsed["SecurityGroups"]:
            each["OwnerId"] = "999999999999"

    restore(after={"DescribeSecurityGroups": belongs_elsewhere})
    assert calls(cloud) == []
    _, resources = told(cloud)
    assert "belongs to account 999999999999" in resources[group_id]["c7n:skipped-ingress"]


def test_what_somebody_wrote_into_the_trace(cloud, group, replace, restore):
    """A trace that cannot be read is left alone, and told of; the rest is restored."""
    group_id = group(SSH, {**SSH, "ports": 23}, WEB)
    replace(authorized=["198.18.7.0/24"])
    rules = rules_of(cloud, group_id)
    (telnet,) = (rule_id for rule_id, rule in rules.items() if rule["FromPort"] == 23)
    ec2 = cloud.session().client("ec2")
    ec2.create_tags(Resources=[telnet], Tags=[{"Key": "c7n-ingress:was", "Value": "everybody"}])
    ec2.create_tags(Resources=[group_id], Tags=[{"Key": "c7n-ingress:was/x", "Value": ""}])
    restore()
    _, resources = told(cloud)
    assert resources[group_id]["c7n:left-ingress"] == [
        f"tcp 23 from 198.18.7.0/24 ({telnet}): its trace cannot be read: somebody has written into its tags",
        "the group's tag c7n-ingress:was/x cannot be read: somebody has written into it",
    ]
    assert sorted(by_source(cloud, group_id)) == ["0.0.0.0/0", "198.18.7.0/24", "::/0"]


def test_a_prefix_list(cloud, group, replace, restore):
    """A reference to an open prefix list that was revoked comes back, and the networks that took its place go."""
    ec2 = cloud.session().client("ec2")
    made = ec2.create_managed_prefix_list(
        PrefixListName="everybody", MaxEntries=1, AddressFamily="IPv4", Entries=[{"Cidr": "0.0.0.0/0"}]
    )["PrefixList"]["PrefixListId"]
    group_id = group({**SSH, "source": made})
    before = shapes(rules_of(cloud, group_id).values())
    replace(filters=[{"type": "open-prefix-list"}])
    assert set(by_source(cloud, group_id)) == set(AUTHORIZED)
    restore()
    assert shapes(rules_of(cloud, group_id).values()) == before
