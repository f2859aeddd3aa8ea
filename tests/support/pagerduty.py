"""PagerDuty's Events API v2, as far as the mailer sees of it: what it takes, and the incidents that come of it.

Sources: https://developer.pagerduty.com/docs/send-alert-event (fields, limits),
https://github.com/PagerDuty/api-schema, reference/events-v2/openapiv3.json (answers),
https://support.pagerduty.com/main/docs/event-management (an event with the key of an open alert is added to it; one to
resolve an alert that is not open is dropped).
"""

import json

KEY = "R0123456789ABCDEFGHIJKLMNOPQRSTU"
MOST_BYTES = 512_000


class PagerDuty:
    """A service. `incidents` holds what was opened, in order; `next` the answers to send before its own."""

    def __init__(self):
        self.incidents = []
        self.next = []
        self.refused = []
        self.events = []

    def hosts(self):
        """Return the hosts as `internet.serving` wants them."""
        return {"events.pagerduty.com": self.enqueue, "events.eu.pagerduty.com": self.enqueue}

    def enqueue(self, _method, path, _headers, body):
        """Take an event."""
        if self.next and (answer := self.next.pop(0)) != "take":
            return answer
        event = json.loads(body)
        broken = [*broken_rules(event), *(["not /v2/enqueue"] if path != "/v2/enqueue" else [])]
        if len(body) > MOST_BYTES:
            broken.append("512 KB")
        if broken:
            self.refused.append((event, broken))
            return 400, {}, json.dumps({"status": "invalid event", "errors": broken}).encode()
        self.events.append((event["event_action"], event["dedup_key"]))
        self.take(event)
        return 202, {}, json.dumps({"status": "success", "dedup_key": event["dedup_key"]}).encode()

    def take(self, event):
        """Open an incident, add to the one that is open, or resolve it."""
        known = [each for each in self.incidents if each["key"] == event["dedup_key"] and each["open"]]
        if event["event_action"] == "resolve":
            for incident in known:
                incident["open"] = False
        elif known:
            known[0]["events"].append(event)
        else:
            self.incidents.append({"key": event["dedup_key"], "open": True, "events": [event]})


def broken_rules(event):
    """Return the rules for an event that PagerDuty publishes and that this one breaks."""
    if not isinstance(event, dict):
        return ["an event is an object"]
    action, payload = event.get("event_action"), event.get("payload", {})
    rules = {
        "routing_key: 32 characters": len(event.get("routing_key", "")) == 32,
        "event_action: trigger, acknowledge or resolve": action in ("trigger", "acknowledge", "resolve"),
        "dedup_key: a text of at most 255 characters": 0 < len(event.get("dedup_key", "")) <= 255,
        "component, group, class: texts": all(
            isinstance(payload.get(k, ""), str) for k in ("component", "group", "class")
        ),
        "custom_details: an object": isinstance(payload.get("custom_details", {}), dict),
        "links: each with an href": all(link.get("href") for link in event.get("links", [])),
        "nothing else": set(event)
        <= {"routing_key", "event_action", "dedup_key", "payload", "links", "images", "client", "client_url"},
        "nothing else in the payload": set(payload)
        <= {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"},
    }
    if action == "trigger":
        rules |= {
            "summary: required, at most 1024 characters": 0 < len(payload.get("summary", "")) <= 1024,
            "source: required": len(payload.get("source", "")) > 0,
            "severity: one of four": payload.get("severity") in ("critical", "error", "warning", "info"),
        }
    return [rule for rule, kept in rules.items() if not kept]
