"""CloudWatch Logs with filter patterns for JSON, which moto does not know.

A pattern such as `{ ($.run = "a") && (($.group = "b") || ($.group = "c")) }` matches lines that are one JSON object, by
text, number, or text with `*`. Of the grammar, these are the patterns that the pack sends: alternatives, joined by &&.
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

from moto.logs.exceptions import InvalidParameterException
from moto.logs.models import logs_backends
from moto.logs.utils import EventMessageFilter, FilterPattern

from c7n_ingress_tools.embedded_aws.services import Moto, replaces

WRITING = Lock()

LONGEST = 1024
"""How many characters a pattern may have, by the API reference of FilterLogEvents."""

TERM = r'\(?\s*\$\.(\w+)\s*=\s*(?:"([^"]*)"|(-?[\d.]+)|\*)\s*\)?'
ALTERNATIVES = rf"\s*\(?\s*{TERM}(?:\s*\|\|\s*{TERM})*\s*\)?\s*"
PATTERN = rf"\{{{ALTERNATIVES}(?:&&{ALTERNATIVES})*\}}"


class JsonPattern(FilterPattern):
    """A filter pattern in braces."""

    def __init__(self, term: str) -> None:
        super().__init__(term)
        if len(term) > LONGEST or not re.fullmatch(PATTERN, term):
            wrong = f"Invalid filter pattern, or longer than {LONGEST}"
            raise InvalidParameterException(constraint=wrong, parameter="filterPattern", value=term)
        self.required = [re.findall(TERM, found[0]) for found in re.finditer(ALTERNATIVES, term)]

    def matches(self, message: str) -> bool:
        """Whether a line is an object that the pattern matches."""
        try:
            line = json.loads(message)
        except (ValueError, RecursionError):
            return False
        return isinstance(line, dict) and all(any(_matches(line, *term) for term in each) for each in self.required)


def _matches(line: dict[str, Any], key: str, text: str, number: str) -> bool:
    """Whether a line has a text or a number under a key; anything if neither is asked for."""
    value = line.get(key)
    if number:
        return isinstance(value, int | float) and value == float(number)
    return isinstance(value, str) and fnmatchcase(value, text) if text else key in line


@replaces(EventMessageFilter)
def __init__(moto_s: Moto, self: EventMessageFilter, pattern: str) -> None:  # noqa: N807 - it replaces moto's
    """Take a pattern of moto's, or one in braces."""
    if pattern and pattern.startswith("{"):
        self.filter_type = JsonPattern(pattern)
    else:
        moto_s(self, pattern)


def write(account: str, region: str, log_group: str, stream: str, lines: Iterable[str]) -> None:
    """Write lines as Lambda does: into the function's log group, which it creates if there is none."""
    backend = logs_backends[account][region]
    events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines]
    with WRITING:
        if log_group not in backend.groups:
            backend.create_log_group(log_group, {})
        if stream not in backend.groups[log_group].streams:
            backend.create_log_stream(log_group, stream)
        if events:
            backend.put_log_events(log_group, stream, events)
