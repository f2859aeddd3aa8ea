"""The source ``live``: a policy with ``source: live`` gets its groups from EC2 as they are at this moment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from c7n.exceptions import ClientError, PolicyExecutionError
from c7n.query import DescribeSource, sources
from c7n.utils import local_session

from c7n_ingress.aws.read import DELAYS, LiveGroups, uncollected
from c7n_ingress.decide.awaited import said_by, with_opened


@sources.register("live")
class LiveSource(DescribeSource):  # type: ignore[misc]  # c7n ships no types
    """The source of a policy with ``source: live``: reads its groups from EC2 at this moment.

    c7n's own source returns what it listed up to a quarter of an hour ago. It takes any error of EC2 for "there is no
    such group": it warns, and the event is lost. Here everything is read again and a deleted group is no error. Any
    other error fails the run, so that the event is tried again.
    """

    def get_query_params(self, query_params: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what c7n makes the key of its cache from: a key that was never used before."""
        return {"listed-at": time.time_ns()}

    @uncollected()
    def resources(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """List all groups."""
        groups: list[dict[str, Any]] = self.query.filter(self.manager)
        return groups

    event: dict[str, Any] | None = None  # the event of the run, if there is one that names groups

    def get_resources(self, ids: list[str], cache: bool = True) -> list[dict[str, Any]]:
        """Read the groups of an event, with the rules that its call made: EC2 may not show these yet.

        So the filters judge what the call made. The action reads the group again before it changes anything.

        :raises PolicyExecutionError: EC2 did not list the groups, or does not show them yet.
        """
        live = LiveGroups(self.manager, local_session(self.manager.session_factory).client("ec2"))
        said = said_by(self.event)
        try:
            groups = live.groups(ids)
            if said is None:
                return groups
            for delay in DELAYS:
                if len(groups) == len({*ids}) or not said.is_recent(datetime.now(timezone.utc)):
                    break
                time.sleep(delay)
                groups = live.groups(ids)
        except ClientError as error:
            raise PolicyExecutionError(f"groups {', '.join(ids)} could not be read: {error}") from error
        if not said.is_recent(datetime.now(timezone.utc)):
            return groups
        if missing := {*ids} - {group["GroupId"] for group in groups}:
            names = ", ".join(sorted(missing))
            raise PolicyExecutionError(f"EC2 does not show {names} yet; Lambda tries the event again")
        return [with_opened(group, said) for group in groups]
