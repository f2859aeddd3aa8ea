"""How AWS is called, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from botocore.config import Config
from c7n.exceptions import ClientError
from c7n.query import QueryResourceManager
from c7n.utils import chunks, local_session

ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"})
"""For a client that changes groups: botocore must not call again on a reading that is too old by then."""
BRIEFLY = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
"""For a client whose answer is useful but not necessary: two tries of eight seconds at most."""

GROUPS_A_CALL = 200
"""How many values a filter takes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html"""
PAGE_SIZE = 1000
"""The most items that EC2 returns in one answer (`MaxResults`) for groups, rules, interfaces and VPCs."""
LIST_PAGE_SIZE = 100
"""The most items that EC2 returns in one answer (`MaxResults`) for prefix lists and their entries."""

# Error codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
GONE = frozenset({"InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound"})
"""The group does not exist any more."""
NO_ROOM = "RulesPerSecurityGroupLimitExceeded"
"""The group has as many rules as its quota allows."""
NO_LIST = frozenset({"InvalidPrefixListID.NotFound", "InvalidPrefixListId.NotFound"})
"""The prefix list does not exist, or is not shared; AWS's page of all codes has both spellings."""
CHANGED_MEANWHILE = frozenset(
    {"InvalidSecurityGroupRuleId.NotFound", "InvalidPermission.NotFound", "InvalidPermission.Duplicate"}
)
"""Somebody else has changed the group since it was read."""
THROTTLED = frozenset({"RequestLimitExceeded", "EC2ThrottledException", "Throttling", "ThrottlingException"})
DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"})


def client_of(manager: Any, service: str = "ec2", **more: Any) -> Any:
    """Return a client of a service for a policy, from the session that c7n keeps."""
    return local_session(manager.session_factory).client(service, **more)


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


def described(
    client: Any, operation: str, key: str, filter_name: str, values: Iterable[str], **more: Any
) -> Iterator[Any]:
    """Return what EC2 describes that has one of the values: by filter, as a list of ids fails whole if one is gone."""
    for batch in chunks(sorted(values), GROUPS_A_CALL):
        filters = [{"Name": filter_name, "Values": batch}]
        yield from pages(client, operation, key, **{"MaxResults": PAGE_SIZE, "Filters": filters, **more})


def error_code(error: ClientError) -> str:
    """Return AWS's code for an error."""
    return str(error.response["Error"]["Code"])


def why(error: Exception) -> str:
    """Return in a word why a service did not answer."""
    return error_code(error) if isinstance(error, ClientError) else type(error).__name__


def said(error: Exception) -> str:
    """Return what an error says; where AWS denies a call, it says first what to do, as AWS's text can be long."""
    if isinstance(error, ClientError) and error_code(error) in DENIED:
        return f"allow it, as the stack does, or find the service control policy that denies it: {error}"
    return str(error)
