import copy
import gzip
import json
import re
import ssl
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
import trustme
from c7n.exceptions import PolicyExecutionError, PolicyValidationError
from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.functions.runtime import FunctionError, deployed
from c7n_ingress_tools.mailer import lambda_entry as mailer
from c7n_ingress_tools.rehearsal import groups
from tests.support.embedded import (
    CASES_OF_OPEN_INGRESS,
    LOG_GROUP,
    NOTIFY,
    ROOT,
    act,
    cases,
    load,
    made_changes,
    make_queue,
    messages,
    rules_of,
    run,
    shipped,
)
from tests.support.forked import C7N_INGRESS, forked
from tests.support.search import examples

CASES = cases("bad-input")
RULE = "custodian-open-ingress"
GROUP = CASES_OF_OPEN_INGRESS[0][1]
TEXT = groups.SAMPLE.read_bytes()
SAMPLE = json.loads(TEXT)
GONE = object()
ENDED_BY_LAMBDA = ("Sandbox.Timedout", "Runtime.ExitError")

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("sg-0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_there_are_enough():
    """There are more bad inputs than the sixty that were asked for."""
    tables = [CASES["events"], CASES["lists"], CASES["mailer"], CASES["files"], cases("refusals")["refused"]]
    assert sum(map(len, [*tables, cases("groups-files")["refused"]])) > 60


def paths(value, path=()):
    """Return the path to each part of a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from paths(part, (*path, key))


def changed(value, path, new):
    """Return a JSON value with one part replaced or removed."""
    value = copy.deepcopy(value)
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    if new is GONE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = new
    return value


# -- the Lambda's entry


def good_event():
    """Return an event of AWS Config about an open group, and its JSON text read."""
    captured = datetime(2026, 1, 31, tzinfo=timezone.utc)  # long ago: nothing is waited for
    good = event(configuration_item(GROUP, captured=captured), RULE)
    return good, json.loads(good["invokingEvent"])


def bad_event(case):
    """Return a case's event."""
    if "event" in case:
        return case["event"]
    good, invoking = good_event()
    (path, new), *_ = case.get("put", {case.get("gone"): GONE}).items()
    top, *inner = path.split(".")
    if inner:
        return good | {"invokingEvent": json.dumps(changed(invoking, inner, new))}
    return changed(good, [top], new)


@pytest.fixture(scope="module")
def function(embedded_aws, tmp_path_factory):
    """Deploy open-ingress, put an open group into EC2, and return the Lambda."""
    folder = tmp_path_factory.mktemp("deployed")
    embedded_aws.reset()
    make_queue(embedded_aws)
    embedded_aws.session().client("sqs").create_queue(QueueName="custodian-open-ingress-failed")
    role = {"RoleName": "custodian-open-ingress", "AssumeRolePolicyDocument": "{}"}
    embedded_aws.session().client("iam").create_role(**role)
    assert run(embedded_aws, shipped("open-ingress", folder, ["198.18.7.0/24"]), folder).returncode == 0
    load([GROUP])
    with deployed(embedded_aws, RULE, folder=folder) as function:
        yield function


@pytest.mark.parametrize("case", CASES["events"], ids=lambda case: case["name"])
def test_a_bad_event_is_refused(embedded_aws, function, case):
    """An event that is none of AWS Config's about a group is refused with the value and the fix."""
    embedded_aws.calls.clear()
    with pytest.raises(FunctionError) as refused:
        function.invoke(bad_event(case))
    assert case["says"] in refused.value.error_message
    assert embedded_aws.calls == []


@examples(30)
@given(st.data())
def test_any_event_is_refused_or_right(embedded_aws, function, data):
    """Whatever is in an event, it is refused before anything is changed, or the group is closed and Config is notified.

    Only Config itself knows its tokens and times, and can still refuse what it is told.
    """
    good, invoking = good_event()
    inside = data.draw(st.booleans())
    path = data.draw(st.sampled_from([*paths(invoking if inside else good)]))
    new = data.draw(JUNK | st.just(GONE))
    broken = (
        changed(good, path, new) if not inside else good | {"invokingEvent": json.dumps(changed(invoking, path, new))}
    )
    load([GROUP])
    embedded_aws.calls.clear()
    try:
        function.invoke(broken)
    except FunctionError as error:
        assert error.error_type not in ENDED_BY_LAMBDA  # noqa: PT017 - it need not be raised
    asked_config = "PutEvaluations" in [call.action for call in embedded_aws.calls]
    assert made_changes(embedded_aws) in ([], ["ModifySecurityGroupRules"] if asked_config else [])


def test_a_call_that_cannot_be_understood(embedded_aws, function):
    """If the event holds a call that nobody can make sense of, the group is closed and reported all the same."""
    load([GROUP])
    good, _ = good_event()
    messages(embedded_aws)
    function.invoke(good | {"detail": {"userIdentity": {"arn": None}, "eventTime": 5}})
    (message,) = messages(embedded_aws)
    assert len(message["resources"][0]["c7n:replaced-ingress"]) == 1


# -- authorized-from


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Return an authority, which programs of this process trust."""
    made = trustme.CA()
    path = tmp_path_factory.mktemp("authority") / "authority.pem"
    made.cert_pem.write_to_path(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield made


@pytest.fixture(scope="module")
def server(authority):
    """Serve the cases' lists over HTTPS, and return the address."""
    answers = {f"/{case['file']}": case for case in CASES["lists"] if "file" in case}
    with serving(authority, lambda request: answer(request, answers[request.path])) as address:
        yield address


@contextmanager
def serving(authority, respond):
    """Serve HTTPS on a free loopback port until the block ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    class Request(BaseHTTPRequestHandler):
        do_GET = respond

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()


def answer(request, case):
    """Answer as a case says."""
    request.send_response(case.get("status", 200))
    for name, value in case.get("headers", {}).items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(bytes.fromhex(case["bytes"]) if "bytes" in case else case.get("body", "").encode())


@pytest.fixture
def lists(cloud):
    """Put an open group into EC2, and lists into S3."""
    load([GROUP])
    make_queue(cloud)
    s3 = cloud.session().client("s3")
    s3.create_bucket(Bucket="networks")
    objects = {"empty.txt": b"", "sign-in.txt": b"<html>", "garbage.gz": b"no gzip"}
    for key, body in objects.items():
        s3.put_object(Bucket="networks", Key=key, Body=body)


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("case", CASES["lists"], ids=lambda case: case.get("file") or case["url"])
def test_a_bad_list_changes_nothing(cloud, server, tmp_path, case):
    """A list of authorized networks that cannot be had or used is refused with the value, and nothing is changed."""
    url = case.get("url") or f"{server}/{case['file']}"
    before = rules_of(GROUP["GroupId"])
    with pytest.raises(PolicyExecutionError, match="replace-ingress changed nothing: ") as refused:
        act(cloud, tmp_path, **{"authorized-from": {"url": url, **case.get("more", {})}})
    assert case["says"] in str(refused.value)
    assert rules_of(GROUP["GroupId"]) == before
    assert made_changes(cloud) == messages(cloud) == []


@pytest.mark.usefixtures("lists")
def test_a_list_that_is_too_long(cloud, tmp_path):
    """More networks than a security group can ever hold are refused before anything is changed."""
    body = "\n".join(f"198.18.{number >> 8}.{number & 255}/32" for number in range(1001))
    cloud.session().client("s3").put_object(Bucket="networks", Key="long.txt", Body=body)
    with pytest.raises(PolicyExecutionError, match="1001 networks, more than a security group can hold rules: 1000"):
        act(cloud, tmp_path, **{"authorized-from": {"url": "s3://networks/long.txt"}})
    assert made_changes(cloud) == []


@pytest.mark.usefixtures("lists")
def test_a_server_that_never_answers(cloud, tmp_path, monkeypatch, authority):
    """A server that keeps the list to itself is given up on."""
    monkeypatch.setattr("c7n_ingress.aws.values.FETCH_TIMEOUT", 0.1)
    over = Event()
    with serving(authority, lambda _request: over.wait()) as address:
        with pytest.raises(PolicyExecutionError, match=r"changed nothing: .* timed out"):
            act(cloud, tmp_path, **{"authorized-from": {"url": f"{address}/networks.txt"}})
        over.set()
    assert made_changes(cloud) == []


@pytest.mark.usefixtures("lists")
def test_a_list_that_moved(cloud, tmp_path, authority):
    """A redirect that stays on https is followed."""

    def respond(request):
        moved = request.path == "/networks.txt"
        answer(request, {"status": 301, "headers": {"Location": "/new.txt"}} if moved else {"body": "198.18.7.0/24"})

    with serving(authority, respond) as address:
        act(cloud, tmp_path, **{"authorized-from": {"url": f"{address}/networks.txt"}})
    assert made_changes(cloud) == ["ModifySecurityGroupRules"]


@pytest.mark.usefixtures("lists")
def test_a_list_that_is_packed(cloud, tmp_path):
    """A list that is packed as its name says is read."""
    body = gzip.compress(b"198.18.7.0/24\r\n\r\n198.18.7.0/24")
    cloud.session().client("s3").put_object(Bucket="networks", Key="networks.gz", Body=body)
    act(cloud, tmp_path, **{"authorized-from": {"url": "s3://networks/networks.gz", "format": "txt"}})
    assert made_changes(cloud) == ["ModifySecurityGroupRules"]


# -- the mailer's entry


@pytest.mark.parametrize("case", CASES["mailer"], ids=lambda case: case["name"])
def test_what_is_no_batch_is_refused(case):
    """An event that is none of SQS's is refused with the value and the fix."""
    with pytest.raises(mailer.UndeliverableError) as refused:
        mailer.handle(case["event"], None)
    assert case["says"] in str(refused.value)


@examples(100)
@given(st.lists(st.dictionaries(st.sampled_from(["body", "attributes", "eventSource"]), JUNK), min_size=1, max_size=4))
def test_any_batch_stays(records):
    """Whatever else is in a message that cannot be read, SQS keeps it."""
    records = [{"messageId": f"{number}", **record} for number, record in enumerate(records)]
    kept = [{"itemIdentifier": record["messageId"]} for record in records]
    assert mailer.handle({"Records": records}, None) == {"batchItemFailures": kept}


# -- the rehearsal's file


@examples(60)
@given(st.sampled_from([*paths(SAMPLE)]), JUNK | st.just(GONE))
def test_any_file_is_refused_or_right(path, new):
    """Whatever is in a file of groups, it is refused in one line or read."""
    read_or_refused(json.dumps(changed(SAMPLE, path, new)).encode())


@examples(60)
@given(st.binary(max_size=100) | st.integers(0, groups.SAMPLE.stat().st_size).map(lambda end: TEXT[:end]))
def test_any_bytes_are_refused_or_right(content):
    """Whatever bytes are in a file of groups, it is refused in one line or read."""
    read_or_refused(content)


def read_or_refused(content):
    """Read a file of groups, which may be refused in one line."""
    try:
        said = str(groups.parse(content, "groups.json")[0]["GroupId"])
    except CommandError as refused:
        said = str(refused)
    assert "\n" not in said


@pytest.mark.parametrize("case", CASES["files"], ids=lambda case: f"{case['times']} times {case['text']}")
def test_the_command_refuses_in_one_line(tmp_path, case):
    """The rehearsal says in one line what is wrong with a file, and which command prints the right one."""
    path = tmp_path / "groups.json"
    path.write_text(case["text"] * case["times"])
    said = forked([C7N_INGRESS, "rehearse", path], cwd=ROOT)
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)
    assert case["says"] in said.stderr
    assert said.stderr.rstrip().endswith(groups.EXPORT.command)


# -- what variables fill


GOOD = {
    "restore-ingress": {"from": {"log-groups": [LOG_GROUP]}, "days": 30, "preview": False},
    "replace-ingress": {"authorized": ["198.18.7.0/24"]},
    "notify-in-parts": NOTIFY,
    "open-ingress": {},
    "ingress": {"Ports": [22]},
    "named": {"groups": [GROUP["GroupId"]]},
}


@pytest.mark.parametrize(
    ("kind", "case"),
    [(kind, case) for kind, table in CASES["filled"].items() for case in table],
    ids=lambda each: each if isinstance(each, str) else f"{each['key']}={each['value']}",
)
def test_what_variables_fill(cloud, tmp_path, kind, case):
    """A value that variables fill wrong, or not at all, is refused with the fix, and changes nothing."""
    make_queue(cloud)
    load([GROUP])
    before = rules_of(GROUP["GroupId"])
    given = {"type": kind, **GOOD[kind], case["key"]: case["value"]}
    action = given if kind in ("restore-ingress", "replace-ingress", "notify-in-parts") else GOOD["replace-ingress"]
    filters = [{"type": "open-ingress"} if action is given else given]
    filters += [{"type": "open-ingress"}] if kind == "named" else []
    with pytest.raises((PolicyValidationError, PolicyExecutionError), match=re.escape(case["says"])):
        act(cloud, tmp_path, filters=filters, **action)
    assert rules_of(GROUP["GroupId"]) == before
    assert made_changes(cloud) == []


SETTINGS = {"authorized": ["198.18.7.0/24"]}
UNDO = {"group": GROUP["GroupId"], "run": "a-run", "journal": {"log-groups": [LOG_GROUP]}}


@pytest.mark.parametrize(
    ("policy", "variables", "says"),
    [
        ("restore-ingress", UNDO | {"preview": None}, "preview None is not true or false"),
        ("open-ingress-sweep", SETTINGS | {"at-most": "1"}, "at-most '1' is not a whole number from 1 to 5000"),
        ("open-ingress-sweep", SETTINGS | {"exemptions": 5}, "exemptions 5 is not a list of entries"),
        ("open-ingress-sweep", SETTINGS | {"exemptions-from": "s3://a/b.json"}, "exemptions-from 's3://a/b.json'"),
        ("open-ingress-notice", SETTINGS | {"notice-hours": 0}, "notice-hours 0 is not a whole number from 1 to 720"),
    ],
)
def test_a_vars_file(cloud, tmp_path, policy, variables, says):
    """`custodian run` refuses in one line what its --vars-file fills wrong, and changes nothing."""
    make_queue(cloud)
    load([GROUP])
    before = rules_of(GROUP["GroupId"])
    (filled := tmp_path / "vars.json").write_text(json.dumps(variables))
    done = run(cloud, ROOT / "policies" / f"{policy}.yml", tmp_path / "out", "--vars-file", filled)
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert says in line
    assert rules_of(GROUP["GroupId"]) == before
