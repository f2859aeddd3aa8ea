"""What a message opens and ends, for PagerDuty, Jira and ServiceNow alike: only what a person must do is an incident.

- A group that is not closed is one incident, however often it is reported. The run that closes the group ends it.
- A group that is closed, but lacks networks, is an incident of that run: no later run adds them, so a person ends it.
  The group's own incident is ended.
- A group that is closed ends its own incident.
- Groups that a run left open for its limit at-most are one incident of the policy: the message does not name them.
- A preview, a notice and the digest of exemptions open none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from c7n_ingress_tools.mailer.facts import GROUPS, WATCH, Facts, Group

AT_MOST = "open-ingress-at-most"


class Incident(NamedTuple):
    """What a message reports about one group, or about a policy."""

    name: str
    """The group, or the policy."""
    key: str
    """What distinguishes the incident, if a person must do something."""
    ends: str
    """The key of the incident that the message ends."""
    record: str
    """What distinguishes this change, if the group was closed without anyone's help."""
    summary: str
    details: dict[str, Any]
    """Labels, and a text or texts each: what to do comes first."""
    group: Group | None = None


def incidents_of(facts: Facts) -> list[Incident]:
    """Return the incidents that a message opens or ends."""
    if facts.kind == WATCH:
        return [_of_policy(facts, WATCH, facts.title, facts.lead)]
    if facts.kind != GROUPS or facts.is_preview:
        return []
    left_open = [_of_policy(facts, AT_MOST, f"Open ingress: {facts.title}", facts.title)] if facts.todo else []
    return [*(_of_group(facts, group) for group in facts.groups), *left_open]


def _of_group(facts: Facts, group: Group) -> Incident:
    key = f"open-ingress/{facts.account}/{facts.region}/{group.id}"
    wrong = next(iter(group.reasons), "")
    state = group.state.said(wrong)
    details = {
        "what to do": group.state.todo,
        **{each.label.lower(): each.lines or each.note for each in group.commands},
        "what ends this incident": group.state.resolves,
        "group": f'{group.id} "{group.name}"',
        **dict(facts.place),
        "reasons": group.reasons,
        "to undo": group.undo and (group.undo.lines or group.undo.note),
        "notes": group.notes,
        "changes": [change.line for change in group.changes],
        "more": group.more,
        **dict(group.about),
        "connections": [text for section in facts.sections for text in section.paragraphs],
        "not shown": group.cut,
    }
    return Incident(
        name=group.id,
        key=(key if group.is_open else f"{key}/blocked/{group.run}") if group.reasons else "",
        ends="" if group.is_open else key,
        record=f"{key}/closed/{group.run}" if group.changes and not (group.reasons or facts.restores) else "",
        summary=(
            f'Open ingress {state}: {group.id} "{group.name}" in {facts.account} {facts.region}'
            + (f": {wrong}" if wrong and state == group.state.name else "")
        ),
        details={name: value for name, value in details.items() if value},
        group=group,
    )


def _of_policy(facts: Facts, kind: str, summary: str, wrong: str) -> Incident:
    """Return what a person must do that is about no group: one incident a policy, however often it is reported."""
    policy = dict(facts.place)["Policy"]
    return Incident(
        name=policy,
        key=f"{kind}/{facts.account}/{facts.region}/{policy}",
        ends="",
        record="",
        summary=f"{summary} ({facts.account} {facts.region})",
        details={
            "what to do": " ".join(facts.todo),
            "what is wrong": wrong,
            "what ends this incident": "Resolve it by hand once that is done.",
            **dict(facts.place),
        },
    )
