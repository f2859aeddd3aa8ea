"""Slack, by webhook or bot token: blocks of literal text, in which Slack sees no mention, link, emoji or markup.

Sources: https://docs.slack.dev/apis/web-api/rate-limits (429, Retry-After),
https://api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks (what a webhook answers),
https://docs.slack.dev/reference/block-kit (50 blocks), https://github.com/slackapi/bolt-js/issues/2509 (about 13,000
characters in all of them).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import groupby
from typing import Any, ClassVar

from c7n_mailer.utils import get_resource_tag_targets
from c7n_mailer.utils_email import is_email

from c7n_ingress.decide.states import counted
from c7n_ingress_tools.mailer.channel import Channel, Delivery, UndeliverableError, shown, written_as
from c7n_ingress_tools.mailer.commands import Commands
from c7n_ingress_tools.mailer.facts import DIGEST, GROUPS, WATCH, Change, Facts, Group, Limits
from c7n_ingress_tools.mailer.mail import Mail

HOOK = re.compile(r"https://hooks\.slack\.com/\S+")
PERSON = r"[^\s@/]+@[^\s@/]+\.[^\s@/]+"
WEBHOOK, TAG = "slack://webhook/#", "slack://tag/"

MOST_HEADER, MOST_TEXT, MOST_BLOCKS, MOST_BRIEF = 140, 2900, 44, 12
MOST_SIGNS, MOST_SIGNS_IN_ALL = 9000, 10_800  # the groups in full; with the others in short
MOST_DIGEST_ROWS = 3
BRACKETS = str.maketrans("<>", "\u2039\u203a")
"""For angle brackets, by which Slack marks a mention or a link, single quotation marks that look like them."""
SILENT = "Open ingress: a part of the pack does not run"

Parts = list[dict[str, Any]]


class Slack(Channel):
    """Channels and people of a workspace."""

    TARGET = re.compile(rf"{HOOK.pattern}|slack://(owners|webhook/#\S+|#\S+|tag/.+|{PERSON})")
    LIMITS: ClassVar[Mapping[str, Limits]] = {GROUPS: Limits(12, 30, 8), DIGEST: Limits(40, 0, MOST_DIGEST_ROWS)}
    KEYS: ClassVar[Mapping[str, Any]] = {
        "slack_webhook": written_as(HOOK.pattern, "is not an address such as https://hooks.slack.com/services/T…/B…/…")
    }

    def deliveries(self, message: Mapping[str, Any]) -> Iterator[Delivery]:
        """Return each channel and person of a message, and what posts the message there."""
        for target in (found[0] for found in self.targets(message)):
            for name, resources in self.parts(target, message):
                label = shown(target) if name in target else f"slack://{name}"
                blocks = payload(self.facts(message, resources))
                yield Delivery(label, (target, name), partial(self.post, target, name, blocks))

    def post(self, target: str, name: str, blocks: dict[str, Any]) -> None:
        """Post a message to a webhook, or to a channel or a person as the bot."""
        if HOOK.fullmatch(target):
            self.hook(target, blocks)
        elif target.startswith(WEBHOOK):
            self.hook(self.setting("slack_webhook"), blocks | {"channel": name.removeprefix("#")})
        else:
            self.call("chat.postMessage", json=blocks | {"channel": self.channel(name)})

    @cached_property
    def token(self) -> str:
        """The bot token, which may be in mailer.yml as it is."""
        token: str = self.setting("slack_token")
        return token if token.startswith("xox") else self.secret("slack_token", token)

    def parts(self, target: str, message: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[dict[str, Any]]]]:
        """Return to which channels and people a target leads, and the groups that each of them gets."""
        if target == "slack://owners":
            yield from self.owned(message).items()
        elif target.startswith(TAG):
            value_of = partial(_tag, key=target.removeprefix(TAG))
            resources = sorted(filter(value_of, message["resources"]), key=value_of)
            for value, together in groupby(resources, key=value_of):
                name = value if value.startswith("#") or is_email(value) else f"#{value}"
                if self.recipients.allow(f"slack://{name}"):
                    yield name, list(together)
        else:
            yield target.removeprefix("slack://webhook/").removeprefix("slack://"), message["resources"]

    def owned(self, message: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Return the groups of each owner, by the address that c7n-mailer finds for them."""
        to = [each for each in message["action"]["to"] if not self.takes(each)]
        asked = {**message, "action": message["action"] | {"to": [*to, "resource-owner"]}}
        return Mail(self.config, self.session, self.recipients).addresses(asked)

    def channel(self, name: str) -> str:
        """Return what Slack calls a channel or a person."""
        if name.startswith("#") or not is_email(name):
            return name.removeprefix("#")
        user = self.call("users.lookupByEmail", data={"email": name})["user"]
        return str(user.get("enterprise_user", user)["id"])

    def hook(self, url: str, message: Mapping[str, Any]) -> None:
        """Post a message to a webhook."""
        response = self.answer("Slack's webhook", "POST", url, json=message)
        if response.text != "ok":
            raise UndeliverableError(f"Slack's webhook: {response.text[:200]!r}")

    def call(self, method: str, **request: Any) -> dict[str, Any]:
        """Call Slack's Web API, which refuses with a status of 200."""
        headers = {"Authorization": f"Bearer {self.token}"}
        response = self.answer(
            f"Slack's {method}", "POST", f"https://slack.com/api/{method}", headers=headers, **request
        )
        try:
            answer: dict[str, Any] = response.json()
            if answer["ok"]:
                return answer
            reason = answer.get("error")
        except (ValueError, TypeError, KeyError):
            reason = repr(response.text[:200])
        raise UndeliverableError(f"Slack's {method}: {reason}")


def _tag(resource: dict[str, Any], key: str) -> str:
    return str(next(iter(get_resource_tag_targets(resource, [key])), ""))


# -- the message


def payload(facts: Facts) -> dict[str, Any]:
    """Return a message as Slack takes it: what needs an action first, then the groups, as many of them as fit."""
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(facts.title[:MOST_HEADER])}]
    unshown: list[Group] = []

    def append(group: Group, block: dict[str, Any]) -> None:
        if unshown or _signs([*blocks, block]) > MOST_SIGNS or len(blocks) >= MOST_BLOCKS:
            unshown.append(group)
        else:
            blocks.append(block)

    for group in facts.urgent:
        append(group, _rich(_head(group), *_bullets(_todo(group)), *_commands(group.commands)))
    blocks += [_rich(_section(_bold("Do this now: "), _text(line[:MOST_TEXT]))) for line in facts.todo]
    said = [facts.headline] if facts.headline != facts.title else []
    blocks.append(_rich(_section(_text("\n".join([*said, facts.lead, *facts.looks])[:MOST_TEXT]))))
    blocks.append({"type": "section", "fields": [_plain(f"{label}: {text}") for label, text in facts.place]})
    for group in facts.groups:
        if group not in unshown:
            append(group, _rich(*_card(group)))
    blocks += _in_short([*unshown, *facts.brief], facts.left_over, _signs(blocks))
    for section in facts.sections:
        closing = f"{section.title}: {' '.join([*section.steps, *section.paragraphs])}"
        blocks.append({"type": "context", "elements": [_plain(closing[:MOST_TEXT])]})
    # A notification shows the text, which is markup to Slack: nothing that anybody typed is in it.
    summary = "; ".join(dict.fromkeys((facts.title, facts.headline)))
    text = SILENT if facts.kind == WATCH else f"{'Preview: ' if facts.is_preview else ''}{summary}"
    made = {"text": text, "blocks": blocks, "unfurl_links": False, "unfurl_media": False}
    safe: dict[str, Any] = json.loads(json.dumps(made).translate(BRACKETS))  # JSON itself has no angle bracket
    return safe


def _card(group: Group) -> Iterator[dict[str, Any]]:
    """Return a group: before and after, what uses it, how to undo it. What to do is said above if it is urgent."""
    yield _head(group)
    lines = [[_text(note)] for note in group.notes]
    lines += [] if group.is_urgent else _todo(group)
    lines += [_change(change) for change in group.changes]
    lines += [[_text(group.more)]] if group.more else []
    yield from _bullets(lines)
    yield _section(*(part for label, text in group.about for part in (_bold(f"{label}: "), _text(f"{text}\n"))))
    yield from _commands([*([] if group.is_urgent else group.commands), *filter(None, [group.undo])])
    if group.cut:
        yield _section(_text(f"Not shown: {group.cut}"))
    if group.link:
        yield _section({"type": "link", "url": group.link, "text": "Open in the console"})


def _head(group: Group) -> dict[str, Any]:
    state = _bold(f"{group.state.name.upper()}: ")
    return _section(state, _code(group.id), _text(" " if group.name else ""), _code(group.name))


def _change(change: Change) -> Parts:
    arrow = " → " if change.was and change.now else ""
    more = f" {change.done}" * bool(change.done) + f', "{change.description}"' * bool(change.description)
    return [_text(f"{change.traffic}: "), _code(change.was), _text(arrow), _code(change.now), _text(more)]


def _todo(group: Group) -> list[Parts]:
    return [[_text(text)] for text in (*group.reasons, group.state.todo) if text]


def _bullets(lines: Sequence[Parts]) -> Parts:
    items = [_section(*line) for line in lines]
    return [{"type": "rich_text_list", "style": "bullet", "elements": items}] if items else []


def _commands(commands: Sequence[Commands]) -> Iterator[dict[str, Any]]:
    for each in commands:
        yield _section(_bold(f"{each.label}:"), _text(f" {each.note}" if each.note else ""))
        if each.lines:
            yield {"type": "rich_text_preformatted", "elements": [_text("\n".join(each.lines))]}


def _in_short(brief: Sequence[Group], left_over: int, signs: int) -> Parts:
    """Return the groups that have one line each, as many as fit, and how many there are besides."""
    lines: list[Parts] = []
    for each in brief[:MOST_BRIEF]:
        line = [_code(each.id), _text(f' "{each.name[:60]}": {each.short}')]
        if signs + _signs(_bullets([*lines, line])) > MOST_SIGNS_IN_ALL:
            break
        lines.append(line)
    if rest := len(brief) - len(lines) + left_over:
        lines.append([_text(f"and {counted(rest, 'more group')}: see the mail, or the policy's log")])
    return [_rich(_section(_bold("In short")), *_bullets(lines))] if lines else []


def _rich(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text", "elements": list(parts)}


def _section(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return what is not empty as a section: Slack refuses an empty text."""
    return {"type": "rich_text_section", "elements": [part for part in parts if part["text"]]}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "emoji": False, "text": text}


def _text(text: str, **style: bool) -> dict[str, Any]:
    return {"type": "text", "text": text, **({"style": style} if style else {})}


def _bold(text: str) -> dict[str, Any]:
    return _text(text, bold=True)


def _code(text: str) -> dict[str, Any]:
    return _text(text, code=True)


def _signs(value: Any) -> int:
    return len(json.dumps(value))
