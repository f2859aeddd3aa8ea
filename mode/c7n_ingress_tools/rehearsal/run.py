"""The rehearsal: read the files, run the loop, write the report, show the result."""

from __future__ import annotations

import datetime as dt
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from c7n.utils import yaml_load

from c7n_ingress_tools.extras import of_extra
from c7n_ingress_tools.rehearsal import authorized, exports, groups, interfaces, show, vpcs
from c7n_ingress_tools.rehearsal.account import Account
from c7n_ingress_tools.rehearsal.loop import POLICY, LoopError, Result, read_policy, run
from c7n_ingress_tools.rehearsal.progress import Progress
from c7n_ingress_tools.report.rows import CutOff, Facts
from c7n_ingress_tools.report.sources import of_rehearsal
from c7n_ingress_tools.report.write import write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOLDER = Path(".local", "run")
SHOWN_LISTS = 5


@dataclass(frozen=True)
class Asked:
    """What the command line asks for: the files, and how the result is printed."""

    groups: Path | None = None
    authorized: Sequence[str] = ()
    interfaces: Path | None = None
    vpcs: Path | None = None
    flows: Sequence[Path] = ()
    as_json: bool = False
    make: bool = False
    """Whether the user typed `make demo`."""

    def option(self, name: str, value: str = "") -> str:
        """Return an option as the user writes it."""
        word, equals = (name.upper(), "=") if self.make else (f"--{name}", " ")
        return f"{word}{equals}{value}" if value else word


def main(arguments: Asked, commands: Path) -> int:
    """Run the loop and show what came of it; return the exit code. `commands` is the folder of `warm.commands`."""
    console = show.console(of_errors=arguments.as_json)
    progress = Progress(console)
    cut_off: Mapping[str, Mapping[str, CutOff]] = {}
    findings = None
    try:
        _check(arguments)
        networks = _authorized(arguments)
        account = _account(arguments)
        traffic = _traffic(arguments, account, progress)
        show.authorized(networks, console, arguments.option)
        with traffic as who_came_in:
            result = run(account, FOLDER, progress, commands, networks.values)
            if who_came_in:
                findings = who_came_in(result.records)
                findings = replace(findings, notes=(*_about(networks), *findings.notes))
                cut_off = _module_traffic().cut_off(findings)
    except (exports.UnusableError, LoopError) as error:
        print(show.printable(str(error)), file=sys.stderr)  # noqa: T201 - printing is what a command is for
        return 2
    result.left_out = list(_left_out(result, networks, arguments))
    if arguments.interfaces:
        result.unseen = interfaces.unseen(account.interfaces)
    with progress.step(f"wrote the report: {FOLDER / 'report.html'}"):
        report(result, cut_off, networks)
    if arguments.as_json:
        print((FOLDER / "report.json").read_text(encoding="ascii"), end="")  # noqa: T201
        return 1 if result.failures else 0
    show.show(result, networks, console, findings)
    if networks.are_examples:
        console.print()
        show.authorized(networks, console, arguments.option)
    return 1 if result.failures else 0


def report(result: Result, cut_off: Mapping[str, Mapping[str, CutOff]], networks: authorized.Authorized) -> None:
    """Write the page, and the CSV and JSON beside it."""
    made = of_rehearsal(
        [*result.groups, *result.foreign],
        result.records,
        result.failures,
        account=result.account,
        region=result.region,
        now=dt.datetime.now(dt.timezone.utc),
        facts=facts(result, cut_off),
        notes=[f"Authorized networks: {networks.words}.", *(f"Not rehearsed: {each}." for each in result.left_out)]
        + ([f"Unused: {result.unseen}."] if result.unseen else []),
        public_ports=public_ports(result.folder / POLICY.name),
    )
    write(made, result.folder)


def _authorized(arguments: Asked) -> authorized.Authorized:
    """Return the networks to authorize.

    :raises UnusableError: they cannot be used; the error names the option.
    """
    action = read_policy()["policies"][0]["actions"][0]
    option = arguments.option("authorized")
    try:
        named = authorized.own(arguments.authorized) if arguments.authorized else []
    except ValueError as error:
        raise exports.UnusableError(f"{option}: {error}") from error
    try:
        return authorized.chosen(action.get("authorized"), named, knows_vpcs=bool(arguments.vpcs))
    except ValueError as error:
        more = f"add {arguments.option('vpcs', 'vpcs.json')}, or name networks with {option}"
        raise exports.UnusableError(f"{error}: {more}") from error


def _about(networks: authorized.Authorized) -> Iterator[str]:
    """Return what people should know of the networks by which clients were judged."""
    if networks.are_examples:
        yield "the authorized networks are examples: with your own, other clients are blocked"


def _left_out(result: Result, networks: authorized.Authorized, arguments: Asked) -> Iterator[str]:
    """Return what the files do not have, and the rehearsal leaves out."""
    if authorized.VPC in networks.values:
        yield "further VPCs that groups are associated with: describe-security-groups does not list them"
    if networks.lacks_vpc:
        option = arguments.option("vpcs", "vpcs.json")
        yield f"the networks of the groups' own VPCs (vpc): to authorize them, add {option}"
    if lists := groups.prefix_lists(result.groups):
        shown = [*lists[:SHOWN_LISTS], *([f"{len(lists) - SHOWN_LISTS} more"] if len(lists) > SHOWN_LISTS else [])]
        yield f"what is in prefix lists ({', '.join(shown)}), so that rules for them are left alone here"


def public_ports(policy: Path) -> list[int | str]:
    """Return the ports that the rehearsed policy leaves open."""
    filters = yaml_load(policy.read_text(encoding="utf-8"))["policies"][0]["filters"]
    return [port for each in filters if each.get("type") == "open-ingress" for port in each.get("OnlyPorts", ())]


def facts(result: Result, cut_off: Mapping[str, Mapping[str, CutOff]]) -> dict[str, Facts]:
    """Return what uses each group and which clients would be blocked, where that is known."""
    found = {}
    for group in result.behind.keys() | cut_off.keys():
        behind = result.behind.get(group)
        said = (behind.exposure, tuple(behind.phrases)) if behind else (None, None)
        found[group] = Facts(*said, cut_off=cut_off.get(group))
    return found


def _check(arguments: Asked) -> None:
    """Refuse flow logs without what they are about: UnusableError."""
    if arguments.flows and arguments.groups and not arguments.interfaces:
        flows, needed = arguments.option("flows"), arguments.option("interfaces")
        raise exports.UnusableError(
            f"{flows} needs {needed}: flow logs name interfaces, and interfaces have the groups"
        )


def _account(arguments: Asked) -> Account:
    """Read the files of the account."""
    chosen = _groups(arguments.groups)
    known = vpcs.load(arguments.vpcs, chosen) if arguments.vpcs else ()
    return Account(chosen, _interfaces(arguments, chosen), known)


def _groups(path: Path | None) -> list[groups.Group]:
    return groups.load(path) if path else groups.sample(dt.datetime.now(dt.timezone.utc).date())


def _interfaces(arguments: Asked, chosen: list[groups.Group]) -> list[interfaces.Interface]:
    """Read the interfaces, if there are any; the sample has its own."""
    path = arguments.interfaces or (None if arguments.groups else interfaces.SAMPLE)
    if path is None:
        return []
    there = interfaces.load(path)
    interfaces.check(there, chosen, path)
    return there


def _traffic(arguments: Asked, account: Account, progress: Progress) -> AbstractContextManager:
    """Read the flow logs, if there are any; the block gets what looks clients up in them, or None."""
    if not arguments.flows:
        return nullcontext()
    return _module_traffic().reading(arguments.flows, account, progress, FOLDER.parent)


def _module_traffic():
    """Import what reads flow logs, only when there are some: it needs DuckDB."""
    with of_extra("flows"):
        from c7n_ingress_tools.rehearsal import traffic  # noqa: PLC0415
    return traffic
