"""Which clients the change would block: flow logs, read before the loop, queried after it. Needs the extra `flows`."""

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
) -> Iterator[Callable[[list[dict[str, Any]]], clients.Findings]]:
    """Read flow logs first, so that a bad file is refused before the loop; yield what looks clients up after it.

    :raises flows.RefusedError: the files cannot be used.
    """
    with flows.read(paths, progress, folder) as log:
        clients.check(log, account.interfaces)

        def who_came_in(records: list[dict[str, Any]]) -> clients.Findings:
            with progress.share("looked up who came in through what was replaced") as done:
                return clients.who_came_in(log, account.interfaces, account.groups, records, done)

        yield who_came_in


def cut_off(findings: clients.Findings) -> dict[str, dict[str, CutOff]]:
    """Return the blocked clients by group and by rule, for the report; nothing where there are no records."""
    found: dict[str, dict[str, CutOff]] = {}
    for evidence in findings.rules:
        if evidence.interfaces and not evidence.logged:
            continue
        rule = evidence.rule
        callers = tuple(
            Caller(str(client.source), client.bytes, f"{client.last:%Y-%m-%d %H:%M}") for client in evidence.clients
        )
        words = f"{traffic_text(rule.protocol, rule.ports)} from {rule.was}"
        found.setdefault(rule.group, {})[words] = CutOff(evidence.cut, evidence.bytes, callers)
    return found
