"""What a channel of its own needs: one class, and its name in the list."""

import json
import re
from types import SimpleNamespace
from typing import ClassVar

import boto3
import pytest

from c7n_ingress_tools.mailer import deploy, lambda_entry
from c7n_ingress_tools.mailer.channel import GROUPS, Channel, Delivery
from c7n_ingress_tools.mailer.facts import Limits
from tests.support.posted import SAMPLE, Post, event_record, message_to, pack

TARGET, OTHER = "noticeboard://wall", "noticeboard://full"


class Noticeboard(Channel):
    """A channel that pins the title of each urgent group to a board; one of its boards is full."""

    TARGET = re.compile(r"noticeboard://\w+")
    LIMITS: ClassVar = {GROUPS: Limits(10, 0, 1)}
    PINNED: ClassVar[list] = []

    def deliveries(self, message):
        """Return what pins a message to each board."""
        for target in (found[0] for found in self.targets(message)):
            facts = self.facts(message, message["resources"])
            yield Delivery(target, (target,), lambda target=target, facts=facts: self.pin(target, facts))

    def pin(self, target, facts):
        """Pin what a person must do."""
        if target == OTHER:
            raise OSError("no room on the board")
        self.PINNED.append([f"{group.name}: {group.state.todo}" for group in facts.urgent])


@pytest.fixture
def handle(cloud, tmp_path, monkeypatch):
    """Return the mailer's entry with one channel more."""
    config = deploy.read_config(Post(cloud, tmp_path).config(recipients=["noticeboard://*"]))
    (tmp_path / "mailer.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setattr(lambda_entry, "CONFIG", tmp_path / "mailer.json")
    monkeypatch.setattr(lambda_entry, "CHANNELS", (*lambda_entry.CHANNELS, Noticeboard))
    monkeypatch.setattr(boto3, "Session", cloud.session)
    monkeypatch.setenv("PYTHONPATH", "")  # c7n-mailer adds to it, and this process runs other tests
    lambda_entry.mailer.cache_clear()
    yield lambda event: lambda_entry.handle(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000))
    lambda_entry.mailer.cache_clear()


def test_a_channel_is_one_class_and_one_line(handle):
    """A channel in the list gets its targets' messages, once in a process; a target that fails keeps the message."""
    record = event_record("1", pack(message_to(TARGET, OTHER)))
    for _ in range(2):
        assert handle({"Records": [record]}) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
    todo = SAMPLE["resources"][1]["c7n:state-ingress"]["todo"].strip()
    assert [[f"orders-db: {todo}"]] == Noticeboard.PINNED
