"""PagerDuty's Events API v2: an incident for what a person must do, and the event that resolves it (incidents.py).

Sources: https://developer.pagerduty.com/docs/events-api-v2/trigger-events,
https://github.com/PagerDuty/api-schema, reference/events-v2/openapiv3.json (202, 400, and 429 and 5xx to be retried).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar

from c7n_ingress.decide.states import CLOSING, SKIPPED
from c7n_ingress_tools.mailer.channel import Channel, Delivery, shown
from c7n_ingress_tools.mailer.facts import GROUPS, Facts, Group, Limits
from c7n_ingress_tools.mailer.incidents import Incident, incidents_of

MOST_KEY, MOST_SUMMARY = 255, 1000  # characters

Event = dict[str, Any]


class PagerDuty(Channel):
    """Services of PagerDuty, by their integration keys."""

    TARGET = re.compile(r"pagerduty://(?P<region>eu/)?(?P<key>[A-Za-z0-9]{32})")
    # Each group has its own events, and an event takes 512 kB.
    LIMITS: ClassVar[Mapping[str, Limits]] = {GROUPS: Limits(100_000, 0, 50)}

    def deliveries(self, message: Mapping[str, Any]) -> Iterator[Delivery]:
        """Return each group that has events, and what sends them, in their order."""
        for found in self.targets(message):
            target = found[0]
            url = f"https://events.{'eu.' if found['region'] else ''}pagerduty.com/v2/enqueue"
            for name, its in events(self.facts(message, message["resources"])):
                yield Delivery(f"{shown(target)} {name}", (target, name), partial(self.send, url, found["key"], its))

    def send(self, url: str, key: str, events: list[Event]) -> None:
        """Send the events of one group: what opens an incident is not sent again without what resolves it."""
        for event in events:
            self.answer("PagerDuty", "POST", url, HTTPStatus.ACCEPTED, json=event | {"routing_key": key})


def events(facts: Facts) -> list[tuple[str, list[Event]]]:
    """Return the events about each group or policy: what resolves the incident that is ended, then what opens one."""
    made = []
    for each in incidents_of(facts):
        resolve = {"event_action": "resolve", "dedup_key": each.ends[:MOST_KEY]}
        made.append((each.name, [resolve] * bool(each.ends) + [_trigger(facts, each)] * bool(each.key)))
    return made


def _trigger(facts: Facts, incident: Incident) -> Event:
    group = incident.group
    return {
        "event_action": "trigger",
        "dedup_key": incident.key[:MOST_KEY],
        "payload": {
            "summary": incident.summary[:MOST_SUMMARY],
            "source": incident.name or "unknown",
            "severity": _severity(group) if group else "error",
            "component": "security group" if group else "policy",
            "group": facts.account,
            "class": facts.kind,
            "custom_details": incident.details,
        },
        **({"links": [{"href": group.link, "text": "Open in the console"}]} if group and group.link else {}),
    }


def _severity(group: Group) -> str:
    if group.state == CLOSING.partly:
        return "warning"
    if group.exposure == "internet":
        return "critical"
    if group.state == SKIPPED:
        return "info" if group.exposure == "unused" else "warning"
    return "error"
