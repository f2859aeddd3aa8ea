"""ServiceNow's Table API, as far as the mailer sees of it: the table incident.

Sources: https://docs.servicenow.com/bundle/utah-api-reference/page/integrate/inbound-rest/concept/c_TableAPI.html
(answers), https://www.servicenow.com/docs/bundle/utah-platform-user-interface/page/use/common-ui-elements/reference/r_OpAvailableFiltersQueries.html
(encoded queries).
"""

import base64
import json
from urllib.parse import parse_qs, urlparse

HOST = "example.service-now.com"
USER, TOKEN = "custodian", "secret-of-servicenow"
JSON = {"Content-Type": "application/json;charset=UTF-8"}
TABLE = "/api/now/table/incident"
LENGTHS = {"short_description": 160, "description": 4000, "correlation_id": 100}


class ServiceNow:
    """An instance. `incidents` holds what was created; `next` the answers to send before its own."""

    def __init__(self):
        self.incidents = {}
        self.next = []
        self.calls = []

    def hosts(self):
        """Return the hosts as `internet.serving` wants them."""
        return {HOST: self.answer}

    def tickets(self):
        """Return each incident: its correlation id, whether it is open, its short description, and what it says."""
        return [
            (each["correlation_id"], each["state"] not in "678", each["short_description"], each["description"])
            for each in self.incidents.values()
        ]

    def answer(self, method, address, headers, body):
        """Answer as the Table API does."""
        self.calls.append((method, address))
        if self.next and (answer := self.next.pop(0)) != "take":
            return answer
        if headers["Authorization"] != "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode():
            return 401, JSON, b'{"error": {"message": "User Not Authenticated"}, "status": "failure"}'
        url = urlparse(address)
        number = url.path.removeprefix(TABLE).lstrip("/")
        if method == "GET":
            status, result = 200, self.search(parse_qs(url.query)["sysparm_query"][0])
        elif method == "POST":
            number = f"{len(self.incidents) + 1:032x}"
            self.incidents[number] = {"sys_id": number, "state": "1"}
            status, result = 201, self.take(number, json.loads(body))
        else:
            status, result = 200, self.take(number, json.loads(body))
        return status, JSON, json.dumps({"result": result}).encode()

    def search(self, query):
        """Find incidents by an encoded query; a part that is not understood is ignored."""
        found = list(self.incidents.values())
        for part in query.split("^"):
            if part.startswith("correlation_idIN"):
                wanted = part.removeprefix("correlation_idIN").split(",")
                found = [each for each in found if each.get("correlation_id") in wanted]
            elif part.startswith("stateNOT IN"):
                found = [each for each in found if each["state"] not in part.removeprefix("stateNOT IN").split(",")]
        return [{key: each.get(key, "") for key in ("sys_id", "state", "correlation_id")} for each in found]

    def take(self, number, fields):
        """Take the fields of an incident, and cut what is too long."""
        cut = {key: value[: LENGTHS.get(key)] if isinstance(value, str) else value for key, value in fields.items()}
        self.incidents[number] |= cut
        self.incidents[number]["cut"] = self.incidents[number].get("cut", False) or cut != fields
        return self.incidents[number]
