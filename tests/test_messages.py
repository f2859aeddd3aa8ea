import copy
import os
import shutil
from html.parser import HTMLParser

import pytest

from mode.mailer import preview

SAMPLE = preview.sample()
CHROMIUM = shutil.which(os.environ.get("CHROMIUM", "chromium"))
TEXT, HTML = "open-ingress", "open-ingress.html"

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
    "half a character": "web \ud83d",
    "endless": "long " * 20_000,
}


def rendered(template, **changes):
    """Have c7n-mailer render the sample message, with changes."""
    return preview.render(SAMPLE | changes, template)


def group(number=1, **changes):
    """Give a group of which one rule was replaced."""
    return copy.deepcopy(SAMPLE["resources"][1]) | {
        "GroupId": f"sg-{number:017x}",
        "GroupName": f"group-{number}",
        "c7n:failed-ingress": [],
        **changes,
    }


def record(**changes):
    """Give one record of a change."""
    return SAMPLE["resources"][0]["c7n:replaced-ingress"][0] | changes


def typed_everywhere(value, text):
    """Put a text in the place of every text in a structure; structure and numbers stay."""
    if isinstance(value, dict):
        return {key: typed_everywhere(item, text) for key, item in value.items()}
    if isinstance(value, list):
        return [typed_everywhere(item, text) for item in value]
    return text if isinstance(value, str) else value


def typed_by_somebody(text):
    """Give a message each of whose texts somebody typed."""
    told = typed_everywhere([*SAMPLE["resources"], *(group(n) for n in range(12))], text)
    made = [{"Key": key, "Value": text} for key in ("aws:cloudformation:stack-name", "owner", "terraform")]
    return {
        "resources": [
            *told,
            group(Tags=made),
            group(**{"c7n:behind-ingress": {"exposure": "internet", "behind": [text] * 9, "blocked": text}}),
            group(**{"c7n:skipped-ingress": text, "c7n:opened-ingress": text, "c7n:left-ingress": [text] * 9}),
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


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_text_that_somebody_typed_forges_no_line(hostile):
    """The plain text has as many lines as with harmless names, each printable and none of them endless."""
    message = rendered(TEXT, **typed_by_somebody(hostile))
    assert len(message.splitlines()) == len(rendered(TEXT, **typed_by_somebody("harmless")).splitlines())
    assert message.replace("\n", "").isprintable()
    assert max(map(len, message.splitlines())) < 1200


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_text_that_somebody_typed_makes_no_markup(hostile):
    """The HTML has the tags and attributes that it has with harmless names, and links nowhere else."""
    page = Outline(rendered(HTML, **typed_by_somebody(hostile)))
    assert page.tags == Outline(rendered(HTML, **typed_by_somebody("harmless"))).tags
    assert {link.partition("?")[0] for link in page.links} == {"https://console.aws.amazon.com/ec2/home"}


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
    told = rendered(template, resources=[group(**{"c7n:failed-ingress": [typed]})])
    assert shown in told
    assert typed == shown or typed not in told


def test_both_messages_tell_the_same():
    """What stands in the plain text about groups and rules stands in the HTML too."""
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
    """The message says what was open, what stands there now, where, by which policy, whose it is and what to do."""
    only = [SAMPLE["resources"][0]]
    assert rendered(TEXT, resources=only).splitlines() == [
        "Security groups let the whole internet in. Your authorized networks have taken the place of the open ones.",
        "",
        "3 open rules replaced in 1 group",
        "",
        "Account: shop-production (123456789012)",
        "Region: eu-central-1",
        "Policy: open-ingress",
        "Time: 2026-09-21 14:13 UTC",
        "",
        "----------------------------------------",
        'CLOSED: sg-0c1f7a9e24b8d6035 "checkout-web"',
        "",
        '* TCP 22 (SSH): 0.0.0.0/0 became 198.18.7.0/24, "SSH for the migration weekend" (sgr-0f3d5a1b7c9e24680)',
        "* TCP 22 (SSH): ::/0 became 2001:2:0:7::/64 (sgr-0a6b2c8d4e1f37950)",
        "* TCP 8000-8010: 0.0.0.0/0 became 198.18.7.0/24 (sgr-07d9e3f1a5b4c2860)",
        'Made by CloudFormation stack "checkout-production": mend it there too, or it will be opened again.',
        'Owner: team = "checkout", "jane.doe@example.com"',
        "VPC: vpc-04be19d7c3a2f6810",
        "Console: https://console.aws.amazon.com/ec2/home?region=eu-central-1#SecurityGroup:groupId=sg-0c1f7a9e24b8d6035",
        "",
        "----------------------------------------",
        "IF THIS WAS WRONG",
        "1. Undo it: run the policy restore-ingress with the group's id. It exempts the group for a while, too.",
        "2. By hand: tag it open-ingress-until = YYYY-MM-DD, 90 days ahead at most, then put the old source back.",
        "3. For good: add the port to public-ports, or the network to authorized, in the policy.",
        "",
        "Each change is one JSON line in the policy's log.",
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (record(), "TCP 22 (SSH): 0.0.0.0/0 became 198.18.7.0/24"),
        (record(was="::/0", now=None, how="revoked"), "TCP 22 (SSH): ::/0 was removed"),
        (record(was=None, how="authorized", rule=None), "TCP 22 (SSH): 198.18.7.0/24 was added"),
        (record(protocol="-1", ports="all"), "all traffic: 0.0.0.0/0"),
        (record(protocol="udp", ports="all"), "UDP, all ports: 0.0.0.0/0"),
        (record(protocol="tcp", ports="8000-8010"), "TCP 8000-8010: 0.0.0.0/0"),
        (record(protocol="icmp", ports="all"), "ICMP, all types: 0.0.0.0/0"),
        (record(protocol="icmp", ports="type 3 code 4"), "ICMP type 3 code 4: 0.0.0.0/0"),
        (record(protocol="icmpv6", ports="type 128"), "ICMPv6 type 128: 0.0.0.0/0"),
        (record(protocol="50", ports="all"), "protocol 50: 0.0.0.0/0"),
    ],
)
def test_each_kind_of_change_is_told_in_plain_words(change, told):
    """Protocol, ports, what was and what is now are told for every kind of rule."""
    assert f"* {told}" in rendered(TEXT, resources=[group(**{"c7n:replaced-ingress": [change]})])


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
    told = rendered(template, partition=partition, region="some-region-1", resources=[group(7)])
    assert f"https://{host}/ec2/home?region=some-region-1#SecurityGroup:groupId=sg-00000000000000007" in told


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_no_console_link_where_the_console_is_unknown(template):
    """A partition that the pack does not know gets no link, rather than a wrong one."""
    assert "https://" not in rendered(template, partition="aws-iso", resources=[group()])


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_preview_says_that_nothing_was_changed(template):
    """A preview cannot be taken for a change."""
    previewed = group(**{"c7n:replaced-ingress": [record(how="preview")]})
    told = rendered(template, resources=[previewed])
    assert "nothing was changed" in told
    assert "1 open rule would be replaced in 1 group" in told
    assert "If this was wrong" not in told
    assert "\nCLOSED: " not in told


TURNED_BACK = {"was": "198.18.7.0/24", "now": "0.0.0.0/0"}
CAME_BACK = {"was": None, "now": "::/0"}
WENT = {"was": "198.18.8.0/24", "now": None}


def restored(*records, **changes):
    """Give a group whose rules were restored."""
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
    told = rendered(TEXT, resources=resources)
    described = '"SSH for the migration weekend" (sgr-0f3d5a1b7c9e24680)'
    assert told.splitlines() == [
        "What was replaced is undone: these security groups let in again what they let in before.",
        "",
        "2 open rules restored in 1 group",
        "",
        "Account: shop-production (123456789012)",
        "Region: eu-central-1",
        "Policy: open-ingress",
        "Time: 2026-09-21 14:13 UTC",
        "",
        "----------------------------------------",
        'RESTORED: sg-00000000000000001 "group-1"',
        "",
        f"* TCP 22 (SSH): 198.18.7.0/24 became 0.0.0.0/0, {described}",
        f"* TCP 22 (SSH): ::/0 was added, {described}",
        f"* TCP 22 (SSH): 198.18.8.0/24 was removed, {described}",
        "Left alone until 2026-12-24, 00:00 UTC, and closed again then.",
        "Owner: no tag says",
        "VPC: vpc-04be19d7c3a2f6810",
        "Console: https://console.aws.amazon.com/ec2/home?region=eu-central-1#SecurityGroup:groupId=sg-00000000000000001",
        "",
        "----------------------------------------",
        "WHAT COMES NEXT",
        "1. To close a group before its day, remove its tag open-ingress-until.",
        "2. To keep a port open for good, add it to public-ports, or the network to authorized, in the policy.",
        "",
        "Each change is one JSON line in the policy's log.",
    ]
    page = Outline(rendered(HTML, resources=resources)).text
    for fact in (
        "2 open rules restored in 1 group",
        "Restored, open again",
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
    told = rendered(template, resources=[previewed])
    assert "nothing was changed" in told
    assert "1 open rule would be restored in 1 group" in told
    assert "would be removed" in told


@pytest.mark.parametrize(("template", "heading"), [(TEXT, "LEFT ALONE: "), (HTML, ">Left alone<")])
def test_what_was_left_alone(template, heading):
    """A rule that was left alone is told with the reason, and its group cannot be taken for a closed one."""
    why = "tcp 22 from pl-1: that prefix list cannot be read"
    told = rendered(template, resources=[group(**{"c7n:replaced-ingress": [], "c7n:left-ingress": [why] * 7})])
    assert told.count(why) == 5
    assert "and 2 more left alone" in told
    assert heading in told
    beside = rendered(template, resources=[group(**{"c7n:left-ingress": [why]})])
    assert why in beside
    assert heading not in beside


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_who_opened_it(template):
    """Where it is known who opened a group, the message says so; the links that a tool's name may hold are broken."""
    said = "Opened by jane@example.com (role Admin) on 2026-09-21 at 14:12 UTC from 198.51.100.7 with evil.example/1.0."
    told = rendered(template, resources=[group(**{"c7n:opened-ingress": said})])
    assert said.replace("evil.example", "evil[.]example") in told
    assert "Opened by" not in rendered(template)


@pytest.mark.parametrize("template", [TEXT, HTML])
@pytest.mark.parametrize(("until", "told"), [({"hours": 36}, "36 hours"), ({"days": 3}, "3 days")])
def test_notice_says_how_long_there_is(template, until, told):
    """A notice says when the groups will be closed, and what keeps one open; it cannot be taken for a change."""
    noticed = group(**{"c7n:replaced-ingress": [record(how="preview")]})
    policy = {
        "name": "notice",
        "actions": ["replace-ingress", {"type": "mark-for-op", "op": "replace-ingress", **until}],
    }
    message = rendered(template, resources=[noticed], policy=policy)
    assert f"They will be closed in {told}, unless" in message
    assert "open-ingress-until" in message
    assert "If this was wrong" not in message


@pytest.mark.parametrize(
    ("tag", "told"),
    [
        (("aws:cloudformation:stack-name", "web"), 'Made by CloudFormation stack "web": mend it there too'),
        (("ManagedBy", "terraform"), 'Made by Terraform (tag ManagedBy = "terraform"): mend it there too'),
        (("terraform-workspace", "prod"), 'Made by Terraform (tag terraform-workspace = "prod"): mend it there too'),
        (("tool", "Pulumi"), 'Made by Pulumi (tag tool = "Pulumi"): mend it there too'),
        (("kubernetes.io/cluster/shop", "owned"), "Made by Kubernetes (tag kubernetes[.]io/cluster/shop): mend it"),
        (("elbv2.k8s.aws/cluster", "shop"), "Made by Kubernetes (tag elbv2[.]k8s[.]aws/cluster): mend it"),
        (("Owner", "jane"), 'Owner: "jane"'),
        (("SupportTeam", "payments"), 'Owner: SupportTeam = "payments"'),
        (("env", "prod"), 'Owner: no tag says, but: env = "prod"'),
    ],
)
def test_tags_tell_who_owns_a_group_and_what_opens_it_again(tag, told):
    """Owner and tool are read from the tags that people and tools leave."""
    assert told in rendered(TEXT, resources=[group(Tags=[{"Key": tag[0], "Value": tag[1]}])])


@pytest.mark.parametrize("missing", ["GroupName", "VpcId", "Tags", "c7n:failed-ingress", "c7n:replaced-ingress"])
@pytest.mark.parametrize("template", [TEXT, HTML])
def test_what_a_group_lacks_keeps_nothing_from_being_told(template, missing):
    """A group without a name, a VPC, tags or changes is told all the same, absent or null."""
    lacking = group()
    del lacking[missing]
    for resource in (lacking, lacking | {missing: None}):
        assert resource["GroupId"] in rendered(template, resources=[resource])


def many_groups():
    """Give the groups of a long run: 500, of which three failed and one is another account's."""
    groups = [group(n) for n in range(500)]
    for n in (100, 300, 499):
        groups[n]["c7n:failed-ingress"] = ["UnauthorizedOperation"]
    groups[200]["c7n:skipped-ingress"] = "Account 999999999999 owns this group."
    groups[400]["c7n:replaced-ingress"] = [record()] * 60
    return groups


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_a_long_run_is_summed_up_with_the_worst_first(template):
    """Of 500 groups the failed ones come first, then the skipped, then the most open; what is left out is counted."""
    told = rendered(template, resources=many_groups())
    places = [told.index(f"sg-{n:017x}") for n in (100, 300, 499, 200, 400, 0)]
    assert places == sorted(places)
    assert "3 groups" in told
    assert "and 48 more changes" in told
    assert "and 390 more groups" in told


@pytest.mark.parametrize(("template", "limit"), [(TEXT, 20_000), (HTML, 102_400)])
def test_a_long_run_is_short_enough_to_be_read(template, limit):
    """500 groups make a text of a few pages, and an HTML that Gmail does not cut off."""
    assert len(rendered(template, resources=many_groups()).encode()) < limit


def test_no_run_makes_a_message_that_sns_refuses():
    """With everything as long as it can be, in four bytes a character, the text stays under SNS's 262,144 bytes."""
    long = "\U0001f512" * 300
    worst = group(
        Tags=[{"Key": f"owner{n}{long}", "Value": long} for n in range(50)],
        **{
            "GroupName": long,
            "c7n:replaced-ingress": [record(description=long)] * 120,
            "c7n:failed-ingress": [long * 10] * 120,
        },
    )
    assert len(rendered(TEXT, resources=[worst] * 500).encode()) < 262_144


# -- looking at them


def test_the_sample_message_is_shown(capsys):
    """Without a picture to take, the command prints the plain text."""
    preview.main([])
    assert capsys.readouterr().out == rendered(TEXT) + "\n"


def test_no_picture_without_a_browser(monkeypatch, tmp_path):
    """Where there is no Chromium, the command says so and what to do."""
    monkeypatch.setenv("CHROMIUM", "no-such-browser")
    with pytest.raises(SystemExit, match="no Chromium found: install it, or name it: CHROMIUM="):
        preview.main([str(tmp_path / "mail.png")])


@pytest.mark.skipif(CHROMIUM is None, reason="the README's picture is taken by Chromium, which is not installed")
def test_the_picture_for_the_readme(tmp_path):
    """The command takes a picture that is small enough for a README."""
    preview.main([str(tmp_path / "mail.png")])
    picture = (tmp_path / "mail.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert 50_000 < len(picture) < 400_000


BEHIND = {
    "internet": (
        ["2 addresses of the load balancer app/shop", "RDS orders-db"],
        "Reached from the internet: 2 addresses of the load balancer app/shop, RDS orders-db.",
    ),
    "private": (["3 instances"], "Private: 3 instances."),
    "unused": ([], "Unused: nothing stands behind it."),
    "unknown": (["could not be looked up"], "Behind it: could not be looked up."),
}


@pytest.mark.parametrize("template", [TEXT, HTML])
@pytest.mark.parametrize("exposure", BEHIND)
def test_what_stands_behind_a_group(template, exposure):
    """A message says what stands behind a group, and that VPC Block Public Access is on."""
    phrases, says = BEHIND[exposure]
    told = {"exposure": exposure, "behind": phrases, "blocked": "The internet is kept out."}
    assert f"{says} The internet is kept out." in rendered(template, resources=[group(**{"c7n:behind-ingress": told})])


@pytest.mark.parametrize("template", [TEXT, HTML])
def test_what_the_internet_reaches_comes_first(template):
    """Groups stay in the order in which they are told, where it says what stands behind them."""
    told = [{"exposure": each, "behind": []} for each in ("internet", "private")]
    more = [record(), record()]
    first, second = group(1), group(2, **{"c7n:replaced-ingress": more})
    shown = rendered(template, resources=[first, second])
    assert shown.index("group-2") < shown.index("group-1")
    first["c7n:behind-ingress"], second["c7n:behind-ingress"] = told
    shown = rendered(template, resources=[first, second])
    assert shown.index("group-1") < shown.index("group-2")
