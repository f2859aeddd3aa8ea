"""The user's settings: the keys of ``settings.yml``, what they may hold, and what counts where one is left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
WITHOUT_DEFAULT = ("authorized", *OPTIONAL)
KEYS = (*WITHOUT_DEFAULT, *DEFAULTS)

FOR_ONE_RUN = ("preview", "only")
"""Keys that say what one run does. No run needs them."""

LIMITS = {"at-most": (1, 5_000), "notice-hours": (1, 720), "undo-days": (1, MOST_DAYS)}
"""The smallest and the largest value of each number."""


def check(settings: object, others: Collection[str] = ()) -> None:
    """Refuse settings that no run can use.

    :param settings: the content of settings.yml.
    :param others: keys that it may have besides; then the authorized networks need not be named.
    :raises ValueError: names the key, the value and the fix.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f"{settings!r:.80} is not a mapping of {', '.join(KEYS)}")  # noqa: TRY004 - bad input, one kind of error
    for key in settings:
        if key not in KEYS and key not in others:
            near = get_close_matches(str(key), KEYS, 1)
            raise ValueError(f"{key!r:.80} is no setting: write {near[0] if near else ', '.join(KEYS)}")
    named = [key for key in ("authorized", "authorized-from") if key in settings]
    if len(named) > 1 or not (named or others):
        raise ValueError("name the authorized networks by either authorized or authorized-from")
    if "exemptions-from" in settings and settings.get("exemptions"):
        raise ValueError("keep the exemptions either in exemptions or in exemptions-from")
    if "authorized" in settings:
        parse_fixed(settings["authorized"])
    parse_ports(settings.get("public-ports", []))
    parse_register(settings.get("exemptions", []))
    _check_recipients(settings.get("tell", DEFAULTS["tell"]))
    _check_plan(settings)
    for key, (least, most) in LIMITS.items():
        value = settings.get(key, DEFAULTS[key])
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{key} {value!r:.80} is not a whole number from {least} to {most}")


def _check_recipients(value: object) -> None:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each.strip() for each in value):
        raise ValueError(f"tell {value!r:.80} is not a list of recipients: name a topic, an address or a channel")


def _check_plan(settings: Mapping[str, Any]) -> None:
    for key, kind, what in (("preview", bool, "true or false"), ("only", str, "the path or address of a plan")):
        if key in settings and not (isinstance(settings[key], kind) and settings[key] != ""):
            raise ValueError(f"{key} {settings[key]!r:.80} is not {what}")


def filled(data: Any) -> Any:
    """Return a filter's or an action's data with the defaults of the settings that nothing has filled.

    What has no default is left out where the other way to name it may be filled; else it stays as it is.
    """
    if isinstance(data, str):
        return DEFAULTS.get(_name(data) or "", data)
    if isinstance(data, list):
        return [filled(each) for each in data]
    if not isinstance(data, Mapping):
        return data
    without = {key for key, value in data.items() if _name(value) in OPTIONAL}
    if "authorized-from" in data.keys() - without and _name(data.get("authorized")):
        without.add("authorized")
    return {key: filled(value) for key, value in data.items() if key not in without}


def unfilled(data: Any) -> str | None:
    """Return the first variable in data that is a setting, that nothing has filled and that a run needs."""
    if isinstance(data, str):
        return data if _name(data) in KEYS and _name(data) not in FOR_ONE_RUN else None
    parts = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    return next((found for part in parts if (found := unfilled(part))), None)


def _name(value: object) -> str | None:
    return value[1:-1] if isinstance(value, str) and PLACEHOLDER.fullmatch(value) else None
