"""The records of changes: the account's journal, from which a change can be undone.

A record is one flat JSON object on a line of its own. It names everything that is needed to undo the change: `rule` by
its id, `traffic` in EC2's own fields, the sources that it `was` and is `now` (null where there was or is none), its
`description`, its `tags` unless it was added, and `beside`, the rule that it was added for. A record of a preview or of
an undo has no tags. `opened`, `opened_by` and `seconds_open` say when and by whom it was opened, and for how long, if
the event of the run says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple
from uuid import UUID

from c7n_ingress.decide.rules import Rule, Source, Traffic, ports_text, source_from, traffic, traffic_arguments

VERSION = 1
"""What `v` says of a record that is as described here."""

TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
"""How a record writes a time, which is UTC."""

LINE = re.compile(r"(?:\S+Z |\S+ \S+(?: - custodian\.journal - INFO - |: custodian\.journal:INFO ))?(\{.*)")
"""A line that may hold a record: all of it, or the part after what an export of CloudWatch or c7n's log writes first.

Nothing else may come before a record. Otherwise anyone who can make a function log a text could write one.
"""

MADE = tuple(f"{sure}{how}" for sure in ("", "perhaps ") for how in ("authorized", "modified", "revoked"))
"""What a record that can be undone calls its change; a preview and an undo cannot be undone."""

Record = dict[str, Any]


class Change(NamedTuple):
    """Something that EC2 has done: ``was`` and ``now`` are sources, None where there is none."""

    how: str
    """In EC2's word: authorized, modified, revoked."""
    rule_id: str | None
    rule: Rule
    """The rule that is the reason, as it was before."""
    was: Source | None
    now: Source | None


def record_of(
    change: Change,
    how: str,
    group: Mapping[str, Any],
    opened: datetime | None = None,
    opened_by: str | None = None,
    **context: str,
) -> Record:
    """Return the record of a change.

    :param how: what the change is called there.
    :param opened, opened_by: when the rule was opened, and the ARN of who did it, if that is known.
    :param context: run, account, region, policy and time.
    """
    rule = change.rule
    record = {
        "v": VERSION,
        **context,
        "vpc": group.get("VpcId"),
        "group": group["GroupId"],
        "group_name": group.get("GroupName", ""),
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
    if opened:
        record["opened"] = opened.astimezone(timezone.utc).strftime(TIME)
        record["seconds_open"] = round((time_from(context["time"]) - opened).total_seconds(), 3)
    if opened_by:
        record["opened_by"] = opened_by
    if change.was is not None and how in MADE:
        record["tags"] = dict(rule.tags)
    return record


class Entry(NamedTuple):
    """A record, read again, or the sum of several records of one rule."""

    time: datetime
    run: str
    group: str
    rule: str | None
    """None for a rule that was perhaps added: the answer with its id was lost."""
    traffic: Traffic
    was: Source | None
    now: Source | None
    description: str | None
    tags: tuple[tuple[str, str], ...]
    beside: str | None
    agreed: bool = True
    """Whether the rule lets in the same traffic in all records that are summed up."""


class Unreadable(NamedTuple):
    """A line that looks like a record and cannot be used."""

    group: str | None
    """None for a line that does not say so."""
    why: str


def entries(lines: Iterable[str], account: str, region: str) -> Iterator[Entry | Unreadable]:
    """Read the records among lines of text; other lines, and records of another account or region, are left out."""
    for match in filter(None, (LINE.fullmatch(line.strip()) for line in lines)):
        try:
            record = json.loads(match[1])
        except (ValueError, RecursionError):
            if match[1].startswith('{"v": '):
                yield Unreadable(None, "an incomplete record")
            continue
        if "v" not in record or (record.get("account"), record.get("region")) != (account, region):
            continue
        group = record.get("group") if isinstance(record.get("group"), str) else None
        if type(record["v"]) is not int or record["v"] != VERSION:
            yield Unreadable(group, f"a record of version {record['v']!r:.20}: this release knows version {VERSION}")
        elif record.get("how") in MADE:
            try:
                yield _entry(record)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                yield Unreadable(group, f"a record that cannot be read ({error!r:.80})")


def _entry(record: Mapping[str, Any]) -> Entry:
    was, now = (None if text is None else source_from(text) for text in (record["was"], record["now"]))
    entry = Entry(
        time_from(record["time"]),
        record["run"],
        record["group"],
        record["rule"],
        traffic(record["traffic"]),
        was,
        now,
        record["description"],
        tuple(record.get("tags", {}).items()),
        record.get("beside"),
    )
    texts = (entry.run, entry.group, record["traffic"]["IpProtocol"], *dict(entry.tags).values())
    perhaps = (text for text in (entry.rule, entry.description, entry.beside) if text is not None)
    if {*map(type, (*texts, *perhaps))} != {str} or {*map(type, entry.traffic[1:])} != {int}:
        raise TypeError("something is not of the type that it should be")
    if entry.rule is None and record["how"] != "perhaps authorized":
        raise ValueError("it names no rule")
    if entry.time.tzinfo is None:
        raise ValueError("its time names no zone")
    kinds = {type(source) for source in (entry.was, entry.now) if source is not None}
    if len(kinds) != 1:
        raise ValueError(f"{entry.was} cannot have become {entry.now}")
    return entry


def time_from(text: str) -> datetime:
    """Read a time of ISO 8601; Python 3.10 does not know ``Z``."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# -- the id of a run: a UUID that carries its start, https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7

UUID_VERSION = 7
RANDOM_BITS = 80
"""How many bits are below those of the time; the first of them have the version."""


def run_id(started: float, execution_id: str) -> str:
    """Return the id of a run, by its start in seconds since 1970 and c7n's id of the execution, a random UUID."""
    milliseconds = int(started * 1000)
    return str(UUID(f"{milliseconds:012x}{UUID_VERSION}{UUID(execution_id).hex[13:]}"))


def started(run: str) -> datetime:
    """Return when a run started, in UTC, to the millisecond."""
    try:
        uuid = UUID(run)
    except ValueError:
        uuid = None
    if uuid is None or uuid.version != UUID_VERSION:
        raise ValueError(f"{run!r:.80} is not the id of a run: copy it from the message, or from a record of the log")
    return datetime.fromtimestamp((uuid.int >> RANDOM_BITS) / 1000, timezone.utc)
