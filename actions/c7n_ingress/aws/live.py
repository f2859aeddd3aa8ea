"""Groups from EC2 as they are at this moment: for a policy with ``source: live``, and for what an event is about."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from c7n.exceptions import ClientError, PolicyExecutionError
from c7n.query import DescribeSource, sources

from c7n_ingress.aws.calls import client_of
from c7n_ingress.aws.read import DELAYS, MATCHED, LiveGroups, Reading, Unread, uncollected
from c7n_ingress.decide.awaited import Said, said_by, with_opened
from c7n_ingress.decide.rules import UNREADABLE, matches_from, text_of

log = logging.getLogger("custodian.actions")


@sources.register("live")
class LiveSource(DescribeSource):  # type: ignore[misc]  # c7n ships no types
    """The source of a policy with ``source: live``.

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

    event: dict[str, Any] | None = None
    """The event of the run, if there is one that names groups."""

    def get_resources(self, ids: list[str], cache: bool = True) -> list[dict[str, Any]]:
        """Read the groups of an event, with the rules that its call made, which EC2 may not show yet.

        So the filters judge what the call made. The action reads the group again before it changes anything.
        """
        live = LiveGroups(self.manager, client_of(self.manager))
        said = said_by(self.event)
        try:
            groups = live.groups(ids)
            for delay in DELAYS:
                if len(groups) == len({*ids}) or not _is_recent(said):
                    break
                time.sleep(delay)
                groups = live.groups(ids)
            egress = live.egress(ids) if said and said.touched - said.created else ()
        except ClientError as error:
            raise PolicyExecutionError(f"groups {', '.join(ids)} could not be read: {error}") from error
        if said is None or not _is_recent(said):
            return groups
        if missing := {*ids} - {group["GroupId"] for group in groups}:
            names = ", ".join(sorted(missing))
            raise PolicyExecutionError(f"EC2 does not show {names} yet; Lambda tries the event again")
        return [with_opened(group, said, egress) for group in groups]


def _is_recent(said: Said | None) -> bool:
    """Whether EC2 may not show yet what an event says."""
    return said is not None and said.is_recent(datetime.now(timezone.utc))


@dataclass
class Shown:
    """The readings of a run's groups, those of an event read again until EC2 shows what the event says."""

    groups: LiveGroups
    resources: Sequence[Mapping[str, Any]]
    said: Said | None
    missing: Sequence[str] = ()
    """What EC2 did not show in time, so that the run has to fail: a sentence for each group."""

    def readings(self) -> Iterator[Reading | Unread]:
        """Read the groups that exist, each shortly before it is asked for."""
        left = list(self.resources)
        for delay in (*DELAYS, None):
            by_id = {group["GroupId"]: group for group in left}
            late = {}
            for reading in self.groups.in_lots(left):
                group = by_id.pop(reading.group["GroupId"])
                if why := self._why_late(group, reading):
                    late[group["GroupId"]] = why
                if not why or delay is None:  # what EC2 shows is closed, even if something is still missing
                    yield reading
            if _is_recent(self.said):
                late |= {group_id: f"EC2 does not show {group_id} yet" for group_id in by_id}
            if not late:
                return
            if delay is None:
                self.missing = [f"{why}; Lambda tries the event again" for why in late.values()]
                return
            time.sleep(delay)
            left = [group for group in left if group["GroupId"] in late]

    def _why_late(self, group: Mapping[str, Any], reading: Reading | Unread) -> str | None:
        """Return which of a group's open rules EC2 does not show yet, if one is missing."""
        if self.said is None or isinstance(reading, Unread) or UNREADABLE in group or not _is_recent(self.said):
            return None
        try:
            missing = self.said.lacks(group, matches_from(group.get(MATCHED, ())), reading.group, reading.rules)
        except Exception:  # an unknown shape beside the open rules: the group is closed as EC2 shows it
            log.exception("%s cannot be compared with the event", group["GroupId"])
            return None
        return f"{group['GroupId']}: EC2 does not show {text_of(missing[0])} yet" if missing else None
