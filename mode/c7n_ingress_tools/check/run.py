"""The list of all facts of a check, in the order in which they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from c7n_ingress_tools.check import account, functions, here, read
from c7n_ingress_tools.check.facts import UNREAD, Fact, wrong
from c7n_ingress_tools.errors import CommandError

NO_CREDENTIALS = "set AWS_PROFILE, or run `aws configure`"

FACTS: tuple[tuple[Callable[..., Iterator[Fact]], tuple[str, ...]], ...] = (
    (account.identity, ("identity",)),
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


def in_region(session: boto3.Session, files: here.Files) -> Iterator[Fact]:
    """Return all facts of an account and region."""
    region = session.region_name
    try:
        account_id = session.client("sts").get_caller_identity()["Account"]
    except NoCredentialsError:
        yield wrong("credentials", "no AWS credentials found", NO_CREDENTIALS)
        return
    except (BotoCoreError, ClientError) as error:
        said = f"AWS does not answer, or does not accept them in {region}: {error}"
        yield wrong("credentials", said, "renew them, or correct the region")
        return
    try:
        own = here.own_of(files, account_id, region)
    except CommandError as error:
        yield wrong(str(files.accounts), str(error), "fix what the line names")
        return
    local = here.load(files, account_id, region, own)
    yield from judged(read.account(session, local), local)


def judged(found: Mapping[str, Any], local: here.Local) -> Iterator[Fact]:
    """Return the facts of what was read. What could not be read is a line of its own, once."""
    reported: set[str] = set()
    for facts, names in FACTS:
        unread = [name for name in names if isinstance(found[name], read.Unread)]
        for name in unread:
            if name not in reported:
                why, fix = found[name]
                yield Fact(name.replace("_", " "), UNREAD, f"cannot be read: {why}", fix)
        reported.update(unread)
        if not unread:
            yield from facts(local, *(found[name] for name in names))
