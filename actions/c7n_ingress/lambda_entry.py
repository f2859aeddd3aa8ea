"""The deployed policies' Lambda entry: Cloud Custodian's own, with this package's actions, for short-lived processes.

A Lambda has no site-packages, so the ``.pth`` line that loads the actions elsewhere does not run. So a policy's mode
has ``handler: c7n_ingress.lambda_entry.run`` and ``packages: [c7n_ingress]``.

Security groups seldom change, so nearly every event meets a new process. Work that needs no event is done when this
module is loaded, while Lambda provides a whole processor. ``cold`` leaves out what is not needed, ``sessions`` keeps
what can be kept. Policies are made again for each event, as their filters keep what they have read.
"""

# ruff: noqa: E402 - the collector has to be off before anything else is loaded
from __future__ import annotations

import gc
import json
import logging
import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

gc.disable()  # what is loaded now is no garbage; a collection takes a tenth of a cold start

from c7n_ingress.cold import zones_unread

with zones_unread():
    from c7n import handler
from c7n.cwe import CloudWatchEvents
from c7n.exceptions import PolicyValidationError
from c7n.policy import PolicyCollection
from c7n.resources import load_resources
from c7n.resources.aws import AWS
from c7n.structure import StructureParser

import c7n_ingress.registered  # noqa: F401 - it registers the actions and filters
from c7n_ingress.aws import journal
from c7n_ingress.aws.calls import ONCE
from c7n_ingress.aws.live import LiveSource
from c7n_ingress.decide.events import Here, check_call_event, check_config_event
from c7n_ingress.in_time import ended_in_time
from c7n_ingress.sessions import KeptSessions

log = logging.getLogger("custodian.lambda")

LOST = "/tmp"  # noqa: S108 - c7n's choice
"""Where c7n writes its output if no bucket is named for it: it would be lost with the process, so it is not written."""


def run(event: dict[str, Any], context: Any) -> bool | None:
    """Run the policies of ``config.json`` on an event, as :func:`c7n.handler.dispatch_event` does.

    :param context: Lambda's; it has the account's id, so that STS need not be asked.
    :returns: None for the event of a failed call, False if there is no policy, else True.
    :raises TypeError, ValueError: this is no event that the policies are for; nothing has been changed.
    """
    if not isinstance(event, dict):
        raise TypeError(f"{event!r:.80} is not an event: it must be an object")
    detail = event.get("detail")
    if detail == "{}":  # as EventBridge Scheduler sends it
        event["detail"] = {}
    if handler.C7N_SKIP_EVTERR and isinstance(detail, dict) and (error := detail.get("errorCode")):
        log.debug("Skipping failed operation: %s", error)
        return None
    here = Here(str(context.invoked_function_arn.split(":")[4]), os.environ["AWS_REGION"])
    policies = load_policies(here.account)
    for policy in policies:  # what one raises fails the invocation, so that Lambda tries again and counts an error
        policy.validate()
        check_event(policy, event, here)
        with ended_in_time(context):
            policy.push(event, context)
    return bool(policies)


def check_event(policy: Any, event: dict[str, Any], here: Here) -> None:
    """Refuse an event that a policy is not for, and pass the event of a call to the source that reads its groups."""
    if policy.execution_mode == "config-rule":
        check_config_event(event, here)
    elif policy.execution_mode == "cloudtrail":
        mode = policy.data["mode"]
        check_call_event(event, here, {each if isinstance(each, str) else each["event"] for each in mode["events"]})
        if not CloudWatchEvents.get_ids(event, mode):
            raise ValueError("the event names no security group where the policy's mode looks for one")
        if isinstance(source := policy.resource_manager.source, LiveSource):
            source.event = event


def load_policies(account_id: str) -> list[Any]:
    """Make the policies of ``config.json``, without any call of AWS."""
    data, options = configuration(), options_for(account_id)
    # As c7n's AWS provider makes its factory.
    role = (options.profile, options.assume_role, options.external_id, options.session_policy)
    make = partial(PolicyCollection.from_data, data, options, KeptSessions(options.region, *role))
    try:
        return list(make())
    except PolicyValidationError:  # a filter or action that c7n adds to all resources: few policies need those loaded
        load_resources(StructureParser().get_resource_types(data))
        return list(make())


@cache
def configuration() -> dict[str, Any]:
    """Read ``config.json``, as c7n wrote it into the zip, and load the resources that its policies are about."""
    data: dict[str, Any] = json.loads(Path("config.json").read_text(encoding="utf-8"))
    types = StructureParser().get_resource_types(data)
    AWS.get_resource_types(types)
    if "aws.account" in types:
        import c7n_ingress.watch  # noqa: F401, PLC0415 - it registers what no other function needs
    return data


@cache
def options_for(account_id: str) -> Any:
    """Return c7n's options, with what c7n would otherwise look up."""
    found = {"account_id": account_id, "regions": [os.environ["AWS_REGION"]]}
    data = configuration()
    options = handler.init_config({**data, "execution-options": data.get("execution-options", {}) | found})
    if options.output_dir == LOST:
        options.output_dir = "null://"
        options.log_group = options.log_group or "null://"
    return options


def prepare() -> None:
    """Do what needs no event: send records to the log, make the client that changes groups, and keep what is loaded.

    Each record is a line of its own in the function's log: a filter pattern matches lines that are JSON.
    """
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    journal.log.addHandler(lines)
    journal.log.propagate = False
    sessions = KeptSessions(os.environ["AWS_REGION"])
    sessions.policy_name = configuration()["policies"][0]["name"]  # into the user agent, which CloudTrail records
    sessions().client("ec2", config=ONCE)
    gc.freeze()  # what is loaded is never garbage


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    prepare()
gc.enable()
