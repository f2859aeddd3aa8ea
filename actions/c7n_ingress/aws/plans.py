"""The plan of a preview: written among the run's output, and read again when it is approved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from c7n_ingress.aws.journal import context
from c7n_ingress.aws.read import LiveGroups, Reading, Unread
from c7n_ingress.aws.values import check_source, fresh_values
from c7n_ingress.decide.approved import FILE, Planned, narrowed, parse, plan_of, unmet
from c7n_ingress.decide.checks import check_once
from c7n_ingress.decide.message import REPLACED
from c7n_ingress.decide.plan import Plan


def check(data: Mapping[str, Any], manager: Any) -> None:
    """Refuse a plan that could be carried out more than once, or that anyone on the way could write."""
    check_once(data.get("only"), manager.data)
    if data.get("only") is not None:
        check_source("only", _source(data["only"]), manager)


def _source(only: str) -> dict[str, str]:
    """Return where c7n reads a plan. It fills in the account and the region, unless their braces are quoted."""
    path = quote(bytes(Path(only).absolute()), safe="/{}")
    return {"url": only if "://" in only else f"file://{path}", "format": "json"}


def write(action: Any, groups: Iterable[Mapping[str, Any]]) -> None:
    """Write what a preview would change among the run's output."""
    records = (record for group in groups for record in group.get(REPLACED.annotation, ()))
    plan = plan_of(records, **context(action.manager))
    action.manager.ctx.output.write_file(FILE, json.dumps(plan, indent=2))


@dataclass
class Approved:
    """The approved plan of a run, and what of it was not found as it was planned."""

    planned: Mapping[str, Mapping[str, Planned]]
    found: dict[str, list[str]] = field(default_factory=dict)
    """What was not as planned when a group was read first, by its id: later, this run has changed it."""

    def plan(self, reading: Reading, replace: Callable[..., Plan]) -> Plan:
        """Plan what is approved of one group."""
        group_id = reading.group["GroupId"]
        plan, found = narrowed(self.planned.get(group_id, {}), reading.rules, reading.matches, replace)
        self.found.setdefault(group_id, found)
        return plan

    def unmet(self, groups: LiveGroups) -> list[str]:
        """Return what of the plan was not as planned, and is not done: one sentence each.

        :param groups: reads the groups that the policy's filters do not match any more.
        """
        unread = [group_id for group_id in self.planned if group_id not in self.found]
        self.found |= {group_id: ["not as planned: the group does not exist"] for group_id in unread}
        for reading in groups.in_lots([{"GroupId": group_id} for group_id in unread]):
            group_id = reading.group["GroupId"]
            self.found[group_id] = (
                [f"could not be read: {reading.error}"]
                if isinstance(reading, Unread)
                else unmet(self.planned[group_id], reading.rules)
            )
        return [f"{group_id}: {each}" for group_id, found in self.found.items() for each in found]


def read(action: Any) -> Approved | None:
    """Read the approved plan, if the policy names one."""
    if action.data.get("only") is None:
        return None
    config = action.manager.config
    parse_here = partial(parse, account=config.account_id, region=config.region)
    return Approved(fresh_values("only", _source(action.data["only"]), action.manager, parse_here))
