"""What a channel is: a way to reach people, in a file of its own.

A new channel is one more file with a subclass of Channel, and its name in `CHANNELS` in lambda_entry.py.
"""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, NamedTuple

import requests
from botocore.exceptions import ClientError

from c7n_ingress_tools.mailer.facts import GROUPS, KINDS, Facts, Limits
from c7n_ingress_tools.mailer.recipients import LONGEST, Recipients

log = logging.getLogger("custodian.mailer")

HTTP_TIMEOUT = 10  # seconds for each of connecting and reading; c7n-mailer's 60 are all that the function has
LONGEST_WAIT = 10  # seconds; who asks for more gets the message again from the queue, minutes later

SECRET = re.compile(r"arn:aws[a-z-]*:secretsmanager:(?P<region>[a-z0-9-]+):\d{12}:secret:[\w/+=.@-]+", re.ASCII)


class UndeliverableError(Exception):
    """A message that cannot be delivered, or not to everybody. The text says why, and holds no secret."""


class Delivery(NamedTuple):
    """Something to send to one recipient."""

    target: str
    """The recipient, as a log may show it: two webhooks may look alike."""
    key: tuple[str, ...]
    """What distinguishes it from every other delivery of the message."""
    deliver: Callable[[], Any]


class Channel:
    """A way to reach people. A subclass says which targets are its own, and makes the deliveries of a message.

    Once the deliveries are made, `reported` has the groups of each. A recipient that cannot be reached, or is not known
    there, is a delivery that fails, and keeps nobody else from being notified.
    """

    TARGET: ClassVar[re.Pattern[str]]
    """The targets that are the channel's own."""
    LIMITS: ClassVar[Mapping[str, Limits]]
    """How much of each message is shown."""
    KEYS: ClassVar[Mapping[str, Any]] = {}
    """The schemas of keys of mailer.yml that are the channel's own, or that c7n-mailer does not check."""

    def __init__(self, config: dict[str, Any], session: Any, recipients: Recipients) -> None:
        self.config = config
        self.session = session
        self.recipients = recipients
        self.http = requests.Session()
        self.reported: list[Mapping[str, Any]] = []

    @classmethod
    def takes(cls, target: str) -> bool:
        """Whether a target is one of the channel's own."""
        return cls.TARGET.fullmatch(target) is not None

    def setting(self, key: str) -> Any:
        """Return what mailer.yml has under a key.

        :raises UndeliverableError: it has nothing.
        """
        if value := self.config.get(key):
            return value
        raise UndeliverableError(f"it needs {key} in mailer.yml")

    def secret(self, key: str, text: str) -> str:
        """Return a secret of mailer.yml: from Secrets Manager, or decrypted by KMS.

        :param key: where in mailer.yml it is.
        :param text: the ARN of a secret, or base64.
        :raises UndeliverableError: AWS refuses it.
        """
        try:
            if arn := SECRET.fullmatch(text):
                manager = self.session.client("secretsmanager", region_name=arn["region"])
                return str(manager.get_secret_value(SecretId=text)["SecretString"]).strip()
            plain = self.session.client("kms").decrypt(CiphertextBlob=base64.b64decode(text))["Plaintext"]
            return str(plain.decode()).strip()
        except (ClientError, ValueError) as error:
            raise UndeliverableError(f"{key}: the token cannot be read: {error}") from None

    def deliveries(self, message: Mapping[str, Any]) -> Iterator[Delivery]:
        """Return what is sent for a message, rendered, so that nothing is sent of what cannot be rendered."""
        raise NotImplementedError

    def targets(self, message: Mapping[str, Any]) -> Iterator[re.Match[str]]:
        """Return the targets of a message that are the channel's own, as TARGET matches them."""
        return filter(None, map(self.TARGET.fullmatch, message["action"].get("to", [])))

    def facts(self, message: Mapping[str, Any], resources: Sequence[Mapping[str, Any]]) -> Facts:
        """Work out what a message reports about some of its groups, and note that these are reported."""
        self.reported += resources
        return self.facts_of(message, resources, self.config.get("journals", ()))

    @classmethod
    def facts_of(
        cls, message: Mapping[str, Any], resources: Sequence[Mapping[str, Any]], journals: Sequence[str] = ()
    ) -> Facts:
        """Work out what a message reports about some of its groups, as much of it as the channel shows.

        :param message: as c7n sends it.
        :param journals: where records of changes may be, besides the pack's own places.
        :raises UndeliverableError: it is none of the pack's messages.
        """
        kind = message["action"].get("template", "")
        if kind not in KINDS:
            raise UndeliverableError(f"the template {kind!r:.80} is not one of the pack's: {', '.join(KINDS)}")
        return KINDS[kind](message, resources, cls.LIMITS.get(kind, cls.LIMITS[GROUPS]), journals)

    def answer(self, what: str, method: str, url: str, accepted: int = HTTPStatus.OK, **request: Any) -> Any:
        """Send a request, and once more after a short Retry-After, and return the answer.

        No error holds the address or what requests says of it: a webhook's address is its password.

        :param what: the receiver, as errors name it.
        :param accepted: the status that says all is well.
        """
        send = partial(self.http.request, method, url, timeout=HTTP_TIMEOUT, allow_redirects=False, **request)
        try:
            response = send()
            wait = response.headers.get("Retry-After", "")
            if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and wait.isdecimal() and int(wait) <= LONGEST_WAIT:
                time.sleep(int(wait))
                response = send()
        except requests.RequestException as error:
            raise UndeliverableError(f"{what}: no answer: {type(error).__name__}") from None
        if response.status_code != accepted:
            raise refusal(what, response)
        return response


def written_as(pattern: str, otherwise: str) -> dict[str, Any]:
    """Return the schema of a text that fits a pattern.

    :param otherwise: what an error says of any other text, which it does not show: it may be a secret.
    """
    return {"type": "string", "minLength": 1, "pattern": rf"^(?a:{pattern})\Z", "description": otherwise}


def shown(target: str) -> str:
    """Return a target as a log may show it: not endless, and a key, and the address of a webhook, are secrets."""
    target = target[:LONGEST]
    scheme, slashes, rest = target.partition("://")
    if not slashes or scheme in ("slack", "jira", "servicenow"):
        return target
    return f"pagerduty://…{target[-4:]}" if scheme == "pagerduty" else f"{scheme}://{rest.partition('/')[0]}/…"


def refusal(what: str, response: requests.Response) -> UndeliverableError:
    """Return the error for an answer that is not the wanted one."""
    return UndeliverableError(f"{what}: HTTP {response.status_code}: {response.text[:200]!r}")
