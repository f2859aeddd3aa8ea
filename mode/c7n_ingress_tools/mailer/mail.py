"""E-mail by SES or SMTP: plain text, and HTML beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from functools import cached_property, partial
from typing import Any, ClassVar

from c7n_mailer.email_delivery import EmailDelivery
from c7n_mailer.smtp_delivery import SmtpDelivery
from c7n_mailer.utils_email import is_email, set_mimetext_headers

from c7n_ingress_tools.mailer.channel import Channel, Delivery, log
from c7n_ingress_tools.mailer.facts import Limits
from c7n_ingress_tools.mailer.recipients import LONGEST
from c7n_ingress_tools.mailer.render import page, text
from c7n_ingress_tools.mailer.sns import Topics

OWNERS = ("resource-owner", "event-owner")
"""What c7n-mailer looks up in a message's groups and event."""


class Mail(Channel):
    """E-mail addresses, in a policy or in the tags that `contact_tags` names."""

    # A larger page would be cut by mail readers: Gmail takes 102 kB.
    LIMITS: ClassVar[Mapping[str, Limits]] = Topics.LIMITS

    @cached_property
    def lookup(self) -> Any:
        """c7n-mailer's look-up of addresses in tags, events and mailer.yml."""
        return _Addresses(self.config, self.session, log)

    @classmethod
    def takes(cls, target: str) -> bool:
        """Whether a target is an e-mail address, or a name for some."""
        return target in OWNERS or (not is_no_address(target) and is_email(target))

    def addresses(self, message: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Return the groups for each address that may get messages: a tag or an event may name any."""
        found: dict[str, list[dict[str, Any]]] = {}
        for addresses, resources in self.lookup.get_emails_to_resources_map(message).items():
            for address in filter(self.recipients.allow, addresses):
                found.setdefault(address, []).extend(resources)
        return found

    def deliveries(self, message: Mapping[str, Any]) -> Iterator[Delivery]:
        """Return each address, and what sends its own mail there: SES refuses a mail as a whole for one bad address."""
        for address, resources in self.addresses(message).items():
            facts, mail = self.facts(message, resources), MIMEMultipart("alternative")
            for body, kind in (
                (text(facts), "plain"),
                (page(facts), "html"),
            ):  # readers show the last one that they can
                mail.attach(MIMEText(body, kind, "utf-8"))
            yield Delivery(address, (address,), partial(self.send, address, message["action"], mail))

    def send(self, address: str, action: Mapping[str, Any], mail: Message) -> None:
        """Send a mail from `from_address`, the only sender that a message may name."""
        more, priority = self.config.get("additional_email_headers", {}), action.get("priority_header")
        set_mimetext_headers(mail, action["subject"], self.setting("from_address"), [address], [], more, priority, log)
        if "smtp_server" in self.config:
            SmtpDelivery(self.config, self.session, log).send_message(mail, [address])
        else:
            self.lookup.aws_ses.send_raw_email(RawMessage={"Data": mail.as_string()})


class _Addresses(EmailDelivery):  # type: ignore[misc]  # c7n-mailer ships no types
    """c7n-mailer's look-up of addresses."""

    def get_valid_emails_from_list(self, targets: list[str]) -> list[str]:
        """Return the addresses among targets; c7n-mailer makes one of `https://me@example.com`, say."""
        valid: list[str] = super().get_valid_emails_from_list([each for each in targets if not is_no_address(each)])
        return valid


def is_no_address(target: str) -> bool:
    """Whether a target cannot be meant as one e-mail address.

    Python's `parseaddr`, by which c7n-mailer decides, took the first of a list's addresses before Python 3.13.
    """
    return "://" in target or target.startswith("arn:") or "," in target or len(target) > LONGEST
