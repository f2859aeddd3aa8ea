"""Read what an event is about until EC2 shows it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeAlias

from c7n_ingress.aws.read import DELAYS, MATCHED, LiveGroups, Reading, Unread
from c7n_ingress.decide.awaited import said_by
from c7n_ingress.decide.rules import UNREADABLE, matches_from, text_of

log = logging.getLogger("custodian.actions")

Event: TypeAlias = dict[str, Any] | None


class Shown:
    """The readings of a run's groups, those of an event read again until EC2 shows what the event says."""

    def __init__(
        self, groups: LiveGroups, resources: Sequence[Mapping[str, Any]], event: dict[str, Any] | None
    ) -> None:
        self.groups = groups
        self.resources = resources
        self.said = said_by(event)
        self.missing: list[str] = []
        """What EC2 did not show in time: a sentence for each group. The run has to fail."""

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
            if self._is_recent():
                late |= {group_id: f"EC2 does not show {group_id} yet" for group_id in by_id}
            if not late:
                return
            if delay is None:
                self.missing = [f"{why}; Lambda tries the event again" for why in late.values()]
                return
            time.sleep(delay)
            left = [group for group in left if group["GroupId"] in late]

    def _is_recent(self) -> bool:
        return self.said is not None and self.said.is_recent(datetime.now(timezone.utc))

    def _why_late(self, group: Mapping[str, Any], reading: Reading | Unread) -> str | None:
        """Return which of a group's open rules EC2 does not show yet, if one is missing."""
        if self.said is None or isinstance(reading, Unread) or UNREADABLE in group or not self._is_recent():
            return None
        try:
            missing = self.said.lacks(group, matches_from(group.get(MATCHED, ())), reading.group, reading.rules)
        except Exception:  # an unknown shape beside the open rules: the group is closed as EC2 shows it
            log.exception("%s cannot be compared with the event", group["GroupId"])
            return None
        return f"{group['GroupId']}: EC2 does not show {text_of(missing[0])} yet" if missing else None
