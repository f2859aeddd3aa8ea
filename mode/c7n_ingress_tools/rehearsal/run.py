"""The rehearsal: read the files, run the loop, write the report, show the result."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c7n_ingress.decide.authorized import VPC, words
from c7n_ingress.decide.exemptions import parse_register
from c7n_ingress_tools import settings
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.extras import requires_extra
from c7n_ingress_tools.pack import PACK
from c7n_ingress_tools.rehearsal import authorized, groups, show
from c7n_ingress_tools.rehearsal.account import Account, read, read_live
from c7n_ingress_tools.rehearsal.loop import Result, run
from c7n_ingress_tools.rehearsal.progress import Progress
from c7n_ingress_tools.report import terminal
from c7n_ingress_tools.report.page import write
from c7n_ingress_tools.report.sources import of_rehearsal
from c7n_ingress_tools.report.text import first

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from c7n_ingress_tools.rehearsal.clients import Findings
    from c7n_ingress_tools.rehearsal.warm import Commands
    from c7n_ingress_tools.report.rows import Report, Row

FOLDER = Path(".local", "run")


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
    settings: Path | None = None
    as_json: bool = False
    make: bool = False
    """Whether the user typed `make demo`."""

    def option(self, name: str, value: str = "") -> str:
        """Return an option as the user writes it."""
        word, equals = (name.upper(), "=") if self.make else (f"--{name}", " ")
        return f"{word}{equals}{value}" if value else word


@contextmanager
def only_one_here() -> Iterator[None]:
    """Refuse a second rehearsal in the current folder until the block ends: both would write the same files.

    The system unlocks the folder however the process ends. A network file system may lock no folders: then this does
    nothing.

    :raises CommandError: another rehearsal runs here.
    """
    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CommandError("another rehearsal runs in this folder: wait until it ends, or use another one") from error
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(folder)


@only_one_here()
def main(arguments: Asked, commands: Commands) -> int:
    """Run the loop and show what came of it; return the exit code.

    :raises CommandError: the rehearsal cannot run.
    """
    console = terminal.console(of_errors=arguments.as_json)
    progress = Progress(console)
    if arguments.flows and arguments.groups and not arguments.interfaces:
        flow_logs, needed = arguments.option("flows"), arguments.option("interfaces")
        raise CommandError(f"{flow_logs} needs {needed}: flow logs name interfaces, and interfaces have the groups")
    given = settings.read(arguments.settings, PACK / settings.SETTINGS)
    account = _account(arguments, given)
    networks = _authorized(arguments, given, account)
    if arguments.flows:  # only they need DuckDB
        with requires_extra("flows"):
            from c7n_ingress_tools.rehearsal import clients, flows
    show.authorized(networks, console, arguments.option)
    findings = None
    with flows.read(arguments.flows, progress, FOLDER.parent) if arguments.flows else nullcontext() as log:
        if log:  # a bad file is refused before the loop
            clients.check(log, account.interfaces)
        result = run(account, FOLDER, progress, commands, given | {"authorized": [*networks.values]})
        if log:
            with progress.step("looked up who came in through what was replaced") as step:
                findings = clients.who_came_in(log, account, result.records, step.show)
    notes = [*_notes(result, networks, arguments, account, given), *(_of_flows(findings, networks) if findings else ())]
    made = report(result, notes, findings, given)
    with progress.step(f"wrote the report: {FOLDER / 'report.html'}"):
        write(made, FOLDER)
    if arguments.as_json:
        print((FOLDER / "report.json").read_text(encoding="ascii"), end="")
        return 1 if result.failures else 0
    console.print()
    terminal.show(made, console, str(FOLDER / "report.html"))
    console.print()
    console.print(show.summary(result))
    if result.messages:
        console.print()
        console.print(show.message(result), crop=False)
    terminal.failures(result.failures, console)
    if networks.are_examples:
        console.print()
        show.authorized(networks, console, arguments.option)
    return 1 if result.failures else 0


def report(result: Result, notes: Sequence[str], findings: Findings | None, given: Mapping[str, Any]) -> Report:
    """Return the report of a rehearsal with given settings."""

    def known(row: Row) -> dict[str, Any]:
        """Return what uses a group and which clients would be blocked, where that is known."""
        behind = result.behind.get(row.group)
        used = {"exposure": behind.exposure, "behind": tuple(behind.behind)} if behind else {}
        return used | {"clients": findings.rules.get(row.key) if findings else None}

    return of_rehearsal(
        [*result.groups, *result.foreign],
        result.records,
        result.failures,
        account=result.account,
        region=result.region,
        now=dt.datetime.now(dt.timezone.utc),
        known=known,
        notes=notes,
        window=findings.window if findings else None,
        public_ports=given.get("public-ports", []),
        exemptions=parse_register(given.get("exemptions", [])),
    )


def _account(arguments: Asked, given: Mapping[str, Any]) -> Account:
    """Read the account from files or, if that is asked for, the region's from AWS."""
    if arguments.region is None:
        return read(arguments.groups, arguments.interfaces, arguments.vpcs)
    named = words(authorized.wanted(given.get("authorized"), _named(arguments)))
    return read_live(arguments.region, [word for word in named if word != VPC])


def _named(arguments: Asked) -> list[str]:
    """Return the networks that the user names. The error for one that cannot be used names the option."""
    try:
        return authorized.own(arguments.authorized) if arguments.authorized else []
    except ValueError as error:
        raise CommandError(f"{arguments.option('authorized')}: {error}") from error


def _authorized(arguments: Asked, given: Mapping[str, Any], account: Account) -> authorized.Authorized:
    """Return the networks to authorize.

    :raises CommandError: none is left.
    """
    known = [*account.prefix_lists, *([VPC] if account.vpcs else [])]
    networks = authorized.chosen(given.get("authorized"), _named(arguments), known=known)
    if not networks.values:
        only = ", ".join(networks.left_out) or VPC
        more = f"add {arguments.option('vpcs', 'vpcs.json')}, or name networks with {arguments.option('authorized')}"
        raise CommandError(f"only {only} is authorized, and which networks these are is not known here: {more}")
    return networks


def _notes(
    result: Result, networks: authorized.Authorized, arguments: Asked, account: Account, given: Mapping[str, Any]
) -> Iterator[str]:
    """Return what people should know: the networks, what the files do not have, what "unused" means."""
    yield f"Authorized networks: {networks.words}."
    if "authorized-from" in given and not arguments.authorized:
        option = arguments.option("authorized")
        yield f"Not rehearsed: the networks at {given['authorized-from']['url']}. Name them with {option}."
    if "exemptions-from" in given:
        yield f"Not rehearsed: the exemptions at {given['exemptions-from']['url']}."
    if VPC in networks.values:
        yield "Not rehearsed: further VPCs that groups are associated with: describe-security-groups lists none."
    if VPC in networks.left_out:
        option = arguments.option("vpcs", "vpcs.json")
        yield f"Not rehearsed: the networks of the groups' own VPCs (vpc). To authorize them, add {option}."
    if lists := [word for word in networks.left_out if word != VPC]:
        yield f"Not rehearsed: the entries of authorized prefix lists ({first(lists)}). Only --live reads them."
    if lists := [each for each in groups.prefix_lists(result.groups) if each not in account.prefix_lists]:
        yield f"Not rehearsed: what is in prefix lists ({first(lists)}). Rules for them are left alone here."
    if (arguments.interfaces or arguments.region) and any(each.exposure == "unused" for each in result.behind.values()):
        yield (
            "Unused: no interface that was read uses the group. Those of other accounts in a shared VPC may be missing "
            "and, in a file without --include-managed-resources, those that AWS services manage."
        )


def _of_flows(findings: Findings, networks: authorized.Authorized) -> Iterator[str]:
    """Return what people should know of the clients."""
    if networks.are_examples:
        yield "The authorized networks are examples: with your own, other clients are blocked."
    yield from findings.notes
    yield (
        "Blocked clients connected through the rule, and no other rule lets them in. The suggested networks would. "
        "Scanners do not count as clients: rehearsal/clients.py says who is one."
    )
