import json
import logging
from collections import Counter
from contextlib import contextmanager, suppress
from functools import cache
from ipaddress import ip_network

import pytest
from c7n.exceptions import PolicyExecutionError
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

from c7n_ingress.aws.journal import log
from tests.support.embedded import (
    MUTATING,
    NOTIFY,
    VPC,
    act,
    filled,
    journal,
    load,
    make_queue,
    messages,
    rules_of,
    shape,
    source_of,
)
from tests.support.search import examples

GROUP = "sg-00000000000000001"
OPEN = ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "2000::/3"]
AUTHORIZED = ["198.18.7.0/24", "198.18.8.0/24", "198.19.0.0/16", "10.0.0.0/8", "2001:2:0:7::/64", "2001:2:0:8::/64"]
OTHERS = ["192.168.0.0/16", "10.0.0.0/9", "fd00::/8", "pl-0a000000000000001", "sg-0f0000000000000aa"]
TRAFFIC = [
    {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22},
    {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535},
    {"IpProtocol": "tcp", "FromPort": 8000, "ToPort": 8010},
    {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53},
    {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1},
    {"IpProtocol": "icmp", "FromPort": 3, "ToPort": 4},
    {"IpProtocol": "icmpv6", "FromPort": -1, "ToPort": -1},
    {"IpProtocol": "-1"},
    {"IpProtocol": "50"},
    *({"IpProtocol": "tcp", "FromPort": port, "ToPort": port} for port in range(1000, 1020)),
]
FILTERS = filled("open-ingress", ["vpc"])["filters"][:1]
QUOTA = 60
"""Rules a group may have of each family; a reference to a group or a prefix list counts in both."""

LISTINGS = {"sg-": ("UserIdGroupPairs", "GroupId"), "pl-": ("PrefixListIds", "PrefixListId")}


def families(source):
    """Return the families, 4 and 6, in whose quota a source counts."""
    return (4, 6) if source[:3] in LISTINGS else (ip_network(source).version,)


@st.composite
def groups(draw):
    """Return the permissions of a group that EC2 would allow, one source each."""
    sources = st.sampled_from([*OPEN, *AUTHORIZED, *OTHERS])
    pairs = draw(st.lists(st.tuples(st.integers(0, len(TRAFFIC) - 1), sources), unique=True, max_size=70))
    descriptions = st.none() | st.text("abc XYZ 019 ._-:/()#,@[]+=&;{}!$*", min_size=1, max_size=40).map(str.strip)
    crowd = draw(st.sampled_from([0, 0, 0, 54, 57, 59]))
    permissions = [
        {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, listing: [{key: source}]}
        for port in range(3000, 3000 + crowd)
        for listing, key, source in (("IpRanges", "CidrIp", "10.0.0.0/9"), ("Ipv6Ranges", "CidrIpv6", "fd00::/8"))
    ]
    counted = Counter({4: crowd, 6: crowd})
    for number, source in pairs:
        if any(counted[family] == QUOTA for family in families(source)):
            continue
        counted.update(families(source))
        default = ("Ipv6Ranges", "CidrIpv6") if ":" in source else ("IpRanges", "CidrIp")
        listing, key = LISTINGS.get(source[:3], default)
        description = draw(descriptions)
        described = {"Description": description} if description else {}
        permissions.append({**TRAFFIC[number], listing: [{key: source, **described}]})
    return permissions


@pytest.fixture
def replace(cloud, tmp_path, monkeypatch):
    """Put a group into EC2, run the action on it, and return all that can be said of the run."""
    monkeypatch.setattr("c7n_ingress.aws.settle.time.sleep", lambda _seconds: None)

    def run(permissions, authorized):
        cloud.reset()
        make_queue(cloud)
        load(
            [
                {
                    "GroupId": GROUP,
                    "GroupName": "g",
                    "OwnerId": "123456789012",
                    "VpcId": VPC,
                    "IpPermissions": permissions,
                }
            ]
        )
        tagged = list(rules_of(GROUP))[::2]
        if tagged:
            cloud.session().client("ec2").create_tags(Resources=tagged, Tags=[{"Key": "owner", "Value": "web"}])
        return Run(cloud, tmp_path, authorized)

    return run


@contextmanager
def logged_records():
    """Collect the records that are logged in the block."""
    found, handler = [], logging.Handler(logging.INFO)
    handler.emit = lambda entry: found.append(json.loads(entry.getMessage()))
    log.addHandler(handler)
    try:
        yield found
    finally:
        log.removeHandler(handler)


class Run:
    """One run on one group: the rules at each moment between two calls, the records, the failures."""

    def __init__(self, cloud, folder, authorized):
        self.cloud, self.folder, self.authorized = cloud, folder, authorized
        self.stages = [rules_of(GROUP)]
        self.go()

    def go(self):
        """Run the action."""
        self.cloud.calls.clear()
        look = lambda **_: self.stages.append(rules_of(GROUP))
        self.failure = None
        with logged_records() as self.records:
            try:
                act(
                    self.cloud,
                    self.folder,
                    None,
                    dict.fromkeys(MUTATING, look),
                    FILTERS,
                    authorized=self.authorized,
                    notify=NOTIFY,
                )
            except PolicyExecutionError as error:
                self.failure = error
        self.changes = [call.action for call in self.cloud.calls if call.action in MUTATING]
        self.refused = [call.error for call in self.cloud.calls if call.action in MUTATING and call.error]
        reported = [resource for message in messages(self.cloud) for resource in message["resources"]]
        self.lacking = [text for resource in reported for text in resource.get("c7n:lacking-ingress", [])]
        self.failures = [text for resource in reported for text in resource.get("c7n:failed-ingress", [])]

    @property
    def before(self):
        """The rules before the run, by id."""
        return self.stages[0]

    @property
    def after(self):
        """The rules after the run, by id."""
        return rules_of(GROUP)

    @property
    def open(self):
        """The rules that the filter matched, by id."""
        return {rule_id: rule for rule_id, rule in self.before.items() if source_of(rule) in OPEN}

    def family(self, source):
        """Return the authorized networks of a source's family."""
        return [network for network in self.authorized if (":" in network) == (":" in source)]


def traffic(rule):
    """Return what a rule lets in."""
    return rule["IpProtocol"], rule["FromPort"], rule["ToPort"]


def standing(rules):
    """Return what rules let in from where."""
    return {(*traffic(rule), source_of(rule)) for rule in rules.values()}


def let_in(rules, networks):
    """Return which of the networks rules let in as a whole, and to what."""
    return {
        (*traffic(rule), network) for rule in rules.values() for network in networks if covers(source_of(rule), network)
    }


@cache
def covers(source, network):
    """Whether all of a network is in a source; of what a list or a group holds, nothing is known."""
    if source[:3] in LISTINGS or families(source) != families(network):
        return False
    return ip_network(network).subnet_of(ip_network(source))


def unchanged(rule):
    """Return a rule without the trace that a change leaves on it."""
    tags = [tag for tag in rule["Tags"] if not tag["Key"].startswith("c7n-ingress:")]
    return {**rule, "Tags": tags}


@examples(12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups(), st.lists(st.sampled_from(AUTHORIZED), unique=True, min_size=1, max_size=5))
def test_whatever_is_in_a_group(replace, permissions, authorized):
    """For any rules of a group and any authorized networks, the run keeps each of the pack's promises."""
    run = replace(permissions, authorized)
    after = run.after

    # Nothing matched is left, and nothing unmatched is touched.
    assert not run.open.keys() & {rule_id for rule_id, rule in after.items() if source_of(rule) in OPEN}
    assert [
        rule for rule_id, rule in run.before.items() if rule_id not in run.open and after.get(rule_id) != rule
    ] == []

    # Every authorized network gets in where it was open. One that finds no room is reported.
    missing = {
        (*traffic(rule), network)
        for rule in run.open.values()
        for network in run.family(source_of(rule))
        if (*traffic(rule), network) not in standing(after)
    }
    assert run.failures == []
    assert bool(missing) == bool(run.lacking) == bool(run.failure)
    assert all(any(network in text for text in run.lacking) for *_, network in missing)
    for family in {6 if ":" in network else 4 for *_, network in missing}:
        assert sum(family in families(source_of(rule)) for rule in after.values()) == QUOTA

    # What was modified keeps its id, its tags and its description; what came beside it is described as it is.
    described = {record["description"] for record in run.records}
    for rule_id in run.open.keys() & after.keys():
        wanted, rule = run.before[rule_id], unchanged(after[rule_id])
        assert (rule.get("Description"), rule["Tags"]) == (wanted.get("Description"), wanted["Tags"])
        assert traffic(rule) == traffic(wanted)
    assert {rule.get("Description") for rule_id, rule in after.items() if rule_id not in run.before} <= described

    # At no moment is anybody locked out, or anybody new let in.
    held = set()
    for stage in [*run.stages, after]:
        now = {each for each in standing(stage) if each[-1] in authorized}
        assert held <= now
        held = now
        assert run.refused or let_in(run.before, authorized) <= let_in(stage, authorized)
        assert all(each in standing(run.before) or each[-1] in authorized for each in standing(stage))

    # A call of each kind; more only where the quota refused the first.
    if not run.refused:
        assert all(times == 1 for times in Counter(run.changes).values())
    assert set(run.refused) <= {"RulesPerSecurityGroupLimitExceeded"}

    # The records, replayed backwards, return the group as it was.
    rules = {rule_id: (*traffic(rule), source_of(rule)) for rule_id, rule in after.items()}
    for record in reversed(run.records):
        if record["was"] is None:
            del rules[record["rule"]]
        elif record["now"] is None:
            rules[record["rule"]] = (*traffic(run.before[record["rule"]]), record["was"])
        else:
            assert rules[record["rule"]][-1] == record["now"]
            rules[record["rule"]] = (*rules[record["rule"]][:-1], record["was"])
    assert sorted(rules.values()) == sorted(standing(run.before))

    # A second run changes nothing.
    run.go()
    assert run.changes == []
    assert run.records == []


def tags_of(cloud):
    """Return the group's tags."""
    (group,) = cloud.session().client("ec2").describe_security_groups(GroupIds=[GROUP])["SecurityGroups"]
    return {tag["Key"]: tag["Value"] for tag in group["Tags"]}


def seen(rules):
    """Return what can be seen of rules but for their ids, sorted."""
    return sorted(((*shape(rule), rule["Tags"]) for rule in rules.values()), key=str)


NOISE = [
    "",
    "START RequestId: 6c3c1f0e Version: $LATEST",
    '{"level": "INFO", "message": "another program"}',
    '{"v": 1}',
    "[INFO]\t2026-11-24T09:00:00.000Z\t6c3c1f0e\tpolicy:open-ingress resources:1",
]


@st.composite
def journals(draw, records):
    """Return a journal's lines: the records in any order, some twice, some again but cut, and other programs' lines."""
    lines = [json.dumps(record) for record in records]
    more = [lines, [line[: len(line) // 2] for line in lines], NOISE]
    for each in filter(None, more):
        lines = [*lines, *draw(st.lists(st.sampled_from(each), max_size=3))]
    return draw(st.permutations(lines))


class NoRoomError(Exception):
    """The group is full; what is added meanwhile makes room as it goes, for the next time."""


def restore_once(done, after, **action):
    """Restore the group."""
    try:
        act(done.cloud, done.folder, None, after, **action)
    except PolicyExecutionError as error:
        if "restore it again" not in str(error):
            raise
        raise NoRoomError from error


def restored(done, lines, place, **action):
    """Restore the group from a journal, as often as the plan asks for it; return the rules after each change."""
    if place == "file":
        path = done.folder / "journal.log"
        path.write_text("\n".join(lines))
        source = {"url": path.as_uri()}
    else:
        source = journal([line for line in lines if line], f"/aws/lambda/{place}")
    restore = {"filters": [{"GroupId": GROUP}], "type": "restore-ingress", "days": 30, "preview": False, "from": source}
    made = []
    look = lambda **_: made.append(done.after)
    for _ in range(3):
        with suppress(NoRoomError):
            restore_once(done, dict.fromkeys(MUTATING, look), **restore, **action)
            break
    return made


@examples(12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups(), st.lists(st.sampled_from(AUTHORIZED), unique=True, min_size=1, max_size=5), st.data())
def test_whatever_was_replaced_comes_back(replace, permissions, authorized, data):
    """For any rules and any authorized networks, a group that is replaced and restored is as it was."""
    run = replace(permissions, authorized)
    assume(run.records)
    replaced = run.after
    lines, place = data.draw(journals(run.records)), data.draw(st.sampled_from(["file", "a-function"]))
    run.cloud.calls.clear()
    stages = restored(run, lines, place)
    after = run.after

    # What kept its id is as it was; what was revoked is back, but for its id.
    kept = replaced.keys() & run.before.keys()
    assert {key: rule for key, rule in after.items() if key in kept} == {key: run.before[key] for key in kept}
    assert seen(after) == seen(run.before)
    assert set(tags_of(run.cloud)) == {"open-ingress-until"}

    # Nothing that was added goes before that is back for whose sake it was added.
    beside = {record["rule"]: record.get("beside") for record in run.records if record["was"] is None}
    for stage in stages:
        for rule_id in beside.keys() & replaced.keys() - stage.keys():
            wanted = run.before[beside[rule_id]]
            assert (*traffic(wanted), source_of(wanted)) in standing(stage)

    # Restoring again changes nothing.
    run.cloud.calls.clear()
    assert restored(run, lines, place) == []
    assert not {"CreateTags", "DeleteTags", *MUTATING} & {call.action for call in run.cloud.calls}


@examples(
    12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(groups(), st.lists(st.sampled_from(AUTHORIZED), unique=True, min_size=2, max_size=4), st.data())
def test_whatever_was_replaced_twice_comes_back(replace, permissions, authorized, data):
    """Replaced, reopened by a person and replaced for others, the group is as it was before the run that is undone."""
    run = replace(permissions, authorized[:1])
    first = run.records
    modified = [record for record in first if record["how"] == "modified"]
    assume(modified)
    ec2 = run.cloud.session().client("ec2")
    for record in modified:
        if record is modified[0] or data.draw(st.booleans()):
            shape = {**record["traffic"], "CidrIpv6" if ":" in record["was"] else "CidrIpv4": record["was"]}
            rules = [{"SecurityGroupRuleId": record["rule"], "SecurityGroupRule": shape}]
            ec2.modify_security_group_rules(GroupId=GROUP, SecurityGroupRules=rules)
    run.authorized, between = authorized[1:], run.after
    run.go()
    assume(run.records)
    lines = data.draw(journals([*first, *run.records]))
    restored(run, lines, "a-function", run=run.records[0]["run"])
    assert seen(run.after) == seen(between)


@examples(8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(range(len(TRAFFIC))), unique=True, min_size=1), st.sampled_from(["0.0.0.0/0", "::/0"]))
def test_one_call_in_all(replace, numbers, source):
    """With one network a family and no twins, any number of open rules costs one call that changes something."""
    listing, key = ("Ipv6Ranges", "CidrIpv6") if ":" in source else ("IpRanges", "CidrIp")
    permissions = [{**TRAFFIC[number], listing: [{key: source}]} for number in numbers]
    run = replace(permissions, ["198.18.7.0/24", "2001:2:0:7::/64"])
    assert run.changes == ["ModifySecurityGroupRules"]
