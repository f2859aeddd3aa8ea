"""Jira Cloud: `jira://PROJECT`, an issue for what a person must do, found by its label.

Jira's search lags behind by seconds or minutes, so each issue that is found is read again, and this process remembers
what it created. All texts are literal nodes of the Atlassian Document Format: no markup, mention or link in them means
anything.

Sources: https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile (the lag),
https://developer.atlassian.com/cloud/jira/platform/apis/document/structure (the format),
https://pypi.org/project/atlassian-python-api/, https://pypi.org/project/jira/ (why this library: it had a release in
September 2026, the other one had its last in July 2025).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from http import HTTPStatus
from typing import Any, ClassVar

import requests

from c7n_ingress_tools.mailer import channel
from c7n_ingress_tools.mailer.channel import LONGEST_WAIT, UndeliverableError, refusal
from c7n_ingress_tools.mailer.incidents import Incident
from c7n_ingress_tools.mailer.tickets import Tickets, parts_of, section_of

MOST_SUMMARY = 255
DONE = "done"
"""The category of each status that ends an issue."""

CREATED: dict[tuple[str, str, str], str] = {}
"""What this process created: the id of an issue, by site, project and label."""


@contextmanager
def answered() -> Iterator[None]:
    """Make each failure of a request one that names no address."""
    try:
        yield
    except requests.RequestException as error:
        if error.response is not None and isinstance(error, requests.HTTPError):
            raise refusal("Jira", error.response) from None
        raise UndeliverableError(f"Jira: no answer: {type(error).__name__}") from None
    except (AttributeError, KeyError, TypeError) as error:
        raise UndeliverableError(f"Jira: an answer that is not Jira's: {error}") from error


class Jira(Tickets):
    """Projects of a site."""

    TARGET = re.compile(r"jira://(?P<place>[A-Z][A-Z0-9_]{1,99})(?P<all>/all)?")
    SECTION = "jira"
    MOST_KEY, MOST_TEXT = 255, 30_000  # a description takes 32,767 characters
    KEYS: ClassVar[Mapping[str, Any]] = {SECTION: section_of("https://example.atlassian.net", "type", "transition")}

    @cached_property
    def client(self) -> Any:
        """The site. A redirect is an error: what it leads to would get the token."""
        from atlassian import JiraCloud  # noqa: PLC0415 - it takes a second, which only messages to Jira need

        section, http = self.settings, requests.Session()
        http.max_redirects = 0
        return JiraCloud(
            section["url"],
            username=section["user"],
            password=self.token,
            timeout=channel.HTTP_TIMEOUT,
            max_backoff_seconds=LONGEST_WAIT,
            session=http,
        )

    @answered()
    def find(self, place: str, keys: Sequence[str], *, ended: bool) -> list[str]:
        """Return the issues that have one of these labels now, whatever Jira's search knows."""
        labels = ", ".join(f'"{key}"' for key in keys)  # a key has no quote in it
        query = f'project = "{place}" AND labels in ({labels})' + ("" if ended else " AND statusCategory != Done")
        found = self.client.enhanced_jql_get_list_of_tickets(query, fields=["labels"])
        known = [CREATED.get((self.client.url, place, key)) for key in keys]
        ids = {str(each["id"]) for each in found} | set(filter(None, known))
        return [each for each in sorted(ids, key=int) if self.is_wanted(each, keys, ended=ended)]

    def is_wanted(self, issue_id: str, keys: Sequence[str], *, ended: bool) -> bool:
        """Whether an issue exists, has one of these labels and, unless those that ended count, is open."""
        try:
            fields = self.client.get_issue(issue_id, fields="labels,status")["fields"]
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == HTTPStatus.NOT_FOUND:
                return False
            raise
        is_open = fields["status"]["statusCategory"]["key"] != DONE
        return bool(set(fields["labels"]) & set(keys)) and (ended or is_open)

    @answered()
    def create(self, place: str, key: str, incident: Incident) -> None:
        """Create an issue with the key as a label."""
        section = self.settings
        extra = section.get("fields", {})
        fields = {
            **extra,
            "project": {"key": place},
            "issuetype": {"name": section.get("type", "Task")},
            "labels": ["open-ingress", key, *extra.get("labels", [])],
            **self.says(incident),
        }
        CREATED[self.client.url, place, key] = str(self.client.create_issue(data={"fields": fields})["id"])

    @answered()
    def update(self, ticket: str, incident: Incident) -> None:
        """Replace the summary and the description."""
        self.client.edit_issue(ticket, data={"fields": self.says(incident)})

    @answered()
    def resolve(self, ticket: str, why: str) -> None:
        """Make the transition that mailer.yml names, or the first one that ends an issue, and say why in a comment.

        The transition comes first: each try of one that Jira refuses would add another comment.
        """
        wanted = self.settings.get("transition")
        transitions = [
            each["id"]
            for each in self.client.get_transitions(ticket)["transitions"]
            if (each["name"] == wanted if wanted else each["to"]["statusCategory"]["key"] == DONE)
        ]
        if not transitions:
            what = f"called {wanted!r}" if wanted else "to a status that ends it: name one as transition in mailer.yml"
            raise UndeliverableError(f"Jira: the issue {ticket} has no transition {what}")
        self.client.do_transition(ticket, data={"transition": {"id": transitions[0]}})
        self.client.add_comment(ticket, data={"body": _document([(why, [])])})

    def says(self, incident: Incident) -> dict[str, Any]:
        """Return what an issue says of an incident."""
        document = _document(parts_of(incident, self.MOST_TEXT))
        return {"summary": incident.summary[:MOST_SUMMARY], "description": document}


def _document(parts: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Any]:
    """Return labels and lines as a document: labels are paragraphs, lines are literal."""
    from atlassian.models.jira.adf import ADFBuilder, TextNode  # noqa: PLC0415 - as above

    document = ADFBuilder()
    for label, lines in parts:
        document.paragraph(TextNode(label).bold() if lines else TextNode(label))
        if lines:
            document.code_block("\n".join(lines)) if len(lines) > 1 else document.text_paragraph(lines[0])
    built: dict[str, Any] = document.build()
    return built
