"""Slack and PagerDuty: deliveries over HTTP that raise, wait out a short throttle, and show no secret.

Slack stands on c7n-mailer's own delivery: it works out who is told, and which template renders it; this replaces the
methods that swallow errors. c7n-mailer has no delivery to PagerDuty; its Events API v2 is one POST an event.

Sources: https://docs.slack.dev/apis/web-api/rate-limits (429, Retry-After),
https://api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks (what a webhook answers),
https://github.com/PagerDuty/api-schema, reference/events-v2/openapiv3.json (202, 400, and 429 and 5xx to be retried).
"""

from __future__ import annotations

import json
import re
import time
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import requests
from botocore.exceptions import ClientError
from c7n_mailer.slack_delivery import SlackDelivery
from c7n_mailer.utils import decrypt, get_rendered_jinja, get_resource_tag_targets

from c7n_ingress_tools.mailer.errors import UndeliverableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from c7n_mailer.email_delivery import EmailDelivery

    # As lambda_entry.py has it: to whom, for the log; to whom and of what, in full; what to call for it.
    Delivery = tuple[str, tuple[str, ...], Callable[[], Any]]

HTTP_TIMEOUT = 10  # seconds for each of connecting and reading; c7n-mailer's 60 are all that the function has
LONGEST_WAIT = 10  # seconds; whoever asks for more gets the message again from the queue, minutes later

SLACK_HOOK = re.compile(r"https://hooks\.slack\.com/\S+")
SLACK = re.compile(r"slack://(owners|webhook/#\S+|#\S+|tag/.+|[^\s@/]+@[^\s@/]+\.[^\s@/]+)")
PAGERDUTY = re.compile(r"pagerduty://(?P<region>eu/)?(?P<key>[A-Za-z0-9]{32})")


def post(
    what: str, url: str, accepted: int = requests.codes.ok, via: Any = requests, **request: Any
) -> requests.Response:
    """POST, and once more after a short Retry-After.

    No error holds the address or what requests says of it: a webhook's address is its password.

    :param what: whom errors name.
    :param via: what posts: a session keeps its connection.
    :param accepted: the status that says all is well.
    :raises UndeliverableError: nobody answered in time, or with another status, or asked to wait for too long.
    """
    try:
        response = via.post(url, timeout=HTTP_TIMEOUT, allow_redirects=False, **request)
        wait = response.headers.get("Retry-After", "")
        if response.status_code == requests.codes.too_many_requests and wait.isdecimal() and int(wait) <= LONGEST_WAIT:
            time.sleep(int(wait))
            response = via.post(url, timeout=HTTP_TIMEOUT, allow_redirects=False, **request)
    except requests.RequestException as error:
        raise UndeliverableError(f"{what}: no answer: {type(error).__name__}") from None
    if response.status_code != accepted:
        raise UndeliverableError(f"{what}: HTTP {response.status_code}: {response.text[:200]!r}")
    return response


class Slack(SlackDelivery):
    """Slack, by webhook and by bot token, as c7n-mailer addresses it.

    Once the deliveries are made, `told` holds the resources of each, and `failures` what could not be addressed: a
    person whom Slack does not know keeps nobody else from being told.
    """

    def __init__(self, config: dict, session: Any, logger: Any, email: EmailDelivery) -> None:
        super().__init__(config, logger, email)
        self.session = session
        self.failures: list[str] = []
        self.told: list[list[dict]] = []

    def deliveries(self, message: dict) -> Iterator[Delivery]:
        """Give each channel and person of a message, and what posts the rendered message there."""
        targets = list(filter(is_slack, message["action"].get("to", [])))
        if not targets:
            return
        try:
            self.config = self.config | {"slack_token": bot_token(self.config, self.logger, self.session)}
        except ClientError as error:
            self.failures.append(f"slack_token cannot be decrypted: {error}")
            self.config = self.config | {"slack_token": None}
        for target in targets:
            if missing := self.missing(target):
                self.failures.append(f"{shown(target)} needs {missing} in mailer.yml")
                continue
            for whom, part in self.parts(target, message):
                for address, payload in self.get_to_addrs_slack_messages_map(part).items():
                    self.told.append(part["resources"])
                    deliver = partial(self.send_slack_msg, address, payload)
                    yield f"{shown(target)}{whom}", (target, whom, address), deliver

    def missing(self, target: str) -> str | None:
        """Give the key of the configuration that a target needs and that is not there."""
        if target.startswith("https://"):
            return None
        key = "slack_webhook" if target.startswith("slack://webhook/") else "slack_token"
        return None if self.config.get(key) else key

    def parts(self, target: str, message: dict) -> Iterator[tuple[str, dict]]:
        """Give the message for one target, in parts with the resources that are told together, and to whom each goes.

        c7n-mailer tells of all resources in the channel of the first one's tag, and tells owners only where e-mail
        does too.
        """
        action, resources = message["action"], message["resources"]
        if target == "slack://owners":
            for address, owned in self.owned(message).items():
                yield f" {address}", message | {"action": action | {"to": [f"slack://{address}"]}, "resources": owned}
        elif target.startswith("slack://tag/"):
            value_of = partial(tag_value, key=target.removeprefix("slack://tag/"))
            for value, together in groupby(sorted(filter(value_of, resources), key=value_of), key=value_of):
                channel = value if value.startswith("#") or "@" in value else f"#{value}"
                if not self.email_handler.recipients.allow(f"slack://{channel}"):
                    continue
                yield f" {value}", message | {"action": action | {"to": [target]}, "resources": list(together)}
        else:
            yield "", message | {"action": action | {"to": [target]}}

    def owned(self, message: dict) -> dict[str, list[dict]]:
        """Give the resources of each owner, by the address that c7n-mailer finds for them."""
        to = [each for each in message["action"]["to"] if not is_slack(each)]
        action = message["action"] | {"to": [*to, "resource-owner"]}
        owned: dict[str, list[dict]] = {}
        for addresses, resources in self.email_handler.get_emails_to_resources_map(
            message | {"action": action}
        ).items():
            for address in addresses:
                owned.setdefault(address, []).extend(resources)
        return owned

    def get_to_addrs_slack_messages_map(self, sqs_message: dict) -> dict[str, str]:
        """Give the message for each address, as JSON.

        :raises ValueError: the template makes no JSON.
        """
        try:
            rendered = super().get_to_addrs_slack_messages_map(sqs_message)
        except KeyError:  # an address in a tag that Slack does not know: `failures` has it
            return {}
        return {address: json.dumps(json.loads(text)) for address, text in rendered.items()}

    def retrieve_user_im(self, email_addresses: list[str]) -> dict[str, str]:
        """Give Slack's id for each address that it knows; say of the others in `failures` why not."""
        found = {address: self.user_of(address) for address in email_addresses}
        return {address: user for address, user in found.items() if user}

    def user_of(self, address: str) -> str | None:
        """Give Slack's id of a person, or None and say in `failures` why there is none."""
        try:
            user = self.call("users.lookupByEmail", data={"email": address})["user"]
        except UndeliverableError as error:
            self.failures.append(f"slack://{address}: {error}")
            return None
        return user.get("enterprise_user", user)["id"]

    def send_slack_msg(self, key: str, message_payload: str) -> None:
        """Post a message to a webhook, or to a channel or person by the bot token.

        :raises UndeliverableError: Slack did not take it.
        """
        if not key.startswith("https://"):
            self.call("chat.postMessage", json=json.loads(message_payload))
            return
        response = post("Slack's webhook", key, json=json.loads(message_payload))
        if response.text != "ok":
            raise UndeliverableError(f"Slack's webhook: {response.text[:200]!r}")

    def call(self, method: str, **request: Any) -> dict:
        """Call Slack's Web API, which says no with a status of 200.

        :raises UndeliverableError: it said no, or nothing that can be understood.
        """
        headers = {"Authorization": f"Bearer {self.config['slack_token']}"}
        response = post(f"Slack's {method}", f"https://slack.com/api/{method}", headers=headers, **request)
        try:
            answer = response.json()
            if answer["ok"]:
                return answer
            reason = answer.get("error")
        except (ValueError, TypeError, KeyError):
            reason = repr(response.text[:200])
        raise UndeliverableError(f"Slack's {method}: {reason}")


class PagerDuty:
    """PagerDuty's Events API v2: the template decides what opens an incident, and what resolves it."""

    def __init__(self, config: dict, logger: Any) -> None:
        self.config = config
        self.logger = logger
        self.session = requests.Session()

    def deliveries(self, message: dict) -> Iterator[Delivery]:
        """Give each group of which there is something to tell, and what sends its events, in their order."""
        for target in filter(PAGERDUTY.fullmatch, message["action"].get("to", [])):
            found = PAGERDUTY.fullmatch(target)
            url = f"https://events.{'eu.' if found['region'] else ''}pagerduty.com/v2/enqueue"
            folders = self.config["templates_folders"]
            text = get_rendered_jinja(target, message, message["resources"], self.logger, "template", "", folders)
            for told in json.loads(text):
                deliver = partial(self.send, url, found["key"], told["events"])
                yield f"{shown(target)} {told['group']}", (target, told["group"]), deliver

    def send(self, url: str, key: str, events: list[dict]) -> None:
        """Send the events of one group: what opens an incident is not sent again without what resolves it.

        :raises UndeliverableError: PagerDuty did not take one; those after it are not sent.
        """
        for event in events:
            post("PagerDuty", url, requests.codes.accepted, self.session, json=event | {"routing_key": key})


def is_slack(target: str) -> bool:
    """Say whether a target is one of Slack's, in one of the forms that c7n-mailer knows."""
    return bool(SLACK_HOOK.fullmatch(target) or SLACK.fullmatch(target))


def shown(target: str) -> str:
    """Give a target as it may stand in a log: a key, and the address of a webhook, are secrets."""
    scheme, slashes, rest = target.partition("://")
    if not slashes or scheme == "slack":
        return target
    return f"pagerduty://…{target[-4:]}" if scheme == "pagerduty" else f"{scheme}://{rest.partition('/')[0]}/…"


def tag_value(resource: dict, key: str) -> str:
    """Give the value of a resource's tag, or nothing."""
    return next(iter(get_resource_tag_targets(resource, [key])), "")


def bot_token(config: dict, logger: Any, session: Any) -> str | None:
    """Give the bot token: as it stands, or decrypted by KMS.

    c7n-mailer asks KMS first whatever it is, and so fails on a plain token unless the role may use KMS.

    :raises botocore.exceptions.ClientError: KMS refused.
    """
    token = config.get("slack_token")
    return token if not token or token.startswith("xox") else decrypt(config, logger, session, "slack_token").strip()
