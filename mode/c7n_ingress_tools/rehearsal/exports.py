"""Files that the AWS CLI has printed as JSON: what reading any of them has in common."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

UNSPEAKABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML, so in EC2's answers


class UnusableError(ValueError):
    """The input cannot be used: one line that says why."""


class RefusedError(UnusableError):
    """The file is not what it should be: one line that says what is wrong and which command prints the right thing."""

    def __init__(self, name: str | Path, what: str, command: str) -> None:
        super().__init__(" ".join(f"{name}: {what}. This prints the right thing: {command}".split()))


class WrongError(ValueError):
    """What is wrong with the file's content."""


def content(path: Path, command: str) -> bytes:
    """Return a file's content.

    :raises RefusedError: it cannot be read; the error names the command.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RefusedError(path, "there is no such file", command) from None
    except OSError as error:
        raise RefusedError(path, f"cannot be read ({error.strerror})", command) from error


def document(content: bytes) -> Any:
    """Return a file's content as JSON, from UTF-8 or UTF-16.

    :raises WrongError: it is not JSON.
    """
    if not content.strip():
        raise WrongError("the file is empty")
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        raise WrongError(
            f"neither UTF-8 nor UTF-16 (byte {error.start + 1} is 0x{content[error.start]:02x})"
        ) from error
    except json.JSONDecodeError as error:
        raise WrongError(f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists in lists in lists
        raise WrongError(f"no JSON that can be read ({error})") from error


def items(document: Any, key: str, kind: str) -> list[dict[str, Any]]:
    """Return the list of objects under a key, or the list that is the whole document (`--query`).

    :param kind: what the objects are, in the plural.
    :raises WrongError: there is no such list.
    """
    if isinstance(document, dict) and key not in document:
        raise WrongError(f'has {names(document)}, but no "{key}"')
    if isinstance(document, dict) and document.get("NextToken"):
        raise WrongError(f'has a "NextToken", so it is not all {kind}: --max-items, or --no-paginate?')
    listed = document[key] if isinstance(document, dict) else document
    if not isinstance(listed, list):
        raise WrongError(f"holds {show(listed)} where the list of {kind} belongs: a --query projection?")
    for item in listed:
        if not isinstance(item, dict):
            raise WrongError(f"a list of {_kind(item)} like {show(item)}, not of {kind}: a --query projection?")
    return listed


def objects(item: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects; an empty one if it is null or missing.

    :raises WrongError: it is something else.
    """
    value = item.get(name) or []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise WrongError(f"the {name} {show(value)}, which is no list of objects")
    return value


def text(item: dict[str, Any], name: str) -> str:
    """Return a text; an empty one if it is null or missing.

    :raises WrongError: it is something else.
    """
    value = item.get(name)
    if value is not None and not isinstance(value, str):
        raise WrongError(f"the {name} {show(value)}, which is no text")
    if value and UNSPEAKABLE.search(value):
        raise WrongError(f"the {name} {show(value)}, with a character that EC2 cannot have answered")
    return value or ""


def account(item: dict[str, Any], name: str) -> str:
    """Return an account's id; an empty text if it is null or missing.

    :raises WrongError: it is something else.
    """
    value = text(item, name)
    if value and not re.fullmatch(r"\d{12}", value, re.ASCII):
        raise WrongError(f"the {name} {show(value)}, which is not an account id of 12 digits: correct it, or remove it")
    return value


def texts(value: Any) -> Iterator[str]:
    """Return all texts in a value, however deep they are, and the names of fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(each)


def names(item: dict[str, Any]) -> str:
    """Return the first names of an object."""
    return ", ".join(show(name) for name in list(item)[:3]) or "nothing"


def show(value: Any) -> str:
    """Return a value as JSON, cut to a length that fits into one line."""
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"  # noqa: PLR2004 - what fits


def _kind(value: Any) -> str:
    return {list: "lists", str: "texts", int: "numbers", float: "numbers", bool: "booleans"}.get(type(value), "nulls")
