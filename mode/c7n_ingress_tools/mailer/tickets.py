"""What Jira and ServiceNow have in common: one ticket for each incident, found by its key, updated, and resolved.

Nothing is created before it was looked for, and what is closed is resolved. So a message that comes twice, after a
failure or from SQS, leaves one ticket.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, ClassVar

from c7n_ingress.decide.states import counted
from c7n_ingress_tools.mailer.channel import SECRET, Channel, Delivery, UndeliverableError, written_as
from c7n_ingress_tools.mailer.facts import GROUPS, Limits
from c7n_ingress_tools.mailer.incidents import Incident, incidents_of

URL = r"https://[A-Za-z0-9.-]+(:\d+)?(/[\w./-]*)?"
BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
UNSAFE = re.compile(r"[^\w./-]", re.ASCII)
"""What would mean something in a query. A key holds what the message says, and anyone who may send writes that."""
MOST_AT_ONCE = 40  # keys in a query
HASHED = 16  # characters

TEXT = {"type": "string", "minLength": 1}
TOKEN = written_as(
    rf"{SECRET.pattern}|{BASE64}", "is neither the ARN of a secret in Secrets Manager nor base64 from KMS"
)


def section_of(example: str, *texts: str, objects: Sequence[str] = ("fields",)) -> dict[str, Any]:
    """Return the schema of a service's section in mailer.yml: address, user and token, and what else it may have.

    :param example: an address of the service.
    """
    return {
        "type": "object",
        "required": ["url", "user", "token"],
        "additionalProperties": False,
        "properties": {
            "url": written_as(URL, f"is not an address such as {example}"),
            "token": TOKEN,
            **dict.fromkeys(("user", *texts), TEXT),
            **{name: {"type": "object"} for name in objects},
        },
    }


class Tickets(Channel):
    """A service that keeps tickets. A subclass finds, creates, updates and resolves them.

    Its TARGET has the groups `place` and `all`.
    """

    LIMITS: ClassVar[Mapping[str, Limits]] = {GROUPS: Limits(100_000, 0, 50)}  # each group has its own ticket
    SECTION: ClassVar[str]
    """The channel's key in mailer.yml."""
    MOST_KEY: ClassVar[int]
    MOST_TEXT: ClassVar[int]

    def deliveries(self, message: Mapping[str, Any]) -> Iterator[Delivery]:
        """Return what keeps each ticket, and what resolves those that the message ends."""
        for found in self.targets(message):
            target, place = found[0], found["place"]
            facts = self.facts(message, message["resources"])
            incidents = incidents_of(facts)
            why = f"A run {'restored' if facts.restores else 'closed'} the security group."
            for each in incidents:
                job = self.keep if each.key else self.record if each.record and found["all"] else None
                if job:
                    yield Delivery(f"{target} {each.name}", (target, each.name), partial(job, place, each))
            ended = [self.key(each.ends) for each in incidents if each.ends]
            for start in range(0, len(ended), MOST_AT_ONCE):
                some = ended[start : start + MOST_AT_ONCE]
                name = f"{target}: what is resolved, {counted(len(some), 'group')}"
                yield Delivery(name, (target, "", str(start)), partial(self.end, place, some, why))

    def keep(self, place: str, incident: Incident) -> None:
        """Create the ticket of an incident, or update it. Of several, the first remains."""
        key = self.key(incident.key)
        tickets = self.find(place, [key], ended=False)
        if tickets:
            self.update(tickets[0], incident)
        else:
            self.create(place, key, incident)
            tickets = self.find(place, [key], ended=False)  # another process may have created one at the same time
        for other in tickets[1:]:
            self.resolve(other, "Another ticket is about the same.")

    def record(self, place: str, incident: Incident) -> None:
        """Create the ticket of a change that nobody must act on, once, and resolve it."""
        key = self.key(incident.record)
        if not self.find(place, [key], ended=True):
            self.create(place, key, incident)
        self.end(place, [key], "Nobody has to do anything.")

    def end(self, place: str, keys: Sequence[str], why: str) -> None:
        """Resolve tickets. One that cannot be resolved keeps no other open."""
        refused = []
        for ticket in self.find(place, keys, ended=False):
            try:
                self.resolve(ticket, why)
            except UndeliverableError as error:  # noqa: PERF203 - each ticket by itself
                refused.append(str(error))
        if refused:
            raise UndeliverableError("; ".join(refused))

    @classmethod
    def key(cls, key: str) -> str:
        """Return a key as a query may hold it: a hash distinguishes what is cut, or replaced as unsafe."""
        safe = UNSAFE.sub("_", key)
        if safe == key and len(key) <= cls.MOST_KEY:
            return key
        return f"{safe[: cls.MOST_KEY - HASHED - 1]}-{sha256(key.encode()).hexdigest()[:HASHED]}"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The channel's section of mailer.yml."""
        return dict(self.setting(self.SECTION))

    @cached_property
    def token(self) -> str:
        """The token."""
        return self.secret(self.SECTION, self.settings["token"])

    def find(self, place: str, keys: Sequence[str], *, ended: bool) -> list[str]:
        """Return the ids of the tickets that have one of these keys, the oldest first.

        :param ended: whether those that are resolved count, too.
        """
        raise NotImplementedError

    def create(self, place: str, key: str, incident: Incident) -> None:
        """Create a ticket."""
        raise NotImplementedError

    def update(self, ticket: str, incident: Incident) -> None:
        """Make a ticket say what is true now."""
        raise NotImplementedError

    def resolve(self, ticket: str, why: str) -> None:
        """Resolve a ticket."""
        raise NotImplementedError


def parts_of(incident: Incident, most: int) -> list[tuple[str, list[str]]]:
    """Return an incident as labels and lines, the most urgent first, in at most so many characters.

    A line is there whole or not at all: half a command is none.
    """
    parts: list[tuple[str, list[str]]] = []
    for label, value in incident.details.items():
        lines = list(filter(None, [value] if isinstance(value, str) else value))
        most -= len(label) + 4  # with what is between parts
        fitting = []
        for line in lines:
            if (most := most - len(line) - 1) < 0:
                break
            fitting.append(line)
        if fitting:
            parts.append((label[:1].upper() + label[1:], fitting))
        if len(fitting) < len(lines):
            break
    return parts
