"""Exemptions: which open rules stay open, until when and why. One definition for policies, report, digest and undo.

A tag of the group exempts all of its rules; an entry of the register exempts exactly what it names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from fnmatch import translate
from typing import Any, NamedTuple

from c7n_ingress.decide.ports import parse_ports
from c7n_ingress.decide.rules import Traffic
from c7n_ingress.decide.states import counted

ANNOTATION = "c7n:exempt-ingress"
"""Where the filter `exempt` notes on a group by what its rules are exempt: what ends first comes first."""

TAG = "open-ingress-until"
"""The tag that exempts a group until the day that is its value, 00:00 UTC."""

MOST_DAYS = 90
"""How many days ahead the day of a tag may be at most. The register has no such limit: its entries are reviewed."""

SOON = 14
"""How many days before its end an entry is in the digest."""

OLD = 180
"""How many days after it was first made an entry is in the digest."""

REQUIRED = ("until", "reason")
NAMES = ("account", "region", "vpc", "group")
"""Which groups an entry is for: it has one of them at least."""

DAYS = ("until", "since")
KEYS = (*NAMES, "ports", *REQUIRED, "since", "owner", "ticket")

SHAPES = {
    "account": (re.compile(r"\d{12}"), "an account id of 12 digits, in quotes"),
    "region": (re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+"), "a region such as us-east-1"),
    "vpc": (re.compile(r"vpc-[0-9a-f]+"), "a VPC id such as vpc-0123456789abcdef0"),
}


class Entry(NamedTuple):
    """An entry of the register. Where it has no account, region, VPC or group, it is for all of them."""

    number: int
    """Its place in the register, from 1."""
    until: date
    """The day on which it ends, at 00:00 UTC."""
    reason: str
    account: str | None = None
    region: str | None = None
    vpc: str | None = None
    group: str | None = None
    """A group's id, or a pattern for names as the shell has it: `web-*`."""
    ports: frozenset[Traffic] | None = None
    """The ports that stay open; None for all traffic."""
    owner: str | None = None
    ticket: str | None = None
    since: date | None = None
    """The day on which it was first made, kept when it is renewed."""


class Exemption(NamedTuple):
    """Why a rule stays open, and until when."""

    until: str
    """The day, YYYY-MM-DD."""
    reason: str | None = None
    owner: str | None = None
    ticket: str | None = None


# -- the tag


def by_tag(group: Mapping[str, Any], today: date) -> Exemption | None:
    """Return the exemption that a group's tag makes on a day (UTC), if it makes one."""
    value = next((tag["Value"] for tag in group.get("Tags") or () if tag["Key"] == TAG), "")
    return Exemption(value) if is_exempt(value, today) else None


def is_exempt(until: str, today: date) -> bool:
    """Whether a tag with this value exempts a group: it is a day ahead, and not too far ahead."""
    return _is_day(until) and today.isoformat() < until <= (today + timedelta(MOST_DAYS)).isoformat()


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


# -- the register


def parse_register(values: object) -> list[Entry]:
    """Read the register, entries that have ended included: a list of mappings, as ``exemptions:`` of settings.yml."""
    if not isinstance(values, list):
        raise ValueError(f"exemptions {values!r:.80} is not a list of entries")
    return [_entry(number, value) for number, value in enumerate(values, 1)]


def _entry(number: int, value: object) -> Entry:
    try:
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r:.80} is not a mapping of {', '.join(KEYS)}")
        return _checked(number, {key: each for key, each in value.items() if each not in (None, "")})
    except ValueError as error:
        raise ValueError(f"exemptions, entry {number}: {error}") from None


def _checked(number: int, value: Mapping[str, Any]) -> Entry:
    if unknown := [str(key) for key in value if key not in KEYS]:
        raise ValueError(f"{unknown[0]!r:.80} is not a key: use {', '.join(KEYS)}")
    if missing := [key for key in REQUIRED if key not in value]:
        raise ValueError(f"it has no {missing[0]}: an exemption needs a day on which it ends, and a reason")
    if not any(key in value for key in NAMES):
        raise ValueError(f"it names nothing, so it would exempt every group: add {', '.join(NAMES[:-1])} or group")
    texts = {key: _text(key, value[key]) for key in KEYS if key in value and key not in (*DAYS, "ports")}
    for key, (shape, wanted) in SHAPES.items():
        if key in texts and not shape.fullmatch(texts[key]):
            raise ValueError(f"{key} {texts[key]!r:.80} is not {wanted}")
    days = {key: _day(key, value[key]) for key in DAYS if key in value}
    if "since" in days and days["since"] >= days["until"]:
        raise ValueError(f"since {days['since']} is not before until {days['until']}")
    fields: dict[str, Any] = {**texts, **days}
    if "ports" in value:
        fields["ports"] = parse_ports(value["ports"])
    return Entry(number, **fields)


def _text(key: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{key} {value!r:.80} is not a text")
    return str(value)  # YAML reads a ticket or an account without quotes as a number


def _day(key: str, value: object) -> date:
    text = str(value)  # YAML reads a day without quotes as a date
    if not _is_day(text):
        raise ValueError(f"{key} {text!r:.80} is not a day: write YYYY-MM-DD, such as 2027-01-31")
    return date.fromisoformat(text)


class Register:
    """The entries that count in one account and region on a day (UTC).

    A look-up costs the same whether there are five entries or five hundred.
    """

    def __init__(self, entries: Iterable[Entry], account: str, region: str, today: date) -> None:
        self.entries = [
            entry
            for entry in entries
            if entry.account in (None, account) and entry.region in (None, region) and today < entry.until
        ]
        self._by_name: defaultdict[str | None, list[Entry]] = defaultdict(list)
        self._patterns: list[tuple[re.Pattern[str], Entry]] = []
        for entry in self.entries:
            self._by_name[entry.group].append(entry)  # a name may have the signs of a pattern
            if entry.group and any(sign in entry.group for sign in "*?["):
                self._patterns.append((re.compile(translate(entry.group)), entry))
        self._any_pattern = re.compile("|".join(pattern.pattern for pattern, _ in self._patterns) or r"(?!)")

    def of_group(self, group: Mapping[str, Any]) -> list[Entry]:
        """Return the entries that are for a group, whatever its rules. An entry may come twice."""
        name = group.get("GroupName") or ""
        found = [entry for key in (None, group["GroupId"], name) for entry in self._by_name.get(key, ())]
        if self._any_pattern.match(name):
            found += [entry for pattern, entry in self._patterns if pattern.match(name)]
        return [entry for entry in found if entry.vpc in (None, group.get("VpcId"))]


def naming(entries: Iterable[Entry], traffic: Traffic) -> list[Entry]:
    """Return the entries that name a rule for some traffic, of those that are for its group."""
    return [entry for entry in entries if entry.ports is None or traffic in entry.ports]


def by_register(entries: Iterable[Entry], traffic: Traffic) -> Exemption | None:
    """Return the exemption of a rule by entries that are for its group: of several, the one that ends last."""
    matching = naming(entries, traffic)
    if not matching:
        return None
    last = max(matching, key=lambda entry: (entry.until, -entry.number))
    return Exemption(last.until.isoformat(), last.reason, last.owner, last.ticket)


def exemption(group: Mapping[str, Any], entries: Sequence[Entry], traffic: Traffic, today: date) -> Exemption | None:
    """Return why a rule of a group stays open, if it does: by the group's tag, else by the register."""
    return by_tag(group, today) or by_register(entries, traffic)


# -- for the digest


def to_look_at(entries: Iterable[Entry], used: Collection[int], today: date) -> list[dict[str, Any]]:
    """Return the entries that somebody should look at, what ends first comes first: texts, for a message.

    :param used: the numbers of those that name an open rule.
    """
    found = []
    for entry in sorted(entries, key=lambda each: (each.until, each.number)):
        left = (entry.until - today).days
        why = [f"ends in {counted(left, 'day')}"] if left <= SOON else []
        why += ["matches nothing that is open here"] if entry.number not in used else []
        if entry.since and (age := (today - entry.since).days) > OLD:
            why.append(f"made {age} days ago")
        if why:
            texts = {key: getattr(entry, key) for key in (*NAMES, "reason", "owner", "ticket") if getattr(entry, key)}
            found.append({"number": entry.number, **texts, "until": entry.until.isoformat(), "why": ", ".join(why)})
    return found
