import base64
import hashlib
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
LOCKS = ("local", "flows", "dev")
JUDGES = ("ministack", "prowler")
PYTHONS = ("3.10.2", "3.11.9", "3.12.4", "3.13.1", "3.14.0")


def entries(name):
    """Return the entries of a lock, each with its hashes."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=")
            yield Requirement(requirement.strip()), hashes


def of(python, platform):
    """Return what markers are judged by, on a Python of a platform."""
    here = {"python_full_version": python, "python_version": ".".join(python.split(".")[:2])}
    systems = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix"), "win32": ("Windows", "nt")}
    system, os_name = systems[platform]
    return default_environment() | here | {"sys_platform": platform, "platform_system": system, "os_name": os_name}


def pins(name, environment):
    """Return the releases that a lock has for a Python of a platform, by name; none has two."""
    found = {}
    for requirement, _ in entries(name):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            (pin,) = requirement.specifier
            assert canonicalize_name(requirement.name) not in found
            found[canonicalize_name(requirement.name)] = Version(pin.version)
    return found


def asked(extra):
    """Yield the requirements of an extra, of the extras that it names, and of the project itself."""
    yield from map(Requirement, PROJECT["project"]["dependencies"])
    yield from map(Requirement, PROJECT["dependency-groups"]["build"])
    yield from map(Requirement, PROJECT["build-system"]["requires"])
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == PROJECT["project"]["name"]:
            for of_it in requirement.extras:
                yield from asked(of_it)
        else:
            yield requirement


@pytest.mark.parametrize("name", [*LOCKS, *(f"judges/{judge}" for judge in JUDGES)])
def test_each_entry_is_one_release_with_hashes(name):
    """A lock has only releases, each with the hashes of its files, and no place to get them from."""
    found = list(entries(name))
    assert found
    for requirement, hashes in found:
        assert [specifier.operator for specifier in requirement.specifier] == ["=="]
        assert requirement.url is None
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip()) for each in hashes)
    assert "://" not in (ROOT / "requirements" / f"{name}.lock").read_text()


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", ["linux", "darwin"])
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_what_pyproject_asks_for(name, platform, python):
    """On each Python, a lock has a release that the extra takes of all that it names; else: `make lock`."""
    environment = of(python, platform)
    locked = pins(name, environment)
    for requirement in asked(name):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            version = locked.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement.name} is not in it"
            assert version in requirement.specifier


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("judge", JUDGES)
def test_a_judge_is_locked(judge, python):
    """The lock of a judge has a release that pyproject.toml allows of each package that it names; else: `make lock`."""
    environment = of(python, "linux")
    locked = pins(f"judges/{judge}", environment)
    for requirement in map(Requirement, GROUPS[judge]):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert locked[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_is_whole(name):
    """What a locked release requires is locked, too: pip and uv install what the lock names, and look for no more."""
    locked = pins(name, default_environment())
    wanted = [(canonicalize_name(each.name), each.extras) for each in asked(name)]
    seen = set()
    while wanted:
        package, extras = wanted.pop()
        for extra in {"", *extras}:
            if (package, extra) in seen or package not in locked:
                continue
            seen.add((package, extra))
            distribution = metadata.distribution(package)
            if Version(distribution.version) != locked[package]:
                continue  # the weekly job has others than the lock's
            for requirement in map(Requirement, distribution.requires or ()):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    needed = canonicalize_name(requirement.name)
                    assert needed in locked, f"{package} requires {requirement}"
                    assert locked[needed] in requirement.specifier
                    wanted.append((needed, requirement.extras))


@pytest.mark.parametrize("python", PYTHONS)
def test_locks_agree(python):
    """What the demo has, tests have in the same release, so that neither undoes what the other installed."""
    environment = of(python, "linux")
    everything = pins("dev", environment)
    for name in ("local", "flows"):
        assert pins(name, environment).items() <= everything.items()


@pytest.mark.parametrize(
    ("goal", "locks"),
    [
        (["demo"], ["local"]),
        (["demo", "FLOWS=x", "INTERFACES=y"], ["flows"]),
        (["test"], ["dev"]),
        (["judges"], ["dev", "judges/ministack", "judges/prowler"]),
    ],
)
def test_make_installs_no_more_than_its_goal_needs(goal, locks, tmp_path):
    """The demo installs the lock of its own, and DuckDB only for flow logs. Only `make judges` installs the judges."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    done = subprocess.run(["make", "--dry-run", *goal], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.findall(r"requirements/install\.py (\S+)", done.stdout) == locks


@pytest.fixture
def demo(tmp_path):
    """Return a function that runs `make demo` with variables, and returns the arguments of the command that it runs."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    venv.create(tmp_path / ".venv", with_pip=False)
    command = tmp_path / ".venv" / "bin" / "c7n-ingress"
    command.write_text('#!/bin/sh\nfor each in "$@"; do printf "%s\\n" "$each"; done\n')
    command.chmod(0o755)
    for name in ("local", "flows"):
        (tmp_path / ".venv" / name).touch()

    def run(*variables):
        command = ["make", "--no-print-directory", "demo", *variables]  # `make test` starts this test
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize("name", ["it's mine.json", "a,b (c) $$HOME.json", 'say "so".json'])
def test_make_hands_names_of_files_on(name, demo):
    """A name is one argument of the demo, whatever is in it; a dollar is written twice for make."""
    it = name.replace("$$", "$")
    found = demo(*(f"{each}={name}" for each in ("GROUPS", "INTERFACES", "VPCS")))
    assert found == ["rehearse", "--make", it, "--interfaces", it, "--vpcs", it]


@pytest.mark.parametrize(
    ("names", "files"),
    [
        ("logs", ["logs"]),
        ("logs/*.gz", ["logs/a.gz", "logs/b c.gz"]),
        ("logs/a.gz gone.gz", ["logs/a.gz", "gone.gz"]),
        ("'logs/b c.gz' logs/a.gz", ["logs/b c.gz", "logs/a.gz"]),
        ("gone/*.gz", ["gone/*.gz"]),
    ],
)
def test_make_hands_all_flow_logs_on(names, files, demo, tmp_path):
    """FLOWS takes several names and patterns as a shell does. A name of no file stays, for the command to refuse it."""
    (tmp_path / "logs").mkdir()
    for name in ("a.gz", "b c.gz"):
        (tmp_path / "logs" / name).touch()
    options = [word for file in files for word in ("--flows", file)]
    assert demo(f"FLOWS={names}") == ["rehearse", "--make", *options]


# ---- Installing

PROJECT_TABLE = '[project]\nname = "toyproject"\nversion = "1"\nrequires-python = ">=3.10,<3.15"\n'
BACKEND = """
import zipfile
NAME = "toyproject-1-py3-none-any.whl"
def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{wheel_directory}/{NAME}", "w") as wheel:
        wheel.writestr("toyproject.py", "")
        wheel.writestr("toyproject-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: toyproject\\nVersion: 1\\n")
        tags = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("toyproject-1.dist-info/WHEEL", tags)
        wheel.writestr("toyproject-1.dist-info/RECORD", "")
    return NAME
"""
UV = '#!/bin/sh\nprintf "%s\\n" "$UV_DEFAULT_INDEX" "$@" >> {log}\nexit {code}\n'


@pytest.fixture
def project(tmp_path):
    """Make a project with a lock of one wheel, which lies in a folder, and an empty .venv."""
    folder = tmp_path / "project"
    (folder / "requirements").mkdir(parents=True)
    (folder / "wheels").mkdir()
    shutil.copy(ROOT / "requirements" / "install.py", folder / "requirements")
    (folder / "backend.py").write_text(BACKEND)
    build = 'requires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (folder / "pyproject.toml").write_text(f"{PROJECT_TABLE}[build-system]\n{build}")
    lock(folder, wheel(folder, "toydependency", {"toydependency.py": b""}))
    venv.create(folder / ".venv", with_pip=False)
    return folder


def wheel(folder, name, files):
    """Put a wheel with files into the folder of wheels, and return its hash."""
    path = folder / "wheels" / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            entry = zipfile.ZipInfo(file)
            entry.external_attr = 0o100755 << 16  # a file that can run
            archive.writestr(entry, content)
        archive.writestr(f"{name}-1.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{name}-1.dist-info/WHEEL", tags)
        recorded = "".join(f"{each.filename},{record(archive, each)}\n" for each in archive.infolist())
        archive.writestr(f"{name}-1.dist-info/RECORD", f"{recorded}{name}-1.dist-info/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record(archive, entry):
    """Return what a wheel's RECORD says of a file."""
    content = archive.read(entry)
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(content)}"


def lock(folder, digest):
    """Write the lock."""
    (folder / "requirements" / "local.lock").write_text(f"toydependency==1 \\\n    --hash=sha256:{digest}\n")


def installing(folder, uv=None, name="local", **environment):
    """Run the installer on a path that has a uv or none, with wheels from the folder alone."""
    path = folder / "path"
    path.mkdir(exist_ok=True)
    if uv:
        (path / "uv").symlink_to(uv)
    settings = {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(folder), "PIP_FIND_LINKS": str(folder / "wheels")}
    settings |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "UV_FIND_LINKS": str(folder / "wheels")}
    settings |= {"UV_OFFLINE": "1", "UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, folder / "requirements" / "install.py", name]
    return subprocess.run(command, env=settings | environment, capture_output=True, text=True, check=False)


def has(folder):
    """Return what an environment, .venv by default, has of the two packages."""
    places = (folder if (folder / "pyvenv.cfg").exists() else folder / ".venv").glob("lib/**/toy*.dist-info")
    return sorted(path.name.partition("-")[0] for path in places)


def spy(folder, code):
    """Make a uv that records its index and its arguments."""
    path = folder / "a-uv"
    path.write_text(UV.format(log=folder / "called", code=code))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("uv", [None, Path(sys.executable).with_name("uv")], ids=["pip", "uv"])
def test_installs_the_lock_and_the_project(uv, project):
    """With uv or without, what the lock names and the project are installed."""
    done = installing(project, uv)
    assert (done.returncode, has(project)) == (0, ["toydependency", "toyproject"]), done.stderr
    assert "now pip tries" not in done.stderr


def test_uv_is_installed_where_there_is_none(project):
    """Where the user has no uv, pip installs the one that the lock names, by its hash, and this one the rest."""
    uv = spy(project, 0)
    digest = wheel(project, "uv", {"uv-1.data/scripts/uv": uv.read_bytes()})
    with (project / "requirements" / "local.lock").open("a") as lock:
        lock.write(f"uv==1 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{digest}\n")
    done = installing(project)
    assert (done.returncode, has(project)) == (0, []), done.stderr
    called = (project / "called").read_text().split()
    assert ["requirements/local.lock" in called, "--editable" in called] == [True, True]


def test_a_judge_has_an_environment_of_its_own(project):
    """What the lock of a judge names is installed into an environment of its own, without the project."""
    (project / "requirements" / "judges").mkdir()
    shutil.copy(project / "requirements" / "local.lock", project / "requirements" / "judges" / "prowler.lock")
    done = installing(project, name="judges/prowler")
    own = project / ".venv" / "judges" / "prowler"
    assert (done.returncode, has(project), has(own)) == (0, [], ["toydependency"]), done.stderr


def test_refuses_what_has_another_hash(project):
    """A wheel that is not the locked one is not installed, nor is the project."""
    lock(project, "0" * 64)
    done = installing(project)
    assert done.returncode != 0
    assert has(project) == []
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


def test_pip_takes_over_from_uv(project):
    """Where uv fails, that is said, and pip installs."""
    done = installing(project, spy(project, 2))
    assert (done.returncode, has(project)) == (0, ["toydependency", "toyproject"])
    assert "uv could not install it, as it says above: now pip tries" in done.stderr


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({}, ""),
        ({"PIP_INDEX_URL": "https://one.example/simple"}, "https://one.example/simple"),
        (
            {"PIP_INDEX_URL": "https://one.example/simple", "UV_DEFAULT_INDEX": "https://two.example"},
            "https://two.example",
        ),
        ({"PIP_CONFIG_FILE": "pip.conf"}, "https://three.example/simple"),
    ],
)
def test_uv_looks_where_pip_would(settings, reported, project):
    """Uv uses pip's mirror, from the environment or from its file, unless uv has its own."""
    (project / "pip.conf").write_text("[global]\nindex-url = https://three.example/simple\n")
    if "PIP_CONFIG_FILE" in settings:
        settings = {"PIP_CONFIG_FILE": str(project / "pip.conf")}
    assert installing(project, spy(project, 0), **settings).returncode == 0
    index, *arguments = (project / "called").read_text().splitlines()
    assert index == reported
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(arguments)


def gone(python):
    """Make a Python one that an upgrade removed."""
    python.unlink()
    python.symlink_to("/nowhere/python3")


def no_program(python):
    """Make a Python a file that is none."""
    python.unlink()
    python.write_text("")
    python.chmod(0o755)


@pytest.mark.parametrize("broken", [pytest.param(gone, marks=pytest.mark.soak), no_program])
def test_a_venv_whose_python_does_not_run(broken, project):
    """If .venv's Python is gone, .venv is created again, with nothing of the old one."""
    broken(project / ".venv" / "bin" / "python")
    left = project / ".venv" / "dev"
    left.touch()
    done = installing(project)
    assert (done.returncode, has(project)) == (0, ["toydependency", "toyproject"]), done.stderr
    assert not left.exists()


def test_make_installs_anew_where_python_is_gone(tmp_path):
    """The goals' files are in .venv, and do not count if its Python does not run."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    venv.create(tmp_path / ".venv", with_pip=False)
    (tmp_path / ".venv" / "local").touch()
    dry = ["make", "--dry-run", "demo"]
    assert "install.py" not in subprocess.run(dry, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    gone(tmp_path / ".venv" / "bin" / "python")
    assert "install.py local" in subprocess.run(dry, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("made", [False, True], ids=["no .venv", "a .venv of it"])
def test_a_python_that_the_project_does_not_take(made, project):
    """Another Python is refused in a line that says which it takes and how to name one, and makes no .venv."""
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace(">=3.10,<3.15", ">=3.99,<3.101"))
    if not made:
        shutil.rmtree(project / ".venv")
    done = installing(project)
    assert done.returncode != 0
    version = "{}.{}".format(*sys.version_info)
    before = "remove .venv, then " if made else ""
    fix = f"{before}name another one, as PYTHON=python3.13 does"
    assert done.stderr == f"Python {version} is not 3.99 to 3.100: {fix}\n"
    assert ((project / ".venv").exists(), has(project)) == (made, [])
