"""Everything that a check reads of an account and region. All calls are here, and none of them changes anything."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any, NamedTuple
from urllib.request import urlopen

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from c7n_ingress.aws import authorized
from c7n_ingress.aws.calls import DENIED, error_code
from c7n_ingress_tools.check.here import Local
from c7n_ingress_tools.errors import in_one_line
from c7n_ingress_tools.names import MAILER, POLICIES, functions, messages

ROLES = (POLICIES, f"{POLICIES}-watch", MAILER)
QUEUES = (f"{POLICIES}-failed", f"{MAILER}-failed", MAILER)
WATCHED = ("recorder", "errors")
"""The policies of mode/watch.yml that a check runs itself, by the last word of their names."""

COMPARED = ("c7n_ingress/", "c7n/version.py", "config.json")
"""What is kept of a deployed zip."""

ATTACH = "attach the policy custodian-open-ingress-check, which mode/stack.yml creates, to these credentials"
RUNNING = ("ACTIVE", "EVALUATING")
"""https://docs.aws.amazon.com/config/latest/APIReference/API_ConfigRule.html"""


class Unread(NamedTuple):
    """What could not be read, and why."""

    why: str
    fix: str


class Deployed(NamedTuple):
    """A function as it is deployed."""

    name: str
    configuration: Mapping[str, Any]
    tags: Mapping[str, str]
    concurrency: int | None
    invokers: frozenset[str]
    """The services that may invoke it."""
    files: Mapping[str, bytes]
    """What is compared of its zip, by path; nothing of the mailer's, whose configuration can hold secrets."""

    @property
    def policy(self) -> dict[str, Any]:
        """What is deployed of its policy."""
        (policy,) = json.loads(self.files["config.json"])["policies"]
        return policy  # type: ignore[no-any-return]


class Stack(NamedTuple):
    """The stack: what CloudFormation says of it, and its template."""

    described: Mapping[str, Any]
    template: str
    central_queue: str
    """The queue of the account that sends the messages for this one; empty if this account sends its own."""


class EventRule(NamedTuple):
    """A rule of EventBridge."""

    fault: str
    """Why it does not start its function; empty if it does."""
    pattern: Mapping[str, Any] | None
    schedule: str | None


class Groups(NamedTuple):
    """What is needed to count the rules of security groups."""

    groups: list[dict[str, Any]]
    authorized: authorized.Authorized
    prefix_lists: Mapping[str, Mapping[str, Any]]
    quota: int


def account(session: boto3.Session, local: Local, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Read all of it, by name; what AWS refuses is :class:`Unread`.

    :param identity: what STS says of the caller.
    """
    client = session.client
    topic = f"arn:{identity['Arn'].split(':')[1]}:sns:{session.region_name}:{identity['Account']}:open-ingress"
    calls: dict[str, Callable[[], Any]] = {
        "stack": lambda: _stack(client("cloudformation"), topic),
        "roles": lambda: _roles(client("iam")),
        "subscriptions": lambda: _subscriptions(client("sns"), topic),
        "functions": lambda: _functions(session),
        "config_rules": lambda: _config_rules(client("config")),
        "event_rules": lambda: _event_rules(client("events")),
        "mappings": lambda: _all(
            client("lambda"), "list_event_source_mappings", "EventSourceMappings", FunctionName=MAILER
        ),
        "queues": lambda: {name: messages(session, name) for name in QUEUES},
        "alarms": lambda: _all(client("cloudwatch"), "describe_alarms", "MetricAlarms", AlarmNamePrefix="custodian-"),
        "groups": lambda: _groups(session, local.networks),
        **{name: partial(_reported, local, f"{POLICIES}-watch-{name}", identity["Account"]) for name in WATCHED},
    }
    found = {name: _answer(call) for name, call in calls.items()}
    central_queue = found["stack"].central_queue if isinstance(found["stack"], Stack) else ""
    return {**found, "identity": identity, "central_queue": central_queue, "now": datetime.now(timezone.utc)}


def _answer(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (ClientError, BotoCoreError, OSError) as error:
        denied = isinstance(error, ClientError) and error_code(error) in (*DENIED, "AuthorizationError")  # SNS's own
        return Unread(in_one_line(error) or str(error), ATTACH if denied else "run this again")


def _all(client: Any, operation: str, key: str, **request: Any) -> list[dict[str, Any]]:
    return list(client.get_paginator(operation).paginate(**request).search(f"{key}[]"))


def _stack(client: Any, topic: str) -> Stack | None:
    """Find the stack by its output, the topic: a StackSet's stack has another name."""
    for stack in _all(client, "describe_stacks", "Stacks"):
        if topic in [output.get("OutputValue") for output in stack.get("Outputs", ())]:
            body = client.get_template(StackName=stack["StackId"])["TemplateBody"]
            parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}
            template = body if isinstance(body, str) else json.dumps(body)  # botocore parses JSON
            return Stack(stack, template, parameters.get("CentralQueueArn", ""))
    return None


def _roles(client: Any) -> dict[str, dict[str, Any]]:
    found = {}
    for name in ROLES:
        with suppress(client.exceptions.NoSuchEntityException):
            role = client.get_role(RoleName=name)["Role"]
            inline = _all(client, "list_role_policies", "PolicyNames", RoleName=name)
            attached = _all(client, "list_attached_role_policies", "AttachedPolicies", RoleName=name)
            found[name] = {**role, "Policies": [*inline, *attached]}
    return found


def _subscriptions(client: Any, topic: str) -> list[dict[str, Any]] | None:
    try:
        return _all(client, "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic)
    except client.exceptions.NotFoundException:
        return None


def _functions(session: boto3.Session) -> dict[str, Deployed]:
    ours = sorted(functions(session))
    with ThreadPoolExecutor(4) as pool:
        return {each.name: each for each in pool.map(partial(_function, session.client("lambda")), ours)}


def _function(client: Any, name: str) -> Deployed:
    if name == MAILER:
        configuration = client.get_function_configuration(FunctionName=name)
        return Deployed(name, configuration, _tags(client, configuration), None, frozenset(), {})
    found = client.get_function(FunctionName=name)
    with urlopen(found["Code"]["Location"], timeout=60) as answer:  # noqa: S310 - an https address of AWS's
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    files = {path: archive.read(path) for path in archive.namelist() if path.startswith(COMPARED)}
    configuration, concurrency = found["Configuration"], found.get("Concurrency", {})
    invokers, reserved = frozenset(_invokers(client, name)), concurrency.get("ReservedConcurrentExecutions")
    return Deployed(name, configuration, _tags(client, configuration), reserved, invokers, files)


def _tags(client: Any, configuration: dict[str, Any]) -> dict[str, str]:
    """Return a function's tags. Without lambda:ListTags, GetFunction returns none, and no error.

    https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
    """
    return client.list_tags(Resource=configuration["FunctionArn"])["Tags"]  # type: ignore[no-any-return]


def _invokers(client: Any, name: str) -> Iterator[str]:
    try:
        policy = json.loads(client.get_policy(FunctionName=name)["Policy"])
    except client.exceptions.ResourceNotFoundException:
        return
    for statement in policy["Statement"]:
        if statement["Effect"] == "Allow" and isinstance(statement["Principal"], dict):
            yield statement["Principal"].get("Service", "")


def _config_rules(client: Any) -> dict[str, str]:
    """Return why each rule does not start its function, by name; an empty text if it does."""
    rules = _all(client, "describe_config_rules", "ConfigRules")
    states = {rule["ConfigRuleName"]: rule["ConfigRuleState"] for rule in rules}
    return {name: "" if state in RUNNING else f"has its rule in the state {state}" for name, state in states.items()}


def _event_rules(client: Any) -> dict[str, EventRule]:
    found = {}
    for rule in _all(client, "list_rules", "Rules", NamePrefix=POLICIES):
        disabled = "" if rule["State"].startswith("ENABLED") else "has its rule disabled"
        targets = client.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        invokes = any(target["Arn"].endswith(f":function:{rule['Name']}") for target in targets)
        fault = disabled if invokes else "has no rule whose target is this function"
        pattern = json.loads(rule.get("EventPattern") or "null")
        found[rule["Name"]] = EventRule(fault, pattern, rule.get("ScheduleExpression"))
    return found


def _groups(session: boto3.Session, networks: Sequence[str]) -> Groups:
    client = session.client("ec2")
    groups = _all(client, "describe_security_groups", "SecurityGroups")
    lists = {each["PrefixListId"]: each for each in _all(client, "describe_managed_prefix_lists", "PrefixLists")}
    quota = session.client("service-quotas").get_service_quota(ServiceCode="vpc", QuotaCode="L-0EA8095F")["Quota"]
    return Groups(groups, authorized.read(client, networks, groups), lists, int(quota["Value"]))


def _reported(local: Local, function: str, account: str) -> Mapping[str, Any] | Unread | None:
    """Run a policy of the watch, and return the message that it would send; None if it would send none."""
    if function not in local.wanted:
        return Unread("its policy is not in mode/watch.yml", "c7n-ingress init .")
    policy = local.wanted[function][0].policy
    found = policy.resource_manager.filter_resources([{"account_id": account}])
    return policy.data["actions"][0] if found else None
