"""The list of all facts of a check, in the order in which they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from c7n_ingress_tools import settings
from c7n_ingress_tools.check import account, functions, here, read
from c7n_ingress_tools.check.facts import WRONG, Fact, ok, wrong
from c7n_ingress_tools.errors import CommandError, in_one_line

RunCanary: TypeAlias = Callable[[boto3.Session, Mapping[str, Any]], Fact]
"""Runs a canary in a region, with the settings of the account."""

FACTS: tuple[tuple[Callable[..., Iterator[Fact]], tuple[str, ...]], ...] = (
    (account.stack, ("stack",)),
    (account.roles, ("roles", "central_queue")),
    (account.topic, ("subscriptions",)),
    (account.recorder, ("recorder", "functions")),
    (functions.facts, ("functions", "config_rules", "event_rules", "now")),
    (functions.mailer, ("functions", "mappings", "central_queue", "now")),
    (account.errors, ("errors", "functions")),
    (account.queues, ("identity", "queues", "central_queue")),
    (account.alarms, ("alarms", "functions", "central_queue", "now")),
    (account.room, ("groups",)),
)
"""What yields facts, of what is here and of what was read by these names."""


def in_region(session: boto3.Session, files: here.Files, run_canary: RunCanary | None) -> Iterator[Fact]:
    """Yield all facts of an account and region, and of a canary last."""
    region = session.region_name
    try:
        identity = session.client("sts").get_caller_identity()
        own = here.own_of(files, identity["Account"], region)
    except (BotoCoreError, ClientError) as error:
        yield wrong("credentials", in_one_line(error), "set or renew them, or correct the region")
        return
    except CommandError as error:
        yield wrong(str(files.accounts), str(error), "fix what the line names")
        return
    yield ok("credentials", f"{identity['Arn']} in {region}")
    local = here.load(files, identity["Account"], region, own)
    yield from judged(read.account(session, local, identity), local)
    if run_canary:
        try:
            yield run_canary(session, own.settings if own else settings.read(files.settings))
        except (BotoCoreError, ClientError, CommandError) as error:
            yield Fact("canary", WRONG, in_one_line(error) or str(error))


def judged(found: Mapping[str, Any], local: here.Local) -> Iterator[Fact]:
    """Return the facts of what was read. What could not be read is a line of its own, once."""
    reported: set[str] = set()
    for facts, names in FACTS:
        unread = [name for name in names if isinstance(found[name], read.Unread)]
        for name in unread:
            if name not in reported:
                why, fix = found[name]
                yield wrong(name.replace("_", " "), f"cannot be read: {why}", fix)
        reported.update(unread)
        if not unread:
            yield from facts(local, *(found[name] for name in names))
