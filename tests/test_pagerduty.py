"""PagerDuty's Events API v2, from the policy to the incident, against its published rules."""

import json
import re
from unittest.mock import Mock

import boto3
import pytest
from c7n.utils import yaml_load
from c7n_mailer.handle import config_setup
from embedded import edited, group_of, load, run
from internet import serving
from pagerduty import KEY, PagerDuty, broken_rules
from posted import MAILER, ON_CALL, SAMPLE, TOPIC, TRIES, Post, event_record, message_to, pack

from mode.local.ec2 import load_interfaces
from mode.mailer import lambda_entry, preview

README = MAILER / "README.md"
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "from anywhere"}
TARGET = f"pagerduty://{KEY}"
FAILED, CLOSED, LAST = SAMPLE["resources"][1], SAMPLE["resources"][0], SAMPLE["resources"][2]


@pytest.fixture
def post(cloud, tmp_path):
    """Give the queues, the role and the sender of e-mail."""
    return Post(cloud, tmp_path)


@pytest.fixture
def service():
    """Give a service of PagerDuty."""
    return PagerDuty()


@pytest.fixture
def mailer(post, service, tmp_path):
    """Give what deploys the mailer where PagerDuty is this service."""
    with serving(service.hosts(), tmp_path) as internet:
        yield lambda **changes: post.mailer(internet, **changes)


def documented(word):
    """Give the README's block of YAML in which a word stands."""
    (block,) = (b for b in re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL) if word in b)
    return block


def told_as_documented(policy, folder, word):
    """Give a policy that tells whom the README's block names."""
    path, block = edited(policy, folder, ["198.18.7.0/24", "2001:2:0:7::/64"]), documented(word)
    topic_alone = "".join(block.splitlines(keepends=True)[:2])
    assert topic_alone in path.read_text()
    path.write_text(path.read_text().replace(topic_alone, block.replace(TOPIC_IN_POLICY, "")))
    return path


TOPIC_IN_POLICY = "    - arn:{partition}:sns:{region}:{account_id}:open-ingress\n"


def key_of(group):
    """Give the key under which a group is one incident."""
    return f"open-ingress/123456789012/{SAMPLE['region']}/{group['GroupId']}"


# -- from the policy to the incident


def test_one_incident_a_group_and_run_all_of_them_resolved(cloud, post, service, mailer, tmp_path):
    """Groups that the sweep closes are incidents that say what was changed, and are resolved at once.

    They are worse where the internet reached what stands behind.
    """
    load([group_of({"name": f"web-{n}", "ingress": [SSH]}, n) for n in (1, 2)])
    public = {"Association": {"PublicIp": "198.18.1.1"}, "Attachment": {"InstanceId": "i-0a"}, "Status": "in-use"}
    load_interfaces([{"NetworkInterfaceId": "eni-1", "Groups": [{"GroupId": f"sg-{1:017x}"}], **public}])
    policy = told_as_documented("open-ingress-sweep", tmp_path, "pagerduty://")
    assert run(cloud, policy, tmp_path / "out").returncode == 0
    with mailer() as function:
        assert post.work(function) == set()
    assert service.refused == []
    first, second = sorted(service.incidents, key=lambda incident: incident["key"])  # EC2 lists groups in no order
    assert [(each["key"], each["open"]) for each in (first, second)] == [
        (f"open-ingress/123456789012/us-east-1/sg-{n:017x}", False) for n in (1, 2)
    ]
    (event,) = first["events"]
    assert event["payload"]["summary"] == f'Open ingress closed: sg-{1:017x} "web-1" in 123456789012 us-east-1'
    assert [each["events"][0]["payload"]["severity"] for each in (first, second)] == ["critical", "info"]
    (change,) = event["payload"]["custom_details"]["changes"]
    assert (change["traffic"], change["was"], change["now"]) == ("TCP 22 (SSH)", "0.0.0.0/0", "198.18.7.0/24")
    assert change["description"] == "from anywhere"


@pytest.mark.parametrize("word", [ON_CALL, "slack://#security", "teams.ms", "pagerduty://"])
def test_each_documented_list_of_people_is_valid(cloud, tmp_path, word):
    """The README's lists of people to tell stand in the shipped policies as they are written, and validate."""
    path = told_as_documented("open-ingress-sweep", tmp_path, word)
    done = run(cloud, path, tmp_path / "out", "--dryrun")
    assert done.returncode == 0, done.stderr
    (policy,) = yaml_load(path.read_text())["policies"]
    assert word in policy["actions"][0]["notify"]["to"][-1]


def test_a_teams_channel_gets_the_mail(post):
    """The e-mail address that Teams gives to a channel is a target as any address."""
    address = yaml_load(documented("teams.ms"))["tell"][-1]
    post.send(message_to(address))
    with post.mailer() as function:
        assert post.work(function) == set()
    (mail,) = post.mails()
    assert (mail["To"], mail.get_content_type()) == (address, "multipart/alternative")


# -- what is an incident, and what resolves it


def work(post, mailer, *messages):
    """Have the mailer deliver messages, one after the other."""
    with mailer() as function:
        for message in messages:
            post.send(message)
            assert post.work(function) == set()


def about(*resources, **changes):
    """Give the sample message about some groups."""
    return message_to(TARGET) | {"resources": list(resources)} | changes


def without(resource, *keys):
    """Give a group without some of its annotations."""
    return {key: value for key, value in resource.items() if key not in keys}


def test_only_a_failure_stays_open_and_is_resolved_when_its_group_is_closed(post, service, mailer):
    """A group that fails twice is one open incident; the run that closes it resolves this very incident."""
    work(post, mailer, about(FAILED, CLOSED), about(FAILED))
    assert [(each["key"], each["open"]) for each in service.incidents] == [
        (key_of(FAILED), True),
        (key_of(CLOSED), False),
    ]
    assert len(service.incidents[0]["events"]) == 2
    work(post, mailer, about(without(FAILED, "c7n:failed-ingress")))
    assert len(service.incidents) == 2
    assert len(service.incidents[0]["events"]) == 3
    assert service.incidents[0]["open"] is False


@pytest.mark.parametrize("annotation", [{"c7n:skipped-ingress": "another's"}, {"c7n:left-ingress": ["pl-1 unread"]}])
def test_what_was_left_open_stays_an_incident(post, service, mailer, annotation):
    """A group of another account, and one whose prefix list cannot be read, are still open, and so is the incident."""
    work(post, mailer, about(without(LAST, "c7n:replaced-ingress") | annotation))
    ((event,),) = (each["events"] for each in service.incidents if each["open"])
    assert event["payload"]["summary"].startswith("Open ingress left open: sg-03a5c7e9b1d2f4068")


def test_a_preview_a_notice_and_the_digest_open_no_incident(post, service, mailer):
    """What nobody has changed, or is only announced, wakes nobody; the message counts as delivered."""
    record = CLOSED["c7n:replaced-ingress"][0] | {"how": "preview"}
    digest = preview.sample("sample-exempt")
    digest["action"] |= {"to": [TARGET]}
    work(post, mailer, about(CLOSED | {"c7n:replaced-ingress": [record]}), digest)
    assert service.events == []


def test_what_the_watch_found_silent_is_one_incident(post, service, mailer):
    """What mode/watch.yml tells day after day is one open incident, with the words of its policy."""
    message = message_to(TARGET)
    words = {"template": "open-ingress-watch", "violation_desc": "AWS Config is silent.", "action_desc": "Start it."}
    message |= {"action": message["action"] | words, "resources": [{"account_id": "123456789012"}]}
    work(post, mailer, message, message)
    (incident,) = service.incidents
    assert incident["open"]
    assert len(incident["events"]) == 2
    assert "AWS Config is silent." in incident["events"][0]["payload"]["custom_details"].values()


def test_each_group_that_is_opened_again_is_an_incident(post, service, mailer):
    """A group that is told of day after day is one open incident, and does not hide one that is told of later."""
    message = message_to(TARGET)
    message["action"] |= {"template": "open-ingress-watch", "violation_desc": "Something opens it."}
    groups = [{"GroupId": f"sg-{n:017x}", "c7n:reopened-ingress": f"opened again, {n}th time"} for n in range(4, 204)]
    work(post, mailer, message | {"resources": groups[:1]}, message | {"resources": groups})
    assert len(service.incidents) == len(groups)
    assert [len(incident["events"]) for incident in service.incidents] == [2] + [1] * 199
    for group, incident in zip(groups, service.incidents, strict=True):
        payload = incident["events"][0]["payload"]
        assert group["GroupId"] in payload["summary"]
        assert group["c7n:reopened-ingress"] in payload["custom_details"].values()


def test_undoing_resolves_and_opens_nothing(post, service, mailer):
    """A group that was given back what was replaced is no incident, and resolves the one that was there."""
    restored = without(CLOSED, "c7n:replaced-ingress")
    restored |= {"c7n:restored-ingress": [CLOSED["c7n:replaced-ingress"][0] | {"how": "restored"}]}
    work(post, mailer, about(FAILED | {"GroupId": CLOSED["GroupId"]}), about(restored))
    assert [(each["key"], each["open"]) for each in service.incidents] == [(key_of(CLOSED), False)]
    assert service.events == [("trigger", key_of(CLOSED)), ("resolve", key_of(CLOSED))]


@pytest.mark.parametrize(
    ("exposure", "closed", "failed"),
    [
        ("internet", "critical", "critical"),
        ("private", "warning", "error"),
        ("unused", "info", "error"),
        ("moon", "warning", "error"),
        (None, "warning", "error"),
    ],
)
def test_severity_says_what_stands_behind(post, service, mailer, exposure, closed, failed):  # noqa: PLR0913, PLR0917
    """The internet's reach is critical, none at all is for information; a failure is an error at least."""
    behind = {"c7n:behind-ingress": {"exposure": exposure, "behind": ["RDS orders-db"]}} if exposure else {}
    work(post, mailer, about(*(without(group, "c7n:behind-ingress") | behind for group in (FAILED, CLOSED))))
    assert [each["events"][0]["payload"]["severity"] for each in service.incidents] == [failed, closed]


def test_an_event_says_what_the_mail_says(post, service, mailer):
    """What stands behind, who opened it, what made it, how to undo it and what was cut off is in the event."""
    work(post, mailer, about(CLOSED))
    ((event,),) = (each["events"] for each in service.incidents)
    details = json.dumps(event["payload"]["custom_details"], ensure_ascii=False)
    for fact in (
        "reachable from the internet",
        "2 addresses of the load balancer app/checkout",
        "opened again, 4th time since Monday",
        "Opened by the role Admin, in a session called",
        "named as the caller chose",
        "CloudFormation stack checkout-production",
        *(json.dumps(line, ensure_ascii=False)[1:-1] for line in CLOSED["c7n:undo-ingress"]),
        "interrupted at once",
        "Network Load Balancer",
    ):
        assert fact in details


# -- whatever names hold, and however much there is


def test_an_event_is_valid_whatever_names_hold(post, service, mailer):
    """Quotes, markup, line breaks, template syntax and endless texts make valid events, each under its group's key."""
    names = [
        '"}], "routing_key": "x',
        "<b>\u202e\t\n\x85\u2028\U0001f512",
        "{{ 7 * 7 }}",
        "\\u0022' && `[]`",
        "n" * 5000,
    ]
    groups = [
        CLOSED | {"GroupId": f"sg-{n}", "GroupName": name, "Tags": [{"Key": "owner", "Value": name}]}
        for n, name in enumerate(names)
    ]
    failures = [
        group | {"GroupId": f"{group['GroupId']}f", "c7n:failed-ingress": [group["GroupName"]] * 99} for group in groups
    ]
    work(post, mailer, about(*groups, *failures))
    assert service.refused == []
    assert len(service.incidents) == 2 * len(names)
    assert sum(each["open"] for each in service.incidents) == len(names)
    assert all(event["payload"]["summary"].isprintable() for each in service.incidents for event in each["events"])


def test_as_many_rules_as_there_can_be(post, service, mailer):
    """Groups with as many open rules as EC2 allows make events within PagerDuty's 512 KB; each group is told."""
    records = [CLOSED["c7n:replaced-ingress"][0] | {"description": "\U0001f512" * 255}] * 120
    groups = [CLOSED | {"GroupId": f"sg-{n}", "c7n:replaced-ingress": records} for n in range(15)]
    work(post, mailer, about(*groups))
    assert service.refused == []
    assert len(service.incidents) == 15
    (event,) = service.incidents[0]["events"]
    assert len(event["payload"]["custom_details"]["changes"]) == 50


# -- when PagerDuty fails


def test_keys_that_end_alike_are_not_taken_for_each_other(post, service, mailer):
    """Each service is told, though the log shows of its key the last four characters alone, and no region."""
    alike = f"pagerduty://{'A' * 28}{KEY[-4:]}"
    post.send(message_to(TARGET, alike, f"pagerduty://eu/{KEY}") | {"resources": [CLOSED]})
    with mailer() as function:
        assert post.work(function) == set()
    assert service.events == [("trigger", key_of(CLOSED)), ("resolve", key_of(CLOSED))] * 3


@pytest.mark.parametrize(
    "answer",
    [
        (429, {}, b"too many"),
        (500, {}, b""),
        (200, {}, b"this is no 202"),
        (400, {}, b'{"status": "invalid event"}'),
        None,
    ],
    ids=["429", "500", "200", "400", "hung up"],
)
def test_nothing_is_lost_and_nothing_doubled_when_pagerduty_fails(post, service, mailer, answer):
    """The events of the group that failed are sent again with the next try, in their order; those of others are not."""
    inbox = post.subscribe()
    sent = post.send(message_to(TARGET, TOPIC))
    service.next = ["take", "take", answer]  # the failure's event, CLOSED's first; its second is what fails
    with mailer() as function:
        assert post.work(function) == {sent}
        log = function.logs[0].read_text()
        assert post.work(function) == set()
    assert service.events == [
        ("trigger", key_of(FAILED)),
        ("trigger", key_of(CLOSED)),
        ("trigger", key_of(LAST)),
        ("resolve", key_of(LAST)),
        ("trigger", key_of(CLOSED)),
        ("resolve", key_of(CLOSED)),
    ]
    assert [(each["key"], each["open"]) for each in service.incidents] == [
        (key_of(FAILED), True),
        (key_of(CLOSED), False),
        (key_of(LAST), False),
    ]
    assert f"pagerduty://…{KEY[-4:]} {CLOSED['GroupId']}" in log
    assert KEY not in log
    assert len(inbox.read()) == 1


def test_what_finds_no_time_left_is_sent_with_the_next_try(service, tmp_path, monkeypatch):
    """Before the function's time is up the message is given back, and the next try goes on where this one stopped."""
    config = config_setup(yaml_load((MAILER / "mailer.yml").read_text(encoding="utf-8")))
    config |= {"templates_folders": [str(lambda_entry.TEMPLATES)]}
    mailer = lambda_entry.Mailer(config, boto3.Session(region_name="us-east-1"), lambda_entry.log)
    monkeypatch.setattr(lambda_entry, "mailer", lambda: mailer)
    record = event_record("m-1", pack(about(CLOSED, LAST)))
    with serving(service.hosts(), tmp_path) as internet:
        monkeypatch.setenv("https_proxy", internet.proxy)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(internet.authority))
        for left, kept in (([60_000, 30_000, 5_000], ["m-1"]), ([60_000] * 3, [])):
            context = Mock(get_remaining_time_in_millis=Mock(side_effect=left))
            answer = lambda_entry.handle({"Records": [record]}, context)
            assert [each["itemIdentifier"] for each in answer["batchItemFailures"]] == kept
    assert service.events == [(do, key_of(group)) for group in (CLOSED, LAST) for do in ("trigger", "resolve")]


def test_a_short_throttle_is_waited_out(post, service, mailer):
    """Where PagerDuty asks to wait for a second, the event is sent after it, and with the same try."""
    post.send(about(CLOSED))
    service.next = [(429, {"Retry-After": "1"}, b"")]
    with mailer() as function:
        assert post.work(function) == set()
    assert service.events == [("trigger", key_of(CLOSED)), ("resolve", key_of(CLOSED))]


def test_a_key_that_pagerduty_does_not_know_ends_in_the_dead_letter_queue(post, service, mailer):
    """An event that is refused with each try makes its message a dead letter."""
    post.send(about(CLOSED))
    service.next = [(400, {}, b'{"status": "invalid key"}')] * TRIES
    with mailer() as function:
        for _ in range(TRIES + 1):
            post.work(function)
    assert service.events == []
    assert len(post.sqs.receive_message(QueueUrl=post.dead_letters)["Messages"]) == 1


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"routing_key": "short"}, "routing_key: 32 characters"),
        ({"dedup_key": "x" * 256}, "dedup_key: a text of at most 255 characters"),
        (
            {"payload": {"summary": "x" * 1025, "source": "x", "severity": "info"}},
            "summary: required, at most 1024 characters",
        ),
        ({"payload": {"summary": "x", "source": "x", "severity": "high"}}, "severity: one of four"),
        ({"event_action": "close"}, "event_action: trigger, acknowledge or resolve"),
    ],
)
def test_pagerduty_here_refuses_what_pagerduty_refuses(change, rule):
    """The rules that the events are checked by can fail."""
    payload = {"summary": "x", "source": "x", "severity": "info"}
    event = {"routing_key": "k" * 32, "event_action": "trigger", "dedup_key": "x", "payload": payload}
    assert broken_rules(event) == []
    assert broken_rules(event | change) == [rule]
