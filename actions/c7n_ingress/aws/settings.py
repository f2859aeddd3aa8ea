"""Check a policy and its settings file before a run: in one line, where c7n would print a traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from c7n.exceptions import PolicyExecutionError, PolicyValidationError
from c7n.utils import load_file

from c7n_ingress.decide.checks import check_once, check_values
from c7n_ingress.decide.settings import KEYS, check, check_filled, filled, unfilled

log = logging.getLogger("custodian.commands")

RUN = "c7n.commands.run"
"""What the options of a run of `custodian` name as the command; a Lambda's and c7n-org's name none."""


@contextmanager
def checking(element: Any) -> Iterator[None]:
    """Check the settings file, a filter's or an action's values, and what the block checks.

    :raises SystemExit: this is a run of `custodian`; the log has one line that names the value and the fix.
    :raises PolicyValidationError: this is anything else.
    """
    where = f"policy {element.manager.data['name']}"
    try:
        _check_given(element.data, element.manager)
        where += f": {element.type}"
        check_values(element.data, element.schema)
        yield
    except (PolicyValidationError, ValueError) as error:
        refusal = PolicyValidationError(f"{where}: {error}") if isinstance(error, ValueError) else error
        if not is_run(element.manager):
            raise refusal from None
        log.error(refusal)  # noqa: TRY400 - one line
        raise SystemExit(1) from None


class Checked:
    """A filter or an action of c7n's that checks its settings, and the values that variables have filled."""

    def validate(self) -> Any:
        """Refuse a run without its settings, and values that variables have filled wrong."""
        with checking(self):
            return super().validate()  # type: ignore[misc]  # c7n ships no types


def fill(element: Any, undone: str, *checks: Callable[[Any], None]) -> None:
    """Put the defaults of the settings into the data of a filter or an action whose run begins.

    :param undone: what the run has not done if a value is missing, or does not pass the checks.
    :raises PolicyExecutionError: a variable that has no default was not filled, or a check failed.
    """
    element.data = filled(element.data)
    try:
        for check_data in (check_filled, *checks):
            check_data(element.data)
    except ValueError as error:
        raise PolicyExecutionError(f"{element.type} {undone}: {error}") from None


def is_run(manager: Any) -> bool:
    """Whether this is a run of `custodian`, which deploys the policy or changes groups."""
    return bool(manager.config.get("command") == RUN)


def _check_given(data: Any, manager: Any) -> None:
    """Refuse a run of `custodian` without its settings file, or with a wrong one."""
    if not is_run(manager):
        return
    path, name = manager.config.get("vars_file"), unfilled(data)
    if not path:
        if name:
            raise ValueError(f"'{{{name}}}' was not filled: add --vars-file settings.yml")
        return
    try:
        given = _given(path, Path(path).stat().st_mtime_ns)
        check_once(given.get("only"), manager.data)  # most policies do not name it
        if name or not given.keys().isdisjoint(KEYS):
            check(given, complete=unfilled([data.get(key) for key in ("authorized", "authorized-from")]) is not None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@lru_cache(maxsize=1)
def _given(path: str, _changed: int) -> Mapping[str, Any]:
    """Read the settings file once for all filters and actions of a run, as long as it is not changed."""
    given: Mapping[str, Any] = load_file(path)
    if not path.endswith(".json"):  # tabs in it are no YAML
        refuse_twice(Path(path).read_bytes())
    return given


def refuse_twice(content: bytes) -> None:
    """Refuse YAML in which a mapping has a key twice.

    :raises ValueError: names the key and its line.
    """
    import yaml  # noqa: PLC0415 - a function has none, and reads no such file

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    left, seen = [yaml.compose(content, loader)], set()
    while left:
        if id(node := left.pop()) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                if (text := str(key.value)) in keys:
                    line = key.start_mark.line + 1
                    raise ValueError(f"{text!r} is there twice: only the last one would count (line {line})")
                keys.add(text)
                left.append(value)
        elif isinstance(node, yaml.SequenceNode):
            left += node.value
