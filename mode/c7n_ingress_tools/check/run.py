"""The list of all facts of a check, in the order in which they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from c7n_ingress_tools.check import account, functions, here, read
from c7n_ingress_tools.check.facts import UNREAD, Fact, wrong
from c7n_ingress_tools.names import MAILER

POLICY = "custodian-open-ingress-check"
NO_CREDENTIALS = "set AWS_PROFILE, or run `aws configure`"


def in_region(session: boto3.Session, files: here.Files) -> Iterator[Fact]:
    """Return all facts of an account and region."""
    region = session.region_name
    try:
        account_id = session.client("sts").get_caller_identity()["Account"]
    except NoCredentialsError:
        yield wrong("credentials", "no AWS credentials found", NO_CREDENTIALS)
        return
    except (BotoCoreError, ClientError) as error:
        yield wrong(
            "credentials",
            f"AWS does not answer, or does not accept them in {region}: {error}",
            "renew them, or correct the region",
        )
        return
    local = here.load(files, account_id, region)
    found = read.account(session, files.watch, local.networks)
    yield from judged(found, local, region)


def judged(found: dict[str, Any], local: here.Local, region: str) -> Iterator[Fact]:
    """Return the facts of what was read. What could not be read is a line of its own, once."""
    now = datetime.now(timezone.utc)
    today = now.date()
    made = found["stack"] if isinstance(found["stack"], read.Stack) else None
    own = not account.central_queue(made)
    facts: Iterable[tuple[tuple[str, ...], Callable[..., Iterator[Fact]]]] = (
        (("identity",), lambda who: account.identity(who, region)),
        (("recorder",), lambda message: account.watched("recorder", message)),
        (("stack",), lambda stack: account.stack(stack, local.files.stack, region)),
        (("roles",), lambda roles: account.roles(roles, own_mailer=own)),
        (("subscriptions",), lambda subscriptions: account.topic(subscriptions, region)),
        (
            ("functions", "config_rules", "event_rules"),
            lambda deployed, *rules: functions.facts(deployed, local.wanted, functions.Rules(*rules), region, today),
        ),
        (
            ("functions", "mappings"),
            lambda deployed, mappings: (
                functions.mailer(deployed.get(MAILER), mappings, region, today) if own else iter(())
            ),
        ),
        (("errors", "functions"), lambda message, deployed: account.errors(message, deployed, region)),
        (("queues",), lambda queues: account.queues(queues, region, own_mailer=own)),
        (
            ("alarms", "functions"),
            lambda alarms, deployed: account.alarms(alarms, deployed, local.files.stack, now, own_mailer=own),
        ),
        (("groups",), lambda groups: account.room(groups, local.networks)),
    )
    reported: set[str] = set()
    for names, fact in facts:
        unread = [name for name in names if isinstance(found[name], read.Unread)]
        yield from (_unread(name, found[name]) for name in unread if name not in reported)
        reported.update(unread)
        if not unread:
            yield from fact(*(found[name] for name in names))


def _unread(name: str, why: read.Unread) -> Fact:
    fix = f"attach the policy {POLICY}, which mode/stack.yml creates, to these credentials"
    return Fact(name.replace("_", " "), UNREAD, f"cannot be read: {why.why}", fix if why.denied else "run this again")
