"""The settings file of a run of `custodian`: refuse a run without one, or with a wrong one, before it starts."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from c7n.utils import load_file

from c7n_ingress.decide.settings import KEYS, check, unfilled

log = logging.getLogger("custodian.commands")

RUN = "c7n.commands.run"
"""What the options of a run of `custodian` name as the command; a Lambda's and c7n-org's name none."""


def check_given(data: Any, manager: Any, others: Collection[str] = ()) -> None:
    """End a run of `custodian` whose settings are not given, or are wrong, as c7n ends one without its variables.

    :param data: a filter's or an action's data.
    :param others: keys that the file may have besides the settings; then it need not name the authorized networks.
    :raises SystemExit: the run is refused; the log says why.
    """
    if manager.config.get("command") != RUN:
        return
    path = manager.config.get("vars_file")
    try:
        if path:
            given = load_file(path)
            if not given.keys().isdisjoint(KEYS):
                check(given, others)
        elif name := unfilled(data):
            raise ValueError(f"{name!r} was not filled: add --vars-file settings.yml")  # noqa: TRY301 - one way out
    except ValueError as error:
        log.error("policy %s: %s%s", manager.data["name"], f"{path}: " if path else "", error)  # noqa: TRY400 - one line
        raise SystemExit(1) from None
