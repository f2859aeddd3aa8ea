"""The weekly digest of exemptions, from the deployed policy to what people read."""

import json
import random
import string
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.exemptions import Register, parse_register
from c7n_ingress.decide.reopened import renewals
from c7n_ingress.filters.exempt import Exempt
from c7n_ingress.filters.exposure import VALUES as EXPOSURES
from c7n_ingress_tools.embedded_aws.config import configuration_item, record
from c7n_ingress_tools.functions.runtime import deployed
from c7n_ingress_tools.mailer.lambda_entry import with_subject
from tests.support.channels import render
from tests.support.embedded import (
    CASES_OF_OPEN_INGRESS,
    day,
    group_of,
    load,
    made_changes,
    make_queue,
    messages,
    policy_named,
    rules_of,
    run,
    shipped,
    source_of,
)

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "from anywhere"}
LIST = {"protocol": "tcp", "ports": 443, "source": "::/0"}
PRIVATE = {"protocol": "tcp", "ports": 22, "source": "10.0.0.0/8"}
CASES = {  # a group's name, its rules, the value of its exemption, and whether the digest lists it
    "soon": ([SSH], "+3", True),
    "late": ([LIST, PRIVATE], "+90", True),
    "not exempt": ([SSH], None, False),
    "over": ([SSH], "+0", False),
    "too late": ([SSH], "+92", False),
    "no date": ([SSH], "9999-99-99", False),
    "for ever": ([SSH], "forever", False),
    "closed": ([PRIVATE], "+30", False),
}


@pytest.fixture
def digest(cloud, tmp_path):
    """Make the stock command deploy the policy, and return what runs its Lambda and takes the messages."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    cloud.session().client("iam").create_role(RoleName="custodian-open-ingress", AssumeRolePolicyDocument=trust)
    cloud.session().client("sqs").create_queue(QueueName="custodian-open-ingress-failed")
    make_queue(cloud)
    done = run(cloud, shipped("open-ingress-exempt", tmp_path, ["vpc"]), tmp_path)
    assert done.returncode == 0, done.stderr

    def digest():
        with deployed(cloud, "custodian-open-ingress-exempt") as function:
            function.invoke({})
        return messages(cloud)

    return digest


def test_one_message_reports_the_groups_that_are_open_by_exemption(cloud, digest):
    """The digest lists each case, or not; nothing is changed; text, HTML and Slack's message name days and rules."""
    load(
        group_of({"name": name, "ingress": rules, "tags": {"open-ingress-until": until} if until else {}}, number)
        for number, (name, (rules, until, _)) in enumerate(CASES.items(), 1)
    )
    (message,) = digest()
    assert made_changes(cloud) == []
    told = {resource["GroupName"] for resource in message["resources"]}
    assert told == {name for name, (_, _, wanted) in CASES.items() if wanted}
    subject = with_subject(message)["action"]["subject"]
    assert subject == "Open ingress: groups open by exemption (123456789012 us-east-1)"
    text = render(message)
    assert f'EXEMPT UNTIL {day("+3")}, 3 MORE DAYS: sg-{1:017x} "soon"' in text
    assert '* TCP 22 (SSH): 0.0.0.0/0, "from anywhere"' in text
    assert "* TCP 443 (HTTPS): ::/0" in text
    assert "10.0.0.0/8" not in text
    assert {resource["c7n:behind-ingress"]["exposure"] for resource in message["resources"]} == {"unused"}
    for channel in ("mail", "slack"):
        assert "90 more days" in render(message, channel).lower()


def test_the_digest_says_why(cloud, tmp_path):
    """Of what the register exempts, the digest has the day, reason, owner and ticket, and no other rule."""
    entry = {
        "group": "web",
        "ports": [443],
        "until": day("+20"),
        "reason": "a public shop",
        "owner": "Jo",
        "ticket": "A-1",
    }
    here = shipped("open-ingress-exempt", tmp_path, ["vpc"], lambda policy: policy.pop("mode"), exemptions=[entry])
    make_queue(cloud)
    load([group_of({"name": "web", "ingress": [SSH, LIST]}, 1), group_of({"name": "app", "ingress": [SSH]}, 2)])
    done = run(cloud, here, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (message,) = messages(cloud)
    (resource,) = message["resources"]
    assert resource["c7n:exempt-ingress"] == [{key: entry[key] for key in ("until", "reason", "owner", "ticket")}]
    for channel in ("sns", "mail", "slack"):
        text = render(message, channel)
        assert "a public shop, owner Jo, ticket A-1" in text
        assert "TCP 443" in text
        assert "TCP 22" not in text
        assert day("+20") in text


REGISTER = {  # the entries of a register, and what the digest says of them; None for those that it leaves out
    "ends soon": ({"group": "web", "ports": [443], "until": "+14"}, "ends in 14 days"),
    "ends tomorrow": ({"group": "w*", "ports": [443], "until": "+1"}, "ends in 1 day"),
    "ends later": ({"group": "web", "ports": [443], "until": "+15"}, None),
    "another port": ({"group": "web", "ports": [8443], "until": "+15"}, "matches nothing that is open here"),
    "another group": ({"group": "app", "until": "+3"}, "ends in 3 days, matches nothing that is open here"),
    "another VPC": ({"vpc": "vpc-0abc", "until": "+90"}, "matches nothing that is open here"),
    "another account": ({"account": "210987654321", "group": "web", "until": "+3"}, None),
    "another region": ({"region": "eu-west-1", "group": "web", "until": "+3"}, None),
    "has ended": ({"group": "web", "until": "+0"}, None),
    "is old": ({"group": "web", "ports": [443], "until": "+16", "since": 181}, "made 181 days ago"),
    "is not old": ({"group": "web", "ports": [443], "until": "+17", "since": 180}, None),
    "a group with a tag": ({"group": "tagged", "ports": [22], "until": "+20"}, None),
}


def test_the_digest_lists_entries_to_look_at(cloud, tmp_path):
    """The digest has the entries that end soon, match nothing here or are old, what ends first comes first."""
    today = date.fromisoformat(day("+0"))
    entries = [{**entry, "until": day(entry["until"]), "reason": name} for name, (entry, _) in REGISTER.items()]
    for entry in entries:
        if "since" in entry:
            entry["since"] = (today - timedelta(entry["since"])).isoformat()
    here = shipped("open-ingress-exempt", tmp_path, ["vpc"], lambda policy: policy.pop("mode"), exemptions=entries)
    make_queue(cloud)
    tags = {"open-ingress-until": "+9"}
    load(
        [
            group_of({"name": "web", "ingress": [LIST]}, 1),
            group_of({"name": "tagged", "ingress": [SSH], "tags": tags}, 2),
        ]
    )
    done = run(cloud, here, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (message,) = messages(cloud)
    listed = [(each["reason"], each["why"]) for each in message["action"]["entries"]["shown"]]
    wanted = {name: why for name, (_, why) in REGISTER.items() if why}
    assert dict(listed) == wanted
    assert [name for name, _ in listed] == sorted(wanted, key=lambda name: int(REGISTER[name][0]["until"]))
    for channel in ("sns", "mail", "slack"):
        text = " ".join(render(message, channel).split())
        assert all(f"entry {number}" in text for number in (1, 2, 4, 5, 6))
        assert all(why in text for why in wanted.values())
        assert "vpc-0abc" in text


def test_a_long_register_keeps_no_group_from_being_reported(cloud, tmp_path):
    """Of 500 entries, the digest has as many as fit, and how many more there are; every group is in it."""
    entries = [{"group": f"gone-{n}", "until": day("+60"), "reason": f"{n} " + "x" * 250} for n in range(500)]
    here = shipped("open-ingress-exempt", tmp_path, ["vpc"], lambda policy: policy.pop("mode"), exemptions=entries)
    make_queue(cloud)
    noise = random.Random(1)
    described = ["".join(noise.choices(string.ascii_letters + string.digits, k=255)) for _ in range(400)]
    many = [{**SSH, "ports": port, "description": text} for port, text in enumerate(described)]
    load(group_of({"name": f"g{n}", "ingress": many, "tags": {"open-ingress-until": "+3"}}, n) for n in (1, 2, 3))
    done = run(cloud, here, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    first, *others = messages(cloud)
    assert len(first["action"]["entries"]["shown"]) + first["action"]["entries"]["more"] == 500
    assert {bool(each["action"]["entries"]) for each in others} == {False}
    assert {resource["GroupName"] for each in (first, *others) for resource in each["resources"]} == {"g1", "g2", "g3"}


def test_an_entry_that_ends_is_closed_the_same_day(cloud, tmp_path):
    """The deployed daily policy closes a rule on the day on which its entry ends, and not the day before."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    cloud.session().client("iam").create_role(RoleName="custodian-open-ingress", AssumeRolePolicyDocument=trust)
    cloud.session().client("sqs").create_queue(QueueName="custodian-open-ingress-failed")
    make_queue(cloud)
    ends = {22: "+0", 443: "+1"}
    entries = [{"group": "web", "ports": [p], "until": day(end), "reason": "for a while"} for p, end in ends.items()]
    here = shipped("open-ingress-daily", tmp_path, ["198.18.7.0/24"], exemptions=entries)
    done = run(cloud, here, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    load([group_of({"name": "web", "ingress": [SSH, {**SSH, "ports": 443}]}, 1)])
    with deployed(cloud, "custodian-open-ingress-daily") as function:
        function.invoke({})
    sources = {each["FromPort"]: source_of(each) for each in rules_of(f"sg-{1:017x}").values()}
    assert sources == {22: "198.18.7.0/24", 443: "0.0.0.0/0"}


NOW = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
VALUES = {  # the values of the tag, each recorded a day after the one before, and how often it was renewed
    "given once": (["", "2026-02-01", "2026-02-01"], 0),
    "a later day, twice": (["2026-02-01", "2026-03-01", "2026-03-01", "2026-04-01"], 2),
    "an earlier day": (["2026-03-01", "2026-02-01"], 1),
    "taken away and given again": (["2026-02-01", "", "2026-02-01"], 1),
    "taken away": (["2026-02-01", ""], 0),
    "never": (["", ""], 0),
    "no history": ([], 0),
}


@pytest.mark.parametrize(("values", "times"), VALUES.values(), ids=VALUES)
@given(order=st.randoms())
def test_how_often_it_was_renewed(values, times, order):
    """An exemption is renewed when it gets another day; in which order items come, and how often, does not matter."""
    states = [(NOW + timedelta(days=number), value) for number, value in enumerate(values)] * 2
    order.shuffle(states)
    assert len(renewals(states)) == times


def exempted(cloud, ages):
    """Put an exempt group into EC2, whose tag got other days so many days ago, and AWS Config's history of it."""
    recorder = {"name": "default", "roleARN": "arn:aws:iam::123456789012:role/config-role"}
    cloud.session().client("config").put_configuration_recorder(ConfigurationRecorder=recorder)
    now = datetime.now(timezone.utc)
    for number, age in enumerate(ages):
        until = (now + timedelta(days=number + 1)).strftime("%Y-%m-%d")
        group = group_of({"name": "web", "ingress": [SSH], "tags": {"open-ingress-until": until}}, 1)
        record(configuration_item(group, captured=now - timedelta(days=age)))
    load([group])
    return now - timedelta(days=ages[-1])


def test_the_digest_says_how_often_an_exemption_was_renewed(cloud, digest):
    """Days that it got in the last 90 are counted, however many pages the history has, and the last one is named."""
    last = exempted(cloud, [200, 150, 100, 80, 50, 30, 10])
    (message,) = digest()
    said = f"renewed 4 times in the last 90 days, last on {last:%Y-%m-%d}"
    assert message["resources"][0]["c7n:renewed-ingress"] == said
    assert [call.action for call in cloud.calls].count("GetResourceConfigHistory") > 1
    assert said[1:] in render(message)
    for channel in ("mail", "slack"):
        assert said[1:] in render(message, channel)


def test_a_group_without_history_is_reported(digest):
    """If AWS Config does not return how often it was renewed, the group is reported all the same, and so is that."""
    load([group_of({"name": "web", "ingress": [SSH], "tags": {"open-ingress-until": "+3"}}, 1)])
    (message,) = digest()
    said = message["resources"][0]["c7n:renewed-ingress"]
    assert (
        said
        == "how often it was renewed could not be looked up in AWS Config (NoAvailableConfigurationRecorderException)"
    )


def test_tags_never_keep_the_digest_from_being_sent(digest):
    """Twenty-five exempt groups with 46 tags of 256 characters are reported, each once."""
    noise = random.Random(1)
    for number in range(1, 26):
        tags = {f"key-{n}": "".join(noise.choices(string.ascii_letters + string.digits, k=256)) for n in range(46)}
        load([group_of({"name": f"g{number}", "ingress": [SSH], "tags": {"open-ingress-until": "+3"} | tags}, number)])
    told = [resource["GroupName"] for message in digest() for resource in message["resources"]]
    assert sorted(told) == sorted(f"g{number}" for number in range(1, 26))


def test_tags_hide_no_rule(digest):
    """The digest has the open rule of a group however long its tags are: as many of them as have room."""
    tags = {f"{n}" + "\N{LOCK}" * 126: "\N{LOCK}" * 256 for n in range(49)}
    load([group_of({"name": "web", "ingress": [SSH], "tags": {"open-ingress-until": "+3"} | tags}, 1)])
    ((group,),) = (message["resources"] for message in digest())
    assert len(group["MatchedIpPermissions"]) == 1
    assert {"Key": "open-ingress-until", "Value": day("+3")} in group["Tags"]


def test_rules_never_keep_the_digest_from_being_sent(digest):
    """A group with as many rules as EC2 ever allows, whatever describes them, keeps no other from being reported."""
    noise = random.Random(1)
    described = lambda: "".join(noise.choices(string.ascii_letters + string.digits, k=255))
    many = [{**SSH, "ports": port, "description": described()} for port in range(1000)]
    tags = {"open-ingress-until": "+3"}
    load(group_of({"name": f"g{n}", "ingress": many if n == 1 else [SSH], "tags": tags}, n) for n in (1, 2))
    told = [resource["GroupName"] for message in digest() for resource in message["resources"]]
    assert sorted(told) == ["g1", "g2"]


def test_no_message_where_nothing_is_exempt(digest):
    """An account without exemptions gets no mail."""
    load([group_of({"name": "open", "ingress": [SSH]}, 1)])
    assert digest() == []


def test_what_is_open_is_what_the_other_policies_close(digest):
    """Every case that open-ingress closes is in the digest once it is exempt; no other is."""
    chosen = [(case, group) for case, group in CASES_OF_OPEN_INGRESS if not case.get("public-ports")]
    until = {"Key": "open-ingress-until", "Value": day("+30")}
    exempt = [
        {**group, "Tags": [t for t in group["Tags"] if t["Key"] != until["Key"]] + [until]} for _, group in chosen
    ]
    load(exempt)
    told = {resource["GroupId"] for message in digest() for resource in message["resources"]}
    tagged = {group["GroupId"] for case, group in chosen if "open-ingress-until" in case.get("tags", {})}
    closed = {group["GroupId"] for case, group in chosen if case["verdict"] == "NON_COMPLIANT"}
    assert closed <= told
    assert told - closed <= tagged


def test_exempt_is_what_the_other_policies_leave_alone():
    """The digest's filters are those of open-ingress, but the rules that stay are the exempt ones."""
    digest, closing = map(policy_named, ("open-ingress-exempt", "open-ingress"))
    *wrong, exempt = closing["filters"]
    assert exempt["value"] is False
    assert digest["filters"][:-1] == [*wrong, {**exempt, "value": True}]
    assert set(digest["filters"][-1]["value"]) == set(EXPOSURES["enum"]), "leaves none out"


def test_a_group_with_many_rules(monkeypatch):
    """The digest looks for a group in the register once, however many rules of the group are open."""
    ports = [{"IpProtocol": "tcp", "FromPort": port, "ToPort": port} for port in range(1, 101)]
    found = []
    monkeypatch.setattr(Register, "of_group", lambda register, _: found.append(1) or register.entries)
    entries = parse_register([{"group": "web-*", "ports": ["tcp/22"], "until": day("+60"), "reason": "a shop"}])
    manager = SimpleNamespace(config=SimpleNamespace(account_id="123456789012", region="us-east-1"))
    exempt = Exempt({"type": "exempt", "value": True}, manager)
    exempt.entries = entries
    assert len(exempt.process([{"GroupId": "sg-1", "MatchedIpPermissions": ports}])) == 1
    assert (len(found), exempt.to_look_at) == (1, [])
