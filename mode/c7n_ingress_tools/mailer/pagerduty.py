"""PagerDuty's Events API v2: an incident only for what a person must do, with what ends it.

- A group that is not closed is one incident, however often it is reported. The run that closes the group resolves it.
- A group that is closed, but lacks networks, is an incident of that run: no later run adds them, so a person resolves
  it. The group's own incident is resolved.
- A group that is closed resolves its own incident.
- A preview, a notice and the digest of exemptions open none.

Sources: https://developer.pagerduty.com/docs/events-api-v2/trigger-events,
https://github.com/PagerDuty/api-schema, reference/events-v2/openapiv3.json (202, 400, and 429 and 5xx to be retried).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar

import requests

from c7n_ingress_tools.mailer.channel import GROUPS, WATCH, Channel, Delivery, post, shown
from c7n_ingress_tools.mailer.facts import Facts, Group, Limits
from c7n_ingress_tools.mailer.recipients import Recipients

TARGET = re.compile(r"pagerduty://(?P<region>eu/)?(?P<key>[A-Za-z0-9]{32})")
MOST_KEY, MOST_SUMMARY = 255, 1000  # characters
SEVERITIES = {"internet": "critical", "private": "warning", "unused": "info"}

Event = dict[str, Any]


class PagerDuty(Channel):
    """Services of PagerDuty, by their integration keys."""

    LIMITS: ClassVar[Mapping[str, Limits]] = {
        GROUPS: Limits(100_000, 0, 50)
    }  # each group has its own events; an event takes 512 kB

    def __init__(self, config: dict[str, Any], session: Any, recipients: Recipients) -> None:
        super().__init__(config, session, recipients)
        self.http = requests.Session()

    @staticmethod
    def takes(target: str) -> bool:
        """Whether a target is a service."""
        return TARGET.fullmatch(target) is not None

    def deliveries(self, message: Mapping[str, Any]) -> Iterator[Delivery]:
        """Return each group that has events, and what sends them, in their order."""
        for found in filter(None, map(TARGET.fullmatch, self.targets(message))):
            target = found[0]
            url = f"https://events.{'eu.' if found['region'] else ''}pagerduty.com/v2/enqueue"
            for name, its in events(self.facts(message, message["resources"])):
                yield Delivery(f"{shown(target)} {name}", (target, name), partial(self.send, url, found["key"], its))

    def send(self, url: str, key: str, events: list[Event]) -> None:
        """Send the events of one group: what opens an incident is not sent again without what resolves it.

        :raises UndeliverableError: PagerDuty did not take one; those after it are not sent.
        """
        for event in events:
            post("PagerDuty", url, HTTPStatus.ACCEPTED, self.http, json=event | {"routing_key": key})


def events(facts: Facts) -> list[tuple[str, list[Event]]]:
    """Return the events of a message, each with the group or the policy that they are about."""
    if facts.kind == WATCH:
        return [(dict(facts.place)["Policy"], [_silence(facts)])]
    return [(group.id, _of_group(facts, group)) for group in facts.groups] if facts.opens_incidents else []


def _of_group(facts: Facts, group: Group) -> list[Event]:
    key = f"open-ingress/{facts.account}/{facts.region}/{group.id}"
    is_open = bool(group.open or (facts.restores and group.lacking))
    resolve = {"event_action": "resolve", "dedup_key": key[:MOST_KEY]}
    if not group.reasons:
        return [resolve]
    wrong = group.reasons[0]
    state = group.state.replace("…", wrong)
    severity = SEVERITIES.get(group.exposure, "warning")
    details = {
        "what to do": group.needs,
        **{each.label.lower(): each.lines or each.note for each in group.commands},
        "what ends this incident": group.resolves,
        "reasons": group.reasons,
        "notes": [note.text for note in group.notes],
        "changes": [{name: text for name, text in change._asdict().items() if text} for change in group.changes],
        "more": group.more,
        **dict(group.about),
        "to undo": group.undo.lines or group.undo.note,
        "connections": [text for section in facts.sections for text in section.paragraphs],
        "more groups": facts.todo,
        "left out": group.cut,
    }
    incident = {
        "event_action": "trigger",
        "dedup_key": (key if is_open else f"{key}/blocked/{group.run}")[:MOST_KEY],
        "payload": {
            "summary": (
                f'Open ingress {state}: {group.id} "{group.name}" in {facts.account} {facts.region}'
                + (f": {wrong}" if state == group.state else "")
            )[:MOST_SUMMARY],
            "source": group.id or "unknown",
            "severity": _severity(group, severity) if is_open else "warning",
            "component": "security group",
            "group": facts.account,
            "class": "open-ingress",
            "custom_details": {name: value for name, value in details.items() if value},
        },
        "links": [{"href": group.link, "text": "Open in the console"}] if group.link else [],
    }
    return [incident] if is_open else [resolve, incident]


def _severity(group: Group, severity: str) -> str:
    return "error" if group.has_failed and severity != "critical" else severity


def _silence(facts: Facts) -> Event:
    """Return the event of what mode/watch.yml found silent: one incident a policy, however often it is reported."""
    policy = dict(facts.place)["Policy"]
    return {
        "event_action": "trigger",
        "dedup_key": f"open-ingress-watch/{facts.account}/{facts.region}/{policy}"[:MOST_KEY],
        "payload": {
            "summary": f"{facts.title} ({facts.account} {facts.region})"[:MOST_SUMMARY],
            "source": policy or "unknown",
            "severity": "error",
            "group": facts.account,
            "class": "open-ingress-watch",
            "custom_details": {
                "what to do": " ".join(facts.todo),
                "what is wrong": facts.lead,
                "what ends this incident": "Resolve it by hand once that is done.",
            },
        },
    }
