"""The ``exempt`` filter."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timezone
from functools import cached_property
from typing import Any

from c7n.exceptions import PolicyExecutionError
from c7n.filters import Filter
from c7n.resolver import ValuesFrom
from c7n.resources.vpc import SecurityGroup
from c7n.utils import type_schema

from c7n_ingress.aws.read import MATCHED
from c7n_ingress.aws.settings import checking
from c7n_ingress.aws.values import check_source, fresh_values
from c7n_ingress.decide import exemptions
from c7n_ingress.decide.checks import UNFILLED, check_exempt, is_unfilled
from c7n_ingress.decide.rules import traffic
from c7n_ingress.decide.settings import filled


@SecurityGroup.filter_registry.register("exempt")
class Exempt(Filter):  # type: ignore[misc]  # c7n ships no types
    """Narrow what ``open-ingress`` or ``ingress`` matched to the rules that are exempt, or to those that are not.

    The group's tag ``open-ingress-until: YYYY-MM-DD`` exempts all its rules until that day, 00:00 UTC, and for 90 days
    at most. An entry of the register exempts rules until the entry ends. It names an ``account``, ``region``, ``vpc``
    or ``group`` (its id, or a pattern for names). It must have ``until`` and ``reason``, and may have ``owner``,
    ``ticket`` and ``since`` (the day on which it was first made). With ``ports``, it exempts only rules for exactly
    these ports. ``exemptions`` is the register itself. ``exemptions-from`` reads it as a JSON list from S3 or HTTPS,
    once in a run. A wrong entry ends the run.

    ``value: false`` keeps the rules that are not exempt, and the groups that have such rules. ``value: true`` keeps the
    exempt rules, and annotates each group with its exemptions.

    :example:

    .. code-block:: yaml

        filters:
          - {type: open-ingress, Ports: [22]}
          - type: exempt
            value: false
            exemptions:
              - {group: bastion-*, ports: [tcp/22], until: "2027-01-31", reason: support from outside}
    """

    schema = type_schema(
        "exempt",
        required=["value"],
        **{
            "value": {"type": "boolean"},
            "exemptions": {},  # validate says better than a schema what is wrong inside
            "exemptions-from": {"anyOf": [ValuesFrom.schema, UNFILLED, {"type": "null"}]},
        },
    )

    def __init__(self, data: dict[str, Any], manager: Any = None) -> None:
        super().__init__(data, manager)
        register = data.get("exemptions")
        for entry in register if isinstance(register, list) else ():
            for key in exemptions.DAYS if isinstance(entry, dict) else ():
                if isinstance(entry.get(key), date):
                    entry[key] = entry[key].isoformat()  # a deployed policy is JSON, which has no dates
        self.to_look_at: list[dict[str, Any]] = []
        """With `value: true`: the entries that somebody should look at."""

    def validate(self) -> Exempt:
        """Refuse a register that is wrong, and a place where the filter has nothing to narrow."""
        with checking(self):
            check_exempt(self.manager.data.get("filters", []))
            exemptions.parse_register(self.listed)
            if self.source is not None:
                check_source("exemptions-from", self.source, self.manager)
                if self.listed:
                    raise ValueError("keep the exemptions either in exemptions or in exemptions-from")
        return self

    @property
    def listed(self) -> Any:
        """The register, if it is not elsewhere."""
        return filled(self.data.get("exemptions", []))

    @property
    def source(self) -> dict[str, Any] | None:
        """Where the register is, if it is elsewhere."""
        source = self.data.get("exemptions-from")
        return None if is_unfilled(source) else source

    @cached_property
    def entries(self) -> list[exemptions.Entry]:
        """All entries of the register."""
        if self.source is None:
            return exemptions.parse_register(self.listed)
        return fresh_values("exemptions-from", self.source, self.manager, exemptions.parse_register)

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Narrow what matched in each group, and return the groups in which something is left."""
        config, today = self.manager.config, datetime.now(timezone.utc).date()
        try:
            register = exemptions.Register(self.entries, config.account_id, config.region, today)
        except ValueError as error:
            raise PolicyExecutionError(f"nothing was changed: {error}") from None
        used: set[int] = set()
        left, narrowed = [], 0
        for group in resources:
            matched, entries = group.get(MATCHED, ()), register.of_group(group)
            if self.data["value"]:
                used |= {each.number for rule in matched for each in exemptions.naming(entries, traffic(rule))}
            if self._narrow(group, exemptions.by_tag(group, today), entries):
                left.append(group)
            narrowed += len(group.get(MATCHED, ())) < len(matched)
        if self.data["value"]:
            self.to_look_at = exemptions.to_look_at(register.entries, used, today)
        elif narrowed:
            self.log.info("exempt: left open in %d %s", narrowed, "group" if narrowed == 1 else "groups")
        return left

    def _narrow(
        self, group: dict[str, Any], tag: exemptions.Exemption | None, entries: Iterable[exemptions.Entry]
    ) -> bool:
        """Narrow what matched in one group, and return whether something is left."""
        exempt = bool(self.data["value"])
        if MATCHED in group:
            rules = [(rule, tag or exemptions.by_register(entries, traffic(rule))) for rule in group[MATCHED]]
            group[MATCHED] = [rule for rule, why in rules if bool(why) == exempt]
            found, is_left = {why for _, why in rules if why}, bool(group[MATCHED])
        else:  # it could not be read, and is reported
            found, is_left = {tag} if tag else set(), bool(tag) == exempt
        if exempt:
            in_order = sorted(found, key=lambda why: (why.until, repr(why)))
            group[exemptions.ANNOTATION] = [why._asdict() for why in in_order]
        return is_left
