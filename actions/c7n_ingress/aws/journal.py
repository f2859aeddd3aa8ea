"""The account's journal: one record for each change, written when it is made, and read to undo it.

A deployed policy's function writes them to its log group, one in each line. CloudWatch Logs keeps them for the group's
retention. Nobody can change them, and only the function's role can write them.
"""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from c7n.cache import NullCache
from c7n.exceptions import PolicyExecutionError
from c7n.resolver import URIResolver

from c7n_ingress.aws.calls import client_of, pages
from c7n_ingress.decide.checks import UNFILLED
from c7n_ingress.decide.commands import LOG_GROUPS as OWN_LOG_GROUPS
from c7n_ingress.decide.commands import Undo, undo_line
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.records import TIME, Change, Entry, Unreadable, entries, record_of, run_id, time_from

log = logging.getLogger("custodian.journal")
"""Where records are written: in Lambda as lines without a prefix (`lambda_entry`), elsewhere as c7n's other logs."""
log.setLevel(logging.INFO)  # also with `custodian run --quiet`: what is not written cannot be undone

SCHEMA = {
    "anyOf": [
        UNFILLED,
        {
            "type": "object",
            "additionalProperties": False,
            "oneOf": [{"required": ["log-groups"]}, {"required": ["url"]}],
            "properties": {
                "log-groups": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                "url": {"type": "string", "pattern": "^(file:|s3://)"},  # where not everyone can write
                "since": {"type": "string"},
            },
        },
    ]
}

NOTHING = "restore-ingress changed nothing"

MOST_GROUPS = 10
"""The most group ids in a filter pattern, which may have 1,024 characters.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
"""


# -- writing


def write(manager: Any, outcome: Outcome, change: Change, how: str) -> None:
    """Record a change before anything else is done: a run that stops early leaves no other trace of it."""
    opened = outcome.said.opened_at(change.rule) if outcome.said else None
    record = record_of(
        change,
        how,
        outcome.group,
        opened,
        outcome.said.caller if outcome.said and opened else None,
        **context(manager),
    )
    log.info(json.dumps(record))
    outcome.records.append(record)


def context(manager: Any) -> dict[str, str]:
    """Return what each record and plan says of its run: run, account, region, policy and the time of now."""
    return {
        "run": run_id(manager.ctx.start_time, manager.ctx.execution_id),
        "account": manager.config.account_id,
        "region": manager.config.region,
        "policy": manager.data["name"],
        "time": datetime.now(timezone.utc).strftime(TIME),
    }


def is_local(manager: Any) -> bool:
    """Whether this is a run on somebody's machine, whose log has the records."""
    return "AWS_LAMBDA_LOG_GROUP_NAME" not in os.environ and _place(manager) is not None


def undo_commands(manager: Any, group_id: str) -> list[str]:
    """Return a list with the command that undoes this run's changes to a group, empty if the run has no journal."""
    place = _place(manager)
    if place is None:
        return []
    run, region = (context(manager)[key] for key in ("run", "region"))
    return [undo_line(Undo(group_id, run, region, None if place in OWN_LOG_GROUPS else place))]


def _place(manager: Any) -> str | None:
    """Return where this run's records are: c7n's log is a file in the run's output, compressed in S3."""
    if log_group := os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME"):
        return log_group
    output = manager.ctx.output
    if output.type == "s3":
        return f"s3://{'/'.join(filter(None, (output.bucket, output.key_prefix)))}/custodian-run.log.gz"
    return Path(output.root_dir, "custodian-run.log").absolute().as_uri() if output.type == "file" else None


# -- reading


class Journal(NamedTuple):
    """The records of groups, by group id, and the lines that cannot be used."""

    entries: Mapping[str, Sequence[Entry]]
    unreadable: Sequence[Unreadable]

    def unreadable_of(self, group_id: str) -> list[str]:
        """Return why lines cannot be used that are or may be a group's."""
        return sorted({each.why for each in self.unreadable if each.group in (None, group_id)})


def since_of(place: Mapping[str, Any]) -> datetime | None:
    """Return since when records are to be read, if an action's ``from`` limits it; a time without a zone is UTC."""
    if "since" not in place:
        return None
    try:
        since = time_from(place["since"])
    except ValueError:
        raise ValueError(f"since {place['since']!r} is not a time: write one like 2026-11-24T09:00:00Z") from None
    return since if since.tzinfo else since.replace(tzinfo=timezone.utc)


def read(manager: Any, place: Mapping[str, Any], groups: Sequence[str], run: str | None) -> Journal:
    """Read the journal's records of groups: of one run, or of all.

    :param place: what `SCHEMA` describes.
    :raises PolicyExecutionError: it cannot be read, or has none of these records; the message has the fix.
    """
    since = since_of(place)
    wanted = {"account": [manager.config.account_id], "run": [run or "*"], "group": groups}
    try:
        lines = [*_lines(manager, place, wanted, since)]
    except Exception as error:  # whatever c7n, urllib, boto3 raise: there is no journal
        name = place.get("url") or ", ".join(place["log-groups"])
        raise PolicyExecutionError(
            f"{NOTHING}: the journal {name} cannot be read: {error}: is it the log of the run that closed the group, "
            "in this account and region, and may you read it (in CloudWatch Logs: logs:FilterLogEvents)?"
        ) from error
    found: defaultdict[str, list[Entry]] = defaultdict(list)
    unreadable = []
    for entry in entries(lines, manager.config.account_id, manager.config.region):
        if isinstance(entry, Unreadable):
            if entry.group in (None, *groups):
                unreadable.append(entry)
        elif entry.group in groups and run in (None, entry.run) and (since is None or since <= entry.time):
            found[entry.group].append(entry)
    if not found:
        of = f"{', '.join(groups)}{f' in run {run}' if run else ''}"
        raise PolicyExecutionError(f"{NOTHING}: {_nothing(place, of, unreadable)}")
    return Journal(found, unreadable)


def _lines(
    manager: Any, place: Mapping[str, Any], wanted: Mapping[str, Sequence[str]], since: datetime | None
) -> Iterator[str]:
    if "url" in place:
        text = URIResolver(manager.session_factory, NullCache(None)).resolve(place["url"], {})
        yield from text.split("\n")  # str.splitlines splits at more characters than logs do
        return
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    either = [
        " || ".join(f'($.{key} = "{text}")' for text in texts)
        for key, texts in wanted.items()
        if len(texts) <= MOST_GROUPS
    ]
    request: dict[str, Any] = {"filterPattern": f"{{ {' && '.join(f'({each})' for each in either)} }}"}
    if since:
        request["startTime"] = int(since.timestamp() * 1000)
    client = client_of(manager, "logs")
    for name in place["log-groups"]:
        for event in pages(client, "filter_log_events", "events", logGroupName=name, **request):
            yield event["message"]


def _nothing(place: Mapping[str, Any], of: str, unreadable: Iterable[Unreadable]) -> str:
    """Return a sentence that the journal has nothing to undo of these groups, and the possible cause."""
    if whys := sorted({each.why for each in unreadable}):
        return f"of {of}, the journal has only {', '.join(whys)}"
    if "url" in place:
        return f"{place['url']} has no record of {of}: name the log of the run that closed it"
    return (
        f"the journal has no record of {of}. Check the account, the log group, the run and the time. If the run is "
        f"older than the retention of {', '.join(place['log-groups'])}, restore the rules by hand"
    )
