"""CloudWatch Logs with filter patterns for JSON, which moto does not know.

A pattern such as `{ ($.run = "a") && (($.group = "b") || ($.group = "c")) }` matches lines that are one JSON object, by
text, number, or text with `*`:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html#matching-terms-json-log-events
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from threading import Lock
from typing import Any

from moto.logs import models
from moto.logs.exceptions import InvalidParameterException
from moto.logs.utils import EventMessageFilter, FilterPattern

WRITING = Lock()

LONGEST = 1024
"""How many characters a pattern may have ([API] FilterLogEvents)."""

TOKEN = re.compile(r'\s*(?:(&&|\|\||[(){}])|\$\.(\w+)\s*=\s*(?:"([^"]*)"|(-?[\d.]+)|(\*)))\s*')


class JsonPattern(FilterPattern):
    """A filter pattern in braces."""

    def __init__(self, term: str) -> None:
        super().__init__(term)
        self.tokens = _tokens(term)

    def matches(self, message: str) -> bool:
        """Whether a line is an object that the pattern matches."""
        try:
            line = json.loads(message)
        except ValueError:
            return False
        rest = self.tokens[1:-1]
        return isinstance(line, dict) and _either(rest, line) and not rest


def _tokens(term: str) -> list[Any]:
    if len(term) > LONGEST:
        raise InvalidParameterException(
            constraint=f"Member must have length less than or equal to {LONGEST}", parameter="filterPattern", value=term
        )
    tokens, at = [], 0
    while at < len(term):
        found = TOKEN.match(term, at)
        if found is None:
            raise InvalidParameterException(constraint="Invalid filter pattern", parameter="filterPattern", value=term)
        tokens.append(found[1] or found.group(2, 3, 4, 5))
        at = found.end()
    return tokens


def _either(tokens: list[Any], line: dict[str, Any]) -> bool:
    found = _both(tokens, line)
    while tokens and tokens[0] == "||":
        tokens.pop(0)
        found = _both(tokens, line) or found
    return found


def _both(tokens: list[Any], line: dict[str, Any]) -> bool:
    found = _term(tokens, line)
    while tokens and tokens[0] == "&&":
        tokens.pop(0)
        found = _term(tokens, line) and found
    return found


def _term(tokens: list[Any], line: dict[str, Any]) -> bool:
    first = tokens.pop(0)
    if first == "(":
        found = _either(tokens, line)
        tokens.pop(0)
        return found
    key, text, number, anything = first
    value = line.get(key)
    if anything:
        return key in line
    if number is not None:
        return isinstance(value, int | float) and value == float(number)
    return isinstance(value, str) and fnmatchcase(value, text)


class Filter(EventMessageFilter):
    """moto's filter, and patterns in braces."""

    def __init__(self, pattern: str) -> None:
        if pattern and pattern.startswith("{"):
            self.filter_type: FilterPattern = JsonPattern(pattern)
        else:
            super().__init__(pattern)


def write(account: str, region: str, log_group: str, stream: str, lines: Iterable[str]) -> None:
    """Write lines as Lambda does: into the function's log group, which it creates if there is none."""
    backend = models.logs_backends[account][region]
    events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines]
    with WRITING:
        if log_group not in backend.groups:
            backend.create_log_group(log_group, {})
        if stream not in backend.groups[log_group].streams:
            backend.create_log_stream(log_group, stream)
        if events:
            backend.put_log_events(log_group, stream, events)
