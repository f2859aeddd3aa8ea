"""Look up in VPC flow logs who came in through rules that would be replaced, where a preview asks for it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from c7n.exceptions import ClientError
from c7n.utils import chunks, local_session

from c7n_ingress.aws.apply import error_code
from c7n_ingress.aws.behind import interfaces_of
from c7n_ingress.aws.insights import Query, ask
from c7n_ingress.aws.read import GROUPS_A_CALL, LiveGroups
from c7n_ingress.aws.reopened import BRIEFLY
from c7n_ingress.decide.came_in import Interface, Row, afterwards, interface_from, openings, who_came_in
from c7n_ingress.decide.evidence import Known, read_text, sentences
from c7n_ingress.decide.insights import MOST_ROWS, queries, queries_of_logged, row_from
from c7n_ingress.decide.message import Outcome
from c7n_ingress.decide.rules import Match, rule_from

log = logging.getLogger("custodian.actions")

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["log-groups"],
    "properties": {
        "log-groups": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "uniqueItems": True,
            "items": {"type": "string", "minLength": 1, "maxLength": 512, "pattern": r"^[.\-_/#A-Za-z0-9]+\Z"},
        },
        "days": {"type": "integer", "minimum": 1, "maximum": 90},
        "seconds": {"type": "integer", "minimum": 10, "maximum": 900},
    },
}
"""What may be asked for; the names and the number of log groups are those that StartQuery takes."""

DAYS, SECONDS = 14, 120
"""How far back is looked, and for how long, where a policy does not say."""

PERMISSIONS = ("ec2:DescribeNetworkInterfaces", "logs:StartQuery", "logs:GetQueryResults", "logs:StopQuery")


def check_preview(data: Mapping[str, Any]) -> None:
    """Refuse a policy that would ask who came in when it is too late.

    :raises ValueError: says what to do about it.
    """
    if not data.get("preview"):
        raise ValueError(
            "evidence: only a preview looks up who would be cut off, and this policy changes groups: add "
            "'preview: true', or leave evidence out"
        )


class Evidence:
    """Who came in through rules, as far as an action's ``evidence`` asks for it.

    :param action: its key ``evidence`` says in which log groups, how many days back, and how long to look.
    """

    def __init__(self, action: Any) -> None:
        self.manager = action.manager
        self.wanted: Mapping[str, Any] = action.data.get("evidence", {})

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Note of each group that would be changed who would be cut off, or that this could not be looked up."""
        concerned = [outcome for outcome in outcomes if openings(outcome.records)]
        if not self.wanted or not concerned:
            return
        try:
            self.look_up(concerned)
        except Exception as error:  # the preview is told all the same
            log.exception("who came in could not be looked up")
            why = error_code(error) if isinstance(error, ClientError) else type(error).__name__
            for outcome in concerned:
                outcome.evidence = [f"who came in could not be looked up ({why})"]
        for outcome in concerned:
            for text in outcome.evidence:
                log.info("%s: %s", outcome.group["GroupId"], text)

    def look_up(self, outcomes: Sequence[Outcome]) -> None:
        """Ask EC2 whom the rules concern, and CloudWatch Logs who came in, and note what they say.

        :raises ClientError, BotoCoreError: EC2 did not tell, or no query could be started.
        """
        records = list(chain.from_iterable(outcome.records for outcome in outcomes))
        found = openings(records)
        session = local_session(self.manager.session_factory)
        ec2 = session.client("ec2")
        interfaces = read_interfaces(ec2, {opening.group for opening in found})
        groups = {group for interface in interfaces for group in interface.groups} | {each.group for each in found}
        after = afterwards(read_rules(LiveGroups(self.manager, ec2), groups), records)
        named = read_interfaces(ec2, references(after.values()) - groups)

        log_groups, days = self.wanted["log-groups"], self.wanted.get("days", DAYS)
        asked = [Query(text, days) for text in queries(found, interfaces)]
        logged = [Query(text, 1) for text in queries_of_logged(interfaces)]
        ask(session.client("logs", config=BRIEFLY), log_groups, asked + logged, self.wanted.get("seconds", SECONDS))

        rows, troubles = rows_of(asked)
        troubles += [query.trouble for query in logged if query.trouble]
        known = Known(frozenset(row["interfaceId"] for each in logged for row in each.rows), whole=not troubles)
        told = who_came_in(found, {*interfaces, *named}, after, rows)
        said = sentences(told, interfaces, known)
        read = read_text(log_groups, days, sum(query.size for query in asked + logged), troubles)
        log.info("evidence: %s", read)
        for outcome in outcomes:
            outcome.evidence = said[outcome.group["GroupId"]]
            outcome.evidence_read = read


def read_interfaces(client: Any, group_ids: Collection[str]) -> list[Interface]:
    """Read the interfaces that have any of the groups, each once.

    :raises ClientError, BotoCoreError: EC2 did not tell.
    """
    shapes = chain.from_iterable(interfaces_of(client, group_ids).values())
    return list({shape["NetworkInterfaceId"]: interface_from(shape) for shape in shapes}.values())


def read_rules(groups: LiveGroups, group_ids: Collection[str]) -> dict[str, list[Any]]:
    """Read the ingress rules of groups, by group.

    :raises ClientError, BotoCoreError: EC2 did not tell.
    """
    found: dict[str, list[Any]] = {group_id: [] for group_id in group_ids}
    for batch in chunks(sorted(group_ids), GROUPS_A_CALL):
        found |= {group_id: list(map(rule_from, shapes)) for group_id, shapes in groups.rules(batch).items()}
    return found


def references(rules: Iterable[Iterable[Match]]) -> set[str]:
    """Give the groups that rules let in."""
    sources = (match.source for of_group in rules for match in of_group)
    return {source for source in sources if isinstance(source, str) and source.startswith("sg-")}


def rows_of(asked: Iterable[Query]) -> tuple[list[Row], list[str]]:
    """Read the rows of answers, and say of each answer that is not whole why it is not."""
    rows: list[Row] = []
    troubles = []
    for query in asked:
        read = [row_from(row) for row in query.rows]
        rows += filter(None, read)
        if query.trouble:
            troubles.append(query.trouble)
        if len(read) >= MOST_ROWS:
            troubles.append(
                f"gave {MOST_ROWS:,} rows, the most there are in one answer: those who sent least are missing"
            )
        if None in read:
            troubles.append("gave rows that do not say who came where")
    return rows, troubles
