"""The rehearsal: read the files, run the loop, write the report, show the result."""

from __future__ import annotations

import datetime as dt
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from c7n.utils import yaml_load

from c7n_ingress.decide.authorized import VPC, words
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
    region: str | None = None
    """The region whose groups are read from AWS, instead of files."""
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
        arguments, lists = _live(arguments)
        networks = _authorized(arguments, lists)
        account = _account(arguments, lists)
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
    result.left_out = list(_left_out(result, networks, lists, arguments))
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


def _live(arguments: Asked) -> tuple[Asked, Mapping[str, Sequence[str]]]:
    """Read the region's groups from AWS, if that is asked for, and the CIDRs of prefix lists by id."""
    if arguments.region is None:
        return arguments, {}
    from c7n_ingress_tools.rehearsal.live import read  # noqa: PLC0415 - boto3 takes long to load

    named = words(authorized.wanted(_policy_authorized(), _named(arguments)))
    files = read(arguments.region, FOLDER.parent / "live", [word for word in named if word != VPC])
    lists = json.loads(files.prefix_lists.read_text(encoding="utf-8")) if files.prefix_lists else {}
    return replace(arguments, groups=files.groups, interfaces=files.interfaces, vpcs=files.vpcs), lists


def _policy_authorized() -> object:
    return read_policy()["policies"][0]["actions"][0].get("authorized")


def _named(arguments: Asked) -> list[str]:
    """Return the networks that the user names.

    :raises UnusableError: they cannot be used; the error names the option.
    """
    try:
        return authorized.own(arguments.authorized) if arguments.authorized else []
    except ValueError as error:
        raise exports.UnusableError(f"{arguments.option('authorized')}: {error}") from error


def _authorized(arguments: Asked, lists: Mapping[str, Sequence[str]]) -> authorized.Authorized:
    """Return the networks to authorize.

    :raises UnusableError: they cannot be used; the error names the option.
    """
    named = _named(arguments)
    try:
        return authorized.chosen(_policy_authorized(), named, known=[*lists, *([VPC] if arguments.vpcs else [])])
    except ValueError as error:
        more = f"add {arguments.option('vpcs', 'vpcs.json')}, or name networks with {arguments.option('authorized')}"
        raise exports.UnusableError(f"{error}: {more}") from error


def _about(networks: authorized.Authorized) -> Iterator[str]:
    """Return what people should know of the networks by which clients were judged."""
    if networks.are_examples:
        yield "the authorized networks are examples: with your own, other clients are blocked"


def _left_out(
    result: Result, networks: authorized.Authorized, known: Mapping[str, Sequence[str]], arguments: Asked
) -> Iterator[str]:
    """Return what the files do not have, and the rehearsal leaves out."""
    if VPC in networks.values:
        yield "further VPCs that groups are associated with: describe-security-groups does not list them"
    if VPC in networks.left_out:
        option = arguments.option("vpcs", "vpcs.json")
        yield f"the networks of the groups' own VPCs (vpc): to authorize them, add {option}"
    if lists := [word for word in networks.left_out if word != VPC]:
        yield f"the entries of authorized prefix lists ({_first(lists)}): only --live reads them"
    if lists := [each for each in groups.prefix_lists(result.groups) if each not in known]:
        yield f"what is in prefix lists ({_first(lists)}), so that rules for them are left alone here"


def _first(lists: Sequence[str]) -> str:
    more = len(lists) - SHOWN_LISTS
    return ", ".join([*lists[:SHOWN_LISTS], *([f"{more} more"] if more > 0 else [])])


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


def _account(arguments: Asked, lists: Mapping[str, Sequence[str]]) -> Account:
    """Read the files of the account."""
    chosen = _groups(arguments.groups)
    known = vpcs.load(arguments.vpcs, chosen) if arguments.vpcs else ()
    return Account(chosen, _interfaces(arguments, chosen), known, lists)


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
