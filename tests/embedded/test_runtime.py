import json
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from queue import Queue

import pytest
from c7n.mu import custodian_archive

from c7n_ingress_tools.functions.runtime import API, FunctionError, Sandbox, deployed
from tests.support.search import by_day

NAME = "custodian-test"

# Does what an event asks for, and counts its events.
HANDLER = """
import logging, os, sys, time

count = 0

def run(event, context):
    global count
    count += 1
    if event.get("say"):
        print(event["say"])
    if event.get("log"):
        try:
            raise LookupError(event["log"])
        except LookupError:
            logging.exception("it failed")
        print("the next line")
    if event.get("raise"):
        print("about to fail")
        raise LookupError(event["raise"])
    if event.get("exit"):
        os._exit(event["exit"])
    if event.get("hang"):
        time.sleep(3600)
    if event.get("meet"):
        open(os.path.join(event["meet"], str(os.getpid())), "w").close()
        while len(os.listdir(event["meet"])) < event["number"]:
            time.sleep(0.01)
    if event.get("origins"):
        import boto3, c7n, c7n_ingress.actions.replace_ingress
        origins = {name: sys.modules[name].__file__ for name in ("boto3", "c7n", "c7n_ingress")}
        return {"path": sys.path, "task": os.environ["LAMBDA_TASK_ROOT"], "origins": origins}
    return {
        "count": count,
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "function": context.function_name,
        "arn": context.invoked_function_arn,
        "time_left": context.get_remaining_time_in_millis() > 0,
    }
"""


@pytest.fixture(scope="session")
def archive():
    """Pack c7n and the plugin as c7n does, with a handler of our own."""
    packed = custodian_archive(["c7n_ingress"])
    packed.add_contents("handler.py", HANDLER)
    packed.close()
    return packed.get_bytes()


@pytest.fixture
def function(cloud, archive):
    """Deploy the function, and run it."""
    deploy(cloud, archive)
    with deployed(cloud, NAME) as running:
        yield running


def deploy(cloud, archive, **settings):
    """Deploy an archive as c7n does."""
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = cloud.session().client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    configuration = {"Handler": "handler.run", "Runtime": "python3.13", "Timeout": 60, "MemorySize": 512, **settings}
    cloud.session().client("lambda").create_function(
        FunctionName=NAME, Role=role, Code={"ZipFile": archive}, **configuration
    )


def test_c7n_and_the_plugin_come_from_the_zip(function):
    """The process has the zip, boto3 and the standard library on its path, and no installed c7n."""
    found = function.invoke({"origins": True})
    task, runtime, *standard_library = found["path"]
    assert task == found["task"]
    assert found["origins"] == {
        "boto3": f"{runtime}/boto3/__init__.py",
        "c7n": f"{task}/c7n/__init__.py",
        "c7n_ingress": f"{task}/c7n_ingress/__init__.py",
    }
    assert not [path for path in standard_library if "site-packages" in path]


def test_a_process_stays_warm(function):
    """Events go to one process after another, which keeps its state."""
    first, second = function.invoke({}), function.invoke({})
    assert (first["count"], second["count"]) == (1, 2)
    assert first["pid"] == second["pid"]


def test_the_function_knows_where_it_is(cloud, archive, monkeypatch):
    """The function gets its context, Lambda's variables and its own, and none of the caller's shell."""
    monkeypatch.setenv("SHELL_SECRET", "x")
    deploy(cloud, archive, Environment={"Variables": {"OWN": "value"}})
    with deployed(cloud, NAME) as function:
        found = function.invoke({})
    assert found["function"] == NAME
    assert found["arn"].endswith(f":123456789012:function:{NAME}")
    assert found["time_left"]
    environment = found["environment"]
    wanted = {
        "OWN": "value",
        "TZ": ":UTC",
        "_HANDLER": "handler.run",
        "AWS_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_LAMBDA_FUNCTION_NAME": NAME,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_ENDPOINT_URL": cloud.endpoint,
    }
    assert {name: environment.get(name) for name in wanted} == wanted
    assert not {"SHELL_SECRET", "HOME", "VIRTUAL_ENV"} & set(environment)


def test_an_exception_comes_back(function):
    """An exception comes back with its type, its text and what was logged, and the process stays."""
    function.invoke({})
    with pytest.raises(FunctionError) as failed:
        function.invoke({"raise": "no such thing"})
    assert (failed.value.error_type, failed.value.error_message) == ("LookupError", "no such thing")
    assert failed.value.log.startswith("about to fail\n[ERROR] LookupError: no such thing")
    assert function.invoke({})["count"] == 3


def test_a_process_that_ends_is_replaced(function):
    """A process that ends fails its event alone, and the next event starts another."""
    with pytest.raises(FunctionError, match=r"Runtime.ExitError: Runtime exited with error: exit status 3"):
        function.invoke({"exit": 3})
    assert function.invoke({})["count"] == 1


def test_a_function_that_hangs_is_ended(cloud, archive):
    """A function that takes longer than its time-out is ended, and the next event starts another process."""
    deploy(cloud, archive, Timeout=1)
    with deployed(cloud, NAME) as function:
        with pytest.raises(FunctionError, match=r"Sandbox.Timedout: Task timed out after 1.00 seconds"):
            function.invoke({"hang": True})
        assert function.invoke({})["count"] == 1


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        ("missing.run", "Runtime.ImportModuleError: Unable to import module 'missing': No module named 'missing'"),
        ("handler.missing", "Runtime.HandlerNotFound: Handler 'missing' missing on module 'handler'"),
    ],
)
def test_code_that_cannot_be_loaded(cloud, archive, handler, says):
    """A handler that is not in the zip fails its event as in Lambda."""
    deploy(cloud, archive, Handler=handler)
    with deployed(cloud, NAME) as function, pytest.raises(FunctionError) as failed:
        function.invoke({})
    assert str(failed.value) == says


def test_many_processes_at_once(cloud, archive, tmp_path):
    """As many events are worked on at once as there are processes: each waits for all of the others."""
    many = by_day(5, at_night=20)
    deploy(cloud, archive)
    with deployed(cloud, NAME, processes=many) as function, ThreadPoolExecutor(many) as pool:
        found = list(pool.map(function.invoke, [{"meet": str(tmp_path), "number": many}] * many))
    assert len({each["pid"] for each in found}) == many


def test_zip_and_logs_stay_in_the_folder(cloud, archive, tmp_path):
    """The zip that was deployed and the log are kept where one asks for it."""
    deploy(cloud, archive)
    with deployed(cloud, NAME, folder=tmp_path) as function, pytest.raises(FunctionError):
        function.invoke({"raise": "x"})
    assert (tmp_path / f"{NAME}.zip").read_bytes() == archive
    assert "about to fail" in (tmp_path / "lambda-1.log").read_text()


def test_the_log_is_in_cloudwatch_logs(cloud, function):
    """What the function writes is in its log group, line by line, as soon as its event is done, failed or not."""
    group, logs = f"/aws/lambda/{NAME}", cloud.session().client("logs")
    function.invoke({"say": '{"v": 1, "group": "sg-1"}'})
    with pytest.raises(FunctionError):
        function.invoke({"raise": "x"})
    written = [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]
    assert sum(line.startswith("START RequestId: ") for line in written) == 2  # Lambda's own lines
    own = [line for line in written if not line.startswith("START RequestId: ")]
    assert own == function.logs[0].read_bytes().decode().rstrip("\n").split("\n")
    assert {'{"v": 1, "group": "sg-1"}', "about to fail"} < set(written)
    found = logs.filter_log_events(logGroupName=group, filterPattern='{ $.group = "sg-1" }')["events"]
    assert [event["message"] for event in found] == ['{"v": 1, "group": "sg-1"}']


def test_a_traceback_ends_its_line(function):
    """What a function prints after a logged exception is a line of its own, as in Lambda."""
    function.invoke({"log": "no such thing"})
    assert function.logs[0].read_text().endswith("LookupError: no such thing\nthe next line\n")


class SlowQueue(Queue):
    """A queue that takes a tenth of a second for what is put into it."""

    def put(self, *args, **kwargs):
        """Put late."""
        time.sleep(0.1)
        super().put(*args, **kwargs)


def test_requests_are_recorded_in_their_order():
    """A request is recorded before its client has the answer, so that its next request is recorded after it."""
    api = Sandbox({"FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:f"}, {}, Path())
    api.answers = SlowQueue()
    with closing(HTTPConnection(*api.server_address)) as client:
        client.request("POST", f"{API}/invocation/1/response", b"2")
        client.getresponse()
    assert api.answers.get_nowait() == ("response", b"2")
    api.close()


def test_a_process_that_hangs_up(capfd):
    """A function's process that ends in the middle of a request leaves no traceback beside what the demo shows."""
    over = threading.Event()

    class Api(Sandbox):
        """Lambda's Runtime API, which says when a request is over."""

        def shutdown_request(self, request):
            super().shutdown_request(request)
            over.set()

    api = Api({"FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:web"}, {}, Path())
    with socket.create_connection(api.server_address) as process:
        process.sendall(b"GET /2018-06-01/run")
        process.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # hang up, as a kill does
    assert over.wait(10)
    api.close()
    assert capfd.readouterr().err == ""
