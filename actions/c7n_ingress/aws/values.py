"""Read a list of values from S3, HTTPS or a file as it is now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, TypeVar
from urllib.request import HTTPRedirectHandler, Request, build_opener

from c7n.cache import NullCache
from c7n.resolver import URIResolver, ValuesFrom

T = TypeVar("T")

FETCH_TIMEOUT = 30
"""For how many seconds a server may not answer."""


class FreshValues(ValuesFrom):  # type: ignore[misc]  # c7n ships no types
    """c7n's ``value_from``, but past c7n's cache: that keeps a list for 15 minutes after somebody has corrected it."""

    def __init__(self, data: Mapping[str, Any], manager: Any) -> None:
        super().__init__(data, manager)
        self.cache = NullCache(None)
        self.resolver = _Resolver(manager.session_factory, self.cache)


class _Resolver(URIResolver):  # type: ignore[misc]  # c7n ships no types
    """c7n's, but https stays https."""

    def resolve(self, uri: str, headers: Mapping[str, str]) -> str:
        """Read the text at an address."""
        if scheme_of(uri) != "https":
            return str(super().resolve(uri, headers))
        request = Request(uri, headers={**headers, "Accept-Encoding": "gzip"})  # noqa: S310 - it is https
        with closing(build_opener(_ToHttps).open(request, timeout=FETCH_TIMEOUT)) as response:
            return str(self.handle_response_encoding(response))


class _ToHttps(HTTPRedirectHandler):
    """Follows redirects to https."""

    def redirect_request(self, *args: Any) -> Request | None:
        """Return the next request, or refuse one that is not by https; urllib passes its address last."""
        *_, url = args
        if scheme_of(url) != "https":
            raise ValueError(
                f"it redirects to {url:.200}, and anyone on the way there could write the list; use an address that "
                "stays on https"
            )
        return super().redirect_request(*args)


def scheme_of(url: str) -> str:
    """Return an address's scheme in lower case, as servers take it."""
    return url.partition(":")[0].lower()


def check_source(key: str, source: Mapping[str, Any], manager: Any) -> None:
    """Check what is known of a list that is elsewhere before it is read.

    :param key: the key that names the list, such as ``authorized-from``.
    """
    url = source["url"]
    if scheme_of(url) == "file" and "mode" in manager.data:
        raise ValueError(f"{key} {url!r}: a Lambda has no such file; put it into S3, or behind https")
    if scheme_of(url) == "http":
        raise ValueError(f"{key} {url!r}: anyone on the way could write the list; use https or S3")
    if "format" not in source and not url.endswith(tuple(f".{known}" for known in ValuesFrom.supported_formats)):
        raise ValueError(f"{key} {url!r}: the name does not say what it is; add 'format: txt', csv or json")


def fresh_values(key: str, source: Mapping[str, Any], manager: Any, parse: Callable[[Any], T]) -> T:
    """Read a list that is elsewhere, and parse it.

    :raises ValueError: it cannot be read, or `parse` raised it.
    """
    try:
        values = FreshValues(source, manager).get_values()
    except Exception as error:  # whatever c7n, urllib, boto3 and the parsers raise: there is no list
        raise ValueError(f"{key} {source['url']} cannot be read: {error}") from error
    try:
        return parse(values)
    except ValueError as error:
        raise ValueError(f"{key} {source['url']}: {error}") from error
