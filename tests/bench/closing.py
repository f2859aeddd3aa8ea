"""Seconds from opening a group to closing it, by the policies as a user deploys them.

The embedded AWS delivers an event at once. In AWS, its delivery comes on top: README.md has what AWS says of it.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from c7n_ingress_tools.embedded_aws.server import ACCOUNT, REGION, Cloud
from c7n_ingress_tools.functions.runtime import Function, deployed
from tests.bench.commands import written
from tests.bench.functions import GROUP, OURS, RUNTIME, fresh, made, opened, to_calls
from tests.bench.table import Row
from tests.support.embedded import make_queue, make_table, run

COLD, WARM = 7, 30
STAGES = {"closed": "ModifySecurityGroupRules", "reported": "SendMessage"}


def measure(cloud: Cloud) -> list[Row]:
    """Open a group, and time the answers to the call that closes it and to the one that reports it."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        deploy(cloud, Path(temporary))
        for name, (by, event) in WAYS.items():
            folder = made(Path(temporary, f"custodian-{name}"))
            with deployed(cloud, folder.name, folder=folder) as function:
                new = [times(cloud, fresh(function), event) for _ in range(COLD)]
                warm = [times(cloud, function, event) for _ in range(WARM)]
            rows += [*stages(f"by {by}, new process", new), *stages(f"by {by}, warm process", warm)]
    return rows


def times(cloud: Cloud, function: Function, event: Callable[[dict], dict]) -> list[float]:
    """Open the group, and return the seconds to each stage."""
    return to_calls(cloud, [*STAGES.values()], function, event(opened(cloud, 1)))


def stages(how: str, openings: list[list[float]]) -> list[Row]:
    """Return the median of each stage; the first opening warms up."""
    return [
        Row(
            f"{stage}, {how}", "seconds after the opening", None, median(taken), f"{min(taken):.2f} to {max(taken):.2f}"
        )
        for stage, taken in zip(STAGES, zip(*openings[1:], strict=True), strict=True)
    ]


def deploy(cloud: Cloud, folder: Path) -> None:
    """Deploy both policies with `custodian run`, with all that they look up for their messages."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    cloud.session().client("iam").create_role(RoleName=OURS, AssumeRolePolicyDocument=trust)
    cloud.session().client("sqs").create_queue(QueueName="custodian-open-ingress-failed")
    make_queue(cloud)
    make_table(cloud)
    for name in WAYS:
        policy = written(name, folder)
        policy.write_text(re.sub(r"(?m)^( *runtime: ).*", rf"\1{RUNTIME}", policy.read_text()))
        result = run(cloud, policy, folder)
        assert result.returncode == 0, result.stderr


def of_config(event: dict[str, Any]) -> dict[str, Any]:
    """Return AWS Config's event about the group."""
    return event


def of_cloudtrail(_: dict[str, Any]) -> dict[str, Any]:
    """Return EventBridge's event of the call that opened the group."""
    detail = {
        "eventSource": "ec2.amazonaws.com",
        "eventName": "AuthorizeSecurityGroupIngress",
        "eventTime": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}",
        "awsRegion": REGION,
        "recipientAccountId": ACCOUNT,
        "userIdentity": {"type": "IAMUser", "userName": "somebody", "arn": f"arn:aws:iam::{ACCOUNT}:user/somebody"},
        "requestParameters": {"groupId": GROUP},
        "responseElements": {"_return": True},
    }
    return {
        "version": "0",
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.ec2",
        "account": ACCOUNT,
        "region": REGION,
        "time": detail["eventTime"],
        "detail": detail,
    }


WAYS = {"open-ingress": ("AWS Config", of_config), "open-ingress-cloudtrail": ("CloudTrail", of_cloudtrail)}
