"""The recipients that may get messages: the stack's own topic, and what `recipients` in mailer.yml names.

Anyone who may send to the queue chooses the recipients of a message, and its tags; what is not named is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ANYTHING = r"[^\s@,;:/<>\"()%?=]*"
"""What a `*` in a pattern matches: within one part of an address, a topic's ARN or a channel.

Mail servers read `%` as a route, and `=?…?=` as other characters (https://www.rfc-editor.org/rfc/rfc2047).
"""

LONGEST = 320
"""The characters of the longest recipient, which is an e-mail address (RFC 5321): a topic's ARN has 303.

A longer text is none. Whether it fits a pattern can take a time that grows with the square of its length.
"""

LOOKED_UP = ("resource-owner", "event-owner", "slack://owners")
"""Targets that name addresses in tags or in the event: those are checked once they are known."""


class Recipients:
    """The recipients that are allowed."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        account = config["queue_url"].split("/")[-2]
        patterns = [f"arn:*:sns:*:{account}:open-ingress", *config.get("recipients", ())]
        self.allowed = re.compile("|".join(map(_regex, patterns)))
        self.refused: dict[str, str] = {}
        """Why others got nothing of the message at hand."""

    def allow(self, recipient: str) -> bool:
        """Whether a recipient may get messages; note why if not."""
        if len(recipient) <= LONGEST and self.allowed.fullmatch(recipient):
            return True
        self.refused[recipient] = (
            "is not allowed: add it to recipients in mailer.yml, or take it out of the policy or tag"
        )
        return False

    def allow_target(self, target: str) -> bool:
        """Whether a target of a policy may get messages, as far as that is known before it is looked up."""
        return target in LOOKED_UP or target.startswith("slack://tag/") or self.allow(target)


def _regex(pattern: str) -> str:
    """Return the regular expression for a pattern; the case of an e-mail address does not matter, in ASCII alone."""
    regex = ANYTHING.join(map(re.escape, pattern.split("*")))
    return f"(?ai:{regex})" if "@" in pattern else f"(?:{regex})"
