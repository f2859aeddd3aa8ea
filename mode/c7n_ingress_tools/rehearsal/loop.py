"""The whole loop on one machine: deploy, deliver what AWS Config records, mail the result, and check all of it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml
from c7n.utils import yaml_load
from moto.sns.models import sns_backends

from c7n_ingress.aws.calls import pages
from c7n_ingress.decide.behind import behind
from c7n_ingress.decide.rules import Rule, rule_from, source_from, text_of, traffic
from c7n_ingress.decide.states import counted
from c7n_ingress_tools.embedded_aws import config, ec2
from c7n_ingress_tools.embedded_aws.server import ACCOUNT, REGION, Cloud, serving
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.functions.runtime import FunctionError, deployed
from c7n_ingress_tools.names import MAILER, POLICIES
from c7n_ingress_tools.pack import PACK
from c7n_ingress_tools.rehearsal.groups import account as owner_of
from c7n_ingress_tools.rehearsal.groups import region
from c7n_ingress_tools.rehearsal.warm import exit_code
from c7n_ingress_tools.replay import QUEUE as FAILED
from c7n_ingress_tools.report.sources import record_of
from c7n_ingress_tools.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection

    import boto3

    from c7n_ingress.decide.behind import Behind
    from c7n_ingress_tools.functions.runtime import Function
    from c7n_ingress_tools.rehearsal.account import Account
    from c7n_ingress_tools.rehearsal.groups import Group
    from c7n_ingress_tools.rehearsal.progress import Progress
    from c7n_ingress_tools.rehearsal.warm import Commands

POLICY = PACK / "policies" / "open-ingress.yml"
REHEARSED = ("authorized", "public-ports", "exemptions")
"""The settings that a rehearsal uses: its messages go to its own topic."""

MAILER_LOG = "c7n-mailer.log"
JOBS_A_PROCESS = 50
"""An item or a message takes a tenth of a second, a process takes one to start."""

MOST_PROCESSES = 8


Rules: TypeAlias = dict[tuple[str, str], Rule]
"""Ingress rules by their group and their id, each with its tags in order."""

Calls: TypeAlias = Counter[tuple[str, str]]
"""How often each action was called, by service and action."""


@dataclass
class Result:
    """The result of the loop."""

    groups: list[Group]
    """The account's own groups."""
    foreign: list[Group]
    """The groups of other accounts, which share a VPC: AWS Config records them there."""
    account: str
    region: str
    folder: Path
    behind: dict[str, Behind] = field(default_factory=dict)
    """What uses each group, if interfaces are known."""
    before: dict[str, str] = field(default_factory=dict)
    """Config's first verdict on each group, by its id."""
    after: dict[str, str] = field(default_factory=dict)
    """The last verdict."""
    records: list[dict[str, Any]] = field(default_factory=list)
    """What the action says that it changed."""
    calls: Calls = field(default_factory=Counter)
    """What the function called."""
    undo: Calls = field(default_factory=Counter)
    """What the undo of one group called."""
    messages: list[dict[str, Any]] = field(default_factory=list)
    """What a subscriber of the SNS topic receives."""
    failures: list[str] = field(default_factory=list)
    """What is not as the pack promises."""


def run(account: Account, folder: Path, progress: Progress, commands: Commands, settings: Mapping[str, Any]) -> Result:
    """Run the whole loop once: deploy, deliver, mail, undo and check.

    :param folder: where the policy, the zip, items, records, messages and logs are written; it is emptied first.
    :param settings: the networks that replace the internet, the ports that may stay open, and the exemptions.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    owner = owner_of(account.groups) or ACCOUNT
    own = [group | {"OwnerId": owner} for group in account.groups if group["OwnerId"] in {"", owner}]
    foreign = [group for group in account.groups if group["OwnerId"] not in {"", owner}]
    behind = _behind(own, account.interfaces) if account.interfaces else {}
    result = Result(own, foreign, owner, region(account.groups) or REGION, folder, behind)
    with serving() as cloud:
        ec2.load_interfaces(account.interfaces, result.region, owner)
        ec2.load_vpcs(account.vpcs, result.region, owner)
        for list_id, cidrs in account.prefix_lists.items():
            ec2.load_prefix_list(list_id, cidrs, region=result.region, account=owner)
        Loop(cloud, result, progress, commands, settings).run()
    return result


@dataclass
class Loop:
    """One round. Each step is a method; they are in the order in which they are run."""

    cloud: Cloud
    result: Result
    progress: Progress
    commands: Commands
    settings: Mapping[str, Any]
    failed: set[str] = field(default_factory=set)
    """The groups whose item could not be delivered."""

    def __post_init__(self) -> None:
        """Get what several steps need."""
        place = {"region": self.result.region, "account": self.result.account}
        self.folder = self.result.folder.absolute()
        self.processes = _processes(len(self.result.groups))
        self.session: boto3.Session = self.cloud.session(**place)
        self.environment = self.cloud.environment(**place)

    def run(self) -> None:
        """Take every step."""
        self.prepare()
        self.deploy()
        with self.function() as function:
            before = self._rules()
            done = "AWS Config's items went to the zip that was deployed"
            self.result.before = self.deliver(function, self._items(), "items.jsonl", done)
            after = self._rules()
            changed = {group for (group, _), _ in before.items() ^ after.items()}
            items = [item for item in self._items() if item["resourceId"] in changed]
            done = "the items that the changes caused went there, too"
            self.result.after = self.deliver(function, items, "items-of-changes.jsonl", done)
        self.check(before, after)
        self.mail()
        self.undo(before)

    def prepare(self) -> None:
        """Create the account: its groups, and what a deployed policy needs there."""
        with self.progress.step(f"loaded {counted(len(self.result.groups), 'security group')} into an embedded AWS"):
            ec2.load_groups(self.result.groups, self.result.region)
            trust = json.dumps({"Version": "2012-10-17", "Statement": []})
            role = self.session.client("iam").create_role(RoleName=POLICIES, AssumeRolePolicyDocument=trust)["Role"]
            recorder = {"name": "default", "roleARN": role["Arn"]}
            self.session.client("config").put_configuration_recorder(ConfigurationRecorder=recorder)
            sqs = self.session.client("sqs")
            _, self.queue = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in (FAILED, MAILER))
            topic = self.session.client("sns").create_topic(Name=POLICY.stem)["TopicArn"]
            self.topic = sns_backends[self.result.account][self.result.region].topics[topic]

    def deploy(self) -> None:
        """Deploy the policy with the settings of the rehearsal, by `custodian run`."""
        policy, settings = (self.folder / name for name in (POLICY.name, SETTINGS))
        given = {key: self.settings[key] for key in REHEARSED if key in self.settings}
        settings.write_text(yaml.safe_dump(given), encoding="utf-8")
        file = yaml_load(POLICY.read_text(encoding="utf-8"))
        (deployed,) = (each for each in file["policies"] if each["name"] == POLICY.stem)
        for action in deployed["actions"]:
            action.pop("at-most", None)  # a rehearsal shows what becomes of all groups, not of those of an hour
            if not self.result.behind:
                action.pop("behind", None)
        policy.write_text(yaml.safe_dump({"policies": [deployed]}, sort_keys=False), encoding="utf-8")
        with self.progress.step("custodian run deployed the policy open-ingress as a Lambda"):
            options = ["--cache-period=0", f"--vars-file={settings}", f"--output-dir={self.folder / 'custodian'}"]
            self._run(["custodian", "run", *options, str(policy)])

    @contextmanager
    def function(self) -> Iterator[Function]:
        """Return the function that was deployed; afterwards, read the records in its log."""
        more: Any = {"session": self.session, "processes": self.processes, "folder": self.folder}
        with deployed(self.cloud, POLICIES, **more) as function:
            yield function
        texts = (log.read_text(encoding="utf-8", errors="replace") for log in function.logs if log.exists())
        found = (record_of(line) for text in texts for line in text.splitlines())
        self.result.records = sorted((dict(each) for each in found if each), key=itemgetter("time"))
        _write_lines(self.folder / "records.jsonl", self.result.records)

    def deliver(self, function: Function, items: list[dict[str, Any]], file: str, done: str) -> dict[str, str]:
        """Deliver items, and return AWS Config's verdict on each group."""
        _write_lines(self.folder / file, items)
        start = len(self.cloud.calls)
        with self.progress.step(f"{done}: {len(items)}") as step, ThreadPoolExecutor(self.processes) as pool:
            failures = pool.map(lambda item: _invoke(function, item), items)
            for number, (item, failure) in enumerate(zip(items, failures, strict=True), start=1):
                if failure:
                    self.failed.add(item["resourceId"])
                    self.result.failures.append(f"{item['resourceId']} ({item['resourceName']}): {failure}")
                step.show(number / len(items))
        self.result.calls += self._calls_since(start)
        return {each.resource: each.verdict for each in self.cloud.evaluations}

    def check(self, before: Rules, after: Rules) -> None:
        """Compare the records with EC2's rules, and check that each group is COMPLIANT, unless its function failed."""
        expected = dict(before)
        for record in self.result.records:
            key = record["group"], record["rule"]
            was = expected.pop(key, None)
            if record["now"] is not None:
                of, source = traffic(record["traffic"]), source_from(record["now"])
                expected[key] = Rule(key[1], of, source, record["description"] or None, was.tags if was else ())
        for group_id, rule_id in sorted({key for key, _ in expected.items() ^ after.items()}):
            says, has = (_words(rules.get((group_id, rule_id))) for rules in (expected, after))
            self.result.failures.append(f"{group_id}: {rule_id} is {has}, and by the records {says}")
        for group in self.result.groups:
            verdict = self.result.after.get(group["GroupId"], "not evaluated")
            if verdict != "COMPLIANT" and group["GroupId"] not in self.failed:
                self.result.failures.append(f"{group['GroupId']} ({group['GroupName']}) is {verdict}")

    def mail(self) -> None:
        """Start the mailer, and collect what arrives at the topic."""
        sent = self.result.calls["sqs", "SendMessage"]
        if not sent:
            return
        settings = self.folder / "mailer.yml"
        shipped = yaml_load((PACK / "mode" / settings.name).read_text(encoding="utf-8"))
        own = {"queue_url": self.queue, "region": self.result.region}
        settings.write_text(yaml.safe_dump(shipped | own), encoding="utf-8")
        step = f"c7n-mailer sent {counted(sent, 'message')} to the topic's subscribers"
        with self.progress.step(step) as sending:
            mailers = [self._start(["mailer", settings.name], MAILER_LOG) for _ in range(_processes(sent))]
            for mailer in mailers:
                while not mailer.poll(0.1):
                    sending.show(len(self.topic.sent_notifications) / sent)
                exit_code(mailer)
        notices = self.topic.sent_notifications
        self.result.messages = [{"Subject": subject, "Message": text} for _, text, subject, *_ in notices]
        texts = [f"Subject: {message['Subject']}\n\n{message['Message']}\n\n\n" for message in self.result.messages]
        (self.folder / "messages.txt").write_text("".join(texts), encoding="utf-8")
        if missing := sent - len(self.result.messages):
            log = self.result.folder / MAILER_LOG
            self.result.failures.append(f"{counted(missing, 'message')} did not arrive: see {log}")

    def undo(self, before: Rules) -> None:
        """Undo what was done to the group that changed in most ways, and check that the group is as it was."""
        ways = dict.fromkeys((record["group"], record["how"]) for record in self.result.records)
        if not ways:
            return
        ((group, _),) = Counter(group for group, _ in ways).most_common(1)
        # What people typed is in messages, too: only this is run.
        command = re.compile(rf"^ +(c7n-ingress undo {group} --run [0-9a-f-]+ --region [a-z0-9-]+)$", re.MULTILINE)
        lines = [line for message in self.result.messages for line in command.findall(message["Message"])]
        if not lines:
            self.result.failures.append(f"no message says how to undo what was done to {group}")
            return
        try:
            with self.progress.step(f"undo of {group}, by the command in its message, from the records in the log"):
                self.result.undo = self._run([*lines[0].split(), "--yes"])
        except CommandError as error:  # all that came before is still worth showing
            self.result.failures.append(str(error))
            return
        # A rule that was removed has come back under another id.
        now = sorted(map(_words, self._rules(group).values()))
        was = sorted(_words(rule) for (of, _), rule in before.items() if of == group)
        if was != now:
            self.result.failures.append(f"{group} had {'; '.join(was)}, and was restored to {'; '.join(now)}")

    def _run(self, command: Sequence[str]) -> Calls:
        """Run a command in the folder, and return its calls.

        :raises CommandError: it failed.
        """
        start, log = len(self.cloud.calls), "custodian.log"
        if exit_code(self._start(command, log)):
            complaint = _complaint(self.folder / log)
            raise CommandError(f"a command failed: {complaint} (see {self.result.folder / log})")
        return self._calls_since(start)

    def _start(self, command: Sequence[str], log: str) -> Connection:
        """Start a command in the folder. What c7n keeps in one's home goes there, too."""
        environment = self.environment | {"HOME": str(self.folder)}
        with (self.folder / log).open("ab") as file:
            return self.commands.call(command, environment, self.folder, (0, file.fileno(), file.fileno()))

    def _calls_since(self, start: int) -> Calls:
        return Counter((call.service, call.action) for call in self.cloud.calls[start:])

    def _items(self) -> list[dict[str, Any]]:
        """Make AWS Config record each group as it is now, and return the items."""
        groups = pages(self.session.client("ec2"), "describe_security_groups", "SecurityGroups")
        wanted = {group["GroupId"] for group in self.result.groups}
        items = (config.configuration_item(each, self.result.region) for each in groups if each["GroupId"] in wanted)
        return [config.record(item) for item in items]

    def _rules(self, group: str | None = None) -> Rules:
        """Return the live ingress rules of one group, or of all."""
        wanted = [{"Name": "group-id", "Values": [group]}] if group else []
        rules = pages(self.session.client("ec2"), "describe_security_group_rules", "SecurityGroupRules", Filters=wanted)
        return {(each["GroupId"], each["SecurityGroupRuleId"]): _live(each) for each in rules if not each["IsEgress"]}


def _invoke(function: Function, item: dict[str, Any]) -> str | None:
    """Deliver an item; return why that failed, if it did: in the function, or because Config sends no such item."""
    try:
        function.invoke(config.event(item, POLICIES))
    except (FunctionError, ValueError) as error:
        return str(error).removeprefix(f"{item['resourceId']}: ")
    return None


def reads(action: str) -> bool:
    """Whether an action of EC2's reads; any other changes something."""
    return action.startswith(("Describe", "Get"))


def _live(shape: Mapping[str, Any]) -> Rule:
    rule = rule_from(shape)
    return rule._replace(description=rule.description or None, tags=tuple(sorted(rule.tags)))


def _words(rule: Rule | None) -> str:
    """Return what a rule is, without its group and its id."""
    return f"{text_of(rule.match)}, {rule.description!r}, {dict(rule.tags)}" if rule else "not there"


def _behind(groups: Iterable[Group], there: Sequence[dict[str, Any]]) -> dict[str, Behind]:
    """Return what uses each group."""
    having: dict[str, list[dict[str, Any]]] = {group["GroupId"]: [] for group in groups}
    for interface in there:
        for group in {each["GroupId"] for each in interface["Groups"]} & having.keys():
            having[group].append(interface)
    return {group: behind(items) for group, items in having.items()}


def _processes(jobs: int) -> int:
    """Return how many processes are worth starting for so many items or messages."""
    return max(1, min(jobs // JOBS_A_PROCESS, os.cpu_count() or 1, MOST_PROCESSES))


def _write_lines(path: Path, objects: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(each, default=str) + "\n" for each in objects), encoding="utf-8")


def _complaint(log: Path) -> str:
    """Return the line of a log that says what was wrong: the exception's, if there is one."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
    return next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception)\b", line)), lines[-1])
