"""Prove that the pack works: open a port in a group that nothing uses, watch it being closed and reported, and undo it.

The group is deleted at the end, whatever happens: a stage that is missing, an error, Ctrl-C or SIGTERM. Only a process
that is killed leaves it, tagged, and the next canary deletes it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from signal import SIG_BLOCK, SIG_SETMASK, SIGINT, SIGTERM, pthread_sigmask
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from c7n.utils import get_retry

from c7n_ingress.aws.calls import GONE, pages
from c7n_ingress.decide.commands import Undo
from c7n_ingress.decide.exemptions import Register, naming, parse_register
from c7n_ingress.decide.ports import any_in, parse_ports
from c7n_ingress.decide.rules import ALL_PORTS, Traffic
from c7n_ingress.in_time import ended_on_request
from c7n_ingress_tools import undo
from c7n_ingress_tools.check.facts import Fact, ok, wrong
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.names import MAILER, POLICIES, functions

TAG = "c7n-ingress-canary"
"""The tag of the group: when it was created."""

DESCRIPTION = "c7n-ingress check --canary made this, and deletes it within minutes"
FIRST_PORT = 22
"""The port that is opened, if the settings do not leave it open."""

RETRY = get_retry(("DependencyViolation", "InvalidPermission.NotFound"), max_attempts=5)
"""Repeats a call while a function changes the group."""


class Stage(NamedTuple):
    """What has to happen, and what to do if it does not."""

    said: str
    fix: str


STAGES = {
    "recorded": Stage(
        "AWS Config recorded the change",
        "AWS Config does not record security groups: the line `AWS Config` of this check says what to do",
    ),
    "started": Stage(
        "the function started", "nothing started the function: the lines of {functions} in this check say why"
    ),
    "replaced": Stage(
        "the rule was replaced",
        "the function left the rule open: read its lines in this check, such as one about `preview`, and the logs "
        "{logs}. Then run c7n-ingress replay --region {region}",
    ),
    "sent": Stage(
        "the message was sent", "the function sent no message to the queue custodian-mailer: read the logs {logs}"
    ),
    "delivered": Stage(
        "the mailer delivered the message",
        f"run c7n-ingress mailer deploy --region {{region}}, then read the log /aws/lambda/{MAILER}",
    ),
    "undone": Stage("undo restored the rule", "{problem}"),
}
"""All stages in their order; the methods of :class:`Canary` look for all but the last."""


class Result(NamedTuple):
    """What a canary saw."""

    group: str
    seconds: dict[str, float]
    """When each stage was reached, in seconds after the port was opened."""
    failed: str | None = None
    """The first stage that was not reached."""
    fix: str = ""

    @property
    def fact(self) -> Fact:
        """The two numbers that count, or what was not reached."""
        if self.failed:
            return wrong("canary", f"not reached: {self.failed}", self.fix)
        reported = self.seconds.get("delivered", self.seconds["sent"])
        return ok("canary", f"closed after {self.seconds['replaced']:.1f} s, reported after {reported:.1f} s")


class Canary:
    """One group, from its creation on."""

    def __init__(self, session: boto3.Session, closing: tuple[str, ...], settings: Mapping[str, Any]) -> None:
        self.session = session
        self.settings = settings
        self.account: str = session.client("sts").get_caller_identity()["Account"]
        self.region: str = session.region_name
        self.ec2: Any = session.client("ec2")
        self.logs: Any = session.client("logs")
        self.config: Any = session.client("config")
        self.closing = closing
        self.log_groups = [f"/aws/lambda/{name}" for name in closing]
        self.group = ""
        self.port = FIRST_PORT
        self.opened = datetime.now(timezone.utc)
        self.record: Mapping[str, Any] = {}
        self.message: Mapping[str, Any] = {}
        self.watched = [name for name in STAGES if name != "undone"]
        if POLICIES not in closing:  # CloudTrail lists a call minutes after EventBridge has it
            self.watched.remove("recorded")
        if not delivers_here(settings.get("queue", ""), self.account, self.region):
            self.watched.remove("delivered")

    def create(self) -> None:
        """Create the group, and open the port."""
        vpcs = self.ec2.describe_vpcs()["Vpcs"]
        if not vpcs:
            raise CommandError(f"{self.region} has no VPC: create one, or choose another region")
        vpc = max(vpcs, key=lambda each: each["IsDefault"])["VpcId"]
        now = datetime.now(timezone.utc)
        tags = [{"ResourceType": "security-group", "Tags": [{"Key": TAG, "Value": now.isoformat(timespec="seconds")}]}]
        name = f"{TAG}-{now:%Y%m%d-%H%M%S-%f}"
        self.port = self.closed_port({"GroupId": "", "GroupName": name, "VpcId": vpc})
        with uninterrupted():  # else nobody knows the id of a group that is there
            self.group = self.ec2.create_security_group(
                GroupName=name, Description=DESCRIPTION, VpcId=vpc, TagSpecifications=tags
            )["GroupId"]
        self.opened = datetime.now(timezone.utc)
        self.ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[opened(self.port)])

    def closed_port(self, group: Mapping[str, Any]) -> int:
        """Return the first port that the settings do not leave open in a group."""
        public = parse_ports(self.settings.get("public-ports", []))
        register = parse_register(self.settings.get("exemptions", []))
        today = datetime.now(timezone.utc).date()
        entries = Register(register, self.account, self.region, today).of_group(group)
        for port in range(FIRST_PORT, ALL_PORTS[1] + 1):
            traffic = Traffic("tcp", port, port)
            if not any_in(public, traffic) and not naming(entries, traffic):
                return port
        raise CommandError(
            f"public-ports or exemptions in settings.yml leave each port of a new group open in {self.account} "
            f"{self.region}, so nothing would close it: change them, or choose another account or region"
        )

    def watch(self, show: Callable[[float, str], None], limit: float, wait: float) -> dict[str, float]:
        """Look for each stage until the last is reached, or the time is over."""
        seconds: dict[str, float] = {}
        last = self.watched[-1]
        while last not in seconds and self.age() < limit:
            for name in self.watched:
                if name not in seconds and (moment := getattr(self, name)()):
                    seconds[name] = max(0.0, (moment - self.opened).total_seconds())
                    show(seconds[name], STAGES[name].said)
            if last not in seconds:
                time.sleep(wait)
        return seconds

    def age(self) -> float:
        """Return for how many seconds the port has been open."""
        return (datetime.now(timezone.utc) - self.opened).total_seconds()

    # -- the stages: each returns when it was reached, None if it was not

    def recorded(self) -> datetime | None:
        """Look for an item with a rule in AWS Config."""
        resource = {"resourceType": "AWS::EC2::SecurityGroup", "resourceId": self.group}
        known = self.config.exceptions
        try:
            items = self.config.get_resource_config_history(**resource)["configurationItems"]
        except (known.ResourceNotDiscoveredException, known.NoAvailableConfigurationRecorderException):
            return None
        with_rule = [item for item in items if json.loads(item.get("configuration") or "{}").get("ipPermissions")]
        moments: list[datetime] = [item["configurationItemCaptureTime"] for item in with_rule]
        return min(moments, default=None)

    def started(self) -> datetime | None:
        """Look for a line in the functions' logs since the port was opened."""
        return next(map(moment_of, self.lines("", self.log_groups)), None)

    def replaced(self) -> datetime | None:
        """Look at the group itself, and for the record of the change."""
        rules = self.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [self.group]}])
        open_rules = [each for each in rules["SecurityGroupRules"] if each.get("CidrIpv4") == "0.0.0.0/0"]
        still = [each for each in open_rules if not each["IsEgress"]]
        return None if still else datetime.now(timezone.utc)

    def sent(self) -> datetime | None:
        """Look for the message's id in the log, after the record of the change."""
        if not self.record and (line := next(self.lines(f'{{ $.group = "{self.group}" }}', self.log_groups), None)):
            self.record = {**json.loads(line["message"]), **line}  # what CloudWatch says of it cannot be forged
        if self.record and not self.message:
            after = {"startTime": self.record["timestamp"], "logStreamNames": [self.record["logStreamName"]]}
            self.message = next(self.lines('"sent message"', [self.record["log_group"]], **after), {})
        return moment_of(self.message) if self.message else None

    def delivered(self) -> datetime | None:
        """Look for the message's id in the mailer's log."""
        if not self.message:
            return None
        message = self.message["message"].partition("sent message:")[2].split()[0]
        lines = self.lines(f'"message {message} was delivered"', [f"/aws/lambda/{MAILER}"])
        return next(map(moment_of, lines), None)

    def lines(self, pattern: str, log_groups: Iterable[str], **request: Any) -> Iterator[dict[str, Any]]:
        """Yield the lines of logs since the port was opened, each with its log group; none if there is no such log."""
        for name in log_groups:
            asked = {"startTime": int(self.opened.timestamp() * 1000), "filterPattern": pattern, **request}
            with suppress(self.logs.exceptions.ResourceNotFoundException):
                for line in pages(self.logs, "filter_log_events", "events", logGroupName=name, **asked):
                    yield {**line, "log_group": name}

    # -- the end

    def undo(self) -> str:
        """Undo the change with the pack's own undo, and return what went wrong, if anything did."""
        asked = Undo(self.group, self.record["run"], self.region, self.record["log_group"])
        try:
            done = undo.run(asked, self.session, self.settings, preview=False)
        except CommandError as error:
            return str(error)
        if not done.changes:
            return "; ".join(done.problems) or "undo changed nothing"
        return "" if self.replaced() is None else "undo did not restore the rule"


def delivers_here(queue: str, account: str, region: str) -> bool:
    """Whether the mailer of this account and region reads a queue. An ARN or a URL says where the queue is."""
    address = queue.replace("{account_id}", account).replace("{region}", region)
    return ":" not in address or {account, region} <= {*re.split("[:/.]", address)}


def opened(port: int) -> dict[str, Any]:
    """Return the permission that opens a port to the internet."""
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def moment_of(event: Mapping[str, Any]) -> datetime:
    """Return the moment of a line in CloudWatch Logs."""
    return datetime.fromtimestamp(event["timestamp"] / 1000, timezone.utc)


def delete(client: Any, group: str, region: str) -> None:
    """Close a group and delete it."""
    try:
        RETRY(close_and_delete, client, group, ignore_err_codes=GONE)
    except (ClientError, BotoCoreError) as error:
        line = f"aws ec2 delete-security-group --region {region} --group-id {group}"
        raise CommandError(f"the canary's group could not be deleted: {error}. Delete it: {line}") from error


def close_and_delete(client: Any, group: str) -> None:
    """Remove all ingress rules of a group, and the group."""
    close(client, group)
    client.delete_security_group(GroupId=group)


def close(client: Any, group: str) -> None:
    """Remove all ingress rules of a group."""
    (found,) = client.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    if found["IpPermissions"]:
        client.revoke_security_group_ingress(GroupId=group, IpPermissions=found["IpPermissions"])


def run(
    session: boto3.Session,
    settings: Mapping[str, Any],
    show: Callable[[float, str], None],
    limit: float,
    wait: float = 1.0,
) -> Result:
    """Run a canary in a region.

    :param show: is called for each stage that is reached, with seconds and a sentence.
    :param limit: seconds after which a stage that is not reached has failed.
    :raises CommandError: it cannot run here, or its group could not be deleted.
    """
    canary = Canary(session, deployed(session), settings)
    delete_left_over(canary.ec2)
    problem = ""
    with ended_on_request():
        try:
            canary.create()
            show(0.0, f"opened tcp {canary.port} to 0.0.0.0/0 in {canary.group}, which nothing uses")
            seconds = canary.watch(show, limit, wait)
            if "replaced" in seconds and canary.record and not (problem := canary.undo()):
                seconds["undone"] = canary.age()
                show(seconds["undone"], STAGES["undone"].said)
        finally:
            if canary.group:
                with uninterrupted():
                    delete(canary.ec2, canary.group, canary.region)
                show(canary.age(), f"deleted {canary.group}")
    return judged(canary, seconds, problem)


def judged(canary: Canary, seconds: dict[str, float], problem: str) -> Result:
    """Return the result: the first stage that is missing after the last that was reached, and its fix."""
    names = canary.watched if "undone" in seconds else [*canary.watched, "undone"]  # an undo proves no message
    if "replaced" not in seconds:  # a preview sends a message, too
        names = names[: names.index("replaced") + 1]
    missing = [*takewhile(lambda name: name not in seconds, reversed(names))]
    if not missing:
        return Result(canary.group, seconds)
    fill = {"functions": " and ".join(canary.closing), "logs": " and ".join(canary.log_groups), "problem": problem}
    return Result(canary.group, seconds, missing[-1], STAGES[missing[-1]].fix.format(**fill, region=canary.region))


def deployed(session: boto3.Session) -> tuple[str, ...]:
    """Return the functions that close a group when it is opened."""
    if not (found := tuple(sorted(functions(session) & {POLICIES, f"{POLICIES}-cloudtrail"}))):
        raise CommandError(
            f"neither open-ingress nor open-ingress-cloudtrail is deployed in {session.region_name}, so nothing closes "
            "a group at once: deploy one of them"
        )
    return found


def delete_left_over(client: Any) -> None:
    """Delete the groups of canaries that were killed. A group that is in use is somebody else's, and stays."""
    groups = client.describe_security_groups(Filters=[{"Name": "tag-key", "Values": [TAG]}])["SecurityGroups"]
    for group in groups:
        created = next(tag["Value"] for tag in group["Tags"] if tag["Key"] == TAG)
        with suppress(ValueError, TypeError, ClientError):  # somebody else's: no time, one without a zone, or in use
            age = datetime.now(timezone.utc) - datetime.fromisoformat(created)
            if group["GroupName"].startswith(TAG) and age > timedelta(hours=1):  # no canary uses it any more
                close_and_delete(client, group["GroupId"])


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and SIGTERM until the block is done."""
    before = pthread_sigmask(SIG_BLOCK, {SIGINT, SIGTERM})
    try:
        yield
    finally:
        pthread_sigmask(SIG_SETMASK, before)
