"""Slack, as far as the mailer sees of it: its webhooks and Web API, and its rules for a message.

Sources: https://docs.slack.dev/reference/methods/chat.postMessage, .../users.lookupByEmail (answers and errors),
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks, https://docs.slack.dev/reference/block-kit
(limits; Slack's own SDK checks them), https://github.com/slackapi/bolt-js/issues/2509 (some 13,000 characters in all).
"""

import json
from urllib.parse import parse_qs

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

TOKEN = "xoxb-1-bot"
HOOK = "https://hooks.slack.com/services/T0/B0/hook"
JSON, HTML = {"Content-Type": "application/json; charset=utf-8"}, {"Content-Type": "text/html"}
PEOPLE = {"jane.doe@example.com": "U0JANE"}
MOST_BLOCKS, MOST_TEXT, MOST_SIGNS = 50, 3000, 13_000


class Slack:
    """A workspace. `posted` holds what it took: (where, message); `next` the answers to send before its own."""

    def __init__(self):
        self.posted = []
        self.next = []
        self.calls = []

    def hosts(self):
        """Return the hosts as `internet.serving` wants them."""
        return {"slack.com": self.api, "hooks.slack.com": self.hook}

    def hook(self, _method, path, _headers, body):
        """Answer as an incoming webhook does."""
        self.calls.append(path)
        if self.next:
            return self.next.pop(0)
        if path != "/services/T0/B0/hook":
            return 404, HTML, b"no_service"
        broken = broken_rules(message := json.loads(body))
        if broken:
            return 400, HTML, b"invalid_blocks"
        self.posted.append(("hook", message))
        return 200, HTML, b"ok"

    def api(self, _method, path, headers, body):
        """Answer as the Web API does: errors, too, with a status of 200."""
        self.calls.append(path)
        if self.next:
            return self.next.pop(0)
        answer = self.refuse(headers) or {"/api/chat.postMessage": self.post, "/api/users.lookupByEmail": self.look_up}[
            path
        ](body)
        return 200, JSON, json.dumps(answer).encode()

    def refuse(self, headers):
        """Refuse a token that is not this workspace's."""
        return None if headers["Authorization"] == f"Bearer {TOKEN}" else {"ok": False, "error": "invalid_auth"}

    def post(self, body):
        """Take a message for a channel or a person."""
        message = json.loads(body)
        if broken_rules(message):
            return {"ok": False, "error": "invalid_blocks"}
        if message["channel"].lstrip("#") not in ("ops", "checkout", *PEOPLE.values()):
            return {"ok": False, "error": "channel_not_found"}
        self.posted.append((message["channel"], message))
        return {"ok": True}

    def look_up(self, body):
        """Find a person."""
        (address,) = parse_qs(body.decode())["email"]
        if address in PEOPLE:
            return {"ok": True, "user": {"id": PEOPLE[address]}}
        return {"ok": False, "error": "users_not_found"}


def broken_rules(message):
    """Return the rules for a message that Slack publishes, and that this one breaks."""
    blocks = message["blocks"]
    rules = {
        "blocks: 1 to 50": 1 <= len(blocks) <= MOST_BLOCKS,
        "blocks: about 13,000 characters": len(json.dumps(blocks, ensure_ascii=False)) < MOST_SIGNS,
        "text: not empty": bool(message["text"]),
        "texts: 1 to 3000 characters": all(1 <= len(text) <= MOST_TEXT for _, text in texts(blocks)),
        "nothing else": set(message) <= {"channel", "text", "blocks", "unfurl_links", "unfurl_media"},
    }
    return [*(rule for rule, kept in rules.items() if not kept), *filter(None, map(broken_rule_of_sdk, blocks))]


def broken_rule_of_sdk(block):
    """Return what Slack's own SDK says of a block: a limit, or a key that it does not know."""
    try:
        known = Block.parse(block).to_dict()
    except SlackObjectFormationError as error:
        return str(error)
    return None if known == block else f"{block['type']}: it has what Slack does not know, or lacks what it must have"


def texts(value):
    """Return the texts of a message with the type of each: mrkdwn, plain_text, text (literal) or link."""
    if isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, dict):
        if isinstance(value.get("text"), str):
            yield value["type"], value["text"]
        for each in value.values():
            yield from texts(each)
