"""How AWS is called, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.config import Config
from c7n.exceptions import ClientError
from c7n.query import QueryResourceManager

ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"})
"""The config of a client that changes groups: botocore must not call again on a reading that is too old by then."""

BRIEFLY = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
"""The config of a client whose answer is useful but not necessary: two tries of eight seconds at most."""

GROUPS_A_CALL = 200
"""How many values EC2 takes in one filter of a describe call.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html
"""

PAGE_SIZE = 1000  # the most items that EC2 returns in one answer (`MaxResults`) for groups, rules, interfaces and VPCs
LIST_PAGE_SIZE = 100  # the most items that EC2 returns in one answer (`MaxResults`) for prefix lists and their entries

GONE = frozenset({"InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound"})
"""EC2's error codes for a group that does not exist any more.

All codes of EC2: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

NO_ROOM = "RulesPerSecurityGroupLimitExceeded"
"""EC2's error code for a group that has as many rules as its quota allows."""

CHANGED_MEANWHILE = frozenset(
    {"InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidPermission.Duplicate"}
)
"""EC2's error codes for a group that somebody else has changed since it was read."""

THROTTLED = frozenset({"RequestLimitExceeded", "EC2ThrottledException", "Throttling", "ThrottlingException"})
"""The error codes for a call that comes too soon after others."""

DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})
"""The error codes of EC2 and other services for a call that is not allowed."""


def pages(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    """Return the items of all pages, and try a page again when AWS throttles.

    A paginator of botocore's would read the service's pagination model first, which takes as long as an answer.
    """
    token = "NextToken" if client.meta.service_model.service_name == "ec2" else "nextToken"
    call = getattr(client, operation)
    while True:
        page = QueryResourceManager.retry(call, **arguments)
        yield from page[key]
        if not page.get(token):
            return
        arguments[token] = page[token]


def error_code(error: ClientError) -> str:
    """Return AWS's code for an error."""
    return str(error.response["Error"]["Code"])


def said(error: Exception) -> str:
    """Return what an error says; where AWS denies a call, it says first what to do, as AWS's text can be long."""
    if isinstance(error, ClientError) and error_code(error) in DENIED:
        return f"allow it, as mode/stack.yml does, or find the service control policy that denies it: {error}"
    return str(error)
