import asyncio
import base64
import copy
import email
import re
import subprocess
import sys
import zlib
from functools import partial
from importlib import metadata
from pathlib import Path
from threading import Thread

import pytest
from aiosmtpd.smtp import SMTP
from c7n.mu import generate_requirements

from c7n_ingress_tools.cli import main
from c7n_ingress_tools.mailer import deploy
from tests.support.posted import ACCOUNT, ON_CALL, SAMPLE, TOPIC, TRIES, event_record, message_to, pack

ROOT = Path(__file__).parents[2]
OTHER_ACCOUNT = "111122223333"
ROLE = "AROA0123456789EXAMPLE"
READS = ("Get", "List", "Describe")


def without(post, key):
    """Write a copy of the shipped configuration that lacks a key, and return its path."""
    path = type(post).config(post)
    path.write_text(re.sub(rf"^{key}:.*\n", "", path.read_text(), flags=re.MULTILINE))
    return path


# -- deploying it


def plainly(post, tmp_path, *packages):
    """Deploy where these packages, and what they require, are installed alone, and return the finished command."""
    installed = tmp_path / "installed"
    installed.mkdir()
    required = generate_requirements(packages, include_self=True).splitlines()
    for line in (*required, "c7n-ingress"):
        distribution = metadata.distribution(line.partition("==")[0])
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (installed / top).exists():
                (installed / top).symlink_to(distribution.locate_file(top))
    return subprocess.run(
        [sys.executable, "-S", "-m", "c7n_ingress_tools", "mailer", "deploy", "-c", post.config()],
        env=post.cloud.environment() | {"PYTHONPATH": f"{ROOT}/mode:{ROOT}/actions:{installed}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_package_that_is_missing_is_named(post, tmp_path):
    """Where an older version's extra lacks a package, the command names it and the fix, and makes nothing."""
    done = plainly(post, tmp_path, "c7n", "c7n-mailer", "click")
    fix = "pip install 'c7n-ingress[mailer]', or '.[mailer]' in a clone of the project"
    assert (done.returncode, done.stderr) == (2, f"atlassian-python-api is not installed: {fix}\n")
    assert post.cloud.session().client("lambda").list_functions()["Functions"] == []


def test_one_command_deploys_it_from_a_plain_install(post, tmp_path):
    """With c7n, click, the extra's packages and what they require alone, the command makes function and trigger."""
    done = plainly(post, tmp_path, "c7n", "c7n-mailer", "click", "atlassian-python-api")
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:custodian-mailer"
    assert (done.stdout, done.stderr) == (
        f"{arn} delivers what is sent to the queue custodian-mailer in us-east-1\n",
        "",
    )
    client = post.cloud.session().client("lambda")
    function = client.get_function_configuration(FunctionName="custodian-mailer")
    assert function["Role"] == f"arn:aws:iam::{ACCOUNT}:role/custodian-mailer"
    (mapping,) = client.list_event_source_mappings(FunctionName="custodian-mailer")["EventSourceMappings"]
    assert mapping["EventSourceArn"] == f"arn:aws:sqs:us-east-1:{ACCOUNT}:custodian-mailer"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] == 1


def test_a_second_deployment_changes_nothing(post):
    """Where everything is as it should be, the command only looks."""
    assert main(["mailer", "deploy", "-c", str(post.config())]) == 0
    post.cloud.calls.clear()
    assert main(["mailer", "deploy", "-c", str(post.config())]) == 0
    assert [call for call in post.cloud.calls if not call.action.startswith(READS)] == []


def test_a_deployment_sets_right_what_is_not_as_it_should_be(post):
    """A changed configuration, and an event source that somebody turned off, are put right."""
    assert main(["mailer", "deploy", "-c", str(post.config())]) == 0
    client = post.cloud.session().client("lambda")
    (mapping,) = client.list_event_source_mappings(FunctionName="custodian-mailer")["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False, BatchSize=10)
    assert main(["mailer", "deploy", "-c", str(post.config(memory=512))]) == 0
    assert client.get_function_configuration(FunctionName="custodian-mailer")["MemorySize"] == 512
    (mapping,) = client.list_event_source_mappings(FunctionName="custodian-mailer")["EventSourceMappings"]
    assert mapping["State"] == "Enabled"
    assert mapping["BatchSize"] == 1


def test_one_configuration_serves_every_region(post):
    """`--region` deploys into another region, next to its queue and under the partition's role."""
    session = post.cloud.session(region="cn-north-1")
    session.client("sqs").create_queue(QueueName="custodian-mailer")
    session.client("iam").create_role(RoleName="custodian-mailer", AssumeRolePolicyDocument="{}")
    assert main(["mailer", "deploy", "-c", str(post.config()), "--region", "cn-north-1"]) == 0
    client = session.client("lambda")
    function = client.get_function_configuration(FunctionName="custodian-mailer")
    assert function["Role"] == f"arn:aws-cn:iam::{ACCOUNT}:role/custodian-mailer"
    (mapping,) = client.list_event_source_mappings(FunctionName="custodian-mailer")["EventSourceMappings"]
    assert mapping["EventSourceArn"] == f"arn:aws-cn:sqs:cn-north-1:{ACCOUNT}:custodian-mailer"


def test_the_same_files_make_the_same_archive(post):
    """The archive depends on nothing but what is in it, holds no compiled module, and is far from Lambda's limit."""
    config = deploy.read_config(post.config())
    first, second = deploy.build_archive(config), deploy.build_archive(config)
    assert first.get_checksum() == second.get_checksum()
    assert not [name for name in first.get_filenames() if name.endswith((".so", ".pyd", ".pyc"))]
    assert first.size < 5_000_000


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"queue_uri": "x"}, "'queue_uri' was unexpected"),
        ({"memory": "much"}, "'much' is not of type 'integer'"),
        ({"sendgrid_api_key": "x"}, "'sendgrid_api_key' was unexpected"),
        ({"splunk_hec_url": "x"}, "'splunk_hec_url' was unexpected"),
        (
            {"slack_webhook": "https://hooks.slack-gov.com/services/T0/B0/secret"},
            "slack_webhook is not an address such as https://hooks.slack.com/services/",
        ),
    ],
)
def test_a_configuration_that_would_not_deliver_is_refused(post, capsys, changes, complaint):
    """The command names what is wrong, and makes nothing."""
    post.cloud.calls.clear()
    assert main(["mailer", "deploy", "-c", str(post.config(**changes))]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert "secret" not in said
    assert post.cloud.calls == []


@pytest.mark.parametrize("key", ["queue_url", "role"])
def test_a_key_that_is_missing_is_named(post, capsys, key):
    """Without a key that the deployment needs, the command names it in one line, and makes nothing."""
    path = without(post, key)
    post.cloud.calls.clear()
    assert main(["mailer", "deploy", "-c", str(path)]) == 2
    assert capsys.readouterr().err == f"c7n-ingress: {path}: '{key}' is a required property\n"
    assert post.cloud.calls == []


def test_a_folder_without_the_configuration(tmp_path, capsys, monkeypatch):
    """In a folder that has no mode/mailer.yml, the command says how to name the file."""
    monkeypatch.chdir(tmp_path)
    assert main(["mailer", "deploy"]) == 2
    said = "c7n-ingress: mode/mailer.yml: No such file or directory: name another file with --config\n"
    assert capsys.readouterr().err == said


def test_a_missing_queue_is_named(post, capsys):
    """Without the stack's queue the command says which queue it looked for, and where."""
    assert main(["mailer", "deploy", "-c", str(post.config()), "--region", "eu-west-3"]) == 2
    assert re.search(r"queue custodian-mailer in eu-west-3: .*does not exist", capsys.readouterr().err)


# -- delivering


def text_of(mail):
    """Return the plain text of a mail."""
    return mail.get_payload()[0].get_payload(decode=True).decode()


def test_a_message_reaches_topic_and_mailbox(post):
    """The deployed function sends plain text to the topic, and the same text with HTML to the mailbox."""
    inbox = post.subscribe()
    post.send(message_to(TOPIC, ON_CALL))
    with post.mailer() as function:
        assert post.work(function) == set()
    ((subject, text),) = inbox.read()
    assert subject == SAMPLE["action"]["subject"]
    assert 'CLOSED, BUT …: sg-08d2b6e4f0a1c3957 "orders-db"' in text
    (mail,) = post.mails()
    assert (mail["To"], mail["From"], mail["Subject"]) == (ON_CALL, "custodian@example.com", subject)
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = mail.get_payload()
    assert plain.get_payload(decode=True).decode() == text
    assert html.get_content_type() == "text/html"
    assert "<h2>orders-db" in html.get_payload(decode=True).decode()


@pytest.mark.parametrize(
    ("subject", "policy", "shown"),
    [
        ("{{ 7 * 7 }} {% set x = 1 %}", "open-ingress", "{{ 7 * 7 }} {% set x = 1 %}"),
        ("one line\r\nBcc: ceo@example.com", "open-ingress", "one line Bcc: ceo@example.com"),
        (None, "{{ 7 * 7 }}", "Open ingress: {{ 7 * 7 }}"),
    ],
)
def test_a_subject_is_text(post, subject, policy, shown):
    """A subject, and the name of a policy that replaces it, are text on one line: nothing interprets them."""
    inbox = post.subscribe()
    message = message_to(TOPIC, ON_CALL, subject=subject) | {"policy": {"name": policy}}
    post.send(message)
    with post.mailer() as function:
        assert post.work(function) == set()
    ((got, _),) = inbox.read()
    (mail,) = post.mails()
    assert (got, mail["Subject"], mail["Bcc"]) == (shown, shown, None)


def test_a_subject_names_account_and_region(post):
    """What c7n's own `notify` leaves unfilled in its subject is filled in; anything else in braces stays."""
    inbox = post.subscribe()
    post.send(message_to(TOPIC, subject="Open ingress: {account_id} {region} {policy} {}"))
    with post.mailer() as function:
        assert post.work(function) == set()
    ((subject, _),) = inbox.read()
    assert subject == "Open ingress: 123456789012 eu-central-1 {policy} {}"


NO_TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:missing"
BAD = {
    "not packed": ("{}", "Expecting value"),
    "not base64": ("x", "Invalid base64-encoded string"),
    "no action": ({key: value for key, value in SAMPLE.items() if key != "action"}, "KeyError: 'action'"),
    "no such template": (
        message_to(TOPIC, template="closed-ingress"),
        "the template 'closed-ingress' is not one of the pack's: open-ingress, ",
    ),
    "no template": (SAMPLE | {"action": {"to": [TOPIC]}}, "the template '' is not one of the pack's"),
    "no such topic": (message_to(NO_TOPIC), "(NotFound) when calling the Publish operation"),
    "nobody": (message_to(), "there is nobody to notify of sg-0c1f7a9e24b8d6035; there is"),
    "no owner": (message_to("resource-owner"), "there is nobody to notify of sg-08d2b6e4f0a1c3957"),
    "not a target": (message_to("open-ingress"), "open-ingress is not a recipient that the mailer knows"),
    "two addresses in one text": (
        message_to(f"{ON_CALL}, ceo@victim.example"),
        f"{ON_CALL}, ceo@victim.example is not a recipient that the mailer knows",
    ),
    "not delivered here": (message_to("splunkhec://main"), "splunkhec://main/… is not a recipient that the mailer"),
    "another's webhook": (
        message_to("https://jane@hooks.example.com/services/secret"),
        "https://jane@hooks.example.com/… is not a recipient that the mailer knows",
    ),
    "a key that is too short": (
        message_to("pagerduty://R012345"),
        "pagerduty://…2345 is not a recipient that the mailer knows",
    ),
    "no token": (message_to("slack://#ops"), "slack://#ops: it needs slack_token in mailer.yml"),
    "no webhook": (message_to("slack://webhook/#ops"), "slack://webhook/#ops: it needs slack_webhook in mailer.yml"),
    "nothing to report": (message_to(ON_CALL) | {"resources": []}, "the message is about nothing"),
}


def test_a_bad_message_stays_and_blocks_no_good_one(post):
    """Of a batch, each message that cannot be delivered is reported and logged; those around them are delivered."""
    inbox = post.subscribe()
    bodies = {f"bad: {name}": body if isinstance(body, str) else pack(body) for name, (body, _) in BAD.items()}
    bodies = {"good": pack(message_to(TOPIC)), **bodies, "also good": pack(message_to(TOPIC))}
    with post.mailer() as function:
        answer = function.invoke({"Records": [event_record(*item) for item in bodies.items()]})
        log = function.logs[0].read_text()
    assert answer == {"batchItemFailures": [{"itemIdentifier": f"bad: {name}"} for name in BAD]}
    assert [reason for _, reason in BAD.values() if reason not in log] == []
    assert "services/" not in log
    assert len(inbox.read()) == 2


def tagged(target, key, value, *others):
    """Return a message to targets, about a group with one tag."""
    group = SAMPLE["resources"][0] | {"Tags": [{"Key": key, "Value": value}]}
    return message_to(target, *others) | {"resources": [group]}


LONG = "." * 60_000
ENDLESS = {
    "a target": (message_to(TOPIC, f"slack://a@{LONG} "), "is not a recipient that the mailer knows"),
    "a copy": (message_to(TOPIC, cc=[f"{LONG}@example.org"]), "is not a recipient that the mailer knows"),
    "a channel in a tag": (tagged("slack://tag/team", "team", f"{LONG} ", TOPIC), "is not allowed"),
}


@pytest.mark.parametrize(("message", "said"), ENDLESS.values(), ids=ENDLESS)
def test_an_endless_recipient_takes_no_time(post, message, said):
    """A recipient of 60,000 characters fails alone, within the function's time, and the log does not show all of it."""
    inbox = post.subscribe()
    sent = post.send(message)
    with post.mailer(recipients=["*.*.*@example.com", "slack://#*.*.*"]) as function:
        assert post.work(function) == {sent}
        log = function.logs[0].read_text()
    assert said in log
    assert len(log) < 10_000
    assert len(inbox.read()) == 1


# -- who may get a message, and who may speak

OTHER_TOPIC = f"arn:aws:sns:us-east-1:{OTHER_ACCOUNT}:open-ingress"
STRANGER = "ceo@victim.example"


NOT_ALLOWED = {
    "an address": message_to(STRANGER),
    "a copy": message_to(ON_CALL, cc=[STRANGER]),
    "where an owner is missing": message_to(ON_CALL, owner_absent_contact=[STRANGER]),
    "a topic of another account": message_to(OTHER_TOPIC),
    "another topic of the account": message_to(f"arn:aws:sns:us-east-1:{ACCOUNT}:orders"),
    "an owner": tagged("resource-owner", "owner", STRANGER),
    "a channel": message_to("slack://#general"),
    "a channel in a tag": tagged("slack://tag/team", "team", "general"),
    "an owner in Slack": tagged("slack://owners", "owner", STRANGER),
    "a webhook": message_to("https://hooks.slack.com/services/T0/B0/secret"),
    "a service": message_to("pagerduty://" + "R" * 32),
}


def test_nobody_else_gets_a_message(post):
    """A recipient that mailer.yml does not name gets nothing, however a message names it, and the log says so."""
    inbox = post.subscribe(OTHER_TOPIC)
    with post.mailer(recipients=[ON_CALL], contact_tags=["owner"], slack_token="xoxb-1") as function:
        for name, message in NOT_ALLOWED.items():
            before = len(function.logs[0].read_text()) if function.logs[0].exists() else 0
            answer = function.invoke({"Records": [event_record(name, pack(message))]})
            assert answer == {"batchItemFailures": [{"itemIdentifier": name}]}, name
            said = function.logs[0].read_text()[before:]
            assert "is not allowed: add it to recipients in mailer.yml" in said, name
    assert {address for mail in post.mails() for address in (mail["To"], mail["Cc"])} <= {ON_CALL, None, ""}
    assert inbox.read() == []


def test_the_stacks_own_topic_needs_no_name(post):
    """By default the topic that the stack makes gets messages, and nobody else does."""
    inbox = post.subscribe()
    post.send(message_to(TOPIC))
    sent = post.send(message_to(ON_CALL))
    with post.mailer(recipients=[]) as function:
        assert post.work(function) == {sent}
    assert len(inbox.read()) == 1
    assert post.mails() == []


def restored():
    """Return a message about two groups that an undo restored, and one that it did not."""
    message = copy.deepcopy(message_to(TOPIC))
    for resource in message["resources"][:2]:
        resource["c7n:restored-ingress"] = resource.pop("c7n:replaced-ingress")
    return message


def test_an_undo_is_in_the_log(post):
    """The log names the groups that an undo restored, once they are reported: `report --journal` counts them."""
    message = restored()
    post.subscribe()
    post.send(message)
    with post.mailer() as function:
        assert post.work(function) == set()
        log = function.logs[0].read_text()
    names = ", ".join(resource["GroupId"] for resource in message["resources"][:2])
    assert f"undone in {message['account_id']} {message['region']}: {names}" in log


FORGED = f"undone in {OTHER_ACCOUNT} us-east-1: sg-0123456789abcdef0"


@pytest.mark.parametrize(
    "forge",
    [
        lambda message: message.update(region=f"x y {FORGED}"),
        lambda message: message["resources"][0].update(GroupId=f"sg-01234567 {FORGED}"),
        lambda message: message["resources"][0].update(GroupId=f"sg-01234567\n{FORGED}"),
    ],
    ids=["region", "group", "two lines"],
)
def test_no_message_writes_the_undo_of_another_account_into_the_log(post, forge):
    """A region or a group's id that is none is delivered as text, and the log has no line of an undo."""
    message = restored()
    forge(message)
    inbox = post.subscribe()
    post.send(message)
    with post.mailer(senders={ROLE: ACCOUNT}) as function:
        assert post.work(function) == set()
        assert "undone in" not in function.logs[0].read_text()
    assert len(inbox.read()) == 1


def test_a_message_names_no_other_sender(post):
    """Mail comes from the configured address, and a message that names another fails."""
    sent = post.send(message_to(ON_CALL, **{"from": "ceo@example.com"}))
    with post.mailer() as function:
        assert post.work(function) == {sent}
        assert "'ceo@example.com', which is not from_address in mailer.yml" in function.logs[0].read_text()
    assert post.mails() == []


SENDERS = {
    "its own account": (f"{ROLE}:custodian-open-ingress", ACCOUNT, None),
    "another account": (f"{ROLE}:custodian-open-ingress", OTHER_ACCOUNT, f"it may send about {ACCOUNT}"),
    "an unknown role": ("AROA9999999999EXAMPLE:x", ACCOUNT, "AROA9999999999EXAMPLE sent a message about account"),
    "nobody": ("", ACCOUNT, "somebody sent a message about account"),
}


@pytest.mark.parametrize(("sender", "account", "said"), SENDERS.values(), ids=SENDERS)
def test_a_role_speaks_of_its_own_account_alone(post, sender, account, said):
    """With `senders`, a message about another account than its role's is not delivered."""
    inbox = post.subscribe()
    record = event_record("1", pack(message_to(TOPIC) | {"account_id": account}), sender)
    with post.mailer(senders={ROLE: ACCOUNT}) as function:
        answer = function.invoke({"Records": [record]})
        assert bool(answer["batchItemFailures"]) == (said is not None)
        assert (said or "delivered to") in function.logs[0].read_text()
    assert len(inbox.read()) == (said is None)


def test_a_message_that_unpacks_to_too_much(post):
    """A small body that unpacks to 150 MB fails by itself, in a line that says so, and is never unpacked whole."""
    bomb = base64.b64encode(zlib.compress(b'{"a":"' + b" " * 150_000_000 + b'"}', 9)).decode()
    assert len(bomb) < 262_144
    with post.mailer() as function:
        answer = function.invoke({"Records": [event_record("1", bomb)]})
        assert answer == {"batchItemFailures": [{"itemIdentifier": "1"}]}
        assert "the message is longer than 4194304 bytes once it is unpacked" in function.logs[0].read_text()


def test_nothing_is_lost_when_sns_fails_twice(post):
    """A message whose topic refuses two deliveries stays in the queue, and is delivered once with the third."""
    sent = post.send(message_to(TOPIC))
    with post.mailer() as function:
        assert post.work(function) == {sent}
        assert post.work(function) == {sent}
        inbox = post.subscribe()
        assert post.work(function) == set()
        assert post.work(function) == set()
    assert len(inbox.read()) == 1


def test_what_fails_again_and_again_ends_in_the_dead_letter_queue(post):
    """After its tries a message lies in the dead-letter queue as it was sent; the good one beside it came once."""
    inbox = post.subscribe()
    post.send(message_to(NO_TOPIC))
    post.send(message_to(TOPIC))
    with post.mailer() as function:
        for _ in range(TRIES + 1):
            post.work(function)
    assert len(inbox.read()) == 1
    (dead,) = post.sqs.receive_message(QueueUrl=post.dead_letters)["Messages"]
    assert dead["Body"] == pack(message_to(NO_TOPIC))


def test_a_target_that_fails_keeps_nothing_from_the_others(post):
    """Topic and mailbox are notified even if another target of the message fails, and not again with its next try."""
    inbox = post.subscribe()
    sent = post.send(message_to(NO_TOPIC, "nobody", TOPIC, ON_CALL))
    with post.mailer() as function:
        assert post.work(function) == {sent}
        assert post.work(function) == {sent}
    assert len(inbox.read()) == len(post.mails()) == 1


def test_a_group_without_an_owner_is_not_dropped(post):
    """If only owners are notified, a group without one makes the message fail; the other owner is notified."""
    sent = post.send(message_to("resource-owner"))
    with post.mailer(contact_tags=["owner"]) as function:
        assert post.work(function) == {sent}
        assert "there is nobody to notify of sg-08d2b6e4f0a1c3957" in function.logs[0].read_text()
    (mail,) = post.mails()
    assert mail["To"] == "jane.doe@example.com"


def test_a_message_that_cannot_be_rendered_reaches_nobody(post):
    """Everything is rendered before anything is sent, so no target gets a broken message repeatedly."""
    inbox = post.subscribe()
    broken = message_to(TOPIC, ON_CALL) | {"resources": [{"GroupId": "sg-1", "c7n:replaced-ingress": ["no record"]}]}
    sent = post.send(broken)
    with post.mailer() as function:
        assert post.work(function) == {sent}
    assert inbox.read() == post.mails() == []


def test_a_message_is_never_too_long(post):
    """What SNS would refuse for its size reaches the topic in as many whole lines as fit, and says that it was cut."""
    inbox = post.subscribe()
    longest = SAMPLE["resources"][1] | {
        "c7n:failed-ingress": ["\U0001f512" * 400] * 5,
        "c7n:left-ingress": ["é" * 400] * 5,
    }
    longest |= {"c7n:replaced-ingress": [longest["c7n:replaced-ingress"][0] | {"description": "\U0001f512" * 255}] * 60}
    longest |= {
        "c7n:undo-ingress": ["aws " + "x" * 590] * 99,
        "Tags": [{"Key": "owner", "Value": "\U0001f512" * 255}] * 9,
    }
    longest |= {"c7n:behind-ingress": {"exposure": "internet", "behind": ["\U0001f512" * 255] * 9}}
    longest |= {"c7n:lacking-ingress": ["\U0001f512" * 400] * 5, "c7n:noted-ingress": ["\U0001f512" * 400] * 5}
    post.send(message_to(TOPIC) | {"resources": [longest] * 9})
    with post.mailer() as function:
        assert post.work(function) == set()
    ((_, text),) = inbox.read()
    assert 200_000 < len(text.encode()) <= 262_144
    assert text.endswith("cut here. The policy's log has each change.")
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize(
    "topic",
    [
        f"arn:aws:sns:eu-central-1:{ACCOUNT}:open-ingress",
        f"arn:aws-cn:sns:cn-north-1:{ACCOUNT}:open-ingress",
        f"arn:aws-us-gov:sns:us-gov-west-1:{ACCOUNT}:open-ingress",
    ],
)
def test_topics_in_every_partition_and_region(post, topic):
    """A topic is published to where it is, whatever the mailer's own region."""
    inbox = post.subscribe(topic)
    post.send(message_to(topic))
    with post.mailer() as function:
        assert post.work(function) == set()
    assert len(inbox.read()) == 1


def test_a_missing_sender_of_mail_fails_alone(post, monkeypatch):
    """Without `from_address` the mail is not sent, the log names the key, and the topic is notified, once."""
    inbox = post.subscribe()
    sent = post.send(message_to(TOPIC, ON_CALL))
    monkeypatch.setattr(post, "config", partial(without, post, "from_address"))
    with post.mailer() as function:
        assert post.work(function) == {sent}
        assert post.work(function) == {sent}
        assert f"{ON_CALL}: it needs from_address in mailer.yml" in function.logs[0].read_text()
    assert len(inbox.read()) == 1
    assert post.mails() == []


def test_a_mail_that_ses_refuses_fails(post):
    """A sender that SES has not verified makes the message fail."""
    sent = post.send(message_to(ON_CALL))
    with post.mailer(from_address="stranger@example.org") as function:
        assert post.work(function) == {sent}
        assert "MessageRejected" in function.logs[0].read_text()


def test_each_address_gets_its_own_mail(post):
    """An owner gets a mail about the groups of this owner, everybody else, also in `cc`, one mail about all groups."""
    post.send(message_to(ON_CALL, "resource-owner", cc=["lead@example.com"]))
    with post.mailer(contact_tags=["owner"]) as function:
        assert post.work(function) == set()
    ids = [resource["GroupId"] for resource in SAMPLE["resources"]]
    assert {mail["To"]: [each for each in ids if each in text_of(mail)] for mail in post.mails()} == {
        ON_CALL: ids,
        "lead@example.com": ids,
        "jane.doe@example.com": ids[:1],
    }
    assert len(post.mails()) == 3
    assert [mail["Cc"] for mail in post.mails()] == [None] * 3


def test_an_owner_whom_ses_refuses_fails_alone(post):
    """A bad address in a tag keeps the message, and the on-call gets the mail about that group, once."""
    sent = post.send(tagged("resource-owner", "owner", "ü@example.com", ON_CALL))
    with post.mailer(contact_tags=["owner"]) as function:
        assert post.work(function) == {sent}
        assert post.work(function) == {sent}
    assert [mail["To"] for mail in post.mails()] == [ON_CALL]


# -- SMTP


class Mailbox:
    """What an SMTP server does with mail: keeps it, but takes none for strangers."""

    def __init__(self):
        self.mails = []

    async def handle_RCPT(self, _server, _session, envelope, address, _options):
        """Take or refuse an address."""
        if address.startswith("stranger@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server, _session, envelope):
        """Keep a mail."""
        self.mails.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content)))
        return "250 OK"


@pytest.fixture(scope="module")
def smtp_server():
    """Serve SMTP on a free port; return the mailer's configuration for it, and the mailbox."""
    mailbox, loop = Mailbox(), asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: SMTP(mailbox, loop=loop), "127.0.0.1", 0))
    thread = Thread(target=loop.run_forever)
    thread.start()
    port = server.sockets[0].getsockname()[1]
    yield {"smtp_server": "127.0.0.1", "smtp_port": port, "smtp_ssl": False}, mailbox
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()
    loop.close()


@pytest.fixture
def smtp(smtp_server):
    """Return the configuration, and the mailbox, which is empty."""
    smtp_server[1].mails.clear()
    return smtp_server


def test_mail_by_smtp(post, smtp):
    """With a mail server in the configuration, mail goes there and not to SES."""
    config, mailbox = smtp
    post.send(message_to(ON_CALL))
    with post.mailer(**config) as function:
        assert post.work(function) == set()
    ((addresses, mail),) = mailbox.mails
    assert addresses == [ON_CALL]
    assert mail.get_content_type() == "multipart/alternative"
    assert post.mails() == []


def test_an_address_that_the_server_refuses_fails_alone(post, smtp):
    """If the mail server refuses one address, the log names it, and the other one gets its mail, once."""
    config, mailbox = smtp
    sent = post.send(message_to(ON_CALL, "stranger@example.com"))
    with post.mailer(**config) as function:
        assert post.work(function) == {sent}
        assert post.work(function) == {sent}
        assert "stranger@example.com" in function.logs[0].read_text()
    assert [addresses for addresses, _ in mailbox.mails] == [[ON_CALL]]


def test_a_mail_server_that_is_down_fails(post):
    """A mail server that does not answer makes the message fail, and does not stop the topic's delivery."""
    inbox = post.subscribe()
    sent = post.send(message_to(TOPIC, ON_CALL))
    with post.mailer(smtp_server="127.0.0.1", smtp_port=1, smtp_ssl=False) as function:
        assert post.work(function) == {sent}
        assert "Connection refused" in function.logs[0].read_text()
    assert len(inbox.read()) == 1
