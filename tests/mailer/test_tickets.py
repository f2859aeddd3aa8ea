"""Tickets in Jira and ServiceNow, from the message to the ticket, against servers with their published rules."""

import base64
import json
from time import sleep
from typing import NamedTuple

import boto3
import pytest
from c7n.utils import yaml_load

from c7n_ingress.decide import states
from c7n_ingress_tools.cli import main
from c7n_ingress_tools.mailer import channel, preview
from c7n_ingress_tools.mailer.channel import UndeliverableError
from c7n_ingress_tools.mailer.incidents import incidents_of
from c7n_ingress_tools.mailer.jira import Jira as JiraChannel
from c7n_ingress_tools.mailer.servicenow import ServiceNow as ServiceNowChannel
from tests.support import jira, servicenow
from tests.support.docs import BLOCKS
from tests.support.kept import once
from tests.support.posted import SAMPLE, TOPIC, TRIES, Post, message_to

CLOSED, LACKING, LAST = (
    {key: value for key, value in each.items() if key != "c7n:waiting-ingress"} for each in SAMPLE["resources"]
)
PLACE = f"123456789012/{SAMPLE['region']}"
HOSTILE = '"}], {noformat}[~admin] h1. x || <b> \u202e`{{7*7}}`" OR project = "SECRET" ^ORstate=1 [code]<script>[/code]'


class Service(NamedTuple):
    """One of the two services: its server, and how a policy and mailer.yml name it."""

    server: object
    target: str
    every: str
    section: str
    settings: dict
    channel: type


SERVICES = {
    "jira": lambda: Service(
        jira.Jira(),
        "jira://OPS",
        "jira://OPS/all",
        "jira",
        {"url": f"https://{jira.HOST}", "user": jira.USER},
        JiraChannel,
    ),
    "servicenow": lambda: Service(
        servicenow.ServiceNow(),
        "servicenow://",
        "servicenow://all",
        "servicenow",
        {"url": f"https://{servicenow.HOST}", "user": servicenow.USER},
        ServiceNowChannel,
    ),
}
TOKENS = {"jira": jira.TOKEN, "servicenow": servicenow.TOKEN}


@pytest.fixture(params=SERVICES)
def service(request):
    """Return a service, Jira or ServiceNow."""
    return SERVICES[request.param]()


@pytest.fixture
def tokens(cloud):
    """Return the ARN of the secret that holds each service's token, the same in all tests: they share a mailer."""
    return once(cloud, "tokens", lambda: {section: secret(cloud, token) for section, token in TOKENS.items()})


@pytest.fixture
def post(cloud, tokens, tmp_path):  # noqa: ARG001 - the secrets are put into the empty AWS
    """Return the queues, the role and the sender of e-mail, where the secrets are."""
    return Post(cloud, tmp_path)


def secret(cloud, token, region="us-east-1"):
    """Return the ARN of a secret that holds a token."""
    manager = cloud.session(region).client("secretsmanager")
    return manager.create_secret(Name=f"c7n-ingress/{len(manager.list_secrets()['SecretList'])}", SecretString=token)[
        "ARN"
    ]


@pytest.fixture
def mailer(post, service, tokens, internet):
    """Return what runs the mailer where the service's host is this server."""
    internet.hosts = service.server.hosts()

    def running(**changes):
        settings = service.settings | {"token": tokens[service.section]} | changes
        return post.mailer(internet, **{service.section: settings})

    return running


def in_state(state, group=CLOSED, **annotations):
    """Return a group of the sample in another state."""
    return group | {"c7n:state-ingress": state._asdict(), **annotations}


def without(resource, *keys):
    """Return a group without some of its annotations."""
    return {key: value for key, value in resource.items() if key not in keys}


FAILED = in_state(
    states.CLOSING.undone,
    without(LACKING, "c7n:lacking-ingress", "c7n:todo-ingress"),
    **{"c7n:failed-ingress": ["UnauthorizedOperation"]},
)
FIXED = in_state(states.CLOSING.done, without(FAILED, "c7n:failed-ingress"))


def about(target, *resources):
    """Return the sample message about some groups."""
    return message_to(target) | {"resources": list(resources)}


def work(post, function, *messages):
    """Send messages and make the mailer deliver each of them."""
    for message in messages:
        post.send(message)
        assert post.work(function) == set(), function.logs[0].read_text()


def key_of(group, more=""):
    """Return the key of a group's ticket."""
    return f"open-ingress/{PLACE}/{group['GroupId']}{more}"


def keys(service):
    """Return the key of each ticket, and whether it is open."""
    return [ticket[:2] for ticket in service.server.tickets()]


# -- what is a ticket, and what resolves it


def test_a_group_that_is_not_closed_is_one_ticket_until_a_run_closes_it(post, service, mailer):
    """A group that fails twice is one open ticket, a closed one is none; the run that closes it resolves it."""
    with mailer() as function:
        work(post, function, about(service.target, FAILED, CLOSED))
        again = FAILED | {"c7n:failed-ingress": ["DryRunOperation"]}
        work(post, function, about(service.target, again))
        assert keys(service) == [(key_of(FAILED), True)]
        ((_, _, summary, text),) = service.server.tickets()
        assert "DryRunOperation" in summary
        assert "DryRunOperation" in text
        assert "UnauthorizedOperation" not in text
        work(post, function, about(service.target, FIXED))
        assert keys(service) == [(key_of(FAILED), False)]
        work(post, function, about(service.target, FAILED))
    assert keys(service) == [(key_of(FAILED), False), (key_of(FAILED), True)]


def test_a_ticket_that_an_undo_resolves_says_so(post, service, mailer):
    """An undo resolves the ticket of its group, whose note does not say that the group is closed."""
    restored = without(FIXED, "c7n:replaced-ingress") | {"c7n:restored-ingress": FIXED["c7n:replaced-ingress"]}
    with mailer() as function:
        work(post, function, about(service.target, FAILED))
        work(post, function, about(service.target, in_state(states.RESTORING.done, restored)))
    assert keys(service) == [(key_of(FAILED), False)]
    stored = json.dumps(vars(service.server), default=str)
    assert "A run restored the security group." in stored
    assert "A run closed the security group." not in stored


def test_a_ticket_says_what_to_do_first(post, service, mailer):
    """A ticket begins with what a person must do, then has the whole command, and says what ends it."""
    with mailer() as function:
        work(post, function, about(service.target, LACKING))
    ((key, is_open, summary, text),) = service.server.tickets()
    assert is_open
    assert key.startswith(key_of(LACKING, "/blocked/"))
    assert LACKING["GroupId"] in summary
    todo = states.CLOSING.partly.todo
    assert text.startswith("What to do")
    assert todo[:40] in text.splitlines()[1]
    assert LACKING["c7n:todo-ingress"][0] in text
    assert states.CLOSING.partly.resolves in text


def test_a_change_in_a_ticket(post, service, mailer):
    """A ticket says what a rule was and is, and if it was removed, or perhaps replaced."""
    replaced = CLOSED["c7n:replaced-ingress"][0]
    changes = [replaced | {"how": "perhaps modified"}, replaced | {"now": None}]
    with mailer() as function:
        work(post, function, about(service.target, FAILED | {"c7n:replaced-ingress": changes}))
    ((_, _, _, text),) = service.server.tickets()
    assert "TCP 22 (SSH): 0.0.0.0/0 -> 198.18.7.0/24 perhaps replaced" in text
    assert "TCP 22 (SSH): 0.0.0.0/0 removed, " in text


def test_a_ticket_names_the_group_and_its_place(post, service, mailer):
    """However long the group's name and the reason are, the ticket names group, account and region in full."""
    restored = without(CLOSED, "c7n:replaced-ingress") | {"c7n:restored-ingress": CLOSED["c7n:replaced-ingress"]}
    why = {"c7n:failed-ingress": ["UnauthorizedOperation " * 20]}
    in_part = in_state(states.RESTORING.partly, restored, **why)
    long_name = FAILED | {"GroupName": "n" * 255}
    with mailer() as function:
        work(post, function, about(service.target, long_name, in_part))
    for group, (_, _, _, text) in zip((long_name, in_part), service.server.tickets(), strict=True):
        for fact in (group["GroupId"], SAMPLE["account"], SAMPLE["account_id"], SAMPLE["region"]):
            assert fact in text


def test_each_run_that_lacks_a_network_is_a_ticket(post, service, mailer):
    """A group that is closed resolves its own ticket; what one run could not add stays a ticket of that run."""
    records = [record | {"run": "another"} for record in LACKING["c7n:replaced-ingress"]]
    later = LACKING | {"c7n:replaced-ingress": records}
    with mailer() as function:
        work(post, function, *(about(service.target, each) for each in (FAILED, LACKING, LACKING, later, FIXED)))
    first, *blocked = keys(service)
    assert first == (key_of(LACKING), False)
    assert [is_open for _, is_open in blocked] == [True, True]
    assert len({key for key, _ in blocked}) == 2


def test_nothing_else_is_a_ticket(post, service, mailer):
    """A group that was closed without anyone's help, a preview and the digest of exemptions create no ticket."""
    record = CLOSED["c7n:replaced-ingress"][0] | {"how": "preview"}
    digest = preview.sample("sample-exempt")
    digest["action"] |= {"to": [service.every]}
    with mailer() as function:
        work(post, function, about(service.target, CLOSED))
        work(post, function, about(service.every, CLOSED | {"c7n:replaced-ingress": [record]}), digest)
    assert keys(service) == []


def test_all_records_what_was_closed(post, service, mailer):
    """With `all`, a group that was closed is a ticket of that run, resolved at once, and the same message adds none."""
    (change, *_) = CLOSED["c7n:replaced-ingress"]
    with mailer() as function:
        work(post, function, about(service.every, CLOSED, FAILED), about(service.every, CLOSED, FAILED))
    assert sorted(is_open for _, is_open in keys(service)) == [False, True]
    (text,) = (text for _, is_open, _, text in service.server.tickets() if not is_open)
    assert change["was"] in text
    assert CLOSED["c7n:undo-ingress"][0] in text


def test_what_at_most_left_open_is_one_ticket(post, service, mailer):
    """Groups that a run left open for its limit are one open ticket of the policy, which says how many they are."""
    with mailer() as function:
        work(post, function, *[about(service.target, CLOSED | {"c7n:waiting-ingress": number}) for number in (3, 1)])
    ((_, is_open, summary, text),) = service.server.tickets()
    assert is_open
    assert "1 more group not closed" in summary
    assert "raise at-most in settings.yml" in text


def test_what_the_watch_found_silent_is_one_ticket(post, service, mailer):
    """What mode/watch.yml reports day after day is one open ticket, with the words of its policy."""
    message = message_to(service.target)
    words = {"template": "open-ingress-watch", "violation_desc": "AWS Config is silent.", "action_desc": "Start it."}
    message |= {"action": message["action"] | words, "resources": [{"account_id": "123456789012"}]}
    with mailer() as function:
        work(post, function, message, message)
    ((_, is_open, _, text),) = service.server.tickets()
    assert is_open
    assert "AWS Config is silent." in text


# -- not twice


def test_two_messages_at_once_make_one_ticket(post, service, mailer):
    """Two messages of one batch about the same group are one ticket, also where the search does not know it yet."""
    service.server.lags = True
    for _ in range(2):
        post.send(about(service.target, FAILED))
    with mailer() as function:
        assert post.work(function) == set()
    assert keys(service) == [(key_of(FAILED), True)]


def test_a_message_that_comes_again_creates_nothing(post, service, mailer):
    """Another process that gets the same message updates the ticket."""
    with mailer() as function:
        for _ in range(2):
            work(post, function, about(service.target, FAILED))
            function.stop()
    assert keys(service) == [(key_of(FAILED), True)]


def test_of_two_tickets_the_first_remains(post, service, mailer):
    """If two processes created a ticket at the same time, the next message resolves the second."""
    with mailer() as function:
        work(post, function, about(service.target, FAILED))
    store = service.server.issues if service.section == "jira" else service.server.incidents
    number, first = next(iter(store.items()))
    twin = str(int(number) + 1) if service.section == "jira" else f"{2:032x}"
    store[twin] = json.loads(json.dumps(first)) | {"id": twin, "sys_id": twin}
    with mailer() as function:
        work(post, function, about(service.target, FAILED))
    assert keys(service) == [(key_of(FAILED), True), (key_of(FAILED), False)]


# -- whatever somebody typed, and however much there is


def test_what_somebody_typed_is_text(post, service, mailer):
    """Markup, template syntax, parts of queries and endless texts make valid tickets, each under its group's key."""
    names = [HOSTILE, "n" * 5000, "\u202e"]
    groups = [
        FAILED
        | {"GroupName": name, "Tags": [{"Key": "owner", "Value": name}], "c7n:failed-ingress": [name] * len(name[:9])}
        | {"GroupId": f"sg-{number}"}
        for number, name in enumerate(names)
    ]
    other = FAILED | {"GroupId": 'sg-1") OR ("1" = "1^ORstate=1'}
    with mailer() as function:
        work(post, function, about(service.target, LACKING), about(service.target, *groups, other))
        work(
            post,
            function,
            about(
                service.target,
                *(in_state(states.CLOSING.done, without(each, "c7n:failed-ingress")) for each in (*groups, other)),
            ),
        )
    assert [is_open for _, is_open in keys(service)] == [True, False, False, False, False]
    assert all(summary.isprintable() for _, _, summary, _ in service.server.tickets())
    assert all(len(key) <= service.channel.MOST_KEY for key, _ in keys(service))
    assert "[~admin]" in service.server.tickets()[1][2] + service.server.tickets()[1][3]


def test_as_many_rules_as_there_can_be(post, service, mailer):
    """A group with as many rules as EC2 allows is a ticket that the service takes whole, with each command."""
    records = [CLOSED["c7n:replaced-ingress"][0] | {"description": "\U0001f512" * 255}] * 80
    lines = LACKING["c7n:todo-ingress"] * 8
    with mailer() as function:
        many = {"c7n:replaced-ingress": records, "c7n:todo-ingress": lines}
        work(post, function, about(service.target, LACKING | many))
    ((_, _, _, text),) = service.server.tickets()
    assert text.count(lines[0]) == len(lines)
    assert LACKING["c7n:undo-ingress"][0] in text
    assert not any(each.get("cut") for each in getattr(service.server, "incidents", {}).values())


def test_many_closed_groups_are_asked_for_together(post, service, mailer):
    """A run that closes a hundred groups asks for their tickets in three requests."""
    with mailer() as function:
        work(post, function, about(service.target, *(CLOSED | {"GroupId": f"sg-{n:017x}"} for n in range(100))))
    assert len(service.server.calls) == 3


# -- when the service fails


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusal_keeps_the_message(post, service, mailer, status):
    """A request that is refused keeps the message, and the log has the status; the next try creates one ticket."""
    inbox = post.subscribe()
    group = FAILED | {"GroupId": f"sg-{status}"}  # the process knows no ticket of it
    message = about(service.target, group)
    sent = post.send(message | {"action": message["action"] | {"to": [service.target, TOPIC]}})
    service.server.next = ["take", (status, {}, b'{"errorMessages": ["refused"], "error": {"message": "refused"}}')]
    with mailer() as function:
        assert post.work(function) == {sent}
        assert post.work(function) == set()
        log = function.logs[0].read_text()
    assert f"HTTP {status}" in log
    assert TOKENS[service.section] not in log
    assert keys(service) == [(key_of(group), True)]
    assert len(inbox.read()) == 1


def test_a_throttle_is_waited_out(post, service, mailer):
    """Where the service asks to wait for a second, the request is sent again in the same try."""
    service.server.next = [(429, {"Retry-After": "1"}, b"{}")]
    with mailer() as function:
        work(post, function, about(service.target, FAILED))
    assert keys(service) == [(key_of(FAILED), True)]


def test_a_wrong_token_ends_in_the_dead_letter_queue(post, service, mailer):
    """A message that is refused with each try is a dead letter, and the log does not show the token."""
    post.send(about(service.target, FAILED))
    with mailer(token=secret(post.cloud, "wrong-token")) as function:
        for _ in range(TRIES + 1):
            post.work(function)
        log = function.logs[0].read_text()
    assert "HTTP 401" in log
    assert "wrong-token" not in log
    assert keys(service) == []
    assert len(post.sqs.receive_message(QueueUrl=post.dead_letters)["Messages"]) == 1


def test_a_redirect_is_not_followed(post, service, mailer, internet):
    """An answer that leads elsewhere is a failure, and nothing is sent there."""
    came = []
    internet.hosts |= {"elsewhere.example.com": lambda *request: came.append(request)}
    sent = post.send(about(service.target, FAILED))
    service.server.next = [(302, {"Location": "https://elsewhere.example.com/"}, b"")]
    with mailer() as function:
        assert post.work(function) == {sent}
    assert came == []
    assert keys(service) == []


def test_a_page_is_no_answer(post, service, mailer):
    """A server that answers with a page, as one that sleeps does, keeps the message."""
    sent = post.send(about(service.target, FAILED))
    service.server.next = [(200, {"Content-Type": "text/html"}, b"<html>asleep</html>")]
    with mailer() as function:
        assert post.work(function) == {sent}
        assert "an answer " in function.logs[0].read_text()


def test_a_server_that_never_answers_is_given_up(service, internet, monkeypatch):
    """A server that takes a request and never answers ends the try, before Lambda ends the function."""
    monkeypatch.setattr(channel, "HTTP_TIMEOUT", 1)

    (host,) = service.server.hosts()
    internet.hosts = {host: lambda *_: sleep(3)}
    monkeypatch.setenv("https_proxy", internet.proxy)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(internet.authority))
    desk = service.channel({service.section: service.settings | {"token": ""}}, boto3.Session(), None)
    desk.token = "known"
    with pytest.raises(UndeliverableError, match=r": no answer: ReadTimeout$"):
        desk.find("OPS", ["open-ingress/x"], ended=False)


@pytest.mark.parametrize("service", ["jira"], indirect=True)
def test_a_project_that_does_not_exist_fails_alone(post, service, mailer):
    """A project that Jira does not know keeps the message, with Jira's words; the other project has its ticket."""
    sent = post.send(message_to("jira://NOPE", "jira://OPS") | {"resources": [FAILED]})
    with mailer() as function:
        assert post.work(function) == {sent}
        assert "does not exist for the field" in function.logs[0].read_text()
    assert keys(service) == [(key_of(FAILED), True)]


@pytest.mark.parametrize(("named", "made"), [(None, "31"), ("Won't do", "41"), ("Ship it", None)])
@pytest.mark.parametrize("service", ["jira"], indirect=True)
def test_a_transition_can_be_named(post, service, mailer, named, made):
    """An issue is resolved by the transition that mailer.yml names, or by the first one that ends it."""
    with mailer(**{"transition": named} if named else {}) as function:
        work(post, function, about("jira://OPS", FAILED))
        post.send(about("jira://OPS", FIXED))
        assert bool(post.work(function)) == (made is None)
    (issue,) = service.server.issues.values()
    assert issue.get("transition") == made


@pytest.mark.parametrize("service", ["jira"], indirect=True)
def test_a_transition_that_jira_refuses_adds_no_comment(post, service, mailer, monkeypatch):
    """A transition that Jira refuses keeps the message; the try that Jira accepts adds the only comment."""
    refused = 400, {"errorMessages": [], "errors": {"resolution": "Resolution is required."}}
    take = service.server.transition
    with mailer() as function:
        work(post, function, about("jira://OPS", FAILED))
        sent = post.send(about("jira://OPS", FIXED))
        with monkeypatch.context() as patch:
            patch.setattr(service.server, "transition", lambda issue, body: refused if body else take(issue, body))
            for _ in range(2):
                assert post.work(function) == {sent}
        assert "Resolution is required" in function.logs[0].read_text()
        assert post.work(function) == set()
    (issue,) = service.server.issues.values()
    assert (issue["transition"], issue["comments"]) == ("31", ["A run closed the security group."])


def test_a_ticket_that_cannot_be_resolved_keeps_no_other_open(post, service, mailer):
    """Of two groups that are closed, the second has its ticket resolved though the first one's is refused."""
    names = [f"sg-{number}" for number in (1, 2)]
    with mailer() as function:
        work(post, function, about(service.target, *({**FAILED, "GroupId": name} for name in names)))
        ended = about(service.target, *({**FIXED, "GroupId": name} for name in names))
        looks = ["take"] * (3 if service.section == "jira" else 1)
        service.server.next = [*looks, (400, {}, b'{"errorMessages": ["no"], "error": {"message": "no"}}')]
        sent = post.send(ended)
        assert post.work(function) == {sent}
        assert "HTTP 400" in function.logs[0].read_text()
    assert sorted(is_open for _, is_open in keys(service)) == [False, True]


# -- configuration


def encrypted(cloud, token, region):
    """Return a token as KMS encrypts it in a region."""
    kms = cloud.session(region).client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    return base64.b64encode(kms.encrypt(KeyId=key, Plaintext=token.encode())["CiphertextBlob"]).decode()


def test_a_token_in_secrets_manager_or_under_kms(post, internet):
    """A token is read from a secret of any region, or decrypted by KMS; one that AWS refuses keeps the message."""
    both = [make() for make in SERVICES.values()]
    internet.hosts = {host: answer for service in both for host, answer in service.server.hosts().items()}

    def mailer(made, region):
        settings = {each.section: {"token": made(post.cloud, TOKENS[each.section], region)} for each in both}
        return post.mailer(internet, **{each.section: each.settings | settings[each.section] for each in both})

    targets = [each.target for each in both]
    with mailer(secret, "eu-west-1") as function:
        work(post, function, message_to(*targets) | {"resources": [FAILED]})
    for region, is_read in (("eu-west-1", False), ("us-east-1", True)):
        post.send(message_to(*targets) | {"resources": [FIXED]})
        with mailer(encrypted, region) as function:
            assert bool(post.work(function)) == (not is_read)
            log = function.logs[0].read_text()
        for service in both:
            assert (f"{service.section}: the token cannot be read" in log) == (not is_read)
            assert keys(service) == [(key_of(FAILED), not is_read)]


def test_a_target_without_its_settings_or_that_is_not_allowed_fails(post, service):
    """A target needs its section in mailer.yml, and must be under recipients."""
    with post.mailer() as function:
        sent = post.send(about(service.target, FAILED))
        assert post.work(function) == {sent}
        log = function.logs[0].read_text()
        assert f"{service.target} {FAILED['GroupId']}: it needs {service.section} in mailer.yml" in log
    with post.mailer(recipients=[]) as function:
        sent = post.send(about(service.target, FAILED))
        assert sent in post.work(function)
        assert f"{service.target} is not allowed" in function.logs[0].read_text()


GOOD = {"url": "https://example.com", "user": "u", "token": "AAAA"}


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "http://example.com"}, "url is not an address such as https://"),
        ({"url": "https://u:secret@example.com"}, "url is not an address such as https://"),
        ({"token": "plain-secret"}, "token is neither the ARN of a secret in Secrets Manager nor base64 from KMS"),
        ({"user": None}, "user: None is not of type 'string'"),
        ({"proxy": "x"}, "'proxy' was unexpected"),
    ],
)
def test_bad_settings_are_refused(post, service, capsys, settings, complaint):
    """The deployment refuses bad settings with one line that names the key and no secret, and makes nothing."""
    post.cloud.calls.clear()
    assert main(["mailer", "deploy", "-c", str(post.config(**{service.section: GOOD | settings}))]) == 2
    said = capsys.readouterr().err
    assert f"{service.section}" in said
    assert complaint in said
    assert "secret@" not in said
    assert "plain-secret" not in said
    assert post.cloud.calls == []


def test_the_documented_settings_are_valid(post, capsys):
    """The page's recipients and settings are what the mailer takes."""
    blocks = [yaml_load(block.text) for block in BLOCKS if block[:3] == ("docs/notify.md", "Tickets", "yaml")]
    settings = {key: value for block in blocks for key, value in block.items()}
    assert JiraChannel.takes(settings["tell"][1])
    assert ServiceNowChannel.takes(settings["tell"][2])
    assert set(settings["tell"][1:]) == set(settings["recipients"])
    sections = {key: settings[key] for key in ("jira", "servicenow", "recipients")}
    assert main(["mailer", "deploy", "-c", str(post.config(**sections))]) == 0, capsys.readouterr().err


def test_tickets_and_pagerduty_have_one_idea_of_an_incident():
    """What opens, ends and records is worked out once, from the facts."""
    facts = JiraChannel.facts_of(SAMPLE, [FAILED, CLOSED])
    failed, closed = incidents_of(facts)
    assert (failed.key, failed.ends, failed.record) == (key_of(FAILED), "", "")
    assert (closed.key, closed.ends) == ("", key_of(CLOSED))
    assert closed.record.startswith(key_of(CLOSED, "/closed/"))
