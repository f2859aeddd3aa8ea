"""Checks of a policy before rules may be replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from c7n_ingress.decide.authorized import PLACEHOLDER
from c7n_ingress.decide.message import SUBJECT_SIZE
from c7n_ingress.decide.rules import FINDERS

try:
    import jsonschema
except ImportError:  # in a function
    jsonschema = None

BLOCKS = ("and", "or", "not")
Place = tuple[tuple[str, int], ...]
"""Where a filter is: the blocks around it, the outermost first, each with the number of what comes next in it."""

UNFILLED = {"type": "string", "pattern": f"^{PLACEHOLDER.pattern}$"}
"""The schema of a value that a variable fills."""


def or_unfilled(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a number's schema that admits a variable, too. Unlike ``anyOf``, c7n's error names the number's limits."""
    return {**schema, "type": [schema["type"], "string"], "pattern": UNFILLED["pattern"]}


def check_values(data: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check the values that variables have filled by their schema: c7n checks a policy only before it fills it.

    Values that are not filled yet are not checked, as in c7n, nor are keys whose schema is elsewhere in c7n's. In a
    function, which has no jsonschema, nothing is checked: its policy was filled and checked when it was deployed.
    """
    if jsonschema is None:
        return
    elsewhere = {key for key, part in schema.get("properties", {}).items() if "$ref" in str(part)}
    known = {key: value for key, value in data.items() if key not in elsewhere}
    errors = jsonschema.Draft7Validator(_once_filled(schema)).iter_errors(known)
    wrong = (each for each in errors if not is_unfilled(each.instance))
    if error := max(wrong, key=jsonschema.exceptions.relevance, default=None):
        key = ".".join(map(str, error.absolute_path))
        why = "; or ".join(each.message for each in error.context or [error])
        raise ValueError(f"{key} {error.instance!r:.80}: {why:.300}; write it as `custodian schema` says")


def _once_filled(schema: Any) -> Any:
    """Return a schema without the choice that a variable fills a value: an error names what the value should be."""
    if isinstance(schema, list):
        return [_once_filled(each) for each in schema if each != UNFILLED]
    if not isinstance(schema, Mapping):
        return schema
    if isinstance(schema.get("type"), list) and schema.get("pattern") == UNFILLED["pattern"]:
        return {**{key: part for key, part in schema.items() if key != "pattern"}, "type": schema["type"][0]}
    parts = {key: _once_filled(part) for key, part in schema.items()}
    return parts["anyOf"][0] if len(parts.get("anyOf", ())) == 1 else parts


def is_unfilled(value: object) -> bool:
    """Whether a value is one that a variable fills: ``"{name}"``."""
    return isinstance(value, str) and bool(PLACEHOLDER.fullmatch(value))


def check_query(policy: Mapping[str, Any]) -> None:
    """Refuse ``query`` where c7n ignores it: for security groups, only the source ``config`` reads it."""
    if "query" in policy and policy.get("source") != "config":
        raise ValueError(
            f"query {policy['query']!r:.80}: nothing reads it for security groups, so groups that it leaves out would "
            "be changed, too; write a filter, such as 'VpcId: vpc-0a1b2c3d'"
        )


def check_once(only: object, policy: Mapping[str, Any]) -> None:
    """Refuse an approved plan in a policy with a mode, which could carry it out more than once."""
    if only is not None and "mode" in policy:
        raise ValueError("only: a plan is carried out once, and this policy has a mode: remove `only` or the mode")


def check_filters(filters: Iterable[Any]) -> None:
    """Refuse filters that annotate other rules than those that the policy matches.

    Each of these filters annotates what it finds, even if another filter in its `and` fails or if it is under `not`.
    What several of them find is put together. So there may be one such filter that every group has to pass, or several
    that are the direct branches of one `or`.

    :param filters: the policy's filters, as they are written.
    """
    places = list(_places(filters))
    if any(kind == "stale" for kind, _ in places):
        raise ValueError(
            "'stale' replaces what other filters match by stale references: write a policy of its own for it"
        )
    found = [place for kind, place in places if kind in FINDERS]
    kinds = " or ".join(map(repr, sorted(FINDERS)))
    if not found:
        raise ValueError(f"the policy has no {kinds} filter: it says which rules are to be replaced")
    if any("not" in dict(place) for place in found):
        raise ValueError(f"an {kinds} filter is under 'not': the rules that it excludes would be replaced")
    if any("or" in dict(place[:-1]) for place in found):
        raise ValueError(
            f"an {kinds} filter is deeper than directly in an 'or': its rules would be replaced though another "
            "filter of its branch fails; put what every group must be before the 'or', or write two policies"
        )
    lists = {(*above, block) for *above, (block, _) in found}
    if len(found) > 1 and (len(lists) > 1 or found[0][-1][0] != "or"):
        raise ValueError(
            f"several {kinds} filters must be branches of one 'or': the rules of each one would be replaced, "
            "though not all of them match"
        )


FAMILIES = {"Cidr": 4, "CidrV6": 6}
"""The IP version that each key of c7n's `ingress` is for."""

EQUAL = ("eq", "equal", None)
"""The operators by which a value has to be as it is written."""


def check_ingress(data: Mapping[str, Any]) -> None:
    """Refuse what no rule ever has: a protocol that is a number, a list, and sources of both IP versions at once."""
    if data.get("IpProtocol") == -1:  # c7n's schema lets it pass, too
        raise ValueError("ingress: IpProtocol -1 matches no rule: EC2 lists protocols as text; write '-1' in quotes")
    if "Cidr" in data and "CidrV6" in data and data.get("match-operator", "and") == "and":
        raise ValueError("ingress: no rule has Cidr and CidrV6 at once; add 'match-operator: or', or write two filters")
    for key, version in FAMILIES.items():
        wanted = data[key] if isinstance(data.get(key), Mapping) else {"value": data.get(key)}
        values, op = wanted.get("value"), wanted.get("op")
        if isinstance(values, list) and op in EQUAL:
            raise ValueError(
                f"ingress: {key} {values!r:.80} matches no rule: no rule has a list; write "
                f"{key}: {{op: in, value: [...]}}"
            )
        for value in values if isinstance(values, list) else [values]:
            if op in (*EQUAL, "in") and _version(value) not in (None, version):
                (other,) = FAMILIES.keys() - {key}
                raise ValueError(
                    f"ingress: {key} {value!r} matches no rule: {key} is for IPv{version}; write {other} in a second "
                    "ingress filter, both in one 'or'"
                )


def matches_portless(data: Mapping[str, Any]) -> str | None:
    """Return a warning if c7n's own ``ingress`` names ports, and would match protocols that have none."""
    if data["type"] == "ingress" and "Ports" in data and "IpProtocol" not in data:
        return (
            "ingress: Ports also matches every protocol that has no ports, such as the ESP and GRE of a VPN; write "
            "open-ingress, which does not, or add IpProtocol"
        )
    return None


def _version(value: object) -> int | None:
    """Return the IP version of a network; None for what is none."""
    try:
        return ip_network(value).version if isinstance(value, str) else None
    except ValueError:
        return None


def check_exempt(filters: Iterable[Any]) -> None:
    """Refuse an ``exempt`` filter in a place where it has nothing to narrow: no filter before it annotates rules."""
    places = list(_places(filters))
    finders = [place for kind, place in places if kind in FINDERS]
    for *above, (block, number) in (place for kind, place in places if kind == "exempt"):
        depth = len(above)
        before = (
            place
            for place in finders
            if [*place[:depth]] == above and place[depth][1] < number and "not" not in dict(place[depth + 1 :])
        )
        if block == "or" or not any(before):
            raise ValueError("it narrows what open-ingress matched: write it after that filter, in the same list")


def _places(filters: Iterable[Any], block: str = "and", above: Place = ()) -> Iterator[tuple[str | None, Place]]:
    """Return the type of each filter that is no block, and its place."""
    for number, each in enumerate(filters):
        place = (*above, (block, number))
        kind = each if isinstance(each, str) else each.get("type")
        inner = next((name for name in BLOCKS if kind is None and name in each), None)
        if inner:
            yield from _places(each[inner], inner, place)
        else:
            yield kind, place


def check_notify(notify: Mapping[str, Any]) -> None:
    """Refuse a notification that reaches nobody, or whose subject SNS or c7n-mailer does not accept."""
    if not (any(str(each or "").strip() for each in notify.get("to") or ()) or notify.get("to_from")):
        raise ValueError("notify: nobody would be notified; name somebody under 'to' or 'to_from'")
    subject = notify.get("subject", "")
    if "{{" in subject or "{%" in subject:
        raise ValueError(f"subject {subject!r}: c7n-mailer would run it as a template; the action makes one of its own")
    if len(subject) > SUBJECT_SIZE or not subject.isascii() or not subject.isprintable():
        raise ValueError(f"subject {subject!r}: SNS takes up to {SUBJECT_SIZE} printable ASCII characters")
