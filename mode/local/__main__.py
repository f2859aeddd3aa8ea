"""Run the whole loop on this machine, on the sample groups or on one's own: `python -m mode.local [groups.json]`.

One's own are what `aws ec2 describe-security-groups --output json` prints. With `--interfaces`, what
`aws ec2 describe-network-interfaces --output json` prints, it tells what stands behind each group, and with `--flows`,
VPC flow logs, whom the change would cut off. With `--vpcs`, what `aws ec2 describe-vpcs --output json` prints, it
rehearses the policy's word `vpc`, which is left out otherwise. Nothing leaves the machine, and no credentials are
needed. The exit code is 0 if every group ended as the pack promises, 1 if not, 2 if the loop could not be run.
"""

import argparse
import sys
from pathlib import Path

from mode.extras import of_extra
from mode.local import groups, interfaces, vpcs, warm


def main() -> int:
    """Run what the command line says; return the exit code."""
    arguments = _arguments()
    with warm.commands() as commands:
        with of_extra("local"):
            from mode.local import models  # noqa: PLC0415 - moto takes a second, in which Custodian is loaded as well

            models.share()
            from mode.local import rehearsal  # noqa: PLC0415

        return rehearsal.main(arguments, commands)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m mode.local", description="The whole loop, on this machine alone.")
    parser.add_argument(
        "groups", nargs="?", type=Path, help=f"a file of your own groups, made by: {groups.COMMAND} (else a sample)"
    )
    parser.add_argument("--interfaces", type=Path, help=f"a file made by: {interfaces.COMMAND}")
    parser.add_argument("--vpcs", type=Path, help=f"what `vpc` in the policy stands for: {vpcs.COMMAND}")
    parser.add_argument("--flows", type=Path, nargs="+", help="VPC flow logs of these interfaces: files or folders")
    arguments = parser.parse_args()
    if arguments.flows and arguments.groups and not arguments.interfaces:
        parser.error("FLOWS needs INTERFACES: flow logs name interfaces, and interfaces have the groups")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
