import json
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
import yaml
from c7n.utils import yaml_load

from tests.support.docs import PAGES, commands_of
from tests.support.embedded import ACCOUNT, ROOT, group_of, load, make_queue, messages, rules_of, shipped, source_of
from tests.support.fresh import built, installed

OPEN = {"name": "web", "ingress": [{"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}]}


@pytest.fixture(scope="module", params=["wheel", pytest.param("editable", marks=pytest.mark.soak)])
def bin_folder(request, tmp_path_factory):
    """Install the project and c7n-org in a fresh virtual environment, and return the folder of its commands."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "editable":
        return installed(folder, "--editable", f"{ROOT}[org]")
    (wheel,) = built(tmp_path_factory.mktemp("dist"), "--wheel")
    return installed(folder, f"{wheel}[org]")


@pytest.fixture
def command(cloud, bin_folder, tmp_path):
    """Run an installed command in an empty folder, against the embedded AWS with one open group."""
    load([group_of(OPEN, 1)])
    make_queue(cloud)

    def run(name, *arguments):
        return subprocess.run(
            [bin_folder / name, *map(str, arguments)],
            env={**cloud.environment(), "HOME": str(tmp_path)},  # where c7n caches what it has listed
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def sources():
    """Return the sources of the group's ingress rules."""
    return [source_of(rule) for rule in rules_of(group_of(OPEN, 1)["GroupId"]).values()]


def test_validate(command):
    """`custodian validate` takes a policy with the action."""
    result = command("custodian", "validate", ROOT / "policies" / "open-ingress.yml")
    assert result.returncode == 0, result.stderr
    assert "Configuration valid" in result.stderr


def test_schema(command):
    """`custodian schema` helps with the action, with an example of it."""
    result = command("custodian", "schema", "aws.security-group.actions.replace-ingress")
    assert result.returncode == 0, result.stderr
    example = result.stdout.partition(".. code-block:: yaml")[2].partition("Schema")[0]
    assert yaml_load(example)["actions"][0]["type"] == "replace-ingress"


@pytest.mark.soak  # test_run_and_report
def test_dryrun(command, tmp_path):
    """`custodian run --dryrun` finds the group and changes nothing."""
    policy = shipped("open-ingress-sweep", tmp_path, ["198.18.7.0/24"])
    result = command("custodian", "run", "--dryrun", "--region", "us-east-1", "-s", "out", *policy)
    assert result.returncode == 0, result.stderr
    assert "count:1" in result.stderr
    assert sources() == ["0.0.0.0/0"]


def test_run_and_report(command, tmp_path):
    """`custodian run` replaces, and `custodian report` lists what it found."""
    policy = shipped("open-ingress-sweep", tmp_path, ["198.18.7.0/24"])
    result = command("custodian", "run", "--region", "us-east-1", "-s", "out", *policy)
    assert result.returncode == 0, result.stderr
    assert sources() == ["198.18.7.0/24"]
    (record,) = json.loads((tmp_path / "out" / "open-ingress-sweep" / "action-replaceingress").read_text())
    assert (record["was"], record["now"]) == ("0.0.0.0/0", "198.18.7.0/24")

    report = command("custodian", "report", "--region", "us-east-1", "-s", "out", "--format", "csv", *policy)
    assert report.returncode == 0, report.stderr
    assert group_of(OPEN, 1)["GroupId"] in report.stdout


def test_org(command, cloud, tmp_path):
    """`c7n-org run` knows the action in its worker processes too, and fills the networks from an account's vars."""
    account = {
        "name": "one",
        "account_id": ACCOUNT,
        "role": f"arn:aws:iam::{ACCOUNT}:role/custodian",
        "regions": ["us-east-1"],
        "vars": {"authorized": ["198.18.9.0/24"]},
    }
    (tmp_path / "accounts.yml").write_text(yaml.safe_dump({"accounts": [account]}))
    policy = ROOT / "policies" / "open-ingress-sweep.yml"
    result = command("c7n-org", "run", "-c", "accounts.yml", "-s", "out", "-u", policy)
    assert result.returncode == 0, result.stderr
    assert sources() == ["198.18.9.0/24"]
    assert messages(cloud)[0]["account_id"] == ACCOUNT


def test_without_the_files_that_load_it(command, bin_folder, tmp_path):
    """Without its files in site-packages, the stock command does not know the action.

    The page's command and `c7n-ingress` do.
    """
    loading = {path: path.read_bytes() for path in bin_folder.parent.rglob("site-packages/c7n_ingress.*")}
    assert sorted(path.suffix for path in loading) == [".pth", ".start"]
    policy = tmp_path / "policies" / "open-ingress-sweep.yml"
    policy.parent.mkdir()
    shutil.copy(ROOT / "policies" / policy.name, policy)
    remove, validate = commands_of("docs/c7n.md")
    try:
        assert command("/bin/bash", "-euc", f'PATH="{bin_folder}:$PATH"; {remove}').returncode == 0
        assert command("custodian", "validate", f"policies/{policy.name}").returncode != 0
        done = command("/bin/bash", "-euc", f'PATH="{bin_folder}:$PATH"; {validate}')
        checked = command("c7n-ingress", "check", "--settings", ROOT / "settings.yml")
    finally:
        for path, content in loading.items():
            path.write_bytes(content)
    assert done.returncode == 0, done.stderr
    assert "Configuration valid" in done.stderr
    assert "restore-ingress.yml: valid with these settings" in checked.stdout


def test_the_start_file(bin_folder):
    """The `.start` file, read and called as PEP 829 says, loads the actions with c7n's security groups, once."""
    (start,) = bin_folder.parent.rglob("site-packages/c7n_ingress.start")
    code = """
        import pkgutil, sys
        start, *folders = sys.argv[1:]
        sys.path += folders  # -S: nothing in site-packages has run
        with open(start, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
        for line in [line for line in lines if line and not line.startswith("#")] * 2:
            pkgutil.resolve_name(line)()
        hooks = [finder.name for finder in sys.meta_path if type(finder).__module__ == "c7n_ingress.autoload"]
        import c7n.resources.vpc
        print(sorted(hooks), "replace-ingress" in c7n.resources.vpc.SecurityGroup.action_registry)
    """
    folders = "import sys; print(*sys.path[1:], sep='\\n')"
    path = subprocess.run([bin_folder / "python", "-c", folders], capture_output=True, text=True, check=True).stdout
    command = [bin_folder / "python", "-S", "-c", textwrap.dedent(code), start, *path.splitlines()]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "['c7n.mu', 'c7n.resources.account', 'c7n.resources.vpc'] True"


def test_an_interpreter_without_custodian_pays_nothing(bin_folder):
    """Python starts without importing anything of c7n, and the hook adds no module but its own."""
    code = "import sys; print([name for name in sys.modules if 'c7n' in name or name == 'importlib.abc'])"
    output = subprocess.run([bin_folder / "python", "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "['c7n_ingress', 'c7n_ingress.autoload']"


def test_anyone_who_asks_where_a_module_is(bin_folder):
    """Python finds c7n's modules, as for a debugger or for coverage, and the pack is loaded with them afterwards."""
    code = """
        import importlib.util, sys
        for name in ("c7n.mu", "c7n.resources.vpc"):
            print(importlib.util.find_spec(name).name)
        import c7n.mu, c7n.resources.vpc
        print("c7n_ingress.actions.replace_ingress" in sys.modules, "c7n_ingress.bytecode" in sys.modules)
    """
    command = [bin_folder / "python", "-c", textwrap.dedent(code)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.splitlines() == ["c7n.mu", "c7n.resources.vpc", "True True"]


def test_each_action_and_filter_can_be_imported_first():
    """A process that has loaded nothing of the pack can import any action or filter first."""
    plugin = ROOT / "actions" / "c7n_ingress"
    folders = ("actions", "filters")
    modules = [f"c7n_ingress.{name}.{path.stem}" for name in folders for path in (plugin / name).glob("[a-z]*.py")]
    code = """
        import importlib, os, sys
        import c7n.actions, c7n.filters, c7n.query
        assert not any(name.startswith("c7n_ingress.") for name in sys.modules if name != "c7n_ingress.autoload")
        for module in sys.argv[1:]:
            child = os.fork()
            if not child:
                importlib.import_module(module)
                assert "c7n_ingress.actions.replace_ingress" in sys.modules
                os._exit(0)
            if os.waitpid(child, 0)[1]:
                print(module)
                break
    """
    assert len(modules) > 5
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *modules], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("rehearse", "rich", "local"),
        pytest.param("rehearse", "moto", "local", marks=pytest.mark.soak),
        ("report", "jinja2", "report"),
        ("mailer deploy", "c7n_mailer", "mailer"),
        pytest.param("mailer preview", "c7n_mailer", "mailer", marks=pytest.mark.soak),
    ],
)
def test_a_command_without_its_extra(command, package, extra):
    """A command that misses a package ends with one line that says what installs it."""
    call = f"from c7n_ingress_tools.cli import main; sys.exit(main({command.split()!r}))"
    python = [sys.executable, "-c", f"import sys; sys.modules[{package!r}] = None; {call}"]
    done = subprocess.run(python, capture_output=True, text=True, check=False, cwd=ROOT)
    fix = f"pip install 'c7n-ingress[{extra}]', or '.[{extra}]' in a clone of the project"
    assert (done.returncode, done.stderr) == (2, f"{package} is not installed: {fix}\n")


EXTRAS = {
    "c7n-org": "org",
    "c7n-left": "left",
    "c7n-ingress mailer deploy": "mailer",
    "c7n-ingress report": "report",
}
"""What commands of the pages need."""


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_runs_is_installed_before(page):
    """Before the first command of a page that needs an extra, the page installs the extra, or links to what does."""
    lines = commands_of(page)
    for command, extra in EXTRAS.items():
        first = next((number for number, line in enumerate(lines) if line.startswith(f"{command} ")), None)
        before = lines[:first]
        assert first is None or any(re.search(rf"pip install .*\b{extra}\b", line) for line in before), command
