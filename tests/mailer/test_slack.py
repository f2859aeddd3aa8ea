"""Slack, by the deployed function and c7n-mailer's own delivery, against a workspace on this machine."""

import base64
import json
from functools import partial
from time import sleep

import pytest

from c7n_ingress_tools.mailer import channel
from c7n_ingress_tools.mailer.channel import UndeliverableError
from c7n_ingress_tools.mailer.slack import Slack as SlackChannel
from tests.support.posted import ON_CALL, SAMPLE, TOPIC, TRIES, message_to
from tests.support.slack import HOOK, HTML, JSON, TOKEN, Slack, broken_rules, texts

FAILURES = {
    "500": ((500, HTML, b"rollup_error"), "HTTP 500: 'rollup_error'"),
    "503 without a word": ((503, {}, b""), "HTTP 503: ''"),
    "archived": ((410, HTML, b"channel_is_archived"), "HTTP 410: 'channel_is_archived'"),
    "an answer that is not ok": ((200, HTML, b"no_text"), "Slack's webhook: 'no_text'"),
    "wait for long": ((429, {"Retry-After": "3600"}, b"rate_limited"), "HTTP 429: 'rate_limited'"),
    "wait for who knows": ((429, {"Retry-After": "soon"}, b"rate_limited"), "HTTP 429: 'rate_limited'"),
    "moved": ((302, {"Location": "https://elsewhere.example"}, b""), "HTTP 302: ''"),
    "hung up": (None, "Slack's webhook: no answer: "),
}
API_FAILURES = {
    "not ok": ((200, JSON, b'{"ok": false, "error": "is_archived"}'), "Slack's chat.postMessage: is_archived"),
    "no JSON": ((200, HTML, b"<html>sorry"), "Slack's chat.postMessage: '<html>sorry'"),
    "JSON of another kind": ((200, JSON, b"[]"), "Slack's chat.postMessage: '[]'"),
    "500": ((500, HTML, b""), "Slack's chat.postMessage: HTTP 500: ''"),
}


@pytest.fixture
def slack():
    """Return a workspace."""
    return Slack()


@pytest.fixture
def mailer(post, slack, internet):
    """Return what runs the mailer where Slack is this workspace, with all that a mailer.yml may say of Slack."""
    internet.hosts = slack.hosts()
    return partial(post.mailer, internet, slack_token=TOKEN, slack_webhook=HOOK, contact_tags=["owner"])


def groups(posted):
    """Return the groups that a posted message names."""
    words = " ".join(text for _, text in texts(posted["blocks"]))
    return {resource["GroupId"] for resource in SAMPLE["resources"] if resource["GroupId"] in words}


EVERY_GROUP = {resource["GroupId"] for resource in SAMPLE["resources"]}
CHECKOUT, _, _ = (resource["GroupId"] for resource in SAMPLE["resources"])


@pytest.mark.parametrize(
    ("target", "where"),  # what the policy says, and where the message must arrive
    [
        (HOOK, "hook"),
        ("slack://webhook/#ops", "hook"),
        ("slack://#ops", "ops"),
        ("slack://jane.doe@example.com", "U0JANE"),
    ],
)
def test_a_message_reaches_slack(post, slack, mailer, target, where):
    """Each of c7n-mailer's targets gets the message once, with every group in it."""
    post.send(message_to(target))
    with mailer() as function:
        assert post.work(function) == set()
        log = function.logs[0].read_text()
    ((channel, message),) = slack.posted
    assert channel == where
    assert groups(message) == EVERY_GROUP
    assert message.get("channel") == {"hook": None if target == HOOK else "ops"}.get(where, where)
    assert "services/" not in log
    assert TOKEN not in log


def test_owners_are_told_of_their_groups(post, slack, mailer):
    """`slack://owners` notifies each owner of the groups whose tags name them; a group without one makes it fail."""
    sent = post.send(message_to("slack://owners"))
    with mailer() as function:
        assert post.work(function) == {sent}
        assert "there is nobody to notify of sg-08d2b6e4f0a1c3957" in function.logs[0].read_text()
        assert post.work(function) == {sent}
    ((channel, message),) = slack.posted
    assert (channel, groups(message)) == ("U0JANE", {CHECKOUT})


def test_a_channel_in_a_tag_gets_the_groups_that_bear_it(post, slack, mailer):
    """`slack://tag/team` notifies the channel of a tag of the groups with this tag alone, whichever comes first."""
    resources = [*SAMPLE["resources"][1:], SAMPLE["resources"][0]]
    sent = post.send(message_to("slack://tag/team") | {"resources": resources})
    with mailer() as function:
        assert post.work(function) == {sent}
        assert "there is nobody to notify of sg-03a5c7e9b1d2f4068" in function.logs[0].read_text()
    ((channel, message),) = slack.posted
    assert (channel, groups(message)) == ("checkout", {CHECKOUT})


def test_a_person_whom_slack_does_not_know_fails_alone(post, slack, mailer):
    """An address that Slack does not know, in the policy or in a tag, is named; all the others are notified, once."""
    resources = [SAMPLE["resources"][0] | {"Tags": [{"Key": "who", "Value": "nobody@example.com"}]}]
    targets = ["slack://gone@example.com", "slack://#ops", "slack://tag/who", "slack://jane.doe@example.com"]
    sent = post.send(message_to(*targets) | {"resources": resources})
    with mailer() as function:
        assert post.work(function) == {sent}
        assert post.work(function) == {sent}
        log = function.logs[0].read_text()
    assert "slack://gone@example.com: Slack's users.lookupByEmail: users_not_found" in log
    assert "slack://nobody@example.com: Slack's users.lookupByEmail: users_not_found" in log
    assert [channel for channel, _ in slack.posted] == ["ops", "U0JANE"]


@pytest.mark.parametrize(("answer", "complaint"), FAILURES.values(), ids=FAILURES)
def test_a_webhook_that_fails_gets_the_message_again(post, slack, mailer, answer, complaint):
    """The message stays in the queue and comes with the next try; topic and mailbox are not notified a second time."""
    inbox = post.subscribe()
    sent = post.send(message_to(TOPIC, ON_CALL, HOOK))
    slack.next = [answer]
    with mailer() as function:
        assert post.work(function) == {sent}
        log = function.logs[0].read_text()
        assert post.work(function) == set()
    assert complaint in log
    assert "services/" not in log
    assert len(slack.posted) == len(inbox.read()) == len(post.mails()) == 1


@pytest.mark.parametrize(("answer", "complaint"), API_FAILURES.values(), ids=API_FAILURES)
def test_a_web_api_that_fails_gets_the_message_again(post, slack, mailer, answer, complaint):
    """Whatever Slack's Web API says in place of ok, the message stays in the queue and comes with the next try."""
    sent = post.send(message_to("slack://#ops"))
    slack.next = [answer]
    with mailer() as function:
        assert post.work(function) == {sent}
        assert complaint in function.logs[0].read_text()
        assert post.work(function) == set()
    assert len(slack.posted) == 1


def test_a_short_throttle_is_waited_out(post, slack, mailer):
    """Where Slack asks to wait for a second, the message is posted after it, and with the same try."""
    post.send(message_to(HOOK))
    slack.next = [(429, {"Retry-After": "1"}, b"rate_limited")]
    with mailer() as function:
        assert post.work(function) == set()
    assert len(slack.posted) == 1
    assert len(slack.calls) == 2


def test_a_throttle_that_goes_on_ends_the_try(post, slack, mailer):
    """Slack is asked twice and no more; the message stays in the queue."""
    sent = post.send(message_to(HOOK))
    slack.next = [(429, {"Retry-After": "0"}, b"rate_limited")] * 2
    with mailer() as function:
        assert post.work(function) == {sent}
    assert len(slack.calls) == 2


def test_a_bad_token_ends_in_the_dead_letter_queue(post, slack, mailer):
    """With a token that Slack refuses, the message is never lost: after its tries it is a dead letter."""
    message = message_to("slack://#ops", "slack://jane.doe@example.com")
    post.send(message)
    with mailer(slack_token="xoxb-of-another") as function:
        for _ in range(TRIES + 1):
            post.work(function)
        log = function.logs[0].read_text()
    assert "Slack's chat.postMessage: invalid_auth" in log
    assert "slack://jane.doe@example.com: Slack's users.lookupByEmail: invalid_auth" in log
    assert "xoxb-of-another" not in log
    assert slack.posted == []
    assert len(post.sqs.receive_message(QueueUrl=post.dead_letters)["Messages"]) == 1


def test_a_token_under_kms(post, slack, mailer):
    """A token that KMS encrypted is decrypted; one that KMS refuses fails Slack's targets alone."""
    post.send(message_to("slack://#ops"))
    with mailer(slack_token=encrypted(post.cloud, "us-east-1")) as function:
        assert post.work(function) == set()
    assert len(slack.posted) == 1
    inbox = post.subscribe()
    sent = post.send(message_to("slack://#ops", TOPIC))
    with mailer(slack_token=encrypted(post.cloud, "eu-west-1")) as function:  # whose keys this region's KMS has not
        assert post.work(function) == {sent}
        assert "slack_token: the token cannot be read: An error occurred" in function.logs[0].read_text()
    assert len(inbox.read()) == 1


def encrypted(cloud, region):
    """Return the token under a key of a region's KMS, as one puts it into mailer.yml."""
    kms = cloud.session(region).client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    return base64.b64encode(kms.encrypt(KeyId=key, Plaintext=TOKEN.encode())["CiphertextBlob"]).decode()


def test_a_message_that_slack_would_refuse_is_named(post, slack, mailer):
    """A template of one's own that makes what Slack refuses fails with Slack's word for it."""
    sent = post.send(message_to(HOOK))
    slack.next = [(400, HTML, b"invalid_blocks")]
    with mailer() as function:
        assert post.work(function) == {sent}
        assert "invalid_blocks" in function.logs[0].read_text()


def test_a_silent_slack_is_given_up(internet, monkeypatch):
    """A server that takes a message and never answers ends the try, before Lambda ends the function."""
    monkeypatch.setattr(channel, "HTTP_TIMEOUT", 0.2)
    assert channel.HTTP_TIMEOUT < 60

    internet.hosts = {"hooks.slack.com": lambda *_: sleep(2)}
    monkeypatch.setenv("https_proxy", internet.proxy)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(internet.authority))
    with pytest.raises(UndeliverableError, match=r"^Slack: no answer: ReadTimeout$"):
        SlackChannel({}, None, None).answer("Slack", "POST", HOOK, json={})


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"blocks": [{"type": "divider"}] * 51}, "blocks: 1 to 50"),
        ({"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]}, "texts: 1 to 3000"),
        ({"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 2999}}] * 5}, "about 13,000"),
        ({"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]}, "150 characters"),
        ({"blocks": [{"type": "divider", "text": "x"}]}, "divider: it has what Slack does not know"),
        ({"markup": True}, "nothing else"),
    ],
)
def test_slack_here_refuses_what_slack_refuses(change, rule):
    """The rules that the messages are checked by can fail."""
    message = {"text": "x", "blocks": [{"type": "divider"}]}
    assert broken_rules(message) == []
    assert rule in " ".join(broken_rules(message | change))


def test_a_target_in_a_log_holds_no_secret():
    """Of a webhook the host is shown, of PagerDuty's key the end; Slack's own targets are none."""
    assert channel.shown(HOOK) == "https://hooks.slack.com/…"
    assert channel.shown("pagerduty://eu/R0123456789abcdefghijklmnopqrstu") == "pagerduty://…rstu"
    assert channel.shown("slack://#ops") == "slack://#ops"
    assert json.dumps(channel.shown("open-ingress")) == '"open-ingress"'


def test_every_webhook_gets_the_message(post, slack, mailer):
    """Webhooks look all alike in the log; one that fails is tried again, and the other is not notified twice."""
    other = "https://hooks.slack.com/services/T0/B1/gone"
    sent = post.send(message_to(HOOK, other))
    with mailer() as function:
        assert post.work(function) == {sent}
        assert post.work(function) == {sent}
    assert slack.calls == ["/services/T0/B0/hook", "/services/T0/B1/gone", "/services/T0/B1/gone"]


def test_the_watch_is_heard_in_slack(post, slack, mailer):
    """What mode/watch.yml found silent is reported in Slack, in its own words."""
    words = {"template": "open-ingress-watch", "violation_desc": "AWS Config is *silent*.", "action_desc": "Start it."}
    message = message_to(HOOK)
    action = message["action"] | words
    post.send(message | {"action": action, "resources": [{"account_id": "123456789012"}]})
    with mailer() as function:
        assert post.work(function) == set()
    ((_, told),) = slack.posted
    said = "".join(text for _, text in texts(told["blocks"]))
    assert "AWS Config is *silent*." in said
    assert "Start it." in said
