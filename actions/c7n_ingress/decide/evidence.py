"""What people are told of who would be cut off, and of what it cost to read that."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from c7n_ingress.decide.came_in import Address, Found, Interface, Opening, Seen
from c7n_ingress.decide.rules import Match, text_of

SHOWN = 3
"""How many clients are named."""

GB, PRICE = 10**9, 0.005
"""What reading costs: dollars a GB in us-east-1, of what a query has read, to its end or until it was stopped.

https://aws.amazon.com/cloudwatch/pricing/
"""


class Known(NamedTuple):
    """How much of what there is to know is known."""

    logged: frozenset[str]
    """The interfaces of which there are records of the last day, if only that there was no traffic."""
    whole: bool
    """Whether all queries were answered to the end."""


def sentences(
    told: Mapping[Opening, Found],
    interfaces: Iterable[Interface],
    known: Known,
) -> dict[str, list[str]]:
    """Say of each group who would be cut off from it, one sentence a rule, the worst first."""
    having = defaultdict(list)
    for interface in interfaces:
        for group in interface.groups:
            having[group].append(interface.id)
    said: defaultdict[str, list[str]] = defaultdict(list)
    for opening, of_rule in sorted(told.items(), key=lambda each: (-len(each[1].clients), -_size(each[1]))):
        ids = having[opening.group]
        said[opening.group].append(f"{_rule_text(opening.match)}: {_sentence(of_rule, ids, known)}")
    return dict(said)


def _rule_text(match: Match) -> str:
    if match.traffic.protocol == "-1":
        return f"all traffic from {match.source}"
    if match.traffic.protocol.isdecimal():
        return f"protocol {match.traffic.protocol} from {match.source}"
    return text_of(match)


def _size(found: Found) -> int:
    return sum(seen.size for seen in found.clients.values())


def _sentence(found: Found, ids: Sequence[str], known: Known) -> str:
    if not ids:
        return "no interface has the group"
    unlogged = len(ids) - len(known.logged.intersection(ids))
    came = bool(found.clients or found.scanners or found.stay)
    if unlogged == len(ids) and not came:
        of = "its interface" if len(ids) == 1 else f"its {len(ids)} interfaces"
        return f"not known: there are no flow log records of {of}" if known.whole else "not known: not all was read"
    parts = [_cut_off(found.clients, whole=known.whole)]
    if found.stay:
        parts.append(f"{len(found.stay)} would stay")
    if found.scanners:
        parts.append(_count(len(found.scanners), "scanner"))
    if unlogged:
        parts.append(f"no records of {unlogged} of {_count(len(ids), 'interface')} in the last day")
    if found.listed and found.clients:
        parts.append("whom its prefix lists let in is not known")
    return "; ".join(parts)


def _cut_off(clients: Mapping[Address, Seen], *, whole: bool) -> str:
    if not clients:
        return "nobody would be cut off" if whole else "nobody was found who would be cut off, but not all was read"
    worst = sorted(clients.items(), key=lambda each: (-each[1].size, each[0].version, each[0]))
    shown = [f"{address} ({size_text(seen.size)}{_last(seen)})" for address, seen in worst[:SHOWN]]
    more = f" and {len(worst) - SHOWN} more" if len(worst) > SHOWN else ""
    at_least = "" if whole else "at least "
    return f"{at_least}{_count(len(worst), 'client')} would be cut off: {', '.join(shown)}{more}"


def _last(seen: Seen) -> str:
    try:
        return f", last {datetime.fromtimestamp(seen.last, timezone.utc):%Y-%m-%d %H:%M} UTC" if seen.last else ""
    except (OverflowError, OSError, ValueError):  # a number that is no time
        return ""


def size_text(size: int) -> str:
    """Say a size as the rehearsal with files does: 999 bytes, 12.0 MB."""
    if size < 1000:  # noqa: PLR2004 - a kB
        return "1 byte" if size == 1 else f"{size} bytes"
    units = ("kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
    thousands = min((len(str(size)) - 1) // 3, len(units))
    return f"{size / 1000**thousands:,.1f} {units[thousands - 1]}"


def read_text(log_groups: Sequence[str], days: int, size: int, troubles: Iterable[str]) -> str:
    """Say how much of which logs was read, what that costs, and what of it was not answered.

    :param size: how many bytes the queries have read.
    :param troubles: why a query was not answered, or not to the end; each as often as it happened.
    """
    cost = size / GB * PRICE
    dollars = f"about ${cost:,.2f}" if cost >= 0.01 else "less than $0.01"  # noqa: PLR2004 - a cent
    of = log_groups[0] if len(log_groups) == 1 else f"{len(log_groups)} log groups"
    counted = Counter(troubles)
    at_least = "at least " if counted else ""
    missing = "".join(f"; {_count(times, 'query', 'queries')} {why}" for why, times in sorted(counted.items()))
    return (
        f"read {at_least}{size_text(size)} of {of}, the last {_count(days, 'day')} if kept, for {dollars}: "
        f"${PRICE} a GB, as in us-east-1{missing}"
    )


def _count(number: int, noun: str, nouns: str = "") -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {nouns or f'{noun}s'}"
