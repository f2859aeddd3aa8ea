"""Who would be cut off, asked of CloudWatch Logs Insights in a preview.

moto runs no query of Insights'. Here mode/local/insights.py does: it translates the small part of the language that
the pack uses into SQL, so that numbers come of flow log records, and it answers with the states and errors that the
API documents. That Insights itself reads the queries in the same way cannot be shown here: what is shown is that they
keep to that part, as it is documented, and to the API's limits.
"""

import json
import logging
import re
import time
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
import yaml
from botocore.exceptions import ClientError, ConnectTimeoutError
from embedded import (
    ACCOUNT,
    MUTATING,
    NOTIFY,
    OPEN,
    act,
    cases,
    custodian,
    group_of,
    load,
    make_queue,
    messages,
    ports,
)
from hypothesis import example, given
from hypothesis import strategies as st
from rich.filesize import decimal
from test_behind import interface_of

from c7n_ingress.aws import evidence
from c7n_ingress.aws.evidence import rows_of
from c7n_ingress.aws.insights import Query, ask
from c7n_ingress.decide.came_in import Interface, Opening, afterwards, interface_from, openings, who_came_in
from c7n_ingress.decide.evidence import Known, read_text, sentences, size_text
from c7n_ingress.decide.insights import LONGEST, MOST_ROWS, queries, queries_of_logged, row_from
from c7n_ingress.decide.message import CUT, EVIDENCE, EVIDENCE_READ, MESSAGE_SIZE, REPLACED, Outcome
from c7n_ingress.decide.message import messages as parted
from c7n_ingress.decide.records import Change, record_of
from c7n_ingress.decide.rules import Match, Rule, Traffic, network, traffic
from mode.local import insights, logs
from mode.local.ec2 import load_interfaces
from mode.mailer import preview

CASES = cases("evidence")
WORLD = CASES["world"]
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
LOG_GROUP = "vpc-flow-logs"
ANYBODY = network("0.0.0.0/0")


# -- from lines of flow logs to sentences, by the queries themselves


def rule(text, number):
    """Give a case's rule, `tcp 22 0.0.0.0/0`, as EC2 has it."""
    protocol, span, source = text.split()
    shape = {"IpProtocol": "-1" if protocol == "all" else protocol}
    shape |= {} if span == "all" else ports({"protocol": protocol, "ports": span})
    source = source if source.startswith(("sg-", "pl-")) else network(source)
    return Rule(f"sgr-{number}", traffic(shape), source, None)


RULES = {group: [rule(text, n) for n, text in enumerate(some)] for group, some in WORLD["groups"].items()}
INTERFACES = [
    Interface(name, frozenset(each["groups"]), tuple(map(ip_network, each["addresses"])))
    for name, each in WORLD["interfaces"].items()
]


def foreseen(case):
    """Give the records of a case's preview."""
    for text in case["replaced"]:
        group, *words = text.removesuffix(" gone").split()
        open_rule = rule(" ".join(words), 0)
        now = network("2001:2:0:7::/64" if ":" in words[-1] else "198.18.7.0/24")
        change = Change("preview", "sgr-0", open_rule, open_rule.source, None if text.endswith(" gone") else now)
        yield json.loads(json.dumps(record_of(change, "preview", {"GroupId": group, "GroupName": "web"})))


def lines_of(case):
    """Give a case's records as flow logs have them."""
    for line in case["lines"].splitlines():
        whole = len(line.split()) == 14 or case.get("custom")
        yield line if whole else f"2 {ACCOUNT} {line} 1795514400 1795514460 ACCEPT OK"


def answers(texts, lines):
    """Run queries, and give their rows as GetQueryResults has them."""
    for text in texts:
        query = insights.Query("1", insights.answer(text, list(lines)), 0, 0)
        yield from ({each["field"]: each["value"] for each in row} for row in query.to_result_json()["results"])


@pytest.mark.parametrize("case", CASES["cases"], ids=[case["name"] for case in CASES["cases"]])
def test_who_came_in(case):
    """Each case of flow log records is told as its sentences say."""
    insights.reset()
    records, lines = list(foreseen(case)), list(lines_of(case))
    found, after = openings(records), afterwards(RULES, records)
    concerned = [each for each in INTERFACES if each.groups & {opening.group for opening in found}]
    rows = [row_from(fields) for fields in answers(queries(found, concerned), lines)]
    logged = frozenset(fields["interfaceId"] for fields in answers(queries_of_logged(concerned), lines))
    if not case.get("partly"):  # elsewhere it is no matter of interest that not all interfaces have traffic
        logged = frozenset(each.id for each in concerned)
    told = who_came_in(found, INTERFACES, after, rows)
    said = sentences(told, concerned, Known(logged, whole=True))
    assert [text for group in dict.fromkeys(each.group for each in found) for text in said[group]] == case["says"]


# -- the queries


sources = st.sampled_from(["0.0.0.0/0", "::/0", "20.0.0.0/7", "pl-00000001"])
spans = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda pair: tuple(sorted(pair)))
traffics = st.one_of(
    st.builds(lambda name, span: Traffic(name, *span), st.sampled_from(["tcp", "udp"]), spans),
    st.sampled_from([Traffic("-1", -1, -1), Traffic("icmp", 8, -1), Traffic("50", -1, -1), Traffic("tcp", -1, -1)]),
)
matches = st.builds(Match, traffics, sources.map(lambda text: text if text.startswith("pl-") else network(text)))
addresses = st.one_of(
    st.ip_addresses().map(ip_network),
    st.integers(0, 2**20 - 1).map(lambda n: network(f"10.{n >> 12}.{n >> 4 & 255}.{(n & 15) << 4}/28")),
)
GROUPS = [f"sg-{n:017x}" for n in range(4)]
some_openings = st.lists(st.builds(Opening, st.sampled_from(GROUPS), matches), min_size=1, max_size=60)
some_interfaces = st.lists(
    st.builds(
        Interface,
        st.integers(0, 2**40).map(lambda n: f"eni-{n:017x}"),
        st.frozensets(st.sampled_from(GROUPS), max_size=3),
        st.lists(addresses, max_size=20).map(tuple),
    ),
    max_size=10,
    unique_by=lambda interface: interface.id,
)


@given(some_openings, some_interfaces)
def test_queries_fit(found, interfaces):
    """However many rules, interfaces and addresses there are, each query is one that Insights takes."""
    texts = queries(found, interfaces) + queries_of_logged(interfaces)
    assert max(map(len, texts), default=0) <= LONGEST
    for text in texts:
        assert re.fullmatch(r'[A-Za-z0-9 ":./,()\[\]=<>|*_-]+', text)
        insights.answer(text, [])


@given(some_openings, some_interfaces, st.data())
def test_no_door_is_left_out(found, interfaces, data):
    """What comes to any address of an interface by any rule of its groups is in the answers, and is told."""
    concerned = [(each, opening) for each in interfaces for opening in found if opening.group in each.groups]
    doors = [(each, opening, own) for each, opening in concerned for own in each.addresses if _fits(opening, own)]
    if not doors:
        return
    interface, opening, own = data.draw(st.sampled_from(doors))
    of, version = opening.match.traffic, own.version
    source = "21.0.0.7" if version == 4 else "2001:db8::7"
    if any(ip_network(source).subnet_of(each) for each in interface.addresses if each.version == version):
        return
    port = max(of.from_port, 0) if of.protocol in ("tcp", "udp") else 0
    number = {"tcp": 6, "udp": 17, "icmp": 1, "-1": 6}.get(of.protocol, of.protocol)
    line = f"2 1 {interface.id} {source} {own[-1]} 65000 {port} {number} 9 900 1795514400 1795514460 ACCEPT OK"
    rows = [row_from(fields) for fields in answers(queries(found, interfaces), [line])]
    told = who_came_in(found, interfaces, {}, rows)
    (seen,) = told[opening].clients.values()
    # An id may come twice here, or an interface have an address in two shapes: it is counted again, not left out.
    assert seen.size >= 900


def _fits(opening, own):
    source = opening.match.source
    return isinstance(source, str) or source.version == own.version


def test_a_record_counts_once():
    """A record that rules of several ports and groups let in is summed up once, in however many queries they stand."""
    spans = [span for port in range(0, 2000, 10) for span in ((port, port + 3), (port + 2, port + 5))]
    found = [Opening(group, Match(Traffic("tcp", *span), ANYBODY)) for group in GROUPS for span in spans]
    interface = Interface("eni-1", frozenset(GROUPS), tuple(network(f"10.0.{n}.7/32") for n in range(250)))
    texts = queries(found, [interface])
    assert len(texts) > 4
    end = "6 9 900 1795514400 1795514460 ACCEPT OK"
    lines = [f"2 1 eni-1 198.18.0.9 10.0.7.7 40000 {port} {end}" for port in range(2000)]
    rows = [row_from(fields) for fields in answers(texts, lines)]
    assert sorted(row.port for row in rows) == [port for port in range(2000) if port % 10 < 6]
    assert {row[4:] for row in rows} == {(900, 9, 9, 1, 1795514460)}


def test_one_family_alone():
    """Where a group is open to one family, its interfaces' addresses of the other are not asked for."""
    interface = Interface("eni-1", frozenset({"sg-1"}), (network("10.0.0.1/32"), network("2001:db8::1/128")))
    for source, asked, left in (("0.0.0.0/0", "10.0.0.1", "2001:db8"), ("::/0", "2001:db8", "10.0.0.1")):
        (text,) = queries([Opening("sg-1", Match(Traffic("-1", -1, -1), network(source)))], [interface])
        assert asked in text
        assert left not in text


def test_alike_stand_together():
    """A hundred instances of one group make one query, and so do groups that are open to different ports."""
    found = [Opening(group, Match(Traffic("tcp", n, n), ANYBODY)) for n, group in enumerate(GROUPS, 20)]
    several = [Interface(f"eni-{n:017x}", frozenset({GROUPS[n % 4]}), (network(f"10.0.0.{n}/32"),)) for n in range(100)]
    assert len(queries(found, several)) == 1
    assert len(queries_of_logged(several)) == 1


def test_an_interface():
    """Of an interface its groups count, and its addresses and prefixes, each once."""
    shape = {
        "NetworkInterfaceId": "eni-1",
        "PrivateIpAddress": "10.0.0.4",
        "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.4"}, {"PrivateIpAddress": "10.0.0.5"}],
        "Ipv6Addresses": [{"Ipv6Address": "2001:db8::1"}],
        "Ipv4Prefixes": [{"Ipv4Prefix": "10.0.1.0/28"}],
        "Groups": [{"GroupId": "sg-1"}],
    }
    read = interface_from(shape)
    assert sorted(map(str, read.addresses)) == ["10.0.0.4/32", "10.0.0.5/32", "10.0.1.0/28", "2001:db8::1/128"]
    assert read.groups == {"sg-1"}
    assert interface_from({"NetworkInterfaceId": "eni-1"}).addresses == ()


# -- the rows


GOOD = {
    "interfaceId": "eni-1",
    "srcAddr": "198.18.0.9",
    "protocol": "6",
    "dstPort": "22",
    "size": "1.2E7",
    "sent": "9",
    "most": "9",
    "connections": "2",
    "last": "1795514460",
}


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "@ptr"]), st.text(max_size=5) | st.sampled_from(["-1", "nan", "1e999", "-", "6.0"])
    )
)
def test_odd_rows(odd):
    """Whatever a row holds raises nothing, and one that says who came where is told."""
    row = row_from(GOOD | odd)
    if not {"srcAddr", "protocol", "dstPort", "interfaceId"} & odd.keys():
        found = [Opening("sg-1", Match(Traffic("tcp", 22, 22), ANYBODY))]
        of_group = [Interface("eni-1", frozenset({"sg-1"}), (network("10.0.0.1/32"),))]
        said = sentences(who_came_in(found, of_group, {}, [row]), of_group, Known(frozenset({"eni-1"}), whole=True))
        assert re.match(r"tcp 22 from 0\.0\.0\.0/0: (1 client|nobody.*1 scanner)", said["sg-1"][0])
        assert said["sg-1"][0].isprintable()


@given(st.sets(st.sampled_from(["size", "sent", "most", "connections", "last"]), min_size=1))
def test_a_row_that_lacks_numbers(missing):
    """A source of which it is not known how little it sent counts as a client."""
    row = row_from({key: value for key, value in (GOOD | {"sent": "1", "most": "1"}).items() if key not in missing})
    found = [Opening("sg-1", Match(Traffic("tcp", 22, 22), ANYBODY))]
    of_group = [Interface("eni-1", frozenset({"sg-1"}), ())]
    told = who_came_in(found, of_group, {}, [row])[found[0]]
    assert bool(told.clients) == bool(missing & {"sent", "most", "connections"})


@pytest.mark.parametrize("missing", ["srcAddr", "protocol", "interfaceId"])
def test_a_row_without_a_name_is_told(missing):
    """A row that does not say who came where cannot be told, and it is told that there is one."""
    row = {key: value for key, value in GOOD.items() if key != missing}
    rows, troubles = rows_of([Query("text", 1, rows=[row, GOOD])])
    assert len(rows) == 1
    assert troubles == ["gave rows that do not say who came where"]


some_rows = st.lists(
    st.fixed_dictionaries(
        {
            "interfaceId": st.sampled_from(["eni-00000001", "eni-00000002"]),
            "srcAddr": st.sampled_from(["198.18.0.9", "198.18.7.1", "10.0.0.1", "20.0.0.1"]),
            "protocol": st.sampled_from(["6", "17", "1"]),
            "dstPort": st.sampled_from(["22", "8080", "500"]),
            "size": st.integers(0, 10**9).map(str),
            "sent": st.integers(1, 9).map(str),
            "most": st.integers(1, 9).map(str),
            "connections": st.integers(1, 3).map(str),
        }
    ),
    max_size=30,
)


@given(some_rows, st.randoms())
def test_the_order_of_rows(fields, random):
    """In whatever order rows come, and however they are spread over answers, the same is said."""
    records = list(foreseen({"replaced": ["sg-0000000a tcp 22 0.0.0.0/0", "sg-0000000b tcp 8080 0.0.0.0/0"]}))
    found, after = openings(records), afterwards(RULES, records)

    def said(rows):
        told = who_came_in(found, INTERFACES, after, map(row_from, rows))
        return sentences(told, INTERFACES, Known(frozenset(), whole=True))

    assert said(random.sample(fields, len(fields))) == said(fields)


def test_rows_that_were_cut_off():
    """An answer as long as answers get is told to be a part, and no rule then says that nobody would be cut off."""
    rows, troubles = rows_of([Query("text", 1, rows=[GOOD] * MOST_ROWS)])
    assert len(rows) == MOST_ROWS
    assert "those who sent least are missing" in read_text([LOG_GROUP], 14, 0, troubles)
    found, of_group = [Opening("sg-1", Match(Traffic("tcp", 443, 443), ANYBODY))], [Interface("eni-1", {"sg-1"}, ())]
    told = who_came_in(found, of_group, {}, rows)
    said = sentences(told, of_group, Known(frozenset({"eni-1"}), whole=False))
    assert said == {"sg-1": ["tcp 443 from 0.0.0.0/0: nobody was found who would be cut off, but not all was read"]}


@given(st.integers(0, 10**28))
@example(999_999_999_999_999_938)
def test_sizes(size):
    """Sizes are said as in the rehearsal with files."""
    assert size_text(size) == decimal(size)


@pytest.mark.parametrize(
    ("size", "troubles", "says"),
    [
        (0, [], "read 0 bytes of vpc-flow-logs, the last 14 days if kept, for less than $0.01: $0.005 a GB"),
        (2_400_000_000, [], "read 2.4 GB of vpc-flow-logs, the last 14 days if kept, for about $0.01: "),
        (
            10**15,
            [],
            "read 1.0 PB of vpc-flow-logs, the last 14 days if kept, for about $5,000.00: $0.005 a GB, as in",
        ),
        (
            10**12,
            ["not done within 120 s", "failed (X)", "not done within 120 s"],
            (
                "read at least 1.0 TB of vpc-flow-logs, the last 14 days if kept, for about $5.00: $0.005 a GB, as in "
                "us-east-1; 1 query failed (X); 2 queries not done within 120 s"
            ),
        ),
    ],
)
def test_the_cost(size, troubles, says):
    """It is told how much was read, for how much, and what was not answered."""
    assert read_text([LOG_GROUP], 14, size, troubles).startswith(says)


# -- previews


def flow(interface, source, *, packets=20, size=4000):
    """Give a record of what came to an interface."""
    end = int(time.time()) - 60
    return f"2 {ACCOUNT} {interface} {source} 10.0.0.4 40000 22 6 {packets} {size} {end - 60} {end} ACCEPT OK"


@pytest.fixture
def account(cloud):
    """Put two open groups into EC2, an instance behind the first, with flow logs, and give the instance's interface."""
    make_queue(cloud)
    load([group_of({"name": name, "ingress": [SSH]}, number) for number, name in enumerate(("web", "unused"), 1)])
    interface = interface_of({"instance": "i-1"}, f"sg-{1:017x}")
    load_interfaces([interface])
    name = interface["NetworkInterfaceId"]
    lines = [
        flow(name, "198.51.100.4", size=12_000_000),
        flow(name, "198.18.7.9"),
        flow(name, "198.51.100.5", packets=1),
    ]
    logs.write(ACCOUNT, "us-east-1", LOG_GROUP, "a-stream", lines)
    return name


def ask_and_tell(cloud, folder, before=None, **more):
    """Preview with evidence, and give what is told of each group, by its name."""
    wanted = {"log-groups": [LOG_GROUP]} | more
    act(cloud, folder, before, preview=True, evidence=wanted, notify=NOTIFY, authorized=["198.18.7.0/24"])
    return {each["GroupName"]: each for message in messages(cloud) for each in message["resources"]}


@pytest.mark.usefixtures("account")
def test_a_preview(cloud, tmp_path, caplog):
    """A preview says who would be cut off from each group and what it cost to find out, in message and log."""
    caplog.set_level(logging.INFO, "custodian.actions")
    told = ask_and_tell(cloud, tmp_path)
    (said,) = told["web"][EVIDENCE]
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 60))
    assert said.startswith(f"tcp 22 from 0.0.0.0/0: 1 client would be cut off: 198.51.100.4 (12.0 MB, last {day} ")
    assert said.endswith(" UTC); 1 would stay; 1 scanner")
    assert told["unused"][EVIDENCE] == ["tcp 22 from 0.0.0.0/0: no interface has the group"]
    assert re.fullmatch(
        r"read \d+ bytes of vpc-flow-logs, the last 14 days if kept, for less than \$0\.01: .* us-east-1",
        told["web"][EVIDENCE_READ],
    )
    for text in (f"sg-{1:017x}: {said}", f"evidence: {told['web'][EVIDENCE_READ]}"):
        assert text in caplog.messages
    assert not {call.action for call in cloud.calls} & MUTATING


def test_what_is_asked(account, cloud, tmp_path):
    """One query looks so many days back in the log groups that are named, another for records of the last day."""
    logs.write(ACCOUNT, "us-east-1", "other-flow-logs", "s", [flow(account, "198.51.100.7")])
    (said,) = ask_and_tell(cloud, tmp_path, **{"log-groups": [LOG_GROUP, "other-flow-logs"], "days": 3})["web"][
        EVIDENCE
    ]
    assert "2 clients" in said
    came, logged = insights.behaviour.asked
    assert came["groups"] == logged["groups"] == [LOG_GROUP, "other-flow-logs"]
    assert [round((time.time() - each["start"]) / 86400) for each in (came, logged)] == [3, 1]
    assert f'interfaceId in ["{account}"] and (dstAddr = "10.0.0.4") and (' in came["text"]


def test_who_is_let_in_by_other_groups(account, cloud, tmp_path):
    """What another group of the interface lets in stays in, by its networks, and by groups."""
    first, second, third = (f"sg-{number:017x}" for number in (1, 3, 4))
    rules = [{**SSH, "source": third}, {**SSH, "source": "198.51.100.0/28"}]
    load([group_of({"name": f"also {n}", "ingress": some}, n) for n, some in ((3, rules), (4, []))])
    client = interface_of({"instance": "i-2"}, third)
    client["PrivateIpAddresses"] = [{"PrivateIpAddress": "10.0.0.9"}]
    load_interfaces([interface_of({"instance": "i-1"}, first, second) | {"NetworkInterfaceId": account}, client])
    logs.write(ACCOUNT, "us-east-1", LOG_GROUP, "a-stream", [flow(account, "10.0.0.9"), flow(account, "10.0.0.8")])
    (said,) = ask_and_tell(cloud, tmp_path)["web"][EVIDENCE]
    assert said.startswith("tcp 22 from 0.0.0.0/0: 1 client would be cut off: 10.0.0.8 ")
    assert said.endswith("; 4 would stay")


def test_a_run_without_rules_to_replace_asks_nothing(cloud, tmp_path):
    """Where nothing would be replaced, no query is paid for."""
    make_queue(cloud)
    load([group_of({"name": "web", "ingress": [{**SSH, "source": "198.18.7.0/24"}]}, 1)])
    assert ask_and_tell(cloud, tmp_path) == {}
    assert insights.behaviour.asked == []


@pytest.mark.usefixtures("account")
def test_the_permissions(cloud, tmp_path):
    """The calls that evidence costs are those that the action says it needs, and c7n gives those for the policy."""
    insights.behaviour.looks = 10**9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evidence, "SECONDS", 1)
        ask_and_tell(cloud, tmp_path)
    made = {call.action for call in cloud.calls}
    assert {permission.partition(":")[2] for permission in evidence.PERMISSIONS} <= made
    assert {call.action for call in cloud.calls if call.service == "logs"} == {
        permission.removeprefix("logs:") for permission in evidence.PERMISSIONS if permission.startswith("logs:")
    }


@pytest.mark.usefixtures("account")
def test_the_command(cloud, tmp_path):
    """`custodian run` of a policy file tells it, and the mail that c7n-mailer makes of the message says so."""
    action = {"type": "replace-ingress", "authorized": ["198.18.7.0/24"], "preview": True, "notify": NOTIFY}
    action["evidence"] = {"log-groups": [LOG_GROUP]}
    policy = {"name": "who", "resource": "aws.security-group", "filters": OPEN, "actions": [action]}
    (tmp_path / "policy.yml").write_text(yaml.safe_dump({"policies": [policy]}))
    done = custodian(cloud, "run", "--region", "us-east-1", "-s", tmp_path, tmp_path / "policy.yml")
    assert done.returncode == 0, done.stderr
    assert "1 client would be cut off: 198.51.100.4 (12.0 MB" in done.stderr
    (message,) = messages(cloud)
    text = preview.render(message, "open-ingress")
    assert "1 client would be cut off: 198.51.100.4 (12.0 MB" in text
    assert text.count("$0.005 a GB, as in us-east-1") == 1


# -- what can go wrong


def refuse(code, operation):
    """Give what refuses a call."""

    def happens(**_):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)

    return {operation: happens}


@pytest.mark.parametrize(
    ("code", "operation"),
    [
        ("UnauthorizedOperation", "DescribeNetworkInterfaces"),
        ("AccessDeniedException", "StartQuery"),
        ("MalformedQueryException", "StartQuery"),
    ],
)
@pytest.mark.usefixtures("account")
def test_what_is_refused_is_told(cloud, tmp_path, code, operation):
    """A preview that may not look is told all the same, and says why it does not know."""
    for each in ask_and_tell(cloud, tmp_path, refuse(code, operation)).values():
        assert each[EVIDENCE] == [f"who came in could not be looked up ({code})"]
        assert len(each["c7n:replaced-ingress"]) == 1


@pytest.mark.usefixtures("account")
def test_a_log_group_that_is_not_there(cloud, tmp_path):
    """A log group that is not there is told by what CloudWatch Logs says of it."""
    told = ask_and_tell(cloud, tmp_path, **{"log-groups": ["no-such-group"]})
    assert told["web"][EVIDENCE] == ["who came in could not be looked up (ResourceNotFoundException)"]


@pytest.mark.usefixtures("account")
def test_results_that_cannot_be_read(cloud, tmp_path):
    """Where results are refused, nobody is said to stay in, nor said to be cut off."""
    told = ask_and_tell(cloud, tmp_path, refuse("AccessDeniedException", "GetQueryResults"))
    assert told["web"][EVIDENCE] == ["tcp 22 from 0.0.0.0/0: not known: not all was read"]
    assert told["web"][EVIDENCE_READ].endswith("; 2 queries failed (AccessDeniedException)")


@pytest.mark.parametrize("status", ["Failed", "Cancelled", "Timeout"])
@pytest.mark.usefixtures("account")
def test_a_query_that_ends_otherwise(cloud, tmp_path, status):
    """A query that did not end well is told, and what it gave until then counts as a part."""
    insights.behaviour.ends = status
    told = ask_and_tell(cloud, tmp_path)
    assert told["web"][EVIDENCE_READ].endswith(f"; 2 queries ended as {status}")
    assert told["web"][EVIDENCE_READ].startswith("read at least ")
    assert told["web"][EVIDENCE][0].startswith("tcp 22 from 0.0.0.0/0: at least 1 client would be cut off")
    assert insights.behaviour.stopped == []


@pytest.mark.usefixtures("account")
def test_the_time_is_up(cloud, tmp_path, monkeypatch):
    """What is not done in time is stopped, once each, and it is told that this is not all."""
    monkeypatch.setattr(evidence, "SECONDS", 1)
    insights.behaviour.looks = 10**9
    told = ask_and_tell(cloud, tmp_path)
    assert sorted(insights.behaviour.stopped) == sorted(each["id"] for each in insights.behaviour.asked)
    assert told["web"][EVIDENCE_READ].endswith("; 2 queries not done within 1 s")
    assert told["web"][EVIDENCE][0].startswith("tcp 22 from 0.0.0.0/0: at least 1 client would be cut off")


def texts(number):
    """Give so many queries."""
    return [Query(text, 1) for text in queries_of_logged([Interface("eni-1", frozenset(), ())]) * number]


@pytest.mark.parametrize(("at_once", "number"), [(1, 3), (30, 65)])
@pytest.mark.usefixtures("account")
def test_as_many_at_once_as_may_be(cloud, at_once, number):
    """Where CloudWatch Logs runs no more queries at once, the others wait, and all are answered."""
    insights.behaviour.at_once = at_once
    insights.behaviour.looks = 0
    asked = texts(number)
    ask(cloud.session().client("logs"), [LOG_GROUP], asked, 60)
    assert [each.status for each in asked] == ["Complete"] * number
    assert all(each.trouble is None for each in asked)


@pytest.mark.usefixtures("account")
def test_busy(cloud, tmp_path):
    """A call that is throttled is made again, as often as the time allows."""
    left = {"StartQuery": 1, "GetQueryResults": 1}

    def busy(model, **_):
        if left[model.name]:
            left[model.name] -= 1
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slowly"}}, model.name)

    told = ask_and_tell(cloud, tmp_path, dict.fromkeys(left, busy))
    assert "1 client would be cut off" in told["web"][EVIDENCE][0]
    assert set(left.values()) == {0}


@pytest.mark.usefixtures("account")
def test_busy_all_the_time(cloud):
    """Where no query could be started in time, none is said to be answered."""
    insights.behaviour.at_once = 0
    asked = texts(2)
    ask(cloud.session().client("logs"), [LOG_GROUP], asked, 1)
    assert [each.trouble for each in asked] == ["not done within 1 s"] * 2


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "InvalidParameterException", "Message": "has ended"}}, "StopQuery"),
        ConnectTimeoutError(endpoint_url="https://logs"),
    ],
    ids=["has ended", "no answer"],
)
@pytest.mark.usefixtures("account")
def test_a_query_that_cannot_be_stopped(cloud, tmp_path, monkeypatch, error):
    """That a query cannot be stopped keeps nothing from being told."""
    monkeypatch.setattr(evidence, "SECONDS", 1)
    insights.behaviour.looks = 10**9

    def fail(**_):
        raise error

    told = ask_and_tell(cloud, tmp_path, {"StopQuery": fail})
    assert told["web"][EVIDENCE_READ].endswith("; 2 queries not done within 1 s")


@pytest.mark.usefixtures("account")
def test_somebody_stops_the_run(cloud, tmp_path):
    """Whoever stops a preview that waits for answers stops the queries, and is told what would change."""

    def interrupt(**_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_and_tell(cloud, tmp_path, {"GetQueryResults": interrupt})
    assert len(insights.behaviour.stopped) == 2
    (message,) = messages(cloud)
    assert [len(each["c7n:replaced-ingress"]) for each in message["resources"]] == [1, 1]


def test_evidence_fits_into_a_message():
    """Of more sentences than a message holds, the first are told, and how many are not."""
    outcome = Outcome({"GroupId": "sg-1"}, evidence=["x" * 300] * 1000, evidence_read="read 1 byte")
    ((told,),) = parted([outcome.told(REPLACED)], REPLACED)
    assert 100 < len(told[EVIDENCE]) < 1000
    assert f"{1000 - len(told[EVIDENCE])} rules' evidence did not fit" in told[CUT]
    assert len(json.dumps(told)) < MESSAGE_SIZE


def test_queries_that_take_long_to_stop(monkeypatch, caplog):
    """However many queries run when the time is up, and however slowly they are stopped, a preview goes on."""
    clock, stopped = [0.0], []

    class Slow:
        """CloudWatch Logs, which takes five seconds to stop a query, by the clock."""

        def start_query(self, **_):
            return {"queryId": "1"}

        def get_query_results(self, **_):
            return {"status": "Running", "results": []}

        def stop_query(self, **_):
            clock[0] += 5
            stopped.append(clock[0])

    def sleep(seconds):
        clock[0] += seconds

    time = SimpleNamespace(monotonic=lambda: clock[0], time=lambda: 1795514400, sleep=sleep)
    monkeypatch.setattr("c7n_ingress.aws.insights.time", time)
    asked = [Query("filter", 14) for _ in range(30)]
    ask(Slow(), [LOG_GROUP], asked, 10)
    assert len(stopped) == 2
    assert {query.trouble for query in asked} == {"not done within 10 s"}
    assert "28 queries were not stopped in time" in caplog.text
