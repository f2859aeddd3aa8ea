"""What a message reports, worked out once for all channels: from a message of the queue to texts that are safe to show.

First comes what needs an action now and which, then what was closed, then the rest. A channel only renders this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import quote

from c7n_ingress.decide import message as reported
from c7n_ingress.decide.behind import ANNOTATION as BEHIND
from c7n_ingress.decide.behind import EXPOSED
from c7n_ingress.decide.exemptions import TAG
from c7n_ingress.decide.managed import MANAGED, MANAGERS, managed_by
from c7n_ingress.decide.ports import traffic_words
from c7n_ingress.decide.reopened import RENEWED, REOPENED
from c7n_ingress.decide.rules import MAYBE_OPEN, ports_text, traffic
from c7n_ingress.decide.states import BY_NAME, EXEMPT, State, counted
from c7n_ingress_tools.mailer.commands import Commands, additions, again, undo
from c7n_ingress_tools.mailer.typed import clean, listed, mapped, plain, quoted

GROUPS, DIGEST, WATCH = "open-ingress", "open-ingress-exempt", "open-ingress-watch"
"""The pack's messages, by the template that a policy names."""

CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-us-gov": "console.amazonaws-us-gov.com",
    "aws-cn": "console.amazonaws.cn",
}
OWNERS = ("owner", "team", "contact", "mail", "createdby", "created-by", "created_by")
"""A tag whose key has one of these words says who answers for the group."""

THE_PACKS = ("aws:", "c7n:", "c7n-ingress:", "open-ingress-")
MOST_REASONS, MOST_TAGS, MOST_BEHIND, SOON = 5, 4, 10, 7

BY_HAND = "By hand: tag it open-ingress-until = YYYY-MM-DD, 90 days ahead at most, then put the old source back."
FOR_GOOD = "add the port to public-ports, or the network to authorized, in settings.yml."
INTERRUPTED = (
    "Some {} interrupted at once: TCP and UDP connections that came in by 0.0.0.0/0 or ::/0, if the group lets all "
    "traffic out. EC2 does not track them. A connection goes on if another rule still lets it in."
)
TRACKED = (
    "Other connections are not interrupted: those that came in by a narrower source, ICMP, and those that EC2 always "
    "tracks (Network Load Balancer, NAT gateway, PrivateLink, Lambda and others). Each goes on until it ends or is "
    "idle too long. For TCP, this is 350 seconds on Nitro v6 instances, and five days on others. To block them now, "
    "use a network ACL."
)
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html"""
LIMITED = (
    ": this run closed as many as its limit at-most allows. Look at what opened them, then run the policy "
    "again, or raise at-most in settings.yml."
)
FIXES = [manager.fix for manager in MANAGERS]
"""What the pack writes: names in it, such as an annotation of Kubernetes, must stay whole to be copied."""


class Limits(NamedTuple):
    """How many groups a channel shows in full, how many more in one line each, and how many changes of a group."""

    groups: int
    brief: int
    rows: int


class Change(NamedTuple):
    """A rule before and after."""

    traffic: str
    was: str
    now: str
    done: str
    """What was done where there is no before or no after: removed, added."""
    description: str
    rule: str

    @property
    def line(self) -> str:
        """The change on one line."""
        sides = " -> ".join(filter(None, [self.was, self.now]))
        more = (f'"{self.description}"' if self.description else "", self.rule)
        return ", ".join(filter(None, [f"{self.traffic}: {sides} {self.done}".rstrip(), *more]))


@dataclass(frozen=True)
class Group:
    """A group, with what is reported about it."""

    id: str
    name: str
    state: State
    """What it is called, how urgent it is, what a person must do, and what ends it."""
    short: str
    """Its state in one line."""
    exposure: str
    link: str
    notes: list[str]
    """What needs a look."""
    changes: list[Change]
    more: str
    """How many changes are not shown."""
    about: list[tuple[str, str]]
    """A label and a text each."""
    reasons: Sequence[str] = ()
    """Why it is not as it should be."""
    is_open: bool = False
    """Whether the internet may still get in."""
    commands: Sequence[Commands] = ()
    """What does what a person must do."""
    undo: Commands | None = None
    cut: str = ""
    """What did not fit into the message."""
    run: str = ""

    @property
    def is_urgent(self) -> bool:
        """Whether it needs an action now."""
        return self.state.mood == "bad"

    @property
    def title(self) -> str:
        """Its state, as a line begins."""
        return self.state.name[:1].upper() + self.state.name[1:]


class Section(NamedTuple):
    """Something that is true for all groups of the message."""

    title: str
    steps: Sequence[str]
    paragraphs: Sequence[str] = ()


class Facts:
    """What a message reports. A subclass is for one kind of message."""

    title: str
    """What needs an action now; if nothing does, the headline."""
    headline: str
    lead: str
    mood: str
    """As bad as the worst group: `bad` needs an action now, `look` needs a look, `good` needs nothing."""
    todo: Sequence[str] = ()
    """What a person must do now that is about no group of the message."""
    looks: Sequence[str] = ()
    """What needs a look, in short."""
    ranked: Sequence[Mapping[str, Any]] = ()
    """The groups as the message has them, the most urgent first."""
    is_preview = False
    restores = False
    sections: Sequence[Section] = ()
    end = ""

    def __init__(
        self,
        message: Mapping[str, Any],
        resources: Sequence[Mapping[str, Any]],
        limits: Limits,
        journals: Iterable[str] = (),
    ) -> None:
        self.resources, self.limits, self.journals = resources, limits, (*journals,)
        self.action, self.policy = message["action"], mapped(message["policy"])
        self.time = datetime.fromtimestamp(message.get("execution_start") or 0, timezone.utc)
        self.console = CONSOLES.get(message.get("partition", ""))
        self.kind: str = self.action["template"]
        self.account, name = clean(message.get("account_id")), clean(message.get("account"))
        """The account's id."""
        self.region = clean(message.get("region"))
        self.place = [
            ("Account", self.account if name in ("", self.account) else f"{name} ({self.account})"),
            ("Region", self.region),
            ("Policy", clean(self.policy.get("name"))),
            ("Time", f"{self.time:%Y-%m-%d %H:%M} UTC"),
        ]

    def group(self, resource: Mapping[str, Any]) -> Group:
        """Return what is reported about a group."""
        raise NotImplementedError

    @cached_property
    def groups(self) -> list[Group]:
        """The groups that are shown in full."""
        return list(map(self.group, self.ranked[: self.limits.groups]))

    @cached_property
    def brief(self) -> list[Group]:
        """The groups that are shown in one line each."""
        return list(map(self.group, self.ranked[self.limits.groups :][: self.limits.brief]))

    @property
    def left_over(self) -> int:
        """How many groups are not named at all."""
        return max(0, len(self.ranked) - self.limits.groups - self.limits.brief)

    @property
    def urgent(self) -> list[Group]:
        """The groups that need an action now."""
        return [group for group in self.groups if group.is_urgent]

    def basics(self, resource: Mapping[str, Any], changes: Sequence[Change], noun: str) -> dict[str, Any]:
        """Return which group it is, where its page is, and the first of its changes, as Group has it."""
        group_id, most = clean(resource.get("GroupId")), self.limits.rows
        page = f"/ec2/home?region={quote(self.region)}#SecurityGroup:groupId={quote(group_id)}"
        return {
            "id": group_id,
            "name": clean(resource.get("GroupName")),
            "exposure": _exposure(resource),
            "link": f"https://{self.console}{page}" if self.console else "",
            "changes": changes[:most],
            "more": _rest(len(changes) - most, noun),
        }


# -- what was closed, or restored, or would be


class _Run(Facts):
    """What an action of the pack did to groups."""

    end = "Each change is one JSON line in the policy's log."

    def __init__(self, *message: Any) -> None:
        super().__init__(*message)
        self.restores = any(reported.RESTORED.annotation in each for each in self.resources)
        self.deed = reported.RESTORED if self.restores else reported.REPLACED
        self.records = [record for each in self.resources for record in self.records_of(each)]
        self.rules = sum(map(self.rules_of, self.resources))
        """How many open rules were changed."""
        said = any(each.get(reported.PREVIEW) for each in self.resources)
        self.is_preview = said or any(record.get("how") == "preview" for record in self.records)
        self.ranked = sorted(self.resources, key=lambda each: _state(each).rank)
        counts = Counter(map(_state, self.ranked))
        waiting = max((n for each in self.resources if isinstance(n := each.get(reported.WAITING), int)), default=0)
        more = [f"{counted(waiting, 'more group')} not closed"] if waiting else []
        self.todo = [f"{each}{LIMITED}" for each in more]
        title = ", ".join([*_counted(counts, "bad"), *more])
        done = f"{'would be ' if self.is_preview else ''}{self.deed.done}"
        changed = sum(self.rules_of(each) > 0 for each in self.resources)
        self.headline = f"{counted(self.rules, 'open rule')} {done} in {counted(changed, 'group')}"
        self.title = title or self.headline
        self.lead = self.leading()
        quiet = self.is_preview or self.restores
        self.looks = [] if quiet else _counted(counts, "look")
        self.mood = "bad" if title else "look" if quiet or self.looks else "good"
        self.sections = [self.next_steps()]
        if self.rules and not self.restores:
            interrupted = INTERRUPTED.format("will be" if self.is_preview else "were")
            self.sections.append(Section("Connections that were open", [], [interrupted, TRACKED]))

    def records_of(self, resource: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the records of a group's changes."""
        return listed(resource.get(self.deed.annotation))

    def rules_of(self, resource: Mapping[str, Any]) -> int:
        """Return how many open rules of a group were changed: a network that is only added is no open rule."""
        return sum(bool(record.get(self.deed.open_side)) for record in self.records_of(resource))

    def leading(self) -> str:
        """Return in a sentence what this is about."""
        if self.restores and self.is_preview:
            return "PREVIEW: nothing was changed. This is how the policy would undo what was replaced."
        if self.restores and self.rules:
            return "What was replaced is undone: these security groups let in again what they let in before."
        if self.restores:
            return "What was replaced should be undone. No open rule was restored."
        actions = map(mapped, listed(self.policy.get("actions")))
        marks = [each for each in actions if each.get("type") in ("mark-for-op", "mark-each-for-op")]
        if self.is_preview and marks:
            return self.notice(marks[0])
        if self.is_preview:
            return "PREVIEW: nothing was changed. These security groups let the whole internet in."
        replaced, nothing = "The open sources are replaced by your authorized networks", "No open rule was replaced"
        return f"Security groups let the whole internet in. {replaced if self.rules else nothing}."

    @staticmethod
    def notice(mark: Mapping[str, Any]) -> str:
        """Return in a sentence when the groups will be closed, by the action that marks them for later."""
        days, hours = mark.get("days"), mark.get("hours")
        time = f"{clean(days)} days" if days else f"{clean(hours)} hours"
        said = "NOTICE: these security groups let the whole internet in."
        if mark.get("preview") is True:
            return (
                f"{said} They stay open, because preview is true in the settings. Once it is removed, they will be "
                f"closed, but not within {time} from now, unless somebody fixes or exempts them first."
            )
        return f"{said} They will be closed in {time}, unless somebody fixes or exempts them first."

    def next_steps(self) -> Section:
        """Return what people can do once nothing is urgent."""
        exempt = any(each.get(reported.EXEMPT) for each in self.resources)
        if self.restores and (self.records or exempt):
            close = f"To close a group before its day, remove its tag {TAG}."
            return Section("What comes next", [close, f"To keep a port open permanently, {FOR_GOOD}"])
        if self.is_preview or not self.records:
            tag = f"Tag it {TAG} = YYYY-MM-DD, at most 90 days ahead; or"
            return Section("If a group must stay open", [tag, FOR_GOOD])
        undoable = any(group.undo and group.undo.lines for group in self.groups)
        how = 'run the commands under "To undo".' if undoable else "run the policy restore-ingress with the group's id."
        first = f"Undo it: {how} It exempts the group for a while, too."
        return Section("If this was wrong", [first, BY_HAND, f"Permanently: {FOR_GOOD}"])

    def group(self, resource: Mapping[str, Any]) -> Group:
        state, records = _state(resource), self.records_of(resource)
        failed, skipped = _most(resource.get(reported.FAILED), "failure"), resource.get(reported.SKIPPED)
        left = _most(resource.get(reported.LEFT), "rule")
        still_open = [*failed, *_most(skipped and [skipped], "reason"), *left]
        commands = [additions(resource, self.region)]
        if failed and "mode" in self.policy and not (self.is_preview or self.todo):  # its event waits
            commands.append(again(self.region))
        return Group(
            **self.basics(resource, list(map(self.change, records)), "change"),
            state=state,
            short=f"{counted(self.rules_of(resource), 'rule')}, {state.name}",
            reasons=[*still_open, *_most(resource.get(reported.LACKING), "network")],
            is_open=bool(still_open),
            commands=list(filter(None, commands)),
            notes=self.notes(resource),
            about=_about(resource),
            undo=undo(resource, self.region, self.journals),
            cut=clean(resource.get(reported.CUT), 400),
            run=clean(records[0].get("run")) if records else "",
        )

    def notes(self, resource: Mapping[str, Any]) -> list[str]:
        reopened = clean(resource.get(REOPENED), 200)
        until = resource.get(reported.EXEMPT)
        by, fix = ("", "") if self.restores else _manager(resource)
        back = [f"{plain(text, 380)} is back already" for text in listed(resource.get(reported.BACK))]
        notes = [
            reopened[:1].upper() + reopened[1:],
            *_most(resource.get(reported.NOTED), "note"),
            f"Managed by {by}. So that it is not opened again: {fix}" if by else "",
            f"Left alone until {clean(until)}, 00:00 UTC, and closed again then." if isinstance(until, str) else "",
            *_most(back, "rule"),
        ]
        return list(filter(None, notes))

    def change(self, record: Mapping[str, Any]) -> Change:
        was, now = clean(record.get("was")), clean(record.get("now"))
        done = "" if was and now else "removed" if was else "added"
        if str(record.get("how")).startswith("perhaps"):  # EC2's answer did not arrive
            done = f"perhaps {done or self.deed.done}"
        return Change(
            clean(traffic_words(str(record.get("protocol")), str(record.get("ports")))),
            was,
            now,
            f"would be {done}" if done and self.is_preview else done,
            clean(record.get("description")),
            clean(record.get("rule")),
        )


def _state(resource: Mapping[str, Any]) -> State:
    """Return the state that the action noted, by its name."""
    return BY_NAME.get(str(mapped(resource.get(reported.STATE)).get("name")), UNKNOWN)


UNKNOWN = State("in an unknown state", "in an unknown state", 0, "look")
"""The state where a message names none of the pack's."""


def _counted(states: Mapping[State, int], mood: str) -> list[str]:
    """Return how many groups are in each of the states with a mood."""
    return [f"{counted(number, 'group')} {each.counted}" for each, number in states.items() if each.mood == mood]


# -- what is open by exemption


class _Digest(Facts):
    """The groups that are open because somebody exempted them."""

    mood = EXEMPT.mood

    def __init__(self, *message: Any) -> None:
        super().__init__(*message)
        self.headline = self.title = f"{counted(len(self.resources), 'group')} open by exemption"
        self.lead = "The whole internet may come in, because somebody made an exemption."
        self.ranked = sorted(self.resources, key=lambda each: _day(_until(each)) or date.min)
        soon = sum((days := self.days(each)) is not None and days <= SOON for each in self.resources)
        self.looks = [f"{counted(soon, 'group')} will be closed within a week"] if soon else []
        todo = [
            f"To close a group now, remove its tag {TAG}, or its entry in the register: the daily run closes it.",
            "To keep it open for longer, set a later day there. A tag takes at most 90 days ahead.",
            f"To keep a port open permanently, {FOR_GOOD}",
        ]
        self.sections = [Section("What you can do", todo)]
        noted = mapped(self.action.get("entries"))  # those of the register that somebody should look at
        if entries := [_entry(mapped(each)) for each in listed(noted.get("shown"))]:
            rest = [f"and {clean(noted['more'])} more"] if noted.get("more") else []
            self.sections.insert(0, Section("In the register of exemptions", [], [*entries, *rest]))

    def days(self, resource: Mapping[str, Any]) -> int | None:
        """Return how many more days an exemption lasts, if its day is one."""
        until = _day(_until(resource))
        return (until - self.time.date()).days if until else None

    def group(self, resource: Mapping[str, Any]) -> Group:
        until, days = clean(_until(resource), 30) or "an unknown day", self.days(resource)
        left = "" if days is None else f", {counted(days, 'more day')}"
        state = EXEMPT._replace(name=f"{EXEMPT.name} until {until}{left}")
        rules = [
            Change(words, clean(source.get(key)), "", "", clean(source.get("Description")), "")
            for permission in map(mapped, listed(resource.get("MatchedIpPermissions")))
            for words in [_words_of(permission)]
            for listing, key in MAYBE_OPEN.items()
            for source in map(mapped, listed(permission.get(listing)))
        ]
        renewed = clean(resource.get(RENEWED), 200)
        why, (manager, _) = clean(_why(listed(resource.get(reported.EXEMPT))), 400), _manager(resource)
        known = [(label, text) for label, text in (("Why", why), ("Managed by", manager)) if text]
        return Group(
            **self.basics(resource, rules, "rule"),
            state=state,
            short=state.name,
            notes=[renewed[:1].upper() + renewed[1:]] if renewed else [],
            about=[*known, *_about(resource)],
        )


def _until(resource: Mapping[str, Any]) -> str:
    """Return the day on which a group's exemption ends: the register's or the tag's, as somebody wrote it."""
    first = next(iter(map(mapped, listed(resource.get(reported.EXEMPT)))), {})
    tags = [each.get("Value") for each in _tags(resource) if each.get("Key") == TAG]
    return str(first.get("until") or next(iter(tags), None) or "")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == len("YYYY-MM-DD") else None
    except ValueError:
        return None


def _why(exemptions: Sequence[Any]) -> str:
    """Return why, who answers for it, and where that was decided: one sentence for each entry of the register."""
    entries = [each for each in map(mapped, exemptions) if each.get("reason")]
    return "; ".join(
        f"{each['reason']}"
        + (f" (until {each.get('until')})" if len(exemptions) > 1 else "")
        + (f", owner {each['owner']}" if each.get("owner") else "")
        + (f", ticket {each['ticket']}" if each.get("ticket") else "")
        for each in entries
    )


def _entry(entry: Mapping[str, Any]) -> str:
    """Return an entry of the register, and why somebody should look at it."""
    names = ", ".join(str(entry[key]) for key in ("group", "vpc", "region", "account") if entry.get(key))
    what = f"entry {entry.get('number')} ({names}) {entry.get('why')}: until {entry.get('until')}"
    return clean(f"{what}, {_why([entry])}", 600)


def _words_of(permission: Mapping[str, Any]) -> str:
    """Return what a permission lets in, in words."""
    try:
        of = traffic(permission)
        return clean(traffic_words(of.protocol, ports_text(of)))
    except (KeyError, TypeError, ValueError):
        return "unknown traffic"


# -- what mode/watch.yml found silent


class _Watch(Facts):
    """A part of the pack that does not run, in the policy's own words."""

    mood = "bad"

    def __init__(self, *message: Any) -> None:
        super().__init__(*message)
        self.headline = self.title = plain(self.action.get("subject"), 140)
        self.lead = plain(self.action.get("violation_desc"), 2000)
        self.todo = list(filter(None, [plain(self.action.get("action_desc"), 2000)]))


# -- what is known about a group


def _manager(resource: Mapping[str, Any]) -> tuple[str, str]:
    """Return the tool that manages a group, and the fix, as the action noted them, or by the group's marks."""
    noted = mapped(resource.get(MANAGED)) or managed_by({**resource, "Tags": _tags(resource)}) or {}
    fix = noted.get("fix")
    return quoted(noted.get("by")), fix if fix in FIXES else clean(fix, 400)


def _tags(resource: Mapping[str, Any]) -> list[dict[str, str]]:
    tags = map(mapped, listed(resource.get("Tags")))
    return [{key: str(each.get(key)) for key in ("Key", "Value")} for each in tags]


def _exposure(resource: Mapping[str, Any]) -> str:
    exposure = str(mapped(resource.get(BEHIND)).get("exposure"))
    return exposure if exposure in EXPOSED and exposure != "unknown" else ""


def _about(resource: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what uses a group, who opened it, who answers for it, and where it is."""
    noted = mapped(resource.get(BEHIND))
    users = [quoted(each) for each in listed(noted.get("behind"))]
    more = [_rest(len(users) - MOST_BEHIND, "thing")]
    opened = quoted(resource.get(reported.OPENED), 300)
    tags = [each for each in _tags(resource) if not each["Key"].startswith(THE_PACKS)]
    owners = [each for each in tags if any(word in each["Key"].lower() for word in OWNERS)]
    others = ", ".join(map(_tag, tags[:MOST_TAGS]))
    unknown = "no tag names one." + (f" Other tags: {others}" if others else "")
    rows = [
        ("Exposure", EXPOSED.get(_exposure(resource), "")),
        ("Used by", ", ".join(filter(None, [*users[:MOST_BEHIND], *more]))),
        ("Block Public Access", clean(noted.get("blocked"), 200)),
        ("CloudTrail", f"{opened} (the caller chose the names of session and tool)" if opened else ""),
        ("Owner", ", ".join(map(_tag, owners[:MOST_TAGS])) or unknown),
        ("VPC", clean(resource.get("VpcId")) or "none"),
    ]
    return [(label, text) for label, text in rows if text]


def _tag(tag: Mapping[str, str]) -> str:
    key = clean(tag["Key"])
    return quoted(tag["Value"]) if key.lower() == "owner" else f'{key} = "{clean(tag["Value"])}"'


def _most(value: Any, noun: str) -> list[str]:
    """Return the first of some sentences, and how many more there are."""
    texts = listed(value)
    rest = _rest(len(texts) - MOST_REASONS, noun)
    return [clean(text, 400) for text in texts[:MOST_REASONS]] + [rest] * bool(rest)


def _rest(number: int, noun: str) -> str:
    return f"and {counted(number, f'more {noun}')}" if number > 0 else ""


KINDS: Mapping[str, type[Facts]] = {GROUPS: _Run, DIGEST: _Digest, WATCH: _Watch}
