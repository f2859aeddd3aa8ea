"""PagerDuty's Events API v2, by the snippet in mode/mailer/README.md, against its published rules."""

import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from embedded import edited, group_of, load, run

README = Path(__file__).parents[1] / "mode" / "mailer" / "README.md"
EVENTS_API = "https://events.pagerduty.com/v2/enqueue"
INTEGRATION_KEY = "YOUR-32-CHARACTER-INTEGRATIONKEY"
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "from anywhere"}


def broken_rules(event):
    """Give the rules for an event that PagerDuty publishes and that this one breaks.

    https://developer.pagerduty.com/docs/send-alert-event
    """
    if not isinstance(event, dict):
        return ["an event is an object"]
    payload = event.get("payload", {})
    rules = {
        "routing_key: 32 characters": len(event.get("routing_key", "")) == 32,
        "event_action: trigger, acknowledge or resolve": event.get("event_action")
        in ("trigger", "acknowledge", "resolve"),
        "dedup_key: a text of at most 255 characters": 0 < len(event.get("dedup_key", "")) <= 255,
        "summary: required, at most 1024 characters": 0 < len(payload.get("summary", "")) <= 1024,
        "source: required": len(payload.get("source", "")) > 0,
        "severity: one of four": payload.get("severity") in ("critical", "error", "warning", "info"),
        "component, group, class: texts": all(
            isinstance(payload.get(k, ""), str) for k in ("component", "group", "class")
        ),
        "custom_details: an object": isinstance(payload.get("custom_details", {}), dict),
        "links: each with an href": all(link.get("href") for link in event.get("links", [])),
        "nothing else": set(event)
        <= {"routing_key", "event_action", "dedup_key", "payload", "links", "images", "client", "client_url"},
        "nothing else in the payload": set(payload)
        <= {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"},
    }
    return [rule for rule, kept in rules.items() if not kept]


@contextmanager
def pagerduty():
    """Serve the Events API on this machine; gives its address and the events it accepted, by their keys."""
    incidents, refused = {}, []

    class Enqueue(BaseHTTPRequestHandler):
        def do_POST(self):
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            broken = broken_rules(event)
            if broken:
                refused.append((event, broken))
            else:
                incidents.setdefault(event["dedup_key"], []).append(event)
            self.send_response(400 if broken else 202)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Enqueue)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v2/enqueue", incidents, refused
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def documented():
    """Give the README's YAML blocks."""
    return re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def sweep(folder, url, key="R0123456789abcdefghijklmnopqrstu"):
    """Give the sweep with the README's snippet at its end, where people put it, and without a queue."""
    (webhook,) = (block for block in documented() if EVENTS_API in block)
    path = edited("open-ingress-sweep", folder, ["198.18.7.0/24", "2001:2:0:7::/64"])
    text = path.read_text().partition("        notify:\n")[0] + webhook
    path.write_text(text.replace(EVENTS_API, url).replace(INTEGRATION_KEY, key))
    return path


def test_one_incident_a_group_however_often_it_is_opened(cloud, tmp_path):
    """A group that is opened twice is one incident with two events; another group is another incident."""
    with pagerduty() as (url, incidents, refused):
        load([group_of({"name": f"web-{n}", "ingress": [SSH]}, n) for n in (1, 2)])
        assert run(cloud, sweep(tmp_path, url), tmp_path / "out").returncode == 0
        permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        ec2 = cloud.session().client("ec2")
        ec2.authorize_security_group_ingress(GroupId=f"sg-{1:017x}", IpPermissions=[permission])
        assert run(cloud, sweep(tmp_path, url), tmp_path / "out").returncode == 0
    assert refused == []
    assert {key: len(events) for key, events in incidents.items()} == {
        f"open-ingress/123456789012/us-east-1/sg-{1:017x}": 2,
        f"open-ingress/123456789012/us-east-1/sg-{2:017x}": 1,
    }
    first = incidents[f"open-ingress/123456789012/us-east-1/sg-{1:017x}"][0]
    assert first["payload"]["summary"] == f"Open ingress closed: sg-{1:017x} web-1 in 123456789012 us-east-1"
    (change,) = first["payload"]["custom_details"]["changes"]
    assert (change["protocol"], change["ports"]) == ("tcp", "22")
    assert (change["was"], change["now"], change["description"]) == ("0.0.0.0/0", "198.18.7.0/24", "from anywhere")


def test_event_is_valid_whatever_names_hold(cloud, tmp_path):
    """Quotes, markup, line breaks, template syntax and 255 characters make a valid event that holds them."""
    names = [
        '"}], "routing_key": "x',
        "<b>\u202e\t\n\x85\u2028\U0001f512",
        "{{ 7 * 7 }} {account_id}",
        "\\u0022' && `[]`",
        "n" * 255,
    ]
    rule = {**SSH, "description": "{{ 7 * 7 }} {account_id} [];&!$"}  # EC2 takes few signs more
    load(group_of({"name": name, "ingress": [rule], "tags": {"owner": name}}, n) for n, name in enumerate(names))
    with pagerduty() as (url, incidents, refused):
        done = run(cloud, sweep(tmp_path, url), tmp_path / "out")
        assert done.returncode == 0, done.stderr
    assert refused == []
    details = [event["payload"]["custom_details"] for (event,) in incidents.values()]
    assert sorted(detail["tags"][0]["Value"] for detail in details) == sorted(names)
    assert {detail["changes"][0]["description"] for detail in details} == {rule["description"]}
    summaries = " ".join(event["payload"]["summary"] for (event,) in incidents.values())
    assert [name for name in names if name not in summaries] == []


def test_sixty_rules_fit_into_an_event(cloud, tmp_path):
    """A group with as many open rules as EC2 allows makes an event within PagerDuty's 512 KB."""
    load([group_of({"name": "web", "ingress": [{**SSH, "ports": port} for port in range(1000, 1060)]}, 1)])
    with pagerduty() as (url, incidents, refused):
        assert run(cloud, sweep(tmp_path, url), tmp_path / "out").returncode == 0
    assert refused == []
    ((event,),) = incidents.values()
    assert len(event["payload"]["custom_details"]["changes"]) == 50
    assert len(json.dumps(event)) < 512_000


def test_no_incident_for_a_group_of_which_nothing_changed(cloud, tmp_path):
    """A group of another account is left alone, and opens no incident."""
    load([group_of({"name": "shared", "ingress": [SSH]}, 1) | {"OwnerId": "999999999999"}])
    with pagerduty() as (url, incidents, refused):
        run(cloud, sweep(tmp_path, url), tmp_path / "out")
    assert incidents == {}
    assert [event for event, _ in refused] in ([], [None])


def test_addresses_are_told_beside_the_topic(cloud, tmp_path):
    """The README's list of people to tell stands in the shipped policies as it is written, and validates."""
    (block,) = (block for block in documented() if "tell:" in block)
    topic_alone = "".join(block.splitlines(keepends=True)[:2])
    path = edited("open-ingress-sweep", tmp_path, ["198.18.7.0/24", "2001:2:0:7::/64"])
    assert topic_alone in path.read_text()
    path.write_text(path.read_text().replace(topic_alone, block))
    done = run(cloud, path, tmp_path / "out", "--dryrun")
    assert done.returncode == 0, done.stderr
    (policy,) = yaml.safe_load(path.read_text())["policies"]
    assert policy["actions"][0]["notify"]["to"][1] == "on-call@example.com"


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
    ],
)
def test_pagerduty_here_refuses_what_pagerduty_refuses(change, rule):
    """The rules that the events are checked by can fail."""
    payload = {"summary": "x", "source": "x", "severity": "info"}
    event = {"routing_key": "k" * 32, "event_action": "trigger", "dedup_key": "x", "payload": payload}
    assert broken_rules(event) == []
    assert broken_rules(event | change) == [rule]
