"""What a group, or an open rule, is called after a run: one name for each state, in every message and in the report."""

from __future__ import annotations

from typing import NamedTuple


class State(NamedTuple):
    """A state: its name, how urgent it is, what to do about it, and what ends an incident about it."""

    name: str
    counted: str
    """The name where groups are counted: `2 groups …`."""
    rank: int
    """Its place in a message: the most urgent first."""
    mood: str
    """`bad` needs an action now, `look` needs a look, `good` needs nothing."""
    todo: str = ""
    resolves: str = ""

    def said(self, text: str) -> str:
        """Return the name as a sentence about a group: the text replaces the name's ellipsis."""
        return self.name.replace("…", text)


class States(NamedTuple):
    """The states in which an action leaves a group, the most urgent first."""

    undone: State
    partly: State
    foreseen: State
    done: State


CLOSING = States(
    State(
        "not closed",
        "not closed",
        0,
        "bad",
        "The internet may still get in. Fix the reason and run the policy again, or close the group yourself.",
        "A later run that closes the group resolves this incident. If you close, exempt or delete the group yourself, "
        "resolve it by hand.",
    ),
    State(
        "closed, but …",
        "closed, but clients blocked",
        1,
        "bad",
        "Clients in these networks are blocked, because the group has as many rules as EC2 allows. Raise the quota for "
        "inbound rules of a group (L-0EA8095F) or remove rules, then add the networks. No later run adds them: the "
        "group is closed.",
        "Resolve this incident by hand once you have added the networks. Nothing else resolves it.",
    ),
    State("would be closed", "would be closed", 2, "look"),
    State("closed", "closed", 2, "good"),
)
AGAIN = (
    "Fix the reason and restore it again. A rule that somebody has changed is never restored: change it by hand if it "
    "must be as it was."
)
RESOLVES = (
    "Restoring the group later resolves this incident. If you leave the rules as they are, or change them by hand, "
    "resolve it by hand."
)
RESTORING = States(
    State("not restored", "not restored", 0, "bad", AGAIN, RESOLVES),
    State("restored, but …", "restored in part", 1, "bad", AGAIN, RESOLVES),
    State("would be restored", "would be restored", 2, "look"),
    State("restored", "restored", 2, "look"),
)
SKIPPED = State(
    "skipped",
    "skipped",
    3,
    "look",
    "Only the account that owns the group can change it.",
    "Resolve this incident by hand once that account has closed the group.",
)
EXEMPT = State("exempt", "exempt", 3, "look")

URGENCY = (*CLOSING[:3], SKIPPED, EXEMPT, CLOSING.done)
"""The states of an open rule, the most urgent first."""

BY_NAME = {state.name: state for state in (*CLOSING, *RESTORING, SKIPPED, EXEMPT)}


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: 1 group, 2 groups."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
