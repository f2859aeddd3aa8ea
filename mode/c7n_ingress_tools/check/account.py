"""Facts about what an account has besides functions: recorder, stack, roles, topic, queues, alarms, room in groups."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import yaml
from botocore.utils import parse_timestamp

from c7n_ingress.decide.openness import open_sources
from c7n_ingress.decide.rules import Source, matches_from
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.check.facts import Fact, ok, wrong
from c7n_ingress_tools.check.here import Local, owner_and_name
from c7n_ingress_tools.check.read import ROLES, Deployed, Groups, Stack
from c7n_ingress_tools.names import MAILER, POLICIES
from c7n_ingress_tools.report.text import first

OPERATE = "docs/operate.md"
STACK = "deploy mode/stack.yml"
WATCH_ERRORS = f"{POLICIES}-watch-errors"


def recorder(_local: Local, message: Mapping[str, Any] | None, deployed: Mapping[str, Deployed]) -> Iterator[Fact]:
    """Whether AWS Config records security groups, if it starts a function."""
    if POLICIES in deployed:
        yield watched("AWS Config", "records security groups on every change", message)


def errors(local: Local, message: Mapping[str, Any] | None, deployed: Mapping[str, Deployed]) -> Iterator[Fact]:
    """Whether a function failed, if that is known: the policy that looks for it finds itself missing, too."""
    if WATCH_ERRORS in deployed:
        yield watched("errors", "no function failed in the last day", message)
    else:
        said = f"not known whether a function failed: {WATCH_ERRORS} is not deployed"
        yield wrong("errors", said, local.deploy("mode/watch.yml"))


def watched(name: str, right: str, message: Mapping[str, Any] | None) -> Fact:
    """Return what a policy of the watch would report: its message has the fact and the fix."""
    if message is None:
        return ok(name, right)
    return wrong(name, message["violation_desc"].strip(), message["action_desc"].strip())


def stack(local: Local, found: Stack | None) -> Iterator[Fact]:
    """Whether the stack is there, is complete, and is made of the template that is here."""
    name, template = found.described["StackName"] if found else "open-ingress", local.files.stack
    deploy = (
        f"aws cloudformation deploy --region {local.region} --stack-name {name} --template-file {template} "
        "--capabilities CAPABILITY_NAMED_IAM"
    )
    if found is None:
        yield wrong("stack", f"no stack in {local.region} has the topic open-ingress", deploy)
    elif re.search("FAILED|ROLLBACK", found.described["StackStatus"]):
        yield wrong("stack", f"{name} is {found.described['StackStatus']}", deploy)
    elif parsed(found.template) != parsed(template.read_text(encoding="utf-8")):
        yield wrong("stack", f"{name} is made of another template than {template}", deploy)
    else:
        yield ok("stack", f"{name} is made of {template}")


def parsed(template: str) -> Any:
    """Return what a template says, so that two can be compared: comments do not count, nor short forms (``!Ref``)."""
    return yaml.load(template, Loader=Template)  # noqa: S506 - a SafeLoader


class Template(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # yaml ships no types
    """Reads CloudFormation's short forms."""

    def long_form(self, name: str, node: yaml.Node) -> dict[str, Any]:
        """Return ``{"Fn::Sub": …}`` for ``!Sub …``."""
        value: Any = getattr(self, f"construct_{node.id}")(node)  # a scalar, a sequence or a mapping
        if name == "GetAtt" and isinstance(value, str):
            value = value.split(".", 1)
        return {name if name in ("Ref", "Condition") else f"Fn::{name}": value}


Template.add_multi_constructor("!", Template.long_form)


def roles(_local: Local, found: Mapping[str, Mapping[str, Any]], central_queue: str) -> Iterator[Fact]:
    """Whether the roles are there, Lambda may assume them, and each has a policy."""
    wanted = [name for name in ROLES if name != MAILER or not central_queue]
    there = {name: found[name] for name in wanted if name in found}
    trusts = {name: json.dumps(role["AssumeRolePolicyDocument"]) for name, role in there.items()}
    faults = {
        "missing": [name for name in wanted if name not in there],
        "Lambda may not assume": [name for name in there if "lambda.amazonaws.com" not in trusts[name]],
        "without a policy, so they may do nothing": [name for name, role in there.items() if not role["Policies"]],
    }
    fix = "deploy mode/stack.yml in the region that RolesRegion names, or here if it is empty"
    wrongs = [wrong("roles", f"{said}: {', '.join(names)}", fix) for said, names in faults.items() if names]
    yield from wrongs or [ok("roles", ", ".join(wanted))]


def topic(local: Local, subscriptions: list[dict[str, Any]] | None) -> Iterator[Fact]:
    """Whether somebody gets what is sent to the topic."""
    if subscriptions is None:
        yield wrong("topic", "there is no topic open-ingress", STACK)
        return
    confirmed = [each for each in subscriptions if each["SubscriptionArn"].startswith("arn:")]
    if confirmed:
        yield ok("topic", counted(len(confirmed), "confirmed subscriber"))
    elif subscriptions:
        said = f"nobody has confirmed: {', '.join(each['Endpoint'] for each in subscriptions)}"
        yield wrong("topic", said, "open the link in AWS's mail, or subscribe again if it is older than two days")
    else:
        fix = f"aws sns subscribe --region {local.region} --topic-arn … --protocol email --notification-endpoint …"
        yield wrong("topic", "nobody is subscribed to open-ingress", fix)


def queues(
    local: Local, identity: Mapping[str, Any], found: Mapping[str, int | None], central_queue: str
) -> Iterator[Fact]:
    """Whether messages go to the central queue if there is one, and nothing waits that failed."""
    fixes = {
        f"{POLICIES}-failed": f"c7n-ingress replay --region {local.region}",
        f"{MAILER}-failed": f"{OPERATE}#{MAILER}-failed",
    }
    if central_queue and owner_and_name(local.queue, identity["Account"]) != owner_and_name(central_queue, ""):
        said = f"the policies send to {local.queue}, and the stack names {central_queue}, so nobody is notified"
        yield wrong("queue", said, "write the ARN of the central queue as `queue`, and deploy the policies")
    for name, fix in fixes.items():
        if name.startswith(MAILER) and central_queue:
            continue
        if (waiting := found[name]) is None:
            yield wrong(name, "there is no such queue, so what fails is lost", STACK)
        elif waiting:
            yield wrong(name, f"{counted(waiting, 'message')} in this dead-letter queue", fix)
        else:
            yield ok(name, "empty")
    if found[MAILER] is None and not central_queue:
        yield wrong(MAILER, "there is no such queue, so nobody is notified", STACK)


def alarms(
    local: Local, found: list[dict[str, Any]], deployed: Mapping[str, Deployed], central_queue: str, now: datetime
) -> Iterator[Fact]:
    """Whether each alarm of the stack is there and notifies somebody, and none fires.

    An alarm about a function that does not run fires until that function has run for the first time.
    """
    resources = parsed(local.files.stack.read_text(encoding="utf-8"))["Resources"].values()
    names = [each["Properties"]["AlarmName"] for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]
    here = {each["AlarmName"]: each for each in found}
    faults = {}
    for name in names:
        if (alarm := here.get(name)) is None:
            if not (central_queue and name.startswith(MAILER)):
                faults[name] = "missing", STACK
        elif not alarm["AlarmActions"]:
            faults[name] = "notifies nobody: it has no actions", STACK
        elif alarm["StateValue"] == "ALARM" and not _waits(alarm, deployed, now):
            faults[name] = "fires", f"{OPERATE}#{name}"
        elif not alarm.get("ActionsEnabled", True):
            fix = f"aws cloudwatch enable-alarm-actions --alarm-names {name}"
            faults[name] = "its actions are disabled, so it notifies nobody", fix
    for name, (said, fix) in faults.items():
        yield wrong(f"alarm {name}", said, fix)
    if not faults:
        yield ok("alarms", f"{len(here)}, and none needs an action")


def _waits(alarm: Mapping[str, Any], deployed: Mapping[str, Deployed], now: datetime) -> bool:
    """Whether an alarm counts the runs of a function that was deployed after the first of the hours that it counts."""
    if alarm.get("MetricName") != "Invocations":
        return False
    functions = (deployed.get(each["Value"]) for each in alarm["Dimensions"] if each["Name"] == "FunctionName")
    hours = timedelta(seconds=alarm["Period"] * alarm["EvaluationPeriods"])
    return any(now - parse_timestamp(each.configuration["LastModified"]) < hours for each in functions if each)


def room(local: Local, found: Groups) -> Iterator[Fact]:
    """Whether each group has room for the authorized networks, if somebody opens a port in it."""
    name = "room in groups"
    if not local.networks:
        yield ok(name, "not known: the authorized networks are read from another place at run time")
        return
    networks = found.authorized
    unread = {each for each in networks.of.values() if isinstance(each, str)}
    if unread := unread.union(*networks.left_out.values()):
        allow = "DescribeVpcs, DescribeSecurityGroupVpcAssociations and GetManagedPrefixListEntries"
        yield wrong(name, first(sorted(unread)), f"fix what it names, or allow EC2's {allow}")
    tight = [group["GroupId"] for group in found.groups if is_tight(group, found)]
    if tight:
        groups = counted(len(tight), "group")
        said = f"no room for your networks in {groups}, whose clients would be blocked: {first(tight)}"
        yield wrong(name, said, "raise the quota L-0EA8095F, remove rules, or authorize fewer networks")
    else:
        yield ok(name, f"room for your networks in {counted(len(found.groups), 'group')}")


def is_tight(group: Mapping[str, Any], found: Groups) -> bool:
    """Whether the networks that replace an open rule of a group are more than its quota of rules allows."""
    wanted = found.authorized.of[group["GroupId"]]
    if isinstance(wanted, str):
        return False  # another fact says so
    matches = matches_from(group["IpPermissions"])
    networks = {match: match.source for match in matches if not isinstance(match.source, str)}
    opened = open_sources(
        {match: match.traffic for match in networks}, {match: [source] for match, source in networks.items()}
    )
    for version in (4, 6):
        taken = sum(_rules_of(match.source, version, found.prefix_lists) for match in matches)
        replaced = sum(networks[match].version == version for match in opened)
        # An open rule becomes the first network, and each other network is one more rule.
        others = max(0, sum(each.version == version for each in wanted) - 1)
        if taken + (replaced * others if replaced else 1 + others) > found.quota:
            return True
    return False


def _rules_of(source: Source, version: int, prefix_lists: Mapping[str, Mapping[str, Any]]) -> int:
    """Return as how many rules of a family a source counts for the quota.

    A reference to a group, or to a prefix list of AWS's, counts once in both families. A reference to another prefix
    list counts the most entries that the list may have:
    https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups
    """
    if not isinstance(source, str):
        return int(source.version == version)
    known = prefix_lists.get(source, {"OwnerId": "AWS"})
    if known["OwnerId"] == "AWS":
        return 1
    return int(known["MaxEntries"]) if known["AddressFamily"] == f"IPv{version}" else 0
