"""Notify people of the result of a run, and AWS Config of a group that is still open."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import BotoCoreError
from c7n.actions.notify import Notify
from c7n.exceptions import ClientError, PolicyExecutionError
from c7n.utils import get_partition

from c7n_ingress.aws.calls import client_of, said
from c7n_ingress.aws.job import Job, is_tried_again
from c7n_ingress.aws.journal import undo_commands
from c7n_ingress.aws.values import FreshValues
from c7n_ingress.decide.behind import ANNOTATION as BEHIND
from c7n_ingress.decide.behind import rank
from c7n_ingress.decide.checks import UNFILLED
from c7n_ingress.decide.managed import MANAGED, managed_by
from c7n_ingress.decide.message import NOTED, OPENED, PREVIEW, REPLACED, UNDO, WAITING, Outcome, messages, subject
from c7n_ingress.decide.opened import call_in, opened_by, owner_event
from c7n_ingress.decide.reopened import REOPENED
from c7n_ingress.decide.settings import filled

log = logging.getLogger("custodian.actions")

KEYS = {**Notify.schema["properties"], "to": {"anyOf": [Notify.schema["properties"]["to"], UNFILLED]}}
"""The keys of c7n's own `notify` action, whose recipients a variable may fill."""
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["transport"],
    "properties": {name: schema for name, schema in KEYS.items() if name != "type"},
}


class Notifier(Notify):  # type: ignore[misc]  # c7n ships no types
    """c7n's ``notify``, but lists of recipients are read past c7n's cache."""

    def expand_variables(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the action's data says, with the recipients that ``to_from`` and ``cc_from`` list."""
        data: dict[str, Any] = {**self.data}
        data |= {key: with_place(data[key], self.manager.config) for key in ("to", "cc") if key in data}
        for key in ("to", "cc"):
            if source := data.get(f"{key}_from"):
                texts = {
                    name: source[name].format(**message) for name in ("url", "expr") if type(source.get(name)) is str
                }
                data.setdefault(key, []).extend(FreshValues(source | texts, self.manager).get_values())
        return data


def with_place(recipients: Sequence[Any], config: Any) -> list[Any]:
    """Fill account, region and partition into recipients: c7n fills once, and a variable may have filled these."""
    place = {"account_id": config.account_id, "region": config.region, "partition": get_partition(config.region)}
    filled_in = list(recipients)
    for name, value in place.items():
        filled_in = [each.replace(f"{{{name}}}", str(value)) if isinstance(each, str) else each for each in filled_in]
    return filled_in


def notifier(action: Any, **defaults: str) -> Notifier:
    """Return c7n's own action for what an action's ``notify`` says."""
    return Notifier({"type": "notify", **defaults, **action.data["notify"]}, action.manager)


REACH = {"sqs": ("sqs:GetQueueAttributes",), "sns": ("sns:GetTopicAttributes",)}
"""The permissions to check a queue or a topic, by the type of the transport."""


def check_reachable(job: Job) -> None:
    """Make sure, before the first change, that people can be notified of the groups that ``at-most`` leaves open.

    Otherwise the run fails after its changes and Lambda tries it again: each try changes ``at-most`` more groups.
    """
    if job.at_most is None or "notify" not in job.action.data or not is_tried_again(job.action.manager):
        return
    manager, notify = job.action.manager, notifier(job.action)
    notify.manager = copy(manager)
    notify.manager.session_factory = partial(_asking, manager.session_factory)
    names = {"account_id": manager.config.account_id, "region": manager.config.region, "policy": manager.data}
    ask = notify.send_sqs if notify.data["transport"]["type"] == "sqs" else notify.send_sns
    try:
        ask(names, "")
    except (ClientError, BotoCoreError) as error:
        raise PolicyExecutionError(
            f"{job.action.type} changed nothing: {_place(notify)} cannot be reached, so nobody would be notified: "
            f"{said(error)}"
        ) from error


def _place(notify: Notifier) -> Any:
    """Return the queue or the topic to which a message is sent."""
    transport = notify.data["transport"]
    return transport.get("queue") or transport.get("topic")


def _asking(session_factory: Callable[..., Any], **where: Any) -> Any:
    """Return a session for c7n's ``notify``, whose client asks for the queue or the topic and sends nothing to it."""

    def client(service: str) -> Any:
        real = session_factory(**where).client(service)
        return SimpleNamespace(
            send_message=lambda **sent: real.get_queue_attributes(QueueUrl=sent["QueueUrl"]) | {"MessageId": None},
            publish=lambda **sent: real.get_topic_attributes(TopicArn=sent["TopicArn"]) | {"MessageId": None},
        )

    return SimpleNamespace(client=client)


def notify_people(job: Job, outcomes: Sequence[Outcome], event: Mapping[str, Any] | None, waiting: int) -> list[str]:
    """Send what changed and what failed to where the action's ``notify`` says, and return why not, if so.

    :param waiting: how many more groups are open than the run may close.
    """
    action, deed = job.action, job.deed
    outcomes = [outcome for outcome in outcomes if outcome.is_reported] if "notify" in action.data else []
    if job.brake:
        outcomes = job.brake.unreported(outcomes)
    if not outcomes:
        return []
    config, preview = action.manager.config, job.preview
    text = subject(outcomes, deed, f"{config.account_id} {config.region}", preview=preview, waiting=waiting)
    call = call_in(event)
    behind = job.surroundings.of([outcome.group for outcome in outcomes])
    job.surroundings.note_ways_in(outcomes)
    if behind:  # they come worst first by what was open
        outcomes.sort(key=lambda outcome: rank(behind[outcome.group["GroupId"]]["exposure"]))
        blocked = job.surroundings.blocked()
        behind = {group_id: {**each, **blocked} for group_id, each in behind.items()}
    resources = [_resource(job, outcome, behind.get(outcome.group["GroupId"]), call, waiting) for outcome in outcomes]
    notify = notifier(action, subject=text)
    notify.manager = copy(action.manager)
    notify.manager.data = filled(action.manager.data)  # the message has the policy
    notify.manager.session_factory = cache(action.manager.session_factory)  # c7n makes a session for each message
    failures = []
    for batch in messages(resources, deed):
        try:
            notify.process(batch, call and owner_event(call))
        except Exception as error:  # noqa: PERF203 - c7n and AWS raise anything; it is raised at the end
            log.exception("the notification could not be sent")
            failures.append(f"the notification could not be sent to {_place(notify)}: {said(error)}")
    if failures and job.brake:
        job.brake.forget(outcomes)
    return failures[:1]


def _resource(
    job: Job, outcome: Outcome, behind: object, call: Mapping[str, Any] | None, waiting: int
) -> dict[str, Any]:
    """Return a group as a message's resource; without what cannot be read of an odd group or event."""
    group_id, touched = outcome.group["GroupId"], outcome.said.touched if outcome.said else ()
    is_undone = job.deed is REPLACED and outcome.records and not job.preview
    more = {
        BEHIND: behind,
        REOPENED: outcome.reopened,
        NOTED: [*outcome.noted, *outcome.unfinished] if outcome.records else None,
        WAITING: waiting,
        PREVIEW: job.preview,  # noted for each group: one that failed has no record
        UNDO: undo_commands(job.action.manager, group_id) if is_undone else None,
    }
    for key, read in (
        (OPENED, lambda: opened_by(call, touched, outcome.records) if call else None),
        (MANAGED, lambda: managed_by(outcome.group)),
    ):
        try:
            more[key] = read()
        except Exception:  # noqa: PERF203 - this group and the others are reported all the same
            log.exception("%s: %s cannot be reported", group_id, key)
    return outcome.as_resource(job.deed, **more)


def report_to_config(manager: Any, event: Mapping[str, Any] | None) -> list[str]:
    """Report to AWS Config that the group of its event was open, when the action has failed; return why not, if so.

    c7n evaluates only after the actions, so Config would keep the verdict that it has, which may be COMPLIANT.
    """
    if manager.data.get("mode", {}).get("type") != "config-rule" or not event or "resultToken" not in event:
        return []
    try:
        item = json.loads(event["invokingEvent"])["configurationItem"]
        verdict = {
            "ComplianceResourceType": item["resourceType"],
            "ComplianceResourceId": item["resourceId"],
            "ComplianceType": "NON_COMPLIANT",
            "Annotation": f"Not compliant with policy:{manager.data['name']}, whose action failed.",
            "OrderingTimestamp": item["configurationItemCaptureTime"],
        }
        client = client_of(manager, "config")
        client.put_evaluations(Evaluations=[verdict], ResultToken=event["resultToken"])
    except Exception as error:  # why the action failed is reported, too
        log.exception("AWS Config did not accept that the group is open")
        return [f"AWS Config did not accept that the group is open: {error}"]
    return []
