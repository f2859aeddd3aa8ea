"""What the pack asks of Cloud Custodian alone, row by row of docs/c7n.md. A failure here is a change of c7n's."""

import ast
import importlib
import inspect
import io
import json
import re
import subprocess
import sys
import textwrap
import zipfile
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError
from c7n import handler
from c7n.actions import Action, EventAction
from c7n.cache import NullCache
from c7n.config import Config
from c7n.credentials import CustodianSession, SessionFactory
from c7n.cwe import CloudWatchEvents
from c7n.exceptions import PolicyExecutionError, PolicyValidationError
from c7n.filters import Filter, missing
from c7n.filters.core import BooleanGroupFilter, Not, ReduceFilter
from c7n.loader import PolicyLoader, SchemaValidator
from c7n.mu import PolicyLambda, PythonPackageArchive
from c7n.policy import LambdaMode, PolicyCollection, execution
from c7n.query import DescribeSource, QueryResourceManager, sources
from c7n.resolver import URIResolver, ValuesFrom
from c7n.resources import load_resources
from c7n.resources.aws import AWS
from c7n.resources.vpc import SecurityGroup, SGPermission, SGPermissionSchema
from c7n.structure import StructureParser
from c7n.tags import TagActionFilter, TagDelayedAction
from c7n.utils import chunks, get_partition, load_file, type_schema
from c7n.version import version

import c7n_ingress.autoload
import c7n_ingress.lambda_entry
import c7n_ingress_tools.mailer.deploy
import c7n_ingress_tools.mailer.lambda_entry
from tests.support.embedded import ACCOUNT, NOTIFY, ROOT, group_of, make_queue, messages

ROWS = {
    cells[0]: re.findall(r"`(c7n[\w.]+)`", cells[1])
    for line in (ROOT / "docs" / "c7n.md").read_text().splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 3
    and not cells[0].startswith(("seam", "-"))
}
"""The seams, each with what it is of Cloud Custodian's."""

SOURCES = [*(ROOT / "actions").rglob("*.py"), *(ROOT / "mode" / "c7n_ingress_tools" / "mailer").glob("*.py")]
GROUP = {
    **group_of({"name": "web", "ingress": []}, 1),
    "IpPermissions": [
        {
            "IpProtocol": "tcp",
            "FromPort": 22,
            "ToPort": 22,
            "IpRanges": [{"CidrIp": "0.0.0.0/0"}, {"CidrIp": "10.0.0.0/8"}],
            "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
        }
    ],
}
INGRESS = {"type": "ingress", "Cidr": "0.0.0.0/0"}


def broken(seam):
    """Say of a seam that c7n has changed there."""
    return f"c7n {version} has changed at the seam {seam!r}: see docs/c7n.md"


def policy_of(folder="", **data):
    """Make a policy for security groups, as c7n does."""
    load_resources(("aws.security-group",))
    options = Config.empty(region="us-east-1", account_id=ACCOUNT, output_dir=str(folder))
    data = {"name": "seam", "resource": "aws.security-group", **data}
    (policy,) = PolicyCollection.from_data({"policies": [data]}, options)
    return policy


@pytest.fixture
def probe():
    """Register an action, a filter and a source as the pack does, and take them away again."""

    class Probe(EventAction):
        schema = type_schema("seam-probe", hold={"type": "string"})
        permissions = ("ec2:DescribeSecurityGroups",)
        got = None

        def validate(self):
            if self.data.get("hold") == "wrong":
                raise PolicyValidationError("held wrong")

        def process(self, resources, event=None):
            type(self).got = (resources, event)
            if self.data.get("hold") == "fail":
                raise PolicyExecutionError("failed")
            return [{"done": True}]

    class ProbeFilter(Filter):
        schema = type_schema("seam-filter")

        def process(self, resources, _event=None):
            return resources[:1]

    class ProbeSource(DescribeSource):
        def get_resources(self, ids, _cache=True):  # noqa: FBT002 - c7n's signature
            return [{"GroupId": each} for each in ids]

    registered = [
        (SecurityGroup.action_registry, "seam-probe", Probe),
        (SecurityGroup.filter_registry, "seam-filter", ProbeFilter),
        (sources, "seam-source", ProbeSource),
    ]
    for registry, name, kind in registered:
        registry.register(name)(kind)
    yield Probe
    for registry, name, _ in registered:
        registry.unregister(name)


# ---- The list itself


def imported():
    """Return the names that the pack imports from Cloud Custodian's packages, each with the file."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and re.match(r"c7n(_mailer|_org|_left)?(\.|$)", node.module or ""):
                for alias in node.names:
                    yield f"{node.module}.{alias.name}", path.relative_to(ROOT)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if re.match(r"c7n(_mailer|_org|_left)?(\.|$)", alias.name):
                        yield alias.name, path.relative_to(ROOT)


def test_the_list_is_whole():
    """Every name that the pack imports from Cloud Custodian is in the list of its seams."""
    listed = {name for names in ROWS.values() for name in names}
    assert {f"{path}: {name}" for name, path in imported() if name not in listed} == set()


def test_each_seam_has_its_test():
    """Each row has the test that is named as it is."""
    assert [name for name in ROWS if f"test_{name}" not in globals()] == []


@pytest.mark.parametrize(("seam", "name"), [(seam, name) for seam, names in ROWS.items() for name in names])
def test_what_is_hooked_into_is_there(seam, name):
    """Each thing of Cloud Custodian's that is listed is where it was."""
    module, _, attribute = name.rpartition(".")
    found = importlib.import_module(module)
    if not hasattr(found, attribute):
        importlib.import_module(name)  # a module itself, else an error that names it
    assert hasattr(found, attribute), f"{broken(seam)}: there is no {name}"


def overridden():
    """Yield each method of the pack's that takes the place of one of Cloud Custodian's."""
    for path in SOURCES:
        name = ".".join(path.with_suffix("").relative_to(ROOT).parts).removeprefix("actions.").removesuffix(".__init__")
        if name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(name)).values():
            if not inspect.isclass(kind) or kind.__module__ != name:
                continue
            bases = [base for base in kind.__mro__[1:] if re.match(r"c7n(_mailer)?\.", base.__module__)]
            for method, function in vars(kind).items():
                theirs = next((vars(base)[method] for base in bases if method in vars(base)), None)
                if inspect.isfunction(function) and inspect.isfunction(theirs) and method != "__init__":
                    yield pytest.param(function, theirs, id=f"{kind.__name__}.{method}")


@pytest.mark.parametrize(("ours", "theirs"), list(overridden()))
def test_what_is_overridden_is_called_as_before(ours, theirs):
    """Each method that takes the place of one of c7n's takes as few and as many arguments as that."""
    mine, original = inspect.signature(ours), inspect.signature(theirs)
    needed = [each for each in original.parameters.values() if each.default is each.empty and each.kind.value < 2]
    mine.bind(*needed)
    most = [each for each in original.parameters.values() if each.kind.value < 2]
    mine.bind(*most)


# ---- The seams


def test_loading():
    """c7n imports the resources of a policy by Python's own import, and not before a policy needs them."""
    code = """
        import sys
        class Watch:
            def find_spec(self, name, path=None, target=None):
                seen.append(name)
        seen = []
        sys.meta_path.insert(0, Watch())
        import c7n.policy, c7n.commands
        from c7n.resources import load_resources
        for resource, module in (("aws.security-group", "vpc"), ("aws.account", "account")):
            before = f"c7n.resources.{module}" in seen
            load_resources((resource,))
            print(before, f"c7n.resources.{module}" in seen)
    """
    python = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(python, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"] * 2, broken("loading")


def test_version():
    """The c7n that is installed is one that is supported, and says so in figures."""
    oldest, too_new = map(c7n_ingress.autoload.figures, c7n_ingress.autoload.SUPPORTED)
    assert oldest <= c7n_ingress.autoload.figures(version) < too_new, broken("version")


def test_registering(probe):
    """Actions, filters and sources that come later are found, and policies are validated by their schemas."""
    parts = {"source": "seam-source", "filters": ["seam-filter"], "actions": [{"type": "seam-probe", "hold": "x"}]}
    policy = policy_of(**parts)
    policy.validate()
    assert isinstance(policy.resource_manager.actions[0], probe), broken("registering")
    assert policy.resource_manager.filter_resources([{"GroupId": "1"}, {"GroupId": "2"}]) == [{"GroupId": "1"}]
    assert policy.resource_manager.source.get_resources(["1"]) == [{"GroupId": "1"}], broken("registering")
    with pytest.raises(PolicyValidationError):
        policy_of(actions=[{"type": "seam-probe", "hold": "wrong"}]).validate()


@pytest.mark.parametrize("hold", ["x", "fail"])
def test_events(probe, hold, tmp_path):
    """An event comes to an action with the resources, and what the action raises ends the run."""
    policy = policy_of(
        tmp_path,
        mode={"type": "cloudtrail", "events": ["CreateSecurityGroup"], "role": "custodian"},
        actions=[{"type": "seam-probe", "hold": hold}],
    )
    run = lambda: policy.get_execution_mode().run_resource_set({"detail": 1}, [GROUP])
    if hold == "fail":
        with pytest.raises(PolicyExecutionError, match="failed"):
            run()
    else:
        run()
    assert probe.got == ([GROUP], {"detail": 1}), broken("events")
    call = {"source": "ec2.amazonaws.com", "event": "CreateSecurityGroup", "ids": "responseElements.groupId"}
    event = {"detail": {"eventName": "CreateSecurityGroup", "responseElements": {"groupId": "sg-1"}}}
    event["detail"]["eventSource"] = "ec2.amazonaws.com"
    assert CloudWatchEvents.get_ids(event, {"type": "cloudtrail", "events": [call]}) == ["sg-1"], broken("events")
    assert not issubclass(Action, EventAction), broken("events")


def test_results(probe, tmp_path):
    """What an action returns is in the run's output, under the action's name."""
    mode = {"type": "cloudtrail", "events": ["CreateSecurityGroup"], "role": "custodian"}
    policy = policy_of(tmp_path, mode=mode, actions=["seam-probe"])
    policy.get_execution_mode().run_resource_set({}, [GROUP])
    (written,) = tmp_path.rglob("action-*")
    assert written.name == f"action-{probe.__name__.lower()}", broken("results")
    assert json.loads(written.read_text()) == [{"done": True}], broken("results")


def test_validating(probe):
    """Variables are still unfilled when a policy is validated at first, and filled when an action is run."""
    policy = policy_of(actions=[{"type": "seam-probe", "hold": "{networks}"}])
    policy.validate()
    assert policy.resource_manager.actions[0].data["hold"] == "{networks}", broken("validating")
    policy.expand_variables(policy.get_variables({"networks": "wrong"}))
    assert isinstance(policy.resource_manager.actions[0], probe)
    with pytest.raises(PolicyValidationError, match="held wrong"):
        policy.validate()


def test_filtering():
    """A policy's filters run on groups that c7n has not read."""
    policy = policy_of(filters=[{"or": [INGRESS, {"type": "ingress", "Ports": [99]}]}, {"not": [{"GroupName": "x"}]}])
    manager = policy.resource_manager
    assert manager.filter_resources([dict(GROUP)], None), broken("filtering")
    assert manager.filter_resources([{**GROUP, "IpPermissions": []}], None) == [], broken("filtering")
    either, neither = manager.filters
    assert all(isinstance(each, BooleanGroupFilter) and each.filters for each in manager.filters), broken("filtering")
    assert (isinstance(either, Not), isinstance(neither, Not)) == (False, True), broken("filtering")
    (reduce,) = policy_of(filters=[{"type": "reduce", "limit": 1}]).resource_manager.filters
    assert isinstance(reduce, ReduceFilter), broken("filtering")


def test_permissions():
    """A group's permissions are judged rule by rule, and the group has the union of what its filters matched."""
    group = json.loads(json.dumps(GROUP))
    both = [
        {"or": [INGRESS, {"type": "ingress", "CidrV6": "::/0"}]},
        {"not": [{"type": "ingress", "Cidr": "10.0.0.0/8"}]},
    ]
    policy_of(filters=both).resource_manager.filter_resources([group], None)
    matched = [(permission["IpRanges"] or permission["Ipv6Ranges"])[0] for permission in group["MatchedIpPermissions"]]
    assert {"CidrIp": "0.0.0.0/0"} in matched, broken("permissions")
    assert {"CidrIp": "10.0.0.0/8"} in matched, broken("permissions")

    class Narrowed(SGPermission):
        ip_permissions_key = "IpPermissions"

        def expand_permissions(self, permissions):
            yield from list(super().expand_permissions(permissions))[:1]

        def __call__(self, group):
            found = self.expand_permissions(group["IpPermissions"])
            group["Narrowed"] = [rule for rule in found if all(each(rule) for each in self.vfilters)]
            return bool(group["Narrowed"])

    group = json.loads(json.dumps(GROUP))
    keys = {"type": "seam", "IpProtocol": "tcp", "Ports": [22], "OnlyPorts": [443]}
    judge = Narrowed(keys, policy_of().resource_manager)
    assert judge.process([group]) == [group], broken("permissions")
    assert (judge.ports, judge.only_ports) == ([22], [443]), broken("permissions")
    assert [rule["IpRanges"] for rule in group["Narrowed"]] == [[{"CidrIp": "0.0.0.0/0"}]], broken("permissions")
    assert {"IpProtocol", "FromPort", "ToPort"} <= SGPermissionSchema.keys(), broken("permissions")


@pytest.mark.parametrize(("code", "calls"), [("RequestLimitExceeded", 2), ("InvalidGroup.NotFound", 1)])
def test_retrying(monkeypatch, code, calls):
    """A call is tried again when EC2 throttles, and at no other error."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    made = []

    def call(**arguments):
        made.append(arguments)
        if len(made) == 1:
            raise ClientError({"Error": {"Code": code}}, "DescribeSecurityGroups")
        return "answer"

    if calls == 1:
        with pytest.raises(ClientError):
            QueryResourceManager.retry(call, MaxResults=5)
    else:
        assert QueryResourceManager.retry(call, MaxResults=5) == "answer", broken("retrying")
    assert made == [{"MaxResults": 5}] * calls, broken("retrying")


def test_notifying(cloud, tmp_path):
    """The message on c7n-mailer's queue says who, where, why and what."""
    make_queue(cloud)
    policy = policy_of(tmp_path, actions=[{"type": "notify", "subject": "a subject", **NOTIFY}])
    policy.session_factory = policy.resource_manager.session_factory = lambda *_, **__: cloud.session()
    (action,) = policy.resource_manager.actions
    assert {"to", "transport", "template"} <= action.schema["properties"].keys(), broken("notifying")
    with policy.ctx:
        action.process([{"GroupId": "sg-1"}], {"detail": 1})
    (message,) = messages(cloud)
    assert message["resources"] == [{"GroupId": "sg-1"}], broken("notifying")
    assert message["event"] == {"detail": 1}, broken("notifying")
    assert (message["account_id"], message["region"]) == (ACCOUNT, "us-east-1"), broken("notifying")
    assert message["policy"]["name"] == "seam", broken("notifying")
    assert message["action"]["to"] == NOTIFY["to"], broken("notifying")
    assert message["action"]["subject"] == "a subject", broken("notifying")


def test_values(tmp_path):
    """Networks are read from a file, a line each, and as c7n caches nothing where there is no cache."""
    (tmp_path / "networks.txt").write_text("198.18.7.0/24\n2001:2::/64\n")
    url = f"file:{tmp_path}/networks.txt"
    manager = policy_of().resource_manager
    found = ValuesFrom({"url": url, "format": "txt"}, manager).get_values()
    assert sorted(found) == ["198.18.7.0/24", "2001:2::/64"], broken("values")
    text = URIResolver(manager.session_factory, NullCache({})).resolve(url, {})
    assert text == "198.18.7.0/24\n2001:2::/64\n", broken("values")


def test_schemas():
    """The policy of a filter `missing` is validated by its module's loader, whose validator keeps schemas."""
    load_resources(("aws.account",))
    checked = []

    class Spy(SchemaValidator):
        def validate(self, data, types=None):
            checked.append(types)
            return super().validate(data, types)

    loader = PolicyLoader(Config.empty())
    loader.validator = spy = Spy()
    nothing = {"type": "missing", "policy": {"resource": "aws.lambda"}}
    with patch.object(missing, "PolicyLoader", lambda _options: loader):
        policy_of(resource="aws.account", filters=[nothing]).validate()
    assert checked == [("aws.lambda",)], broken("schemas")
    assert spy.gen_schema(("aws.lambda",)) is spy.gen_schema(("aws.lambda",)), broken("schemas")


def test_deploying():
    """The zip holds c7n, the packages that the mode names and the policy, and the function calls the mode's handler."""
    mode = {
        "type": "config-rule",
        "role": "custodian",
        "packages": ["c7n_ingress"],
        "handler": "c7n_ingress.lambda_entry.run",
    }
    function = PolicyLambda(policy_of(mode=mode))
    assert function.get_config()["Handler"] == mode["handler"], broken("deploying")
    with zipfile.ZipFile(io.BytesIO(function.get_archive().get_bytes())) as archive:
        names = archive.namelist()
        configuration = json.loads(archive.read("config.json"))
    assert {"c7n/handler.py", "c7n_ingress/lambda_entry.py"} <= set(names), broken("deploying")
    assert configuration["policies"][0]["mode"] == mode, broken("deploying")
    assert "execution-options" in configuration, broken("deploying")
    archive = PythonPackageArchive()
    archive.add_contents("one.txt", "text")
    archive.add_file(str(Path(__file__)), "two.py")
    archive.close()
    with zipfile.ZipFile(io.BytesIO(archive.get_bytes())) as found:
        assert found.namelist() == ["one.txt", "two.py"], broken("deploying")


def test_bytecode():
    """A file that is added to a policy's archive before c7n finishes it is in the zip."""
    mode = {"type": "config-rule", "role": "custodian", "packages": ["c7n_ingress"], "runtime": "python3.13"}
    function = PolicyLambda(policy_of(mode=mode))
    assert (function.packages, function.runtime) == (["c7n_ingress"], "python3.13"), broken("bytecode")
    function.archive.add_contents("c7n/__pycache__/one.cpython-313.pyc", b"code")
    with zipfile.ZipFile(io.BytesIO(PolicyLambda.get_archive.__wrapped__(function).get_bytes())) as archive:
        assert archive.read("c7n/__pycache__/one.cpython-313.pyc") == b"code", broken("bytecode")
    assert issubclass(execution["config-rule"], LambdaMode), broken("bytecode")


def test_zones():
    """When c7n is imported it asks for all zones, once, and keeps their names."""
    code = """
        from types import SimpleNamespace
        import dateutil.zoneinfo
        asked = []
        zones = SimpleNamespace(zones={"Europe/Berlin": None})
        dateutil.zoneinfo.get_zonefile_instance = lambda: asked.append(1) or zones
        from c7n.filters.offhours import Time
        import c7n.handler
        print(len(asked), Time.z_names)
    """
    python = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(python, capture_output=True, text=True, check=True)
    assert done.stdout == "1 ['Europe/Berlin']\n", broken("zones")


@pytest.mark.parametrize("refused", [False, True])
def test_marking(refused):
    """Groups are marked in sets, by a method that takes a set and the tags; what it raises is raised in the end."""
    sets = []

    class Marking(TagDelayedAction):
        def get_client(self):
            return None

        def process_resource_set(self, client, resource_set, tags):
            sets.append((client, [each["GroupId"] for each in resource_set], [tag["Key"] for tag in tags]))
            if refused:
                raise PolicyExecutionError("refused")

    action = Marking({"tag": "a-tag", "op": "replace-ingress", "hours": 1}, policy_of().resource_manager)
    action.validate()
    groups = [{"GroupId": f"sg-{number}"} for number in range(30)]
    with pytest.raises(PolicyExecutionError) if refused else nullcontext():
        action.process(groups)
    assert {keys for _, _, (keys,) in sets} == {"a-tag"}, broken("marking")
    assert sorted(group for _, ids, _ in sets for group in ids) == sorted(each["GroupId"] for each in groups), broken(
        "marking"
    )


@pytest.mark.parametrize(("hours", "matches"), [(0, False), (2, True)])
def test_marking_is_read(hours, matches):
    """A mark of this form matches when its time is over, or so many hours before."""
    due = datetime.now(timezone.utc) + timedelta(hours=1)
    marked = {"Tags": [{"Key": "a-tag", "Value": f"Open: replace-ingress@{due:%Y/%m/%d %H%M} UTC"}]}
    data = {"type": "marked-for-op", "tag": "a-tag", "op": "replace-ingress", "skew_hours": hours}
    assert TagActionFilter(data, policy_of().resource_manager)(marked) is matches, broken("marking")


def test_dispatching():
    """The entry of c7n has the switch that the pack's reads; policies are made from data, options and a factory."""
    assert isinstance(getattr(handler, "C7N_SKIP_EVTERR", None), bool), broken("dispatching")
    data = {"policies": [{"name": "seam", "resource": "aws.security-group"}]}
    assert StructureParser().get_resource_types(data) == {"aws.security-group"}, broken("dispatching")
    AWS.get_resource_types({"aws.security-group"})
    options = handler.init_config({**data, "execution-options": {"account_id": ACCOUNT, "regions": ["eu-central-1"]}})
    assert (options.account_id, options.regions) == (ACCOUNT, ["eu-central-1"]), broken("dispatching")
    factory = SessionFactory("eu-central-1")
    (policy,) = PolicyCollection.from_data(data, options, factory)
    assert policy.session_factory is factory, broken("dispatching")
    assert list(inspect.signature(policy.push).parameters) == ["event", "lambda_ctx"], broken("dispatching")
    assert {"event", "context"} == set(inspect.signature(handler.dispatch_event).parameters), broken("dispatching")


def test_sessions(cloud):
    """A session is made by a factory, may be replaced before it is updated, and has the policy's name."""
    factory = SessionFactory("us-east-1", None, None, None, None)
    factory.policy_name = "seam"
    session = CustodianSession(region_name="us-east-1")
    assert factory.update(session) is session, broken("sessions")
    assert session._session.user_agent_extra == "c7n/policy#seam", broken("sessions")
    assert factory().region_name == "us-east-1", broken("sessions")
    client = session.client("ec2", endpoint_url=cloud.endpoint)
    assert client.meta.service_model.service_name == "ec2", broken("sessions")


def test_helping(tmp_path):
    """Lists are cut into pieces of a size, a region has a partition, and a file is read by its ending."""
    (tmp_path / "a.yml").write_text("key: [1]")
    assert load_file(str(tmp_path / "a.yml")) == {"key": [1]}, broken("helping")
    assert get_partition("us-gov-west-1") == "aws-us-gov", broken("helping")
    assert [list(each) for each in chunks(range(5), 2)] == [[0, 1], [2, 3], [4]], broken("helping")


def test_mailing():
    """The configuration that is shipped is one that c7n-mailer takes, and gets the defaults that the Lambda needs."""
    config = c7n_ingress_tools.mailer.deploy.read_config(c7n_ingress_tools.mailer.deploy.CONFIG)
    assert {"queue_url", "region", "role", "runtime", "memory", "timeout", "subnets"} <= config.keys(), broken(
        "mailing"
    )


# ---- A c7n that is not supported


@pytest.mark.parametrize(
    ("other", "refused"),
    [
        ("0.9.52", True),
        pytest.param("0.9.53", False, marks=pytest.mark.soak),
        ("0.9.54.dev1", False),
        ("0.10.0", True),
        pytest.param("1.0", True, marks=pytest.mark.soak),
    ],
)
def test_another_c7n_is_refused_in_one_line(other, refused):
    """A command ends with a line that names what to install, and with no traceback, where c7n is too old or too new."""
    code = f"""
        import c7n.version
        c7n.version.version = {other!r}
        from c7n.resources import load_resources
        load_resources(("aws.security-group",))
        print("loaded")
    """
    python = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(python, capture_output=True, text=True, check=False)
    if not refused:
        assert done.stdout == "loaded\n", done.stderr
        return
    wanted = "pip install 'c7n>=0.9.53,<0.10', or a newer c7n-ingress\n"
    assert done.stderr == f"c7n-ingress does not work with c7n {other}: {wanted}"
    assert done.returncode == 1


def test_the_supported_range_is_what_is_installed():
    """The range that is refused outside of is the one that pyproject.toml asks for."""
    oldest, too_new = c7n_ingress.autoload.SUPPORTED
    assert f'"c7n>={oldest},<{too_new}"' in (ROOT / "pyproject.toml").read_text()
