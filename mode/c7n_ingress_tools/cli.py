"""The command `c7n-ingress`. What a command needs is imported when it is called, so that each starts at once."""

from __future__ import annotations

import atexit
import datetime as dt
import gc
import json
import os
import sys
from collections import Counter
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import click
except KeyboardInterrupt:  # this takes most of the time before `main`, which prints the same
    sys.stderr.write("c7n-ingress: stopped\n")
    sys.exit(2)

from c7n_ingress_tools.errors import CommandError, in_one_line
from c7n_ingress_tools.report.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import boto3

    from c7n_ingress_tools.check.facts import Fact
    from c7n_ingress_tools.names import Outcome

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
COULD_NOT_RUN = 2
MAILER_CONFIG = Path("mode", "mailer.yml")


def path(text: str | Path) -> Path:
    """Return a path. Its name is what the help calls it."""
    if not text:  # as of a variable that is not set; pathlib takes it for the current folder
        raise CommandError("a path is empty: name the file or the folder, or leave it out")
    return Path(text)


def _in_region(region: str) -> boto3.Session:
    if not region:  # as of a variable that is not set; boto3 raises a ValueError when it makes a client
        raise CommandError("--region is empty: name the region, such as us-east-1")
    import boto3

    return boto3.Session(region_name=region)


REGION: Any = {"type": _in_region, "metavar": "REGION"}
"""An option for which a command gets a session in the region."""

region_option = click.option("--region", "session", required=True, help="The AWS region, such as us-east-1.", **REGION)
settings_option = click.option(
    "--settings", type=path, help="Your settings file. By default, settings.yml in this folder if there is one."
)


def time(text: str) -> dt.datetime:
    """Return a time, or the one that is so long before now. Its name is what the help calls it."""
    from c7n_ingress_tools.accounts import time_from

    return time_from(text, dt.datetime.now(dt.timezone.utc))


def accounts_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about the output of many accounts."""
    for option in (
        click.option("--log", type=path, help="A file with what c7n-org printed, to show why accounts failed."),
        click.option("--since", type=time, help="Ignore what is older: 90d, 12h, or a time such as 2026-01-31."),
        click.option("-t", "--tag", "tags", multiple=True, help="Only the accounts with this tag, as c7n-org's -t."),
        click.option("--accounts", type=path, help="c7n-org's file of accounts: each of them must have output."),
    ):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program.")


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line says, and return the exit code: its help explains them."""
    _open_streams()
    atexit.register(gc.freeze)  # otherwise Python looks through all that was loaded before it ends
    try:
        return cli.main(arguments, "c7n-ingress", standalone_mode=False) or 0
    except click.UsageError as error:
        error.show()
        return COULD_NOT_RUN
    except SystemExit as error:  # another c7n than the pack works with, or a package that is not installed
        if not isinstance(error.code, str):
            raise
        click.echo(error.code, err=True)
        return COULD_NOT_RUN
    except click.Abort:
        line = "stopped"
    except click.ClickException as error:
        line = error.message
    except Exception as error:
        if not (line := in_one_line(error)):
            raise
    click.echo(f"c7n-ingress: {visible(line)}", err=True)
    return COULD_NOT_RUN


def _open_streams() -> None:
    """Open the standard streams that the caller has closed, and print ? for characters that an encoding lacks.

    Otherwise the next file or socket would have the number of a closed stream, and would be taken for it.
    """
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - until the process ends
            os.set_inheritable(stream.fileno(), True)  # noqa: FBT003 - it has no name
            setattr(sys, name, stream)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="c7n-ingress", message="c7n-ingress %(version)s")
def cli() -> None:
    """Close security groups that are open to the internet, and undo it.

    The policies run with `custodian`. This command does everything else. Each command ends with 0 if all is well, with
    1 if something is wrong or was not done, and with 2 if it could not run.
    """


@cli.command(short_help="Write or update the pack's files in a folder.")
@click.argument("folder", type=path, default=".", metavar="[DIR]")
def init(folder: Path) -> None:
    """Write the policies, the stack and the mailer's configuration into a folder, or update them there.

    The command creates the folder if needed, and replaces the pack's files with those of the installed version. It
    writes your own files once and never changes them: settings.yml, mode/mailer.yml and mode/accounts.yml.
    """
    from importlib import metadata

    from c7n_ingress_tools.init import write_pack

    done = write_pack(folder)
    counts = Counter(done.values())
    listed = ", ".join(f"{counts[what]} {what}" for what in ("written", "replaced", "unchanged") if what in counts)
    click.echo(f"{folder}: c7n-ingress {metadata.version('c7n-ingress')}: {listed}")
    for name, what in done.items():
        if what == "replaced":
            click.echo(f"replaced: {folder / name}")


@cli.command(short_help="Check that the pack works, here and in your account.")
@click.option("--region", "sessions", multiple=True, help="An AWS region to check. Can be repeated.", **REGION)
@click.option("--settings", type=path, default=Path("settings.yml"), show_default=True, help="Your settings file.")
@click.option("--canary", is_flag=True, help="Open a port in a group that nothing uses, and wait until it is closed.")
@click.option("--timeout", type=float, default=900, show_default=True, help="Seconds that --canary waits.")
@click.option("--of", "folder", type=path, help="Show the checks that `c7n-org run-script -s` wrote, of all accounts.")
@accounts_options
@json_option
def check(
    sessions: tuple[boto3.Session, ...],
    settings: Path,
    canary: bool,
    timeout: float,
    folder: Path | None,
    as_json: bool,
    **of_accounts: Any,
) -> int:
    """Check that the pack works, one line for each fact, and print the fix where something is wrong.

    Without --region, it checks only what is on this machine: versions, settings and policies. With --region, it also
    checks what is deployed in the region, and compares it with the files here. It changes nothing.

    With --canary, it also creates a group in each region, which nothing uses, and opens tcp 22 in it to the internet.
    It shows when each stage is reached, until the group is closed and reported. Then it undoes the change and deletes
    the group.

    With --of, it prints one line for each account and region that c7n-org checked. If --accounts is added, each of
    these accounts and regions must have a check that is not older than a day.
    """
    if folder is not None:
        return _show_places(folder, [each.region_name for each in sessions], as_json=as_json, **of_accounts)
    if any(of_accounts.values()):
        raise click.UsageError("--accounts, --tag, --since and --log belong to --of")
    if canary and not sessions:
        raise click.UsageError("--canary needs --region")
    import logging

    from c7n_ingress_tools.check import here, run
    from c7n_ingress_tools.check.facts import OK

    logging.getLogger().addHandler(logging.NullHandler())  # what c7n warns of is a fact here

    def say(text: str) -> None:
        if not as_json:
            click.echo(text)

    files = here.files(settings)
    run_canary = partial(_canary, say, timeout) if canary else None
    places = [
        ("", here.load(files).facts),
        *((each.region_name, run.in_region(each, files, run_canary)) for each in sessions),
    ]
    found = []
    for region, facts in places:
        if region:
            say(f"\n{region}")
        for fact in facts:
            found.append({"region": region or None, **fact._asdict()})
            say(str(fact))
    wrong = sum(fact["state"] != OK for fact in found)
    say(f"\n{len(found)} facts, {wrong} wrong")
    if as_json:
        click.echo(json.dumps({"wrong": wrong, "facts": found}, indent=1))
    return 1 if wrong else 0


def _canary(say: Callable[[str], None], limit: float, session: boto3.Session, settings: Mapping[str, Any]) -> Fact:
    """Run a canary in a region, and print when each stage is reached."""
    from c7n_ingress_tools.check import canary

    return canary.run(session, settings, lambda seconds, said: say(f"{seconds:7.1f} s  {said}"), limit).fact


def _show_places(folder: Path, regions: list[str], *, as_json: bool, **of_accounts: Any) -> int:
    """Print the checks of many accounts, one line for each account and region."""
    from c7n_ingress_tools.accounts import asked
    from c7n_ingress_tools.check.accounts import places

    found = places(folder, asked(regions, **of_accounts))
    wrong = sum(bool(each.wrong) for each in found)
    if as_json:
        click.echo(json.dumps({"wrong": wrong, "places": [each._asdict() for each in found]}, indent=1))
    else:
        click.echo("\n".join([*map(str, found), f"\n{len(found)} accounts and regions, {wrong} wrong"]))
    return 1 if wrong else 0


@cli.command(short_help="Run everything on this machine, on a copy of your groups.")
@click.argument("groups", type=path, required=False, metavar="[GROUPS.json]")
@click.option("--authorized", multiple=True, metavar="NETWORK,…", help="Your networks, instead of those in settings.")
@click.option("--interfaces", type=path, help="What `aws ec2 describe-network-interfaces` prints: what uses a group.")
@click.option("--vpcs", type=path, help="What `aws ec2 describe-vpcs` prints, for the networks that `vpc` means.")
@click.option("--flows", type=path, multiple=True, help="VPC flow logs, a file or a folder. Can be repeated.")
@settings_option
@click.option("--live", is_flag=True, help="Read the groups of --region and what uses them from AWS. Changes nothing.")
@click.option("--region", help="The AWS region that --live reads.")
@json_option
@click.option("--make", is_flag=True, hidden=True)
def rehearse(live: bool, **options: Any) -> int:
    """Run everything on this machine, on a copy of your groups, and show each rule before and after.

    GROUPS.json is what `aws ec2 describe-security-groups --output json` prints. Without it, sample groups are used. No
    data leaves this machine, and no credentials are needed. Only --live reads from AWS, with your credentials. The
    command ends with 1 if a group did not end as the pack promises.
    """
    if live != bool(options["region"]):
        raise click.UsageError("--live and --region belong together")
    if live and any(options[name] for name in ("groups", "interfaces", "vpcs")):
        raise click.UsageError("--live reads groups, interfaces and VPCs itself: name no files of them")
    from c7n_ingress_tools.rehearsal import warm

    with warm.commands() as commands:  # Cloud Custodian loads in this process while this one loads moto
        from contextlib import nullcontext
        from unittest import mock

        from c7n_ingress_tools.embedded_aws import models
        from c7n_ingress_tools.embedded_aws.alone import alone
        from c7n_ingress_tools.extras import requires_extra

        models.share()
        own: Any = nullcontext() if live else mock.patch.dict(os.environ, alone(), clear=True)
        with own:
            with requires_extra("local"):
                from c7n_ingress_tools.rehearsal import run
            return run.main(run.Asked(**options), commands)


@cli.command(short_help="Report what a sweep found and did, or what the deployed functions did.")
@click.argument("folders", type=path, nargs=-1, metavar="[OUT]...")
@click.option("--journal", is_flag=True, help="Report what the deployed functions did, from their logs.")
@accounts_options
@click.option("--region", "regions", multiple=True, help="Only this AWS region. Can be repeated.")
@click.option("--csv", "csv_file", type=path, help="With --journal: write a line for each closed rule into this file.")
@json_option
def report(
    folders: tuple[Path, ...],
    journal: bool,
    regions: tuple[str, ...],
    csv_file: Path | None,
    as_json: bool,
    **of_accounts: Any,
) -> int:
    """Report what a sweep found and did, as a table and as one page.

    OUT is a folder that `custodian run -s` or `c7n-org run -s` wrote, by default `out`. The command prints one line for
    each account and region, those that failed first, and writes report.html, report.csv and report.json into OUT. With
    --json, it prints the JSON and writes no file. It ends with 1 if the last run in an account and region failed.

    With --accounts, an account and region has also failed if it has no output that is younger than a day.

    With --journal, the command reads the logs of the deployed functions, by default of the last 90 days. For each
    account, it prints how many rules were closed, how long they were open, how many groups were not closed, undone or
    exempt, and who opened the most. It needs logs:FilterLogEvents. If an account cannot be read, it prints a note and
    ends with 1.
    """
    from c7n_ingress_tools.accounts import asked
    from c7n_ingress_tools.extras import requires_extra

    if journal:
        return _report_journal(regions, csv_file, as_json=as_json, **of_accounts)
    if csv_file:
        raise click.UsageError("--csv belongs to --journal")
    with requires_extra("report"):
        from c7n_ingress_tools.report import terminal
        from c7n_ingress_tools.report.page import write
        from c7n_ingress_tools.report.sources import NoRunError, of_runs
        from c7n_ingress_tools.report.tables import as_json as json_of
    folders = folders or (Path("out"),)
    try:
        made = of_runs(folders, dt.datetime.now(dt.timezone.utc), asked(regions, **of_accounts))
    except NoRunError as error:
        raise CommandError(str(error)) from error
    code = 1 if made.failed else 0
    if as_json:
        click.echo(json_of(made))
        return code
    page = write(made, folders[0])
    terminal.show(made, terminal.console(in_pipe=terminal.WIDE), str(page))
    click.echo(page)
    return code


def _report_journal(
    regions: tuple[str, ...], csv_file: Path | None, *, as_json: bool, accounts: Path | None, since: Any, **other: Any
) -> int:
    """Print what the journals say, and return 1 if an account or region could not be read."""
    from c7n_ingress_tools.extras import requires_extra

    if any(other.values()):
        raise click.UsageError("--tag and --log do not go with --journal")
    if not (regions or accounts):
        raise click.UsageError("--journal needs --region, or --accounts")
    with requires_extra("report"):
        from c7n_ingress_tools.report import journal, terminal
    now = dt.datetime.now(dt.timezone.utc)
    if accounts:
        places = [*journal.places_of(accounts, regions)]
    else:
        account = _in_region(regions[0]).client("sts").get_caller_identity()["Account"]
        places = [journal.Place(account, region, _in_region) for region in regions]
    found = journal.read(places, since or now - dt.timedelta(days=90), now)
    if csv_file:
        csv_file.write_text(journal.as_csv(found), encoding="utf-8", newline="")
    if as_json:
        click.echo(journal.as_json(found))
        return 1 if found.unread else 0
    console = terminal.console()
    console.print(journal.table(found))
    for line in journal.openers(found):
        console.print(line, markup=False)
    for note in (*found.unread, *found.notes):
        console.print(f"! {note}", markup=False)
    return 1 if found.unread else 0


@cli.command(short_help="Undo what a run did to a security group.")
@click.argument("group", metavar="SG")
@click.option("--run", required=True, help="The id of the run, from the message or a record.")
@region_option
@click.option(
    "--journal",
    metavar="PLACE",
    help="Where the run's records are, if not in the logs of the pack's functions: a log group, or a URL (file:, s3:).",
)
@settings_option
@click.option("--yes", is_flag=True, help="Do not ask, for scripts.")
@json_option
def undo(session: boto3.Session, settings: Path | None, yes: bool, as_json: bool, **which: Any) -> int:
    """Undo what one run did to one security group, and exempt the group for a while.

    The command finds the records of the run, shows each rule before and after, asks, and undoes it. It leaves alone a
    rule that somebody has changed since then. The policy restore-ingress does the work. With --json and without --yes,
    the command shows what would change, and changes nothing.
    """
    from c7n_ingress.decide.commands import Undo
    from c7n_ingress_tools import undo as undoing
    from c7n_ingress_tools.settings import read

    asked = Undo(region=session.region_name, **which)
    run = partial(undoing.run, asked, session, read(settings))
    done = run(preview=not yes)
    if as_json:
        made = {"group": asked.group, "run": asked.run, "region": asked.region, "preview": not yes}
        click.echo(json.dumps({**made, **done._asdict()}, indent=1))
    else:
        done.show(asked.group, preview=not yes)
        if done.changes and not yes:
            click.confirm("Undo it?", abort=True)
            if run(preview=True).shown != done.shown:
                raise CommandError("the journal or the group changed while you looked: run the same command again")
            done = run(preview=False)
            done.show(asked.group, preview=False)
    return 1 if done.problems else 0


@cli.group(short_help="Deploy the function that delivers messages, or show sample messages.")
def mailer() -> None:
    """Deploy the function that delivers the messages, or show how messages look."""


@mailer.command("deploy")
@click.option("-c", "--config", type=path, default=MAILER_CONFIG, show_default=True, help="c7n-mailer's configuration.")
@click.option("--region", help="The AWS region. By default, the region of the configuration.")
def mailer_deploy(config: Path, region: str | None) -> None:
    """Deploy the mailer's function, or update it. A second run changes only what differs."""
    import boto3
    import yaml
    from botocore.exceptions import ClientError

    from c7n_ingress_tools.mailer import deploy

    try:
        read = deploy.read_config(config, region)
    except OSError as error:
        raise CommandError(f"{config}: {error.strerror}: name another file with --config") from error
    except (yaml.YAMLError, ValueError) as error:
        raise CommandError(f"{config}: {' '.join(str(error).split())}") from error
    where = f"queue {deploy.queue_name(read)} in {read['region']}"
    try:
        arn = deploy.deploy(read, boto3.Session(region_name=read["region"], profile_name=read.get("profile")))
    except ClientError as error:
        raise CommandError(f"{where}: {error}") from error
    click.echo(f"{arn} delivers what is sent to the {where}")


@mailer.command("preview")
@click.argument("file", type=path, required=False, metavar="[FILE.html]")
def mailer_preview(file: Path | None) -> None:
    """Print the sample messages as people get them, or write the mails into a file."""
    from c7n_ingress_tools.mailer import preview

    if file is None:
        click.echo(preview.all_samples(), nl=False)
    else:
        file.write_text(preview.all_samples(as_mails=True), encoding="utf-8")


@cli.command(short_help="Run the functions again on the events on which they failed.")
@region_option
def replay(session: boto3.Session) -> int:
    """Run the policies' functions again on the events on which they failed.

    The events are in the queue custodian-open-ingress-failed. An event leaves the queue when its function succeeds. The
    command ends with 1 if an event is left.
    """
    from c7n_ingress_tools.names import messages
    from c7n_ingress_tools.replay import QUEUE, replay

    outcomes = _printed(replay(session))
    done = sum(outcome.done for outcome in outcomes)
    left = max(len(outcomes) - done, messages(session, QUEUE) or 0)  # SQS counts roughly, and new events, too
    click.echo(f"{done} events done, {left} left in {QUEUE}")
    return 1 if left else 0


@cli.command()
@region_option
def pause(session: boto3.Session) -> int:
    """Stop the policies' functions in a region for a while.

    Each function gets the reserved concurrency 0, and a tag with the time and the caller. Nothing is closed until you
    run `c7n-ingress resume`. Lambda keeps the events that it already has for six hours. New events go to the queue
    custodian-open-ingress-failed and stay there for 14 days, and the alarm of that queue fires. If you deploy a policy,
    its function starts again. The mailer goes on.
    """
    from c7n_ingress_tools import pause as pausing

    following = "c7n-ingress resume --region {region}  # to start them again"
    return _each_function(pausing.pause(session), session.region_name, following)


@cli.command(short_help="Start the paused functions of the policies again.")
@region_option
def resume(session: boto3.Session) -> int:
    """Start the functions again that `c7n-ingress pause` stopped.

    Each function gets back the reserved concurrency that it had. Then the command prints what to run next, because
    groups that were opened meanwhile stay open until you replay the events or run a sweep.
    """
    from c7n_ingress_tools import pause as pausing

    return _each_function(
        pausing.resume(session),
        session.region_name,
        "c7n-ingress replay --region {region}  # the events that came meanwhile",
        "custodian run --region {region} --vars-file settings.yml -s out policies/open-ingress-sweep.yml  # all groups",
    )


def _printed(outcomes: Iterator[Outcome]) -> list[Outcome]:
    """Print what is done to each function, as soon as it is done."""
    done = []
    for outcome in outcomes:
        done.append(outcome)
        click.echo(visible(f"{outcome.function}: {outcome.said}"))
    return done


def _each_function(changing: Iterator[Outcome], region: str, *following: str) -> int:
    """Change each of the policies' functions, print what was done, and what to run next."""
    if not (outcomes := _printed(changing)):
        nothing = "no function of the policies is here: is it the right account and region?"
        click.echo(f"c7n-ingress: {region}: {nothing}", err=True)
        return 1
    click.echo("next:")
    for line in following:
        click.echo(f"  {line.format(region=region)}")
    return 0 if all(outcome.done for outcome in outcomes) else 1


@cli.command()
@region_option
@click.option("--dryrun", is_flag=True, help="List what would be deleted, and delete nothing.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def uninstall(session: boto3.Session, dryrun: bool, names: tuple[str, ...]) -> int:
    """Delete the pack's functions and rules in a region.

    NAME is the function of a policy. Without names, the command deletes all functions of the pack, and the mailer.
    While messages wait, the mailer stays: run the command again. Security groups stay as they are. Last, delete the
    CloudFormation stack.
    """
    from c7n_ingress_tools.uninstall import uninstall

    if left := uninstall(session, names, dryrun=dryrun):
        click.echo(f"c7n-ingress: {session.region_name}: {left}", err=True)
        return 1
    return 0
