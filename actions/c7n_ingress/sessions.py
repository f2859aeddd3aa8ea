"""One session for the life of a process, and with it its clients: a Lambda's process has one event after another."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from botocore.config import Config
from c7n.credentials import CustodianSession, SessionFactory

from c7n_ingress.aws.calls import BRIEFLY, ONCE
from c7n_ingress.cold import models_read_faster

log = logging.getLogger("custodian.lambda")

KEPT = (ONCE, BRIEFLY)
"""The configs of the pack's own clients, which last as long as the process."""


class KeptSessions(SessionFactory):  # type: ignore[misc]  # c7n ships no types
    """Returns one session a region for the life of the process, and with it one client a service.

    c7n makes a session for each message, and a client for each call. Its metric ``ApiCalls`` counts only new clients.
    """

    def __call__(self, assume: bool = True, region: str | None = None) -> Any:
        """Return a session; with another role or profile, a new one."""
        if self.profile or (assume and self.assume_role):
            return super().__call__(assume, region)
        session: Session = self.update(kept_session(region or self.region))
        session.keep_user_agent()
        return session


@cache
def kept_session(region: str) -> Session:
    """Return the region's session."""
    return Session(region_name=region, botocore_session=models_read_faster())


class Session(CustodianSession):  # type: ignore[misc]  # c7n ships no types
    """A session that keeps its clients, and asks for the account's alias once and briefly."""

    def client(self, service_name: str, region_name: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Return the service's client, which may have been used before."""
        if kwargs.get("config") in KEPT:
            return configured(self, service_name, kwargs["config"])
        if service_name == "iam" and not kwargs.get("config"):
            return brief_iam(self)
        return super().client(service_name, region_name, *args, **kwargs)

    def keep_user_agent(self) -> None:
        """Let clients send c7n's and the policy's name as one text, which botocore would build twice for each call."""
        named = self._session
        named.set_default_client_config(Config(user_agent=named.user_agent()))
        named.user_agent_extra = ""  # the policy's name, which the text has


@cache
def brief_iam(session: Session) -> Any:
    """Return IAM's client, which c7n asks for the account's alias before it sends a message.

    IAM's one endpoint for all regions may be out of reach, or forbidden. A message has the account's id, too, so it is
    sent without an alias, and soon.
    """
    client = configured(session, "iam", BRIEFLY)
    known = cache(client.list_account_aliases)

    def list_account_aliases() -> dict[str, Any]:
        try:
            return known()  # type: ignore[no-any-return]
        except Exception:  # any error: people are notified all the same
            log.exception("the account's alias could not be looked up")
            return {"AccountAliases": []}

    client.list_account_aliases = list_account_aliases
    return client


@cache
def configured(session: Session, service_name: str, config: Config) -> Any:
    """Return a service's client with a config of the pack's; c7n would make it again for each event."""
    return super(Session, session).client(service_name, config=config)
