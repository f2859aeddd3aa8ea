"""Rehearse on this machine: `python -m c7n_ingress_tools.rehearsal [groups.json]`, with sample groups or your own.

Your own groups are what `aws ec2 describe-security-groups --output json` prints. `--authorized` names the networks that
replace the internet; without it, they are examples. `--interfaces` shows what uses each group, and with `--flows`, VPC
flow logs, which clients the change would block. `--vpcs` has the networks that the policy's word `vpc` is for, which is
left out otherwise. Nothing leaves the machine, and no credentials are needed. The exit code is 0 if every group ended
as the pack promises, 1 if not, 2 if the loop could not be run.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from c7n_ingress_tools.extras import of_extra
from c7n_ingress_tools.rehearsal import groups, interfaces, vpcs, warm


def main() -> int:
    """Run what the command line says; return the exit code."""
    arguments = _arguments()
    with warm.commands() as commands:
        with of_extra("local"):
            from c7n_ingress_tools.embedded_aws import models  # noqa: PLC0415 - moto takes a second, in which Custodian is loaded as well

            models.share()
            from c7n_ingress_tools.rehearsal import run as rehearsal  # noqa: PLC0415

        return rehearsal.main(arguments, commands)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m c7n_ingress_tools.rehearsal", description="The whole loop, on this machine alone."
    )
    parser.add_argument(
        "groups", nargs="?", type=Path, help=f"a file of your own groups, made by: {groups.COMMAND} (else a sample)"
    )
    parser.add_argument(
        "--authorized",
        action="append",
        default=[],
        metavar="NETWORK,…",
        help="your own networks, which replace the internet (else the policy's, or examples)",
    )
    parser.add_argument("--interfaces", type=Path, help=f"a file made by: {interfaces.COMMAND} ({interfaces.WHY})")
    parser.add_argument("--vpcs", type=Path, help=f"the networks that `vpc` in the policy is for: {vpcs.COMMAND}")
    parser.add_argument("--flows", type=Path, nargs="+", help="VPC flow logs of these interfaces: files or folders")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.option = partial(_option, make=arguments.make)
    return arguments


def _option(name: str, value: str = "", *, make: bool) -> str:
    """Return an option as the user writes it, who may have called `make demo`."""
    word, equals = (name.upper(), "=") if make else (f"--{name}", " ")
    return f"{word}{equals}{value}" if value else word


if __name__ == "__main__":
    sys.exit(main())
