"""What a policy must be like before its rules may be replaced. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from c7n.filters.core import BooleanGroupFilter, Not, Or

MAX_SUBJECT = 99
"""SNS takes subjects of fewer than 100 characters (``Publish``, parameter ``Subject``)."""


def check_filters(filters: Iterable[Any], finders: frozenset[str]) -> None:
    """See to it that what the policy's filters annotate is what they matched.

    A group is annotated with the union of what all of these filters matched, those whose group then failed
    another filter and those under ``not`` too. Only one such filter, or branches of one ``or``, say what they seem to.

    :param filters: the policy's parsed filters.
    :param finders: the types of the filters that annotate rules.
    :raises ValueError: the policy has no such filter, one under ``not``, or several that are not branches of an ``or``.
    """
    found = list(_parents(filters, finders, ()))
    kinds = " or ".join(map(repr, sorted(finders)))
    if not found:
        raise ValueError(f"the policy has no {kinds} filter: it says which rules are to be replaced")
    if any(isinstance(parent, Not) for parents in found for parent in parents):
        raise ValueError(f"an {kinds} filter stands under 'not': it would have the rules replaced that it excludes")
    blocks = {id(parents[-1]) if parents else None for parents in found}
    if len(found) > 1 and (len(blocks) > 1 or not (found[0] and isinstance(found[0][-1], Or))):
        raise ValueError(
            f"several {kinds} filters must be branches of one 'or': c7n would have the rules of each one replaced, "
            "though not all of them match"
        )


def _parents(filters: Iterable[Any], finders: frozenset[str], above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    for each in filters:
        if isinstance(each, BooleanGroupFilter):
            yield from _parents(each.filters, finders, (*above, each))
        elif each.type in finders:
            yield above


def check_notify(notify: Mapping[str, Any]) -> None:
    """Refuse a notification that reaches nobody, or whose subject SNS or c7n-mailer would trip over.

    :raises ValueError: names what is wrong with it.
    """
    if not (notify.get("to") or notify.get("to_from")):
        raise ValueError("notify: nobody would be told; name somebody under 'to' or 'to_from'")
    subject = notify.get("subject", "")
    if "{{" in subject or "{%" in subject:
        raise ValueError(f"subject {subject!r}: c7n-mailer would run it as a template; the action makes one of its own")
    if len(subject) > MAX_SUBJECT or not subject.isascii() or not subject.isprintable():
        raise ValueError(f"subject {subject!r}: SNS takes up to {MAX_SUBJECT} printable ASCII characters")
