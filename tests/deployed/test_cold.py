import json
import logging
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader
from c7n import mu
from c7n.filters.offhours import Time
from c7n.version import version
from dateutil import zoneinfo
from moto.core.botocore_stubber import MockRawResponse

from c7n_ingress import bytecode, cold
from c7n_ingress.aws.calls import BRIEFLY, ONCE
from c7n_ingress.sessions import KeptSessions
from tests.support.embedded import ROOT


@pytest.mark.parametrize("config", [None, ONCE, BRIEFLY], ids=["as c7n makes it", "that calls once", "that is brief"])
def test_a_client_is_made_once_in_a_process(monkeypatch, config):
    """One event after another gets the same client, however it is made; one that is made by the way is not kept."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    settings = {"config": config} if config else {}
    first, second = (KeptSessions("us-east-1")().client("ec2", **settings) for _ in range(2))
    assert first is second
    assert KeptSessions("us-east-1")().client("ec2", config=Config()) is not first


def test_calls_name_the_policy(monkeypatch):
    """Each call of a kept session's clients names c7n and the policy once, which CloudTrail records."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    sessions = KeptSessions("eu-north-1")  # no other test has clients there
    sessions.policy_name = "named"
    for settings in ({}, {"config": ONCE}):
        client, agents = sessions().client("ec2", **settings), []

        def answered(request, agents=agents, **_):
            agents.append(request.headers["User-Agent"].decode())
            return AWSResponse(request.url, 200, {}, MockRawResponse(b"<R/>"))

        client.meta.events.register("before-send", answered)
        client.describe_vpcs()
        (agent,) = agents
        assert agent.startswith(f"c7n/{version} ")
        assert agent.count("c7n/policy#named") == 1


@pytest.fixture
def unread():
    """Make dateutil forget the zones that it has read, and restore them afterwards."""
    get = zoneinfo.get_zonefile_instance
    kept = vars(get).pop("_cached_instance", None)
    yield
    vars(get).pop("_cached_instance", None)
    if kept:
        get._cached_instance = kept


@pytest.mark.usefixtures("unread")
def test_the_names_of_zones_are_those_that_dateutil_reads():
    """c7n finds the same names as without, reads no zone meanwhile, and a later caller gets zones."""
    with cold.zones_unread():
        names = zoneinfo.get_zonefile_instance().zones
        assert set(names.values()) == {None}
    whole = zoneinfo.get_zonefile_instance()
    assert sorted(names) == sorted(whole.zones)
    assert whole.get("Europe/Berlin") is not None


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("content", [None, b"", b"no gzip"])
def test_an_archive_of_zones_that_cannot_be_read(monkeypatch, caplog, content):
    """Where dateutil's archive is not what it was, it is left to dateutil, and the log says so."""
    monkeypatch.setattr(cold.pkgutil, "get_data", lambda *_: content)
    with cold.zones_unread():
        assert not hasattr(zoneinfo.get_zonefile_instance, "_cached_instance")
    assert "time zones are read as a whole" in caplog.text


def test_dateutil_without_its_cache():
    """c7n starts and knows all zones where dateutil has no cache that could be filled before."""
    code = """
        import dateutil.zoneinfo as zoneinfo
        whole = zoneinfo.ZoneInfoFile(zoneinfo.getzoneinfofile_stream())
        zoneinfo.get_zonefile_instance = lambda: whole
        import c7n_ingress.lambda_entry
        from c7n.filters.offhours import Time
        print(len(Time.z_names) == len(whole.zones))
    """
    python = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(python, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "True\n"


def test_a_function_knows_the_zones_that_c7n_knows():
    """A process that has started by the Lambda's entry has the names and aliases of zones as any other."""
    code = """
        import json
        import c7n_ingress.lambda_entry
        from c7n.filters.offhours import Time
        print(json.dumps([sorted(Time.z_names), sorted(Time.TZ_ALIASES)]))
    """
    python = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(python, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == [sorted(Time.z_names), sorted(Time.TZ_ALIASES)]


def test_models_are_those_that_botocore_reads():
    """What is read of a service is what botocore reads, to the order of its keys."""
    code = """
        import json
        from botocore.loaders import Loader
        from c7n_ingress.cold import FasterLoader
        for service in ("ec2", "sqs", "config", "sts", "logs", "s3"):
            for kind in ("service-2", "endpoint-rule-set-1", "paginators-1"):
                both = FasterLoader(Loader()), Loader()
                ours, theirs = (loader.load_service_model(service, kind) for loader in both)
                print(service, kind, json.dumps(ours) == json.dumps(theirs))
    """
    python = [sys.executable, "-c", textwrap.dedent(code)]  # of its own: others share here what they have read
    done = subprocess.run(python, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    assert len(lines) == 18
    assert [line for line in lines if not line.endswith("True")] == []


def test_a_service_that_is_not_there():
    """A client of a service that botocore does not know is refused as botocore refuses it."""
    with pytest.raises(UnknownServiceError, match="no-such-service"):
        cold.models_read_faster().create_client("no-such-service", region_name="us-east-1")


def test_models_of_ones_own(tmp_path, monkeypatch):
    """A model below AWS_DATA_PATH is found, as botocore finds it."""
    folder = tmp_path / "own" / "2026-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text('{"metadata": {"apiVersion": "2026-01-01"}}')
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    loader = cold.models_read_faster().get_component("data_loader")
    assert loader.load_service_model("own", "service-2") == {"metadata": {"apiVersion": "2026-01-01"}}


def test_a_botocore_that_loads_otherwise(monkeypatch, caplog):
    """Where botocore's loader has changed, models are read as botocore reads them, and the log says so."""
    monkeypatch.setattr(cold, "FasterFiles", lambda: 1 / 0)
    session = cold.models_read_faster()
    assert type(session.get_component("data_loader")) is Loader
    assert "models are read as botocore reads them" in caplog.text
    assert session.create_client("ec2", region_name="us-east-1").meta.service_model.service_name == "ec2"


class Function:
    """What c7n hands over of a policy that is deployed."""

    packages = (bytecode.PACKAGE,)
    runtime = bytecode.OURS

    def __init__(self):
        self.names = []
        self.archive = self

    def add_contents(self, name, _content):
        """Take note of a file."""
        self.names.append(name)


def test_bytecode_that_cannot_be_made(monkeypatch, caplog):
    """Where the process that makes it fails, the zip is c7n's own, and the log says so."""
    forget()
    monkeypatch.setattr(bytecode.sys, "executable", "/bin/false")
    function = Function()
    with caplog.at_level(logging.WARNING):
        assert bytecode.with_bytecode(lambda each: each.archive)(function) is function.archive
    assert function.names == []
    assert "the zip has no bytecode" in caplog.text


def test_bytecode_of_another_source(tmp_path):
    """Where c7n is run from a folder of its own, its zip has bytecode of that one, and not of the installed one."""
    shutil.copytree(Path(mu.__file__).parent, tmp_path / "c7n", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "c7n" / "handler.py").open("a") as source:
        source.write("edited = True\n")
    code = """
        import importlib.util
        from types import SimpleNamespace
        from c7n import mu
        from c7n_ingress import bytecode
        archive = mu.PythonPackageArchive(["c7n", "c7n_ingress"])
        function = SimpleNamespace(packages=["c7n_ingress"], runtime=bytecode.OURS, archive=archive)
        bytecode.with_bytecode(lambda each: each.archive.close())(function)
        reader = archive.get_reader()
        cached = importlib.util.cache_from_source("c7n/handler.py")
        print(b"edited" in reader.read("c7n/handler.py"), b"edited" in reader.read(cached))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "True True\n", done.stderr


def forget():
    """Forget what was made, of what, and by which Python."""
    for kept in (bytecode.names_at_a_cold_start, bytecode.compiled_by):
        kept.cache_clear()


@pytest.fixture
def another(monkeypatch, tmp_path):
    """Make this process a Python that Lambda does not have, and return the only folder on the PATH."""
    forget()
    monkeypatch.setattr(bytecode, "OURS", "python0.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    yield tmp_path
    forget()


def test_bytecode_in_a_folder_with_python_files(tmp_path):
    """No Python file of the folder where a policy is deployed is run, whatever it is called."""
    for name in ("queue", "json", "compileall", "c7n"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this file was run')")
    script = tmp_path / "bin" / "custodian"
    script.parent.mkdir()
    script.write_text("from c7n_ingress import bytecode\nprint(len(bytecode.of_a_cold_start(bytecode.OURS)))\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 50


def without_packages(path):
    """Put a Python of this version there that has nothing installed."""
    path.write_text(f'#!/bin/sh\nexec {sys._base_executable} -I "$@"\n')
    path.chmod(0o755)


@pytest.mark.soak  # test_bytecode_by_the_function_s_python_on_the_path
def test_bytecode_of_a_python_that_is_told_to_optimize(monkeypatch):
    """The zip has the bytecode that Lambda loads, also where PYTHONOPTIMIZE makes this Python write another."""
    forget()
    wanted = bytecode.of_a_cold_start(bytecode.OURS)
    forget()
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    assert bytecode.of_a_cold_start(bytecode.OURS) == wanted


def test_bytecode_by_the_function_s_python_on_the_path(another):
    """A Python of the function's version that has no packages makes the bytecode that this Python would make."""
    bytecode.OURS = Function.runtime
    own = dict(bytecode.of_a_cold_start(Function.runtime))
    forget()
    bytecode.OURS = "python0.0"
    without_packages(another / Function.runtime)
    assert bytecode.of_a_cold_start(Function.runtime) == own
    assert any(name.startswith("c7n/__pycache__/policy.") for name in own)


def test_no_python_of_the_function_s(another, caplog):
    """Where the function's Python is not to be found, the zip is c7n's own, and one line says what to install."""
    assert list(another.iterdir()) == []
    function = Function()
    with caplog.at_level(logging.INFO):
        assert bytecode.with_bytecode(lambda each: each.archive)(function) is function.archive
    assert function.names == []
    assert f"the zip has no bytecode, so cold starts take longer: install {Function.runtime}" in caplog.text


NO_PYTHON = {
    "another version's": f'#!/bin/sh\nexec {sys._base_executable} -I "$@"\n',
    "one that a version manager has not": "#!/bin/sh\necho 'command not found' >&2\nexit 127\n",
    "asks whether to install it": "#!/bin/sh\necho 'Install it? [y/n]'\nread answer && exec /bin/sleep 1000\n",
    "hangs": "#!/bin/sh\nexec /bin/sleep 1000\n",
    "is run by what is not there": "#!/nowhere/python3.99\n",
}
MORE_NO_PYTHON = {
    "says no text": "#!/bin/sh\nprintf '\\377\\376'\n",
    "is PyPy": "#!/bin/sh\necho pypy399\n",
    "nothing runs": "",
}


@pytest.mark.parametrize(
    "script",
    [
        *(pytest.param(script, id=name) for name, script in NO_PYTHON.items()),
        *(pytest.param(script, id=name, marks=pytest.mark.soak) for name, script in MORE_NO_PYTHON.items()),
    ],
)
def test_a_python_by_another_s_name(another, monkeypatch, caplog, script):
    """What is no Python of the version that its name says makes no bytecode, and one line says what to install."""
    monkeypatch.setattr(bytecode, "LONGEST", 0.5)
    (another / "python3.99").write_text(script)
    (another / "python3.99").chmod(0o755)
    function = Function()
    function.runtime = "python3.99"
    with caplog.at_level(logging.INFO):
        bytecode.with_bytecode(lambda each: each.archive)(function)
    assert function.names == []
    (record,) = caplog.records
    assert "install python3.99" in record.getMessage()


def test_the_python_that_deploys_may_be_the_function_s():
    """The other fix is to name the Python that deploys."""
    assert f"Or write `runtime: {bytecode.OURS}` under the policy's `mode:`" in bytecode.FIX


@pytest.mark.parametrize("packages", [None, ["boto3"]])
def test_policies_without_the_pack(packages):
    """A policy that does not ship the pack gets the zip that c7n makes."""
    function = Function()
    function.packages = packages
    bytecode.with_bytecode(lambda each: each.archive)(function)
    assert function.names == []


def test_a_c7n_that_deploys_otherwise(monkeypatch, caplog):
    """Where c7n has nothing by this name, it deploys as it does without the pack, and the log says so."""
    monkeypatch.delattr(mu, "PolicyLambda")
    bytecode.install()
    assert "the zip has no bytecode" in caplog.text
    caplog.clear()
    assert bytecode.with_bytecode(lambda function: f"the zip of {function}")("another") == "the zip of another"
    assert "the zip has no bytecode" in caplog.text
