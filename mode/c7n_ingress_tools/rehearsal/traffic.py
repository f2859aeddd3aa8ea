"""Whom the change would cut off: the flow logs, read before the loop and asked after it. It needs the extra `flows`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from c7n_ingress_tools.rehearsal import clients, flows
from c7n_ingress_tools.report.rows import Caller, CutOff
from c7n_ingress_tools.report.severity import traffic_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from c7n_ingress_tools.rehearsal.account import Account
    from c7n_ingress_tools.rehearsal.progress import Progress


@contextmanager
def reading(
    paths: Sequence[Path], account: Account, progress: Progress, folder: Path
) -> Iterator[Callable[[list[dict[str, Any]]], clients.Told]]:
    """Read flow logs, so that what is wrong with them is said first; give what tells of them after the change.

    Raises flows.RefusedError.
    """
    with flows.read(paths, progress, folder) as log:
        clients.check(log, account.interfaces)

        def who_came_in(records: list[dict[str, Any]]) -> clients.Told:
            with progress.share("looked up who came in through what was replaced") as done:
                return clients.who_came_in(log, account.interfaces, account.groups, records, done)

        yield who_came_in


def cut_off(told: clients.Told) -> dict[str, dict[str, CutOff]]:
    """Give who would be cut off, by group and by rule, as the report takes it; nothing where there are no records."""
    found: dict[str, dict[str, CutOff]] = {}
    for evidence in told.rules:
        if evidence.interfaces and not evidence.logged:
            continue
        rule = evidence.rule
        callers = tuple(
            Caller(str(client.source), client.bytes, f"{client.last:%Y-%m-%d %H:%M}") for client in evidence.clients
        )
        words = f"{traffic_text(rule.protocol, rule.ports)} from {rule.was}"
        found.setdefault(rule.group, {})[words] = CutOff(evidence.cut, evidence.bytes, callers)
    return found
