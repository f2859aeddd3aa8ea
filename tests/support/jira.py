"""Jira Cloud, as far as the mailer sees of it: its search, which lags behind, its issues and its workflow.

Sources: https://developer.atlassian.com/cloud/jira/platform/rest/v3/api-group-issues/ (what an issue takes, answers),
https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile (the search lags behind),
https://developer.atlassian.com/cloud/jira/platform/apis/document/structure (the nodes of a document).
"""

import base64
import json
import re
from urllib.parse import parse_qs, urlparse

HOST = "example.atlassian.net"
USER, TOKEN = "custodian@example.com", "ATATT-secret"
JSON = {"Content-Type": "application/json;charset=UTF-8"}
MOST_SUMMARY, MOST_LABEL, MOST_TEXT = 255, 255, 32_767
WORKFLOW = {
    "11": {"id": "11", "name": "In Progress", "to": {"statusCategory": {"key": "indeterminate"}}},
    "31": {"id": "31", "name": "Done", "to": {"statusCategory": {"key": "done"}}},
    "41": {"id": "41", "name": "Won't do", "to": {"statusCategory": {"key": "done"}}},
}
NODES = {"doc", "paragraph", "codeBlock", "text"}
QUERY = re.compile(r'project = "(\w+)" AND labels in \((.*)\)( AND statusCategory != Done)?')


class Jira:
    """A site with one project, OPS. `issues` holds what was created; `next` the answers to send before its own."""

    def __init__(self):
        self.issues = {}
        self.next = []
        self.calls = []
        self.lags = False
        self.transitions = WORKFLOW

    def hosts(self):
        """Return the hosts as `internet.serving` wants them."""
        return {HOST: self.answer}

    def tickets(self):
        """Return each issue: its own label, whether it is open, its summary, and what it says."""
        return [
            (each["fields"]["labels"][1], each["category"] != "done", each["fields"]["summary"], words(description))
            for each in self.issues.values()
            for description in [each["fields"]["description"]]
        ]

    def answer(self, method, address, headers, body):
        """Answer as the REST API does."""
        self.calls.append((method, address))
        if self.next and (answer := self.next.pop(0)) != "take":
            return answer
        wanted = "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
        if headers["Authorization"] != wanted:
            return 401, JSON, b'{"errorMessages": ["Client must be authenticated to access this resource."]}'
        url = urlparse(address)
        name, _, rest = url.path.removeprefix("/rest/api/3/").partition("/")
        handler = {"search": self.search, "issue": self.issue}[name]
        status, content = handler(method, rest, parse_qs(url.query), json.loads(body) if body else {})
        return status, JSON, json.dumps(content).encode() if content is not None else b""

    def search(self, method, rest, query, _body):
        """Find issues, unless the search lags behind."""
        assert (method, rest) == ("GET", "jql")
        project, labels, unfinished = QUERY.fullmatch(query["jql"][0]).groups()
        if project != "OPS":
            return 400, {"errorMessages": [f"The value '{project}' does not exist for the field 'project'."]}
        wanted = set(json.loads(f"[{labels}]"))
        found = [
            {"id": each["id"], "key": each["key"]}
            for each in self.issues.values()
            if wanted & set(each["fields"]["labels"]) and not (unfinished and each["category"] == "done")
        ]
        return 200, {"issues": [] if self.lags else found, "isLast": True}

    def issue(self, method, rest, _query, body):
        """Create, read, change or comment an issue, or list or make its transitions."""
        number, _, part = rest.partition("/")
        if not number:
            return self.create(body["fields"])
        if number not in self.issues:
            return 404, {"errorMessages": ["Issue does not exist or you do not have permission to see it."]}
        issue = self.issues[number]
        if part == "transitions":
            return self.transition(issue, body)
        if part == "comment":
            issue["comments"].append(words(body["body"]))
            return 201, {"id": "1"}
        if method == "PUT":
            return self.change(issue, body["fields"])
        fields = {"labels": issue["fields"]["labels"], "status": {"statusCategory": {"key": issue["category"]}}}
        return 200, {"id": number, "fields": fields}

    def transition(self, issue, body):
        """List the transitions of an issue, or make one."""
        if not body:
            return 200, {"transitions": list(self.transitions.values())}
        issue["transition"] = body["transition"]["id"]
        issue["category"] = self.transitions[issue["transition"]]["to"]["statusCategory"]["key"]
        return 204, None

    def create(self, fields):
        """Take a new issue."""
        if errors := broken_rules(fields):
            return 400, {"errorMessages": [], "errors": errors}
        number = str(10_000 + len(self.issues))
        key = f"OPS-{len(self.issues) + 1}"
        self.issues[number] = {"id": number, "key": key, "fields": fields, "category": "new", "comments": []}
        return 201, {"id": number, "key": key}

    def change(self, issue, fields):
        """Take a change of an issue."""
        if errors := broken_rules(issue["fields"] | fields):
            return 400, {"errorMessages": [], "errors": errors}
        issue["fields"] |= fields
        issue["changed"] = issue.get("changed", 0) + 1
        return 204, None


def broken_rules(fields):
    """Return the rules for an issue that Jira publishes, and that this one breaks, by field."""
    nodes = list(nodes_of(fields["description"]))
    rules = {
        ("project", "valid project is required"): fields["project"] == {"key": "OPS"},
        ("issuetype", "Specify a valid issue type"): fields["issuetype"]["name"] in ("Task", "Bug"),
        ("summary", "one line of at most 255 characters"): 0 < len(fields["summary"]) <= MOST_SUMMARY
        and fields["summary"].isprintable(),
        ("labels", "no spaces, at most 255 characters"): all(
            0 < len(each) <= MOST_LABEL and " " not in each for each in fields["labels"]
        ),
        ("description", "at most 32,767 characters"): len(words(fields["description"])) <= MOST_TEXT,
        ("description", "is not valid Atlassian Document Format"): fields["description"]["version"] == 1
        and {node["type"] for node in nodes} <= NODES
        and all(node["text"] for node in nodes if node["type"] == "text"),
    }
    return {field: text for (field, text), kept in rules.items() if not kept}


def nodes_of(node):
    """Return all nodes of a document."""
    yield node
    for each in node.get("content", []):
        yield from nodes_of(each)


def words(document):
    """Return what a document says."""
    return "\n".join(node["text"] for node in nodes_of(document) if node["type"] == "text")
