"""ServiceNow: `servicenow://`, an incident for what a person must do, found by its correlation_id.

The texts are in short_description and description, which are plain: ServiceNow shows HTML in journal fields such as
comments, where nothing that somebody typed is written.

Sources: https://docs.servicenow.com/bundle/utah-api-reference/page/integrate/inbound-rest/concept/c_TableAPI.html,
https://docs.newrelic.com/docs/workflow-automation/setup-and-configure/actions-catalog/servicenow/servicenow-incident-resolve/
(close codes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from c7n_ingress_tools.mailer.channel import UndeliverableError
from c7n_ingress_tools.mailer.facts import GROUPS, Limits
from c7n_ingress_tools.mailer.incidents import Incident
from c7n_ingress_tools.mailer.tickets import Tickets, parts_of, section_of

MOST_SUMMARY = 160  # characters
RESOLVED, ENDED = "6", ("6", "7", "8")
"""The states of an incident that is resolved, closed or canceled."""


class ServiceNow(Tickets):
    """The incidents of an instance."""

    TARGET = re.compile(r"servicenow://(?P<place>)(?P<all>all)?")
    SECTION = "servicenow"
    MOST_KEY, MOST_TEXT = 100, 4000
    LIMITS: ClassVar[Mapping[str, Limits]] = {GROUPS: Limits(100_000, 0, 10)}
    KEYS: ClassVar[Mapping[str, Any]] = {
        SECTION: section_of("https://example.service-now.com", objects=("fields", "close-fields"))
    }

    def call(self, method: str, record: str = "", accepted: int = HTTPStatus.OK, **request: Any) -> Any:
        """Call the Table API, and return what it answers as the result."""
        url = f"{self.settings['url'].rstrip('/')}/api/now/table/incident{record}"
        request |= {"auth": (self.settings["user"], self.token), "headers": {"Accept": "application/json"}}
        response = self.answer("ServiceNow", method, url, accepted, **request)
        try:
            return response.json()["result"]
        except (ValueError, TypeError, KeyError):
            raise UndeliverableError(f"ServiceNow: an answer without a result: {response.text[:200]!r}") from None

    def find(self, place: str, keys: Sequence[str], *, ended: bool) -> list[str]:  # noqa: ARG002 - there is one
        """Return the incidents that have one of these correlation ids.

        ServiceNow ignores a part of a query that it does not understand, so what it finds is checked.
        """
        states = "" if ended else f"^stateNOT IN{','.join(ENDED)}"
        query = {
            "sysparm_query": f"correlation_idIN{','.join(keys)}{states}^ORDERBYsys_created_on",
            "sysparm_fields": "sys_id,state,correlation_id",
            "sysparm_limit": "1000",
        }
        return [
            str(each["sys_id"])
            for each in self.call("GET", params=query)
            if each["correlation_id"] in keys and (ended or each["state"] not in ENDED)
        ]

    def create(self, place: str, key: str, incident: Incident) -> None:  # noqa: ARG002 - there is one
        """Create an incident with the key as its correlation id."""
        fields = {
            **self.settings.get("fields", {}),
            "correlation_id": key,
            "correlation_display": "c7n-ingress",
            **self.says(incident),
        }
        self.call("POST", accepted=HTTPStatus.CREATED, json=fields)

    def update(self, ticket: str, incident: Incident) -> None:
        """Replace the description."""
        self.call("PATCH", f"/{ticket}", json=self.says(incident))

    def resolve(self, ticket: str, why: str) -> None:
        """Resolve an incident: ServiceNow requires a code and a note."""
        close = {"close_code": "Solution provided", **self.settings.get("close-fields", {})}
        self.call("PATCH", f"/{ticket}", json={**close, "state": RESOLVED, "close_notes": why})

    def says(self, incident: Incident) -> dict[str, str]:
        """Return what an incident of ServiceNow says of one of the pack's."""
        parts = parts_of(incident, self.MOST_TEXT)
        text = "\n\n".join("\n".join([f"{label}:", *lines]) for label, lines in parts)
        return {"short_description": incident.summary[:MOST_SUMMARY], "description": text}
