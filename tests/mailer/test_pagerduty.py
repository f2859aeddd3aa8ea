"""PagerDuty's Events API v2, from the policy to the incident, against its published rules."""

import json
from functools import partial
from unittest.mock import Mock

import boto3
import pytest
from c7n.utils import yaml_load

from c7n_ingress.decide import states
from c7n_ingress_tools.mailer import lambda_entry, preview
from tests.support.docs import BLOCKS
from tests.support.embedded import group_of, load, run, shipped
from tests.support.pagerduty import KEY, PagerDuty, broken_rules
from tests.support.posted import MAILER, ON_CALL, SAMPLE, TOPIC, TRIES, event_record, message_to, pack

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "from anywhere"}
TARGET = f"pagerduty://{KEY}"
CLOSED, LACKING, LAST = (
    {key: value for key, value in each.items() if key != "c7n:waiting-ingress"} for each in SAMPLE["resources"]
)


def in_state(state, group=CLOSED, **annotations):
    """Return a group of the sample in another state."""
    return group | {"c7n:state-ingress": state._asdict(), **annotations}


FAILED = in_state(
    states.CLOSING.undone,
    {key: value for key, value in LACKING.items() if key not in ("c7n:lacking-ingress", "c7n:todo-ingress")},
    **{"c7n:failed-ingress": ["UnauthorizedOperation"]},
)


@pytest.fixture
def service():
    """Return a service of PagerDuty."""
    return PagerDuty()


@pytest.fixture
def mailer(post, service, internet):
    """Return what runs the mailer where PagerDuty is this service."""
    internet.hosts = service.hosts()
    return partial(post.mailer, internet)


def documented(word):
    """Return the block of docs/notify.md that contains a word."""
    (block,) = (block.text for block in BLOCKS if block[:3:2] == ("docs/notify.md", "yaml") and word in block.text)
    return block


def told_as_documented(policy, folder, word, authorized=("198.18.7.0/24", "2001:2:0:7::/64")):
    """Return a policy with the recipients of the page's block, without the topic."""
    topic, *people = yaml_load(documented(word))["tell"]
    assert topic == "arn:{partition}:sns:{region}:{account_id}:open-ingress"
    return shipped(policy, folder, authorized, tell=people)


def key_of(group):
    """Return the key under which a group that is not closed is one incident."""
    return f"open-ingress/123456789012/{SAMPLE['region']}/{group['GroupId']}"


def blocked_key_of(group):
    """Return the key of the incident about the networks that a run could not add to a group."""
    return f"{key_of(group)}/blocked/{group['c7n:replaced-ingress'][0]['run']}"


# -- from the policy to the incident


def test_a_group_without_room_is_an_incident_that_says_what_to_do(cloud, post, service, mailer, tmp_path):
    """A sweep that closes groups opens an incident for the one that lacks a network, and none for the others."""
    crowded = [{"protocol": "tcp", "ports": port, "source": "10.0.0.0/8"} for port in range(1000, 1059)]
    load([group_of({"name": f"web-{n}", "ingress": [SSH, *rules]}, n) for n, rules in ((1, []), (2, crowded))])
    networks = ["198.18.7.0/24", "198.18.9.0/24", "2001:2:0:7::/64"]
    policy = told_as_documented("open-ingress-sweep", tmp_path, "pagerduty://", networks)
    assert run(cloud, policy, tmp_path / "out").returncode != 0
    with mailer() as function:
        assert post.work(function) == set()
    assert service.refused == []
    first, second = (f"open-ingress/123456789012/us-east-1/sg-{n:017x}" for n in (1, 2))
    assert sorted(event for event in service.events if event[0] == "resolve") == [
        ("resolve", first),
        ("resolve", second),
    ]
    (incident,) = service.incidents
    assert incident["open"]
    assert incident["key"].startswith(f"{second}/blocked/")
    (event,) = incident["events"]
    why = "198.18.9.0/24 could not be added for tcp 22"
    says = f'Open ingress closed, but {why}: sg-{2:017x} "web-2" in 123456789012 us-east-1'
    assert (event["payload"]["summary"], event["payload"]["severity"]) == (says, "warning")
    details = event["payload"]["custom_details"]
    assert details["what ends this incident"] == states.CLOSING.partly.resolves
    assert "Raise the quota for inbound rules" in details["what to do"]
    (command,) = details["to add what is missing, if these networks are yours"]
    assert command.startswith("aws ec2 authorize-security-group-ingress --region us-east-1 ")
    assert "198.18.9.0/24" in command


@pytest.mark.parametrize("word", [ON_CALL, "slack://#security", "teams.ms", "pagerduty://"])
def test_each_documented_list_of_people_is_valid(cloud, tmp_path, word):
    """A run takes the page's lists of recipients as settings, as they are written."""
    policy = told_as_documented("open-ingress-sweep", tmp_path, word)
    done = run(cloud, policy, tmp_path / "out", "--dryrun")
    assert done.returncode == 0, done.stderr
    assert word in json.loads((tmp_path / "settings.json").read_text())["tell"][-1]


def test_a_teams_channel_gets_the_mail(post):
    """The e-mail address of a Teams channel is a target like any other address."""
    address = yaml_load(documented("teams.ms"))["tell"][-1]
    post.send(message_to(address))
    with post.mailer(recipients=[address]) as function:
        assert post.work(function) == set()
    (mail,) = post.mails()
    assert (mail["To"], mail.get_content_type()) == (address, "multipart/alternative")


# -- what is an incident, and what resolves it


def work(post, mailer, *messages):
    """Make the mailer deliver messages, one after the other."""
    with mailer() as function:
        for message in messages:
            post.send(message)
            assert post.work(function) == set()


def about(*resources, **changes):
    """Return the sample message about some groups."""
    return message_to(TARGET) | {"resources": list(resources)} | changes


def without(resource, *keys):
    """Return a group without some of its annotations."""
    return {key: value for key, value in resource.items() if key not in keys}


def test_a_group_that_is_not_closed_is_one_incident_until_a_run_closes_it(post, service, mailer):
    """A group that fails twice is one open incident, a closed one is none; the run that closes it resolves it."""
    work(post, mailer, about(FAILED, CLOSED), about(FAILED))
    assert [(each["key"], each["open"]) for each in service.incidents] == [(key_of(FAILED), True)]
    assert len(service.incidents[0]["events"]) == 2
    work(post, mailer, about(in_state(states.CLOSING.done, without(FAILED, "c7n:failed-ingress"))))
    assert [(each["key"], each["open"]) for each in service.incidents] == [(key_of(FAILED), False)]


def test_a_closed_group_that_lacks_a_network_resolves_the_incident_that_it_is_open(post, service, mailer):
    """The group's own incident ends; what is lacking is an incident of the run, which a message sent twice repeats."""
    work(post, mailer, about(FAILED), about(LACKING), about(LACKING))
    assert [(each["key"], each["open"], len(each["events"])) for each in service.incidents] == [
        (key_of(LACKING), False, 1),
        (blocked_key_of(LACKING), True, 2),
    ]


def test_each_run_that_lacks_a_network_is_an_incident(post, service, mailer):
    """What one run could not add does not hide what a later run could not add."""
    records = [record | {"run": "another"} for record in LACKING["c7n:replaced-ingress"]]
    later = LACKING | {"c7n:replaced-ingress": records}
    work(post, mailer, about(LACKING), about(later), about(in_state(states.CLOSING.done, without(later, *LACKS))))
    assert [(each["key"], each["open"]) for each in service.incidents] == [
        (blocked_key_of(LACKING), True),
        (blocked_key_of(later), True),
    ]


LACKS = ("c7n:lacking-ingress", "c7n:todo-ingress")


@pytest.mark.parametrize(
    ("state", "annotation"),
    [
        (states.SKIPPED, {"c7n:skipped-ingress": "another's"}),
        (states.CLOSING.undone, {"c7n:left-ingress": ["pl-1 unread"]}),
    ],
)
def test_what_was_left_open_stays_an_incident(post, service, mailer, state, annotation):
    """A group of another account, and one whose prefix list cannot be read, are incidents that say what ends them."""
    work(post, mailer, about(in_state(state, without(LAST, "c7n:replaced-ingress"), **annotation)))
    ((event,),) = (each["events"] for each in service.incidents if each["open"])
    assert event["payload"]["summary"].startswith(f"Open ingress {state.name}: sg-03a5c7e9b1d2f4068")
    assert event["payload"]["custom_details"]["what ends this incident"] == state.resolves


def test_a_failure_in_a_state_that_the_mailer_does_not_know_is_an_incident(post, service, mailer):
    """A group that failed is one incident, also if its policy is newer than the mailer and has another state."""
    newer = states.CLOSING.undone._replace(name="a state of a later version")
    work(post, mailer, about(in_state(newer, FAILED)))
    assert [(each["key"], each["open"]) for each in service.incidents] == [(key_of(FAILED), True)]


def test_a_preview_a_notice_and_the_digest_open_no_incident(post, service, mailer):
    """What nobody has changed, or is only announced, wakes nobody; the message counts as delivered."""
    record = CLOSED["c7n:replaced-ingress"][0] | {"how": "preview"}
    digest = preview.sample("sample-exempt")
    digest["action"] |= {"to": [TARGET]}
    work(post, mailer, about(CLOSED | {"c7n:replaced-ingress": [record]}), digest)
    assert service.events == []


def test_what_the_watch_found_silent_is_one_incident(post, service, mailer):
    """What mode/watch.yml reports day after day is one open incident, with the words of its policy."""
    message = message_to(TARGET)
    words = {"template": "open-ingress-watch", "violation_desc": "AWS Config is silent.", "action_desc": "Start it."}
    message |= {"action": message["action"] | words, "resources": [{"account_id": "123456789012"}]}
    work(post, mailer, message, message)
    (incident,) = service.incidents
    assert incident["open"]
    assert len(incident["events"]) == 2
    assert "AWS Config is silent." in incident["events"][0]["payload"]["custom_details"].values()


def test_what_at_most_left_open_is_one_incident(post, service, mailer):
    """Groups that a run left open for its limit are one incident of the policy, though all others were closed."""
    work(post, mailer, *[about(CLOSED | {"c7n:waiting-ingress": number}) for number in (3, 1)])
    (incident,) = service.incidents
    assert (incident["key"], incident["open"]) == ("open-ingress-at-most/123456789012/eu-central-1/open-ingress", True)
    payload = incident["events"][-1]["payload"]
    assert (payload["summary"], payload["severity"]) == (
        "Open ingress: 1 more group not closed (123456789012 eu-central-1)",
        "error",
    )
    assert payload["custom_details"]["what to do"].startswith("1 more group not closed: this run closed as many")
    assert payload["custom_details"]["what ends this incident"].startswith("Resolve it by hand")


def test_undoing_resolves_and_opens_nothing(post, service, mailer):
    """A group that was given back what was replaced is no incident, and resolves the one that was there."""
    restored = without(CLOSED, "c7n:replaced-ingress")
    restored |= {"c7n:restored-ingress": [CLOSED["c7n:replaced-ingress"][0] | {"how": "restored"}]}
    restored = in_state(states.RESTORING.done, restored)
    work(post, mailer, about(FAILED | {"GroupId": CLOSED["GroupId"]}), about(restored))
    assert [(each["key"], each["open"]) for each in service.incidents] == [(key_of(CLOSED), False)]
    assert service.events == [("trigger", key_of(CLOSED)), ("resolve", key_of(CLOSED))]


@pytest.mark.parametrize(
    ("exposure", "severity"),
    [("internet", "critical"), ("private", "error"), ("unused", "error"), ("moon", "error"), (None, "error")],
)
def test_severity_says_what_the_internet_can_reach(post, service, mailer, exposure, severity):
    """A failure is critical where the internet comes in, else an error; clients that are blocked are a warning."""
    behind = {"c7n:behind-ingress": {"exposure": exposure, "behind": ["RDS orders-db"]}} if exposure else {}
    failed = in_state(states.CLOSING.undone, LAST, **{"c7n:failed-ingress": ["UnauthorizedOperation"]})
    work(post, mailer, about(*(without(group, "c7n:behind-ingress") | behind for group in (failed, LACKING))))
    assert [each["events"][0]["payload"]["severity"] for each in service.incidents] == [severity, "warning"]


def test_an_event_says_what_the_mail_says(post, service, mailer):
    """Why, what uses the group, who opened it, what made it, how to undo it and what is interrupted is in the event."""
    failed = in_state(states.CLOSING.undone, **{"c7n:failed-ingress": ["UnauthorizedOperation"]})
    work(post, mailer, about(failed))
    ((event,),) = (each["events"] for each in service.incidents)
    details = json.dumps(event["payload"]["custom_details"], ensure_ascii=False)
    for fact in (
        "UnauthorizedOperation",
        "A later run that closes the group resolves this incident.",
        "reachable from the internet",
        "2 addresses of the load balancer app/checkout",
        "pened again, 4th time since Monday",
        "Opened by the role Admin, in a session called",
        "the caller chose the names of session and tool",
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
    assert [each["open"] for each in service.incidents] == [True] * len(names)
    assert all(event["payload"]["summary"].isprintable() for each in service.incidents for event in each["events"])


def test_as_many_rules_as_there_can_be(post, service, mailer):
    """Groups with as many open rules as EC2 allows make events within PagerDuty's 512 KB; each group is reported."""
    records = [CLOSED["c7n:replaced-ingress"][0] | {"description": "\U0001f512" * 255}] * 80
    groups = [LACKING | {"GroupId": f"sg-{n}", "c7n:replaced-ingress": records} for n in range(12)]
    work(post, mailer, about(*groups))
    assert service.refused == []
    assert len(service.incidents) == 12
    (event,) = service.incidents[0]["events"]
    assert len(event["payload"]["custom_details"]["changes"]) == 50


# -- when PagerDuty fails


def test_keys_that_end_alike_are_not_taken_for_each_other(post, service, mailer):
    """Each service is notified, though the log shows of its key the last four characters alone, and no region."""
    alike = f"pagerduty://{'A' * 28}{KEY[-4:]}"
    post.send(message_to(TARGET, alike, f"pagerduty://eu/{KEY}") | {"resources": [CLOSED]})
    with mailer() as function:
        assert post.work(function) == set()
    assert service.events == [("resolve", key_of(CLOSED))] * 3


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
    sent = post.send(message_to(TARGET, TOPIC) | {"resources": [CLOSED, LACKING, LAST]})
    service.next = ["take", answer]  # the first event of LACKING; its second is what fails
    with mailer() as function:
        assert post.work(function) == {sent}
        log = function.logs[0].read_text()
        assert post.work(function) == set()
    assert service.events == [
        ("resolve", key_of(LACKING)),
        ("resolve", key_of(CLOSED)),
        ("resolve", key_of(LAST)),
        ("resolve", key_of(LACKING)),
        ("trigger", blocked_key_of(LACKING)),
    ]
    assert [(each["key"], each["open"]) for each in service.incidents] == [(blocked_key_of(LACKING), True)]
    assert f"pagerduty://…{KEY[-4:]} {LACKING['GroupId']}" in log
    assert KEY not in log
    assert len(inbox.read()) == 1


def test_what_finds_no_time_left_is_sent_with_the_next_try(service, internet, monkeypatch):
    """Before the function's time is up the message is given back, and the next try goes on where this one stopped."""
    config = yaml_load((MAILER.parents[1] / "mailer.yml").read_text(encoding="utf-8")) | {"recipients": [TARGET]}
    mailer = lambda_entry.Mailer(config, boto3.Session(region_name="us-east-1"))
    monkeypatch.setattr(lambda_entry, "mailer", lambda: mailer)
    record = event_record("m-1", pack(about(LACKING, LAST)))
    internet.hosts = service.hosts()
    monkeypatch.setenv("https_proxy", internet.proxy)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(internet.authority))
    for left, kept in (([60_000, 30_000, 5_000], ["m-1"]), ([60_000] * 3, [])):
        context = Mock(get_remaining_time_in_millis=Mock(side_effect=left))
        answer = lambda_entry.handle({"Records": [record]}, context)
        assert [each["itemIdentifier"] for each in answer["batchItemFailures"]] == kept
    assert service.events == [
        ("resolve", key_of(LACKING)),
        ("trigger", blocked_key_of(LACKING)),
        ("resolve", key_of(LAST)),
    ]


def test_a_short_throttle_is_waited_out(post, service, mailer):
    """Where PagerDuty asks to wait for a second, the event is sent after it, and with the same try."""
    post.send(about(CLOSED))
    service.next = [(429, {"Retry-After": "1"}, b"")]
    with mailer() as function:
        assert post.work(function) == set()
    assert service.events == [("resolve", key_of(CLOSED))]


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
