"""The records of changes: the account's journal, from which a change can be undone.

A record is one flat JSON object on a line of its own. It names everything that is needed to undo the change: `rule` by
its id, `traffic` in EC2's own fields, the sources that it `was` and is `now` (null where there was or is none), its
`description`, the `tags` that went with it if it was revoked, and `beside`, the rule for whose sake it was added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from c7n_ingress.decide.rules import Rule, Source, Traffic, network, ports_text, traffic, traffic_arguments

VERSION = 1
"""What `v` says of a record that is as described here."""

LINE = re.compile(r"(?:\S+Z |\S+ \S+(?: - custodian\.journal - INFO - |: custodian\.journal:INFO ))?(\{.*\})")
"""A line that may hold a record: all of it, or what follows on what an export of CloudWatch or c7n's log writes before.

Nothing else may stand before a record, or whoever can have a text logged could write one.
"""

Record = dict[str, Any]


class Change(NamedTuple):
    """Something that EC2 has done: ``was`` and ``now`` are sources, None where there is none."""

    how: str
    """In EC2's word: authorized, modified, revoked."""
    rule_id: str | None
    rule: Rule
    """The rule that gave the reason, as it stood before."""
    was: Source | None
    now: Source | None


def record_of(change: Change, how: str, group: Mapping[str, Any], **context: str) -> Record:
    """Give the record of a change.

    :param how: what the change is called there.
    :param context: run, account, region, policy and time.
    """
    rule = change.rule
    record = {
        "v": VERSION,
        **context,
        "vpc": group.get("VpcId"),
        "group": group["GroupId"],
        "group_name": group["GroupName"],
        "rule": change.rule_id,
        "protocol": rule.traffic.protocol,
        "ports": ports_text(rule.traffic),
        "traffic": traffic_arguments(rule.traffic),
        "was": change.was and str(change.was),
        "now": change.now and str(change.now),
        "description": rule.description,
        "how": how,
    }
    if change.was is None and change.rule_id != rule.id:
        record["beside"] = rule.id
    if change.now is None:
        record["tags"] = dict(rule.tags)
    return record


class Entry(NamedTuple):
    """A record, read again."""

    time: datetime
    run: str
    group: str
    rule: str
    traffic: Traffic
    was: Source | None
    now: Source | None
    description: str | None
    tags: tuple[tuple[str, str], ...]
    beside: str | None
    how: str


class Unreadable(NamedTuple):
    """A line that looks like a record and cannot be used."""

    group: str | None
    why: str


def entries(lines: Iterable[str], account: str, region: str) -> Iterator[Entry | Unreadable]:
    """Read the records among lines of text; what is none, and what is of another account or region, is passed over."""
    for line in lines:
        record = _object(line)
        if not record or "v" not in record or (record.get("account"), record.get("region")) != (account, region):
            continue
        group = record.get("group") if isinstance(record.get("group"), str) else None
        if record["v"] != VERSION:
            yield Unreadable(group, f"a record of version {record['v']!r:.20}: this release knows version {VERSION}")
            continue
        try:
            yield _entry(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            yield Unreadable(group, f"a record that cannot be read ({error!r:.80})")


def _object(line: str) -> dict[str, Any] | None:
    """Give the object that a line holds."""
    match = LINE.fullmatch(line.strip())
    try:
        found = json.loads(match[1]) if match else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _entry(record: Mapping[str, Any]) -> Entry:
    tags = record.get("tags", {})
    entry = Entry(
        datetime.fromisoformat(record["time"].replace("Z", "+00:00")),
        record["run"],
        record["group"],
        record["rule"],
        traffic(record["traffic"]),
        _source(record["was"]),
        _source(record["now"]),
        record["description"],
        tuple((key, value) for key, value in tags.items()),
        record.get("beside"),
        record["how"],
    )
    if not all(isinstance(text, str) for text in (entry.run, entry.group, entry.rule, *sum(entry.tags, ()))):
        raise TypeError("text is missing")
    kinds = {type(source) for source in (entry.was, entry.now) if source is not None}
    if len(kinds) != 1:
        raise ValueError(f"{entry.was} cannot have become {entry.now}")
    return entry


def _source(text: str | None) -> Source | None:
    if text is None or text.startswith("pl-"):
        return text
    return network(text)
