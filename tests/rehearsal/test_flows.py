import datetime as dt
import gzip
import ipaddress
import json
import os
import subprocess
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from c7n.utils import yaml_load
from hypothesis import example, given
from hypothesis import strategies as st

from c7n_ingress.decide.authorized import parse_list
from c7n_ingress.decide.rules import Traffic
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.rehearsal import clients, covering, flows
from c7n_ingress_tools.rehearsal.account import INTERFACES as INTERFACES_EXPORT
from c7n_ingress_tools.rehearsal.account import Account, load_interfaces
from tests.support.forked import C7N_INGRESS, forked
from tests.support.search import examples

ROOT = Path(__file__).parents[2]
FLOWS = yaml_load((ROOT / "tests" / "cases" / "flows.yml").read_text(encoding="utf-8"))
FILES = yaml_load((ROOT / "tests" / "cases" / "flows-files.yml").read_text(encoding="utf-8"))
WORLD = FLOWS["world"]
DEFAULT = " ".join(flows.DEFAULT)


class Silent:
    """A progress that nobody watches."""

    @contextmanager
    def step(self, text):
        """Return what can show shares and be named."""
        yield Done(text)


@dataclass
class Done:
    """Takes what it gets."""

    text: str

    def show(self, share):
        """Refuse what is no share."""
        assert 0 <= share <= 1


def named(kind):
    """Return cases, named."""
    return [pytest.param(case, id=case["name"]) for case in kind]


# -- the world of the cases


def permission(text):
    """Make a permission of `tcp 22 0.0.0.0/0`, `icmp type 8 0.0.0.0/0`, `all all 0.0.0.0/0`."""
    protocol, ports, source = text.split()[0], " ".join(text.split()[1:-1]), text.split()[-1]
    shape = {"IpProtocol": "-1" if protocol == "all" else protocol, "IpRanges": [], "Ipv6Ranges": []}
    shape |= {"UserIdGroupPairs": [], "PrefixListIds": []}
    if protocol == "icmp":
        shape |= {"FromPort": int(ports.removeprefix("type ")), "ToPort": -1}
    elif ports != "all":
        first, _, last = ports.partition("-")
        shape |= {"FromPort": int(first), "ToPort": int(last or first)}
    if source.startswith("sg-"):
        shape["UserIdGroupPairs"] = [{"GroupId": source}]
    elif ":" in source:
        shape["Ipv6Ranges"] = [{"CidrIpv6": source}]
    else:
        shape["IpRanges"] = [{"CidrIp": source}]
    return shape


INTERFACES = [
    {
        "NetworkInterfaceId": name,
        "Groups": [{"GroupId": group} for group in each["groups"]],
        "Ipv4Prefixes": [{"Ipv4Prefix": address} for address in each["addresses"] if "." in address],
        "Ipv6Prefixes": [{"Ipv6Prefix": address} for address in each["addresses"] if ":" in address],
    }
    for name, each in WORLD["interfaces"].items()
]
GROUPS = [
    {"GroupId": name, "GroupName": name, "IpPermissions": [permission(rule) for rule in rules]}
    for name, rules in WORLD["groups"].items()
]
RECORDS = [
    {
        "group": group,
        "group_name": group,
        "protocol": traffic.split()[0].replace("all", "-1"),
        "ports": traffic.partition(" ")[2],
        "traffic": permission(f"{traffic} {was or now}"),
        "was": was,
        "now": now,
    }
    for group, traffic, was, now in WORLD["replaced"]
]


def told(folder, text, name="flows.log"):
    """Read flow logs, and return who came in."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with flows.read([path], Silent()) as log:
        return clients.who_came_in(log, Account(GROUPS, INTERFACES), RECORDS)


def of_rule(number, result):
    """Find what was reported for the rule of a record."""
    record = RECORDS[number]
    (found,) = (
        seen
        for rule, seen in result.rules.items()
        if (rule.group, rule.traffic.protocol, rule.source) == (record["group"], record["protocol"], record["was"])
    )
    return found


def moment(seconds):
    """Return a flow record's time as the report has it."""
    return f"{dt.datetime.fromtimestamp(seconds, dt.timezone.utc):%Y-%m-%d %H:%M:%S}"


@pytest.mark.parametrize("case", named(FLOWS["cases"]))
def test_who_came_in(case, tmp_path):
    """Of each kind of traffic, exactly those who came in by the rule and would be let in no more are blocked."""
    result = told(tmp_path, f"{case.get('format', DEFAULT)}\n{case['lines']}")
    found = of_rule(case["rule"], result)
    assert {each.source: each.bytes for each in found.callers} == case["cut"]
    assert (found.blocked, found.bytes) == (len(case["cut"]), sum(case["cut"].values()))
    assert (found.stay, found.scanners) == (case["stay"], case.get("scanners", 0))
    if "last" in case:
        assert found.last == moment(case["last"])
    if "note" in case:
        assert found.note == case["note"]
    for note in case.get("notes", ()):
        assert note in result.notes


# -- a model of it, in plain words


def naive(lines):
    """Return, by rule, the blocked clients (with bytes and when last), the scanners and who stays."""
    doors = knocked(connected(lines))
    scanners = {source for source, tried in doors.items() if is_scanner(tried)}
    answers = []
    for record in RECORDS:
        came, stay = {}, set()
        for source, tried in doors.items():
            for name, protocol, port, accepted, _ in tried:
                traffic = protocol, port, source
                rule = record["protocol"], record["ports"], record["was"]
                if not accepted or record["group"] not in THERE[name]["groups"] or not takes(rule, traffic):
                    continue
                if let_in_afterwards(THERE[name], traffic, record):
                    stay.add(source)
                    continue
                size, last = came.get(source, (0, 0))
                size += sum(each[3] for each in accepted)
                came[source] = size, max(last, *(each[1] for each in accepted))
        cut = {source: told for source, told in came.items() if source not in scanners}
        answers.append((cut, scanners & came.keys(), stay - came.keys()))
    return answers


THERE = {
    name: each | {"addresses": [ipaddress.ip_network(address) for address in each["addresses"]]}
    for name, each in WORLD["interfaces"].items()
}


def connected(lines):
    """Put the records of each connection together: what came in, and when something went out."""
    connections = defaultdict(lambda: {"in": set(), "out": []})
    for line in set(lines):
        row = dict(zip(flows.DEFAULT, line.split(" "), strict=True))
        if row["log-status"] != "OK" or row["interface-id"] not in THERE:
            continue
        source, target = ipaddress.ip_address(row["srcaddr"]), ipaddress.ip_address(row["dstaddr"])
        own = THERE[row["interface-id"]]["addresses"]
        sport, dport, protocol = int(row["srcport"]), int(row["dstport"]), int(row["protocol"])
        start, end, packets, size = (int(row[name]) for name in ("start", "end", "packets", "bytes"))
        if any(target in network for network in own):
            key = row["interface-id"], protocol, dport, source, sport
            connections[key]["in"].add((start, end, packets, size, row["action"], target))
        if any(source in network for network in own):
            connections[row["interface-id"], protocol, sport, target, dport]["out"].append(start)
    return connections


def knocked(connections):
    """Give, by source, the doors at which it knocked: what was let in there, and whether something was not."""
    doors = defaultdict(list)
    pairs = {
        (name, protocol, sport, port) for (name, protocol, port, _, sport), both in connections.items() if both["out"]
    }
    for (name, protocol, port, source, sport), both in connections.items():
        against = (
            len({pair for pair in pairs if pair[:3] == (name, protocol, sport) and sport < pair[3]}),
            len({pair for pair in pairs if pair[:2] == (name, protocol) and pair[2] < port == pair[3]}),
        )
        if both["in"] and not is_reply(both, sport, port, *against):
            accepted = [each for each in both["in"] if each[4] == "ACCEPT"]
            doors[source].append((name, protocol, port, accepted, len(accepted) < len(both["in"])))
    return doors


def is_reply(both, sport, port, ports_of_own, ports_of_others):
    """Whether a connection was begun by the interface; against how many ports each of the two is shown."""
    if not both["out"]:
        return False
    came, went = min(each[0] for each in both["in"]), min(both["out"])
    if not sport and not port:
        return went < came
    if went > came or sport >= port:
        return False
    return ports_of_own > ports_of_others or (ports_of_own == ports_of_others and sport < 32768 <= port)


def takes(rule, traffic):
    """Whether a rule takes traffic; of ICMP, whatever its types."""
    protocol, ports, source = rule
    number, port, address = traffic
    if not any(address in network for network in networks(source) if network.version == address.version):
        return False
    if protocol == "-1":
        return True
    if {"icmp": "1", "tcp": "6", "udp": "17"}.get(protocol, protocol) != str(number):
        return False
    if protocol == "icmp" or ports == "all":
        return True
    first, _, last = ports.partition("-")
    return int(first) <= port <= int(last or first)


def networks(source):
    """Return the networks of a rule's source."""
    if source.startswith("sg-"):
        return [network for each in THERE.values() if source in each["groups"] for network in each["addresses"]]
    return [ipaddress.ip_network(source)]


def let_in_afterwards(interface, traffic, record):
    """Whether a rule of the interface's groups takes the traffic after the change."""
    replaced = {(each["group"], each["protocol"], each["ports"], each["was"]) for each in RECORDS}
    rules = {(each["group"], each["protocol"], each["ports"], each["now"]) for each in RECORDS}
    for name, texts in WORLD["groups"].items():
        for text in texts:
            protocol, *ports, source = text.replace("all", "-1", 1).split() if text.startswith("all") else text.split()
            rules.add((name, protocol, " ".join(ports), source))
    return any(
        group in interface["groups"]
        and takes((protocol, ports, source), traffic)
        and (protocol != "icmp" or ports == record["ports"])
        for group, protocol, ports, source in rules - replaced
    )


def is_scanner(tried):
    """Judge a source by the doors at which it knocked."""
    most = max(sum(each[2] for each in accepted) for _, _, _, accepted, _ in tried)
    places = {door[:3] for door in tried}
    turned_away = {door[:3] for door in tried if door[4]}
    if most > 100:
        return False
    if len(turned_away) >= 5 or (len(places) >= 10 and most <= 3):
        return True
    return most <= 2 and all(protocol == 6 for _, protocol, _, accepted, _ in tried if accepted)


def as_model(result):
    """Return what was reported in the model's shape; clients that are not shown are not compared."""
    found = []
    for number in range(len(RECORDS)):
        each = of_rule(number, result)
        shown = {one.source: (one.bytes, one.last_seen) for one in each.callers}
        found.append((each.blocked, each.bytes, each.scanners, each.stay, shown))
    return found


def as_told(model):
    """Return the model's answer in the report's shape."""
    return [
        (
            len(cut),
            sum(size for size, _ in cut.values()),
            len(scanners),
            len(stay),
            {
                str(source): (size, moment(last))
                for source, (size, last) in sorted(
                    cut.items(), key=lambda item: (-item[1][0], item[0].version == 4, item[0])
                )[:5]
            },
        )
        for cut, scanners, stay in model
    ]


OUTSIDE = ["198.18.0.9", "198.18.1.5", "198.18.2.5", "198.51.100.3", "203.0.113.7", "10.9.0.4", "10.0.0.4"]
OUTSIDE_6 = ["2001:2:0:7::5", "2001:2:0:9::5"]
PORTS = {6: [22, 23, 24, 443, 8080, 40000, 50000], 17: [53, 500, 555, 40000], 1: [0], 50: [0], 58: [0]}


@st.composite
def lines(draw):
    """Draw a record, among few of everything, so that records have to do with one another."""
    name = draw(st.sampled_from([*WORLD["interfaces"], "eni-0000000f"]))
    if draw(st.integers(0, 15)) == 0:
        return f"2 1 {name} - - - - - - - 100 160 - {draw(st.sampled_from(['NODATA', 'SKIPDATA']))}"
    own = draw(st.sampled_from(WORLD["interfaces"].get(name, {"addresses": ["10.0.0.1"]})["addresses"]))
    other = draw(st.sampled_from(OUTSIDE_6 if ":" in own else OUTSIDE))
    protocol = draw(st.sampled_from([6, 6, 6, 17, 1, 50] if "." in own else [6, 6, 17, 58]))
    ports = st.sampled_from(PORTS[protocol])
    there, here = (draw(ports), draw(ports)) if len(PORTS[protocol]) > 1 else (0, 0)
    packets, start = draw(st.sampled_from([1, 2, 3, 4, 60, 101])), draw(st.integers(100, 103))
    ends = f"{other} {own} {there} {here}" if draw(st.booleans()) else f"{own} {other} {here} {there}"
    action = draw(st.sampled_from(["ACCEPT", "ACCEPT", "REJECT"]))
    size = packets * draw(st.integers(40, 1500))
    return f"2 1 {name} {ends} {protocol} {packets} {size} {start} {start + 60} {action} OK"


@examples(10)
@given(st.lists(lines(), min_size=1, max_size=60))
def test_answers_as_the_model(tmp_path_factory, drawn):
    """The engine finds what a short program finds that reads the records one by one."""
    folder = tmp_path_factory.mktemp("flows")
    assert as_model(told(folder, "".join(f"{line}\n" for line in drawn))) == as_told(naive(drawn))


@examples(5)
@given(st.lists(lines(), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_order_duplicates_and_files_do_not_matter(tmp_path_factory, drawn, chance):
    """Whatever the order, however often a record is there and however it is spread, the same is reported."""
    folder = tmp_path_factory.mktemp("flows")
    once = told(folder, "".join(f"{line}\n" for line in drawn))
    mixed = drawn + [line for line in drawn if chance.random() < 0.5]
    chance.shuffle(mixed)
    middle = chance.randrange(len(mixed) + 1)
    logs = folder / "logs"
    logs.mkdir()
    (logs / "a.log.gz").write_bytes(gzip.compress("".join(f"{line}\n" for line in [DEFAULT, *mixed[:middle]]).encode()))
    (logs / "b.log").write_text("".join(f"{line}\n" for line in mixed[middle:]))
    with flows.read([logs], Silent()) as log:
        again = clients.who_came_in(log, Account(GROUPS, INTERFACES), RECORDS)
    assert as_model(again) == as_model(once)


def test_two_formats_of_the_same_traffic(tmp_path):
    """What two flow logs have, one of them with `tcp-flags`, counts once, and the flags count."""
    shared = "interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action"
    client = "eni-00000003 198.18.3.1 10.0.0.4 443 50000 6 20 4000 100 160 ACCEPT"
    answer = "eni-00000003 10.0.0.4 198.18.3.1 50000 443 6 20 9000 100 160 ACCEPT"
    (tmp_path / "without.log").write_text(f"{shared}\n{client}\n{answer}\n")
    (tmp_path / "with.log").write_text(f"{shared} tcp-flags\n{client} 2\n{answer} 18\n")
    with flows.read([tmp_path], Silent()) as log:
        found = of_rule(2, clients.who_came_in(log, Account(GROUPS, INTERFACES), RECORDS))
    assert (found.blocked, found.bytes) == (1, 4000)


DAMAGES = {
    "cut": lambda line, chance: line[: chance.randrange(1, len(line) - 3)],
    "a field more": lambda line, _: f"{line} x",
    "a word for a number": lambda line, _: line.replace(" 6 ", " tcp ", 1) if " 6 " in line else f"{line} x",
    "no status": lambda line, _: f"{line}Y",
}


@examples(5)
@given(
    st.lists(lines(), min_size=1, max_size=30),
    st.lists(st.sampled_from(sorted(DAMAGES)), max_size=5),
    st.randoms(use_true_random=False),
)
def test_bad_lines_change_nothing(tmp_path_factory, drawn, damages, chance):
    """Lines that are cut or garbled are left out and counted, wherever they are, and the others are read."""
    folder = tmp_path_factory.mktemp("flows")
    mixed = list(drawn)
    whole = "2 1 eni-00000001 198.18.0.77 10.0.0.1 40000 22 6 20 4000 100 160 ACCEPT OK"
    for damage in damages:
        mixed.insert(chance.randrange(len(mixed) + 1), DAMAGES[damage](whole, chance))
    path = folder / "flows.log"
    path.write_text("".join(f"{line}\n" for line in [DEFAULT, *mixed]))
    with flows.read([path], Silent()) as log:
        result = clients.who_came_in(log, Account(GROUPS, INTERFACES), RECORDS)
        assert (log.records, log.bad) == (len(drawn), len(damages))
    assert as_model(result) == as_told(naive(drawn))
    assert sum(note.startswith("left out") for note in result.notes) == min(len(damages), 4)


@examples(3)
@given(st.lists(lines(), min_size=1, max_size=40), st.permutations(flows.DEFAULT))
def test_formats_do_not_matter(tmp_path_factory, drawn, order):
    """The fields may be in any order, and in Parquet."""
    folder = tmp_path_factory.mktemp("flows")
    rows = [dict(zip(flows.DEFAULT, line.split(" "), strict=True)) for line in drawn]
    custom = "".join(" ".join(row[name] for name in order) + "\n" for row in [{name: name for name in order}, *rows])
    (folder / "typed.csv").write_text("\n".join(drawn) + "\n")
    numbers = {"srcport", "dstport", "protocol", "start", "end"}
    columns = {
        name.replace("-", "_"): "INTEGER"
        if name in numbers
        else "BIGINT"
        if name in {"packets", "bytes"}
        else "VARCHAR"
        for name in flows.DEFAULT
    }
    with duckdb.connect() as connection:
        source = f"read_csv('{folder}/typed.csv', delim=' ', header=false, columns={columns}, nullstr='-')"
        connection.execute(f"copy (from {source}) to '{folder}/flows.parquet' (format parquet)")
    parquet = (folder / "flows.parquet").read_bytes()
    expected = as_told(naive(drawn))
    assert as_model(told(folder, custom)) == expected
    assert as_model(told(folder, parquet, "flows.bin")) == expected


CLIENT = "2 1 eni-00000001 198.18.0.9 10.0.0.1 40000 22 6 20 4000 100 160 ACCEPT OK"


def test_who_may_stay_by_what_is_not_known(tmp_path):
    """Prefix lists and others' groups beside what is blocked are named, those of other ports are not."""
    beside = {
        "sg-0000000a": ["tcp 20-30 sg-0000000f", "tcp 443 sg-0000000e"],
        "sg-0000000c": ["tcp 22 sg-0000000d", "tcp 22 sg-00000009"],
    }
    groups = [
        group | {"IpPermissions": [*group["IpPermissions"], *map(permission, beside.get(group["GroupId"], ()))]}
        for group in GROUPS
    ]
    listed = permission("all all 0.0.0.0/0") | {"IpRanges": [], "PrefixListIds": [{"PrefixListId": "pl-1"}]}
    groups[0]["IpPermissions"].append(listed)
    path = tmp_path / "flows.log"
    path.write_text(f"{CLIENT}\n")
    with flows.read([path], Silent()) as log:
        (note,) = clients.who_came_in(log, Account(groups, INTERFACES), RECORDS).notes
    assert note.startswith("what is in sg-0000000f, pl-1 is not known here")
    assert told(tmp_path, f"{CLIENT}\n".replace(" 198.18.0.9 ", " 203.0.113.5 ")).notes == ()


def test_who_may_stay_by_a_prefix_list(tmp_path):
    """A prefix list whose CIDRs are known keeps in who is in them, and no one else."""
    listed = permission("tcp 22 0.0.0.0/0") | {"IpRanges": [], "PrefixListIds": [{"PrefixListId": "pl-1"}]}
    groups = [group | {"IpPermissions": [*group["IpPermissions"], listed]} for group in GROUPS]
    account = Account(groups, INTERFACES, prefix_lists={"pl-1": ["198.18.0.8/31"]})
    path = tmp_path / "flows.log"
    path.write_text(f"{CLIENT}\n" + f"{CLIENT}\n".replace(" 198.18.0.9 ", " 198.18.0.7 "))
    with flows.read([path], Silent()) as log:
        result = clients.who_came_in(log, account, RECORDS)
    found = of_rule(0, result)
    assert ([each.source for each in found.callers], found.stay, result.notes) == (["198.18.0.7"], 1, ())


def test_a_group_that_the_file_lacks(tmp_path):
    """A group of an interface that is not in the file of groups is named where its rules may keep somebody in."""
    path = tmp_path / "flows.log"
    path.write_text(f"{CLIENT}\n")
    known = [group for group in GROUPS if group["GroupId"] != "sg-0000000b"]
    with flows.read([path], Silent()) as log:
        (note,) = clients.who_came_in(log, Account(known, INTERFACES), RECORDS).notes
    assert note.startswith("the file of groups lacks sg-0000000b: ")


def test_nobody_is_said_of_what_is_logged_alone(tmp_path):
    """The report says that nobody is blocked only where each interface of the group has records."""
    stays = CLIENT.replace(" 198.18.0.9 ", " 203.0.113.5 ")
    result = told(tmp_path, f"{stays}\n")
    assert result.rules["sg-0000000a", Traffic("tcp", 22, 22), "0.0.0.0/0"].words == "nobody at 1 of 2 interfaces"
    assert of_rule(2, result).words == "not logged"

    nothing = "2 1 {} - - - - - - - 100 160 - NODATA\n"
    whole = told(tmp_path, f"{stays}\n" + "".join(nothing.format(name) for name in THERE))
    assert {each.words for each in whole.rules.values()} == {"nobody"}


# -- files


def filled(text, path):
    """Put in what a case's text means."""
    return (
        text.replace("{many}", f"{FILES['line'][2:]}\n" * 12)
        .replace("{header}", FILES["header"])
        .replace("{line}", FILES["line"])
        .replace("{file}", str(path))
    )


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", named(FILES["taken"]))
def test_takes(case, packed, tmp_path):
    """What people really have is read, plain or packed whatever its name; what is left out of it is reported."""
    path = tmp_path / ("flows.log" if packed else "flows.log.gz")
    content = filled(case["text"], path).replace("\n ", "\n").encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    with flows.read([path], Silent()) as log:
        assert log.records == case["records"]
        assert log.notes == [filled(note, path) for note in case.get("notes", [])]
        assert log.connection.execute('select distinct srcaddr, "end", action from flows').fetchall() == [
            ("198.18.0.9", 160, "ACCEPT")
        ]


@pytest.mark.parametrize("name", ["a[1].log", "a*.log", "a?.log", "a[.log"])
@pytest.mark.parametrize("parquet", [False, True], ids=["text", "Parquet"])
def test_names_are_no_patterns(name, parquet, tmp_path):
    """A file whose name would be a pattern is read once, and no other file in its stead."""
    text = filled("{header}\n{line}\n", tmp_path)
    for each in (name, "a1.log", "a2.log"):
        (tmp_path / each).write_text(text)
    if parquet:
        with flows.read([tmp_path / "a1.log"], Silent()) as log:
            columns = ", ".join(f'"{each}" as "{each.replace("-", "_")}"' for each in flows.NEEDED)
            log.connection.sql(f"select {columns} from flows").write_parquet(str(tmp_path / "a1.parquet"))
        (tmp_path / "a1.parquet").rename(tmp_path / name)
    with flows.read([tmp_path / name], Silent()) as log:
        assert log.records == 1
    with flows.read([tmp_path], Silent()) as log:
        assert log.records == 3


def test_a_file_that_is_left_out_is_told(tmp_path):
    """An empty file beside a good one is left out, and a note says so."""
    good, empty = (tmp_path / name for name in "ab")
    good.write_text(filled("{header}\n{line}\n", good))
    empty.write_text("")
    with flows.read([tmp_path], Silent()) as log:
        assert log.records == 1
        assert log.notes == [f"left out {empty}: the file is empty"]


def test_a_file_named_twice_is_read_once(tmp_path):
    """One file under several names, a link among them, is read once."""
    path, link = tmp_path / "flows.log", tmp_path / "link.log"
    path.write_text(filled("{header}\n{line}\n", path))
    link.symlink_to(path)
    with flows.read([path, tmp_path / ".." / tmp_path.name / path.name, link, tmp_path], Silent()) as log:
        assert log.records == 1


@pytest.mark.parametrize("case", named(FILES["refused"]))
def test_refuses(case, tmp_path):
    """What is no flow log is refused in one line that says which file, which line and what to do."""
    path = tmp_path / "flows.log"
    path.write_text(filled(case["text"], path))
    with pytest.raises(CommandError) as refused, flows.read([path], Silent()):
        pass
    assert str(refused.value) == filled(case["says"], path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(DEFAULT.encode() * 5000)[:200], "cannot be read .* Fetch it again"),
        (b"PAR1 and no more", "is not a complete Parquet file .* Fetch it again"),
        (DEFAULT.encode("utf-16"), "is neither text in UTF-8, gzip nor Parquet"),
        (b"\x89PNG\r\n\x1a\n\xff", "is neither text in UTF-8, gzip nor Parquet"),
    ],
    ids=["half a gzip", "no Parquet", "UTF-16", "a picture"],
)
def test_refuses_what_is_no_text(content, says, tmp_path):
    """Half of a file, another encoding and a picture are refused by what they are."""
    path = tmp_path / "flows.log"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=says), flows.read([path], Silent()):
        pass


def test_reads_formats_in_the_order_of_the_files(tmp_path):
    """What is reported of files, and whether they are refused, does not depend on the process."""
    line = "2 1 eni-00000001 198.18.0.9 10.0.0.1 40000 22 6 20 4000 100 160 ACCEPT OK"
    for more in range(6):
        header = " ".join([DEFAULT, *(f"field-{number}" for number in range(more))])
        (tmp_path / f"{more}.log").write_text(f"{header}\n{line}{' x' * more}\nbad\n")
    with flows.read([tmp_path], Silent()) as log:
        named = [note.split(",")[0] for note in log.notes]
    assert named == [f"left out {tmp_path / f'{more}.log'}" for more in range(6)]


def test_refuses_what_is_not_there(tmp_path):
    """A name that leads nowhere and a folder of nothing are refused."""
    with pytest.raises(CommandError, match="is neither a file nor a folder"), flows.read([tmp_path / "x"], Silent()):
        pass
    with pytest.raises(CommandError, match="there is no file in this folder"), flows.read([tmp_path], Silent()):
        pass


def test_refuses_a_pipe(tmp_path):
    """A pipe, as a shell makes of <(…), can be read only once, and is refused."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(CommandError, match="is neither a file nor a folder"), flows.read([pipe], Silent()):
        pass


def test_reads_a_folder_of_many_formats(tmp_path):
    """Files of several formats in folders are read together, without what has no records; empty ones are reported."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.log").write_text(filled("{header}\n{line}\n", ""))
    (tmp_path / "a" / "2.log").write_text(filled("{line}\n", ""))
    (tmp_path / "3.log").write_text(filled("log-status {header}\nOK {line}\n", "").replace(" log-status\n", " type\n"))
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "aws-logs-write-test").write_text("Permission Check Successful")
    (tmp_path / "empty").write_text("")
    with flows.read([tmp_path], Silent()) as log:
        assert (log.records, log.bad) == (3, 0)
        assert log.notes == [f"left out {tmp_path / 'empty'}: the file is empty"]


def test_refuses_records_of_other_interfaces(tmp_path):
    """Flow logs that have no record about the interfaces are refused, with one that they are about."""
    path = tmp_path / "flows.log"
    line = "2 999999999999 {} - - - - - - - 100 160 - NODATA\n"
    path.write_text(line.format("-") + line.format("eni-0000000f"))  # a regional NAT gateway's records name none
    with flows.read([path], Silent()) as log, pytest.raises(CommandError) as refused:
        clients.check(log, INTERFACES)
    assert "about eni-0000000f, for one" in str(refused.value)


def test_tells_of_what_is_not_used(tmp_path):
    """Records of unknown interfaces and addresses that are none are reported, and change nothing."""
    result = told(
        tmp_path,
        "2 1 eni-0000000f 198.18.0.9 10.0.0.1 40000 22 6 20 4000 100 160 ACCEPT OK\n"
        "2 1 eni-00000001 198.18.0.900 10.0.0.1 40000 22 6 20 4000 100 160 ACCEPT OK\n",
    )
    assert of_rule(0, result).blocked == 0
    unknown, wrong = result.notes
    assert unknown.startswith("not used: 1 record about 1 interface that the file of interfaces does not have")
    assert wrong == "left out 1 record with a text that is not an address, such as 198.18.0.900"


@pytest.mark.parametrize("case", named(FILES["interfaces"]))
def test_refuses_interfaces(case, tmp_path):
    """What is no list of interfaces, or of other groups, is refused with the command that prints the right one."""
    path = tmp_path / "interfaces.json"
    path.write_text(case["text"])
    groups = [{"GroupId": "sg-0000000a"}]
    with pytest.raises(CommandError) as refused:
        load_interfaces(path, groups)
    assert str(refused.value) == f"{path}: {case['says']}. This prints the right thing: {INTERFACES_EXPORT.command}"


def test_takes_interfaces(tmp_path):
    """All private addresses of an interface are its own: secondary ones, IPv6, and a Kubernetes node's prefixes."""
    path = tmp_path / "interfaces.json"
    shape = {
        "NetworkInterfaceId": "eni-00000001",
        "OwnerId": "123456789012",
        "Groups": [{"GroupId": "sg-0000000a", "GroupName": "a"}],
        "PrivateIpAddress": "10.0.0.5",
        "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.5", "Primary": True}, {"PrivateIpAddress": "10.0.0.9"}],
        "Ipv6Addresses": [{"Ipv6Address": "2001:2:0:1::5"}],
        "Ipv4Prefixes": [{"Ipv4Prefix": "10.0.1.0/28"}],
    }
    path.write_text(json.dumps({"NetworkInterfaces": [shape]}))
    (found,) = load_interfaces(path, [{"GroupId": "sg-0000000a"}])
    assert sorted({str(each) for each in clients.addresses(found)}) == [
        "10.0.0.5/32",
        "10.0.0.9/32",
        "10.0.1.0/28",
        "2001:2:0:1::5/128",
    ]


# -- what is suggested

ADDRESSES = st.one_of(
    st.integers(0, 40).map(lambda n: ipaddress.IPv4Address("198.18.0.0") + n),
    st.integers(0, 2**20).map(lambda n: ipaddress.IPv4Address("198.18.0.0") + n),
    st.integers(0, 40).map(lambda n: ipaddress.IPv6Address("2001:2::") + n),
)


@examples(300)
@given(st.sets(ADDRESSES, min_size=1, max_size=30), st.sets(ADDRESSES, max_size=5), st.integers(1, 8))
@example({ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("198.18.0.1")}, set(), 1)
def test_covering_holds(wanted, unwanted, most):
    """What is suggested holds each client and no scanner, is never open, and counts what else it holds."""
    found = covering.covering(wanted, unwanted - wanted, most)
    if found is None:
        return
    for version in (4, 6):
        networks = [each for each in found.networks if each.version == version]
        assert len(networks) <= most
    assert parse_list([str(network) for network in found.networks]) == list(found.networks)
    assert all(any(address in network for network in found.networks) for address in wanted)
    assert not any(address in network for address in unwanted - wanted for network in found.networks)
    assert sum(each.num_addresses for each in found.networks) == len(wanted) + found.more
    exact = list(ipaddress.collapse_addresses(each for each in wanted if each.version == 4))
    if len(exact) <= most and {each.version for each in wanted} == {4}:
        assert (list(found.networks), found.more) == (exact, 0)


@pytest.mark.parametrize(
    ("addresses", "most"),
    [
        ([f"{first}.{second}.0.1" for first in range(11, 19) for second in (0, 128)], 8),
        (["11.0.0.1", "11.255.0.1", "12.0.0.1", "12.255.0.1"], 2),
        (["2a02::1", "2a02:ffff::1", "2a04::1", "2a04:ffff::1"], 2),
        (["169.254.7.1"], 8),
        (["fe80::1"], 8),
    ],
)
def test_covering_suggests_nothing_that_is_refused(addresses, most):
    """Networks that are open together, or that nobody can come from, are not suggested."""
    assert covering.covering(map(ipaddress.ip_address, addresses), most=most) is None


@examples(200)
@given(st.sets(st.integers(0, 15), min_size=1, max_size=9), st.sets(st.integers(0, 15), max_size=3), st.integers(1, 4))
def test_covering_is_the_smallest(wanted, unwanted, most):
    """Among all sets of so many networks that hold the clients and no scanner, none holds fewer other addresses."""
    base = int(ipaddress.IPv4Address("198.18.0.0"))
    wanted, unwanted = frozenset(wanted), unwanted - wanted
    blocks = [frozenset(range(at, at + size)) for size in (1, 2, 4, 8, 16) for at in range(0, 16, size)]
    blocks = [each for each in blocks if not each & unwanted and each & wanted]
    best = {frozenset(): 0}
    for _ in range(most):
        for held, size in list(best.items()):
            for block in blocks:
                if not block & held:
                    joined = held | block
                    best[joined] = min(best.get(joined, 99), size + len(block))
    smallest = min((size for held, size in best.items() if wanted <= held), default=None)
    found = covering.covering(
        (ipaddress.IPv4Address(base + each) for each in wanted),
        [ipaddress.IPv4Address(base + each) for each in unwanted],
        most,
    )
    assert (found and len(wanted) + found.more) == smallest


# -- the command


def demo(folder, *arguments):
    """Run the demo in a folder, its output not going to a terminal."""
    return forked([C7N_INGRESS, "rehearse", *arguments], cwd=folder)


def test_demo_shows_who_would_be_blocked(tmp_path):
    """The sample's traffic is shown: rules with their clients first, who stays, scanners, and what keeps clients in."""
    logs = ROOT / "mode" / "c7n_ingress_tools" / "rehearsal"
    done = demo(tmp_path, "--interfaces", str(logs / "interfaces.json"), "--flows", str(logs / "flows.log"))
    assert (done.returncode, done.stderr) == (0, "")
    assert max(len(line) for line in done.stdout.splitlines() if "c7n-ingress undo " not in line) <= 120
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in FLOWS["demo"]:
        assert line in shown
    report = json.loads((tmp_path / ".local" / "run" / "report.json").read_text())
    assert report["headline"] == "11 of 18 rules would block clients"
    assert report["window"] == {"records": 203, "first": "2026-11-24 10:00:00", "last": "2026-11-24 11:58:26"}
    assert sum(row["blocked"] == 0 and not row["note"] for row in report["rows"]) == 4


def test_demo_refuses_flows_alone(tmp_path):
    """Flow logs of one's own groups without their interfaces are refused before anything is started."""
    done = demo(tmp_path, "groups.json", "--flows", "x")
    assert done.returncode == 2
    assert done.stderr.startswith("c7n-ingress: --flows needs --interfaces: ")
    assert not list(tmp_path.iterdir())


def test_demo_refuses_in_one_line(tmp_path):
    """What is wrong with the flow logs is said in one line on standard error, before the loop is started."""
    logs = ROOT / "mode" / "c7n_ingress_tools" / "rehearsal"
    done = demo(tmp_path, "--interfaces", str(logs / "interfaces.json"), "--flows", "missing.log")
    assert done.returncode == 2
    assert "✓" not in done.stdout
    assert done.stderr.startswith("c7n-ingress: missing.log: is neither a file nor a folder.")
    assert done.stderr.count("\n") == 1


@pytest.mark.soak
def test_demo_without_duckdb(tmp_path):
    """Where DuckDB is not installed, flow logs are refused with what installs it, and the demo needs it for no more."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['duckdb'] = None\n")
    without = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    run = lambda *words: subprocess.run(
        [C7N_INGRESS, "rehearse", *words], cwd=tmp_path, env=without, capture_output=True, text=True, check=False
    )
    done = run("--flows", ROOT / "mode" / "c7n_ingress_tools" / "rehearsal" / "flows.log")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "duckdb is not installed: pip install 'c7n-ingress[flows]', or '.[flows]' in a clone of the project\n"
    )
    assert run().returncode == 0
