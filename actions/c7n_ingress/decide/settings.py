"""The user's settings: the keys of ``settings.yml``, what they may hold, and what counts where one is left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from c7n_ingress.decide.authorized import PLACEHOLDER, parse_fixed
from c7n_ingress.decide.exemptions import MOST_DAYS, parse_register
from c7n_ingress.decide.ports import parse_ports

DEFAULTS: Mapping[str, Any] = {
    "public-ports": [],
    "tell": ["arn:{partition}:sns:{region}:{account_id}:open-ingress"],
    "queue": "custodian-mailer",
    "exemptions": [],
    "at-most": 50,
    "notice-hours": 24,
    "undo-days": 30,
    "preview": False,
}
"""What counts where a key is left out. The authorized networks have no default."""

OPTIONAL = ("authorized-from", "exemptions-from", "only")
"""What is left out where nothing fills it, or null: c7n-org asks for a value of each variable."""

WITHOUT_DEFAULT = ("authorized", *OPTIONAL)
KEYS = (*WITHOUT_DEFAULT, *DEFAULTS)

FOR_ONE_RUN = ("preview", "only")
"""Keys that no run needs: that it changes nothing, or only what a plan names."""

OF_AN_UNDO = ("group", "run", "journal")
"""What `c7n-ingress undo` adds to the settings."""

IN_BRACES = re.compile(r"\{[^{}]*\}")
PLACE = ("{partition}", "{region}", "{account_id}")
"""What is filled into a part of a recipient or of a queue."""

LIMITS = {"at-most": (1, 5_000), "notice-hours": (1, 720), "undo-days": (1, MOST_DAYS)}
"""The smallest and the largest value of each number."""


def check(settings: object, *, complete: bool = True) -> None:
    """Refuse the content of a settings.yml that no run can use.

    :param complete: whether it must name the authorized networks.
    :raises ValueError: names the key, the value and the fix.
    """
    if settings is None:
        raise ValueError("the file is empty: name your networks under authorized")
    if not isinstance(settings, Mapping):
        raise ValueError(f"{settings!r:.80} is not a mapping of {', '.join(KEYS)}")
    _check_keys(settings, complete=complete)
    _check_values(settings)
    parse_register(settings.get("exemptions", []))
    for key, (is_right, wrong) in VALUES.items():
        if key in settings and not is_right(settings[key]):
            raise ValueError(f"{key} {settings[key]!r:.80} {wrong}")
    for key, values in (("tell", settings.get("tell", [])), ("queue", [settings.get("queue")])):
        for text in filter(None, values):
            if unset := next((each for each in IN_BRACES.findall(text) if each not in PLACE or each == text), None):
                raise ValueError(f"{key} {text!r:.80}: nothing fills {unset} here: write the value itself")
    for key, (least, most) in LIMITS.items():
        value = settings.get(key, DEFAULTS[key])
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{key} {value!r:.80} is not a whole number from {least} to {most}")


def _check_keys(settings: Mapping[str, Any], *, complete: bool) -> None:
    for key in settings:
        if key not in (*KEYS, *OF_AN_UNDO):
            near = get_close_matches(str(key), KEYS, 1)
            raise ValueError(f"{key!r:.80} is not a setting: write {near[0] if near else ', '.join(KEYS)}")
    named = [key for key in ("authorized", "authorized-from") if key in settings]
    if len(named) > 1 or (complete and not named):
        raise ValueError("name the authorized networks by either authorized or authorized-from")
    if "exemptions-from" in settings and settings.get("exemptions"):
        raise ValueError("keep the exemptions either in exemptions or in exemptions-from")


def _check_values(settings: Mapping[str, Any]) -> None:
    key = "authorized"
    try:
        if key in settings:
            parse_fixed(settings[key])
        key = "public-ports"
        parse_ports(settings.get(key, []))
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value))


def _has_url(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("url"), str)


NO_LIST = "names no list: write {url: 's3://a-bucket/a-list.json'}"
VALUES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "authorized-from": (_has_url, NO_LIST),
    "exemptions-from": (_has_url, NO_LIST),
    "tell": (_are_texts, "is not a list of recipients: name a topic, an address or a channel"),
    "queue": (_is_text, "is not the name or the address of a queue"),
    "preview": (lambda value: isinstance(value, bool), "is not true or false"),
    "only": (_is_text, "is not the path or address of a plan"),
}


def filled(data: Any) -> Any:
    """Return a filter's or an action's data with the defaults of the settings that nothing has filled.

    What is optional is left out. The authorized networks stay as they are if nothing else names them.
    """
    if isinstance(data, str):
        return DEFAULTS.get(_name(data) or "", data)
    if isinstance(data, list):
        return [filled(each) for each in data]
    if not isinstance(data, Mapping):
        return data
    without = {key for key, value in data.items() if (value is None and key in OPTIONAL) or _name(value) in OPTIONAL}
    if "authorized-from" in data.keys() - without and _name(data.get("authorized")):
        without.add("authorized")
    return {key: filled(value) for key, value in data.items() if key not in without}


def unfilled(data: Any) -> str | None:
    """Return the name of the first setting in data that nothing has filled and that a run needs, if there is one."""
    return next((name for _, name in _unfilled(data, "") if name in KEYS and name not in FOR_ONE_RUN), None)


def check_filled(data: Any, but: Collection[str] = (), path: str = "") -> None:
    """Refuse values that no variable has filled, but those of the keys that are checked elsewhere."""
    for where, name in _unfilled(data, path):
        if where.partition(".")[0] not in but:
            fills = "`c7n-ingress undo` fills" if name in OF_AN_UNDO else "a --vars-file or an account's vars fill"
            raise ValueError(f"{where} '{{{name}}}' was not filled: {fills} it; or write the value into the policy")


def _unfilled(data: Any, path: str) -> Iterator[tuple[str, str]]:
    """Return where a value is that no variable has filled, however deep, and the variable's name."""
    if name := _name(data):
        yield path, name
    parts = data.items() if isinstance(data, Mapping) else enumerate(data) if isinstance(data, list) else ()
    for key, part in parts:
        yield from _unfilled(part, f"{path}.{key}" if path else str(key))


def _name(value: object) -> str | None:
    return value[1:-1] if isinstance(value, str) and PLACEHOLDER.fullmatch(value) else None
