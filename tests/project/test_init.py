import resource
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from c7n_ingress_tools.cli import main
from c7n_ingress_tools.errors import CommandError
from c7n_ingress_tools.init import PACK, USERS, shipped_names, write_pack
from tests.support.embedded import ROOT

COMMAND = Path(sys.executable).with_name("c7n-ingress")
POLICY = "policies/open-ingress.yml"
VERSION = metadata.version("c7n-ingress")


def pack(folder, files):
    """Make a version of the pack, with these files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def content(folder):
    """Return what a folder holds."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_the_command_writes_what_is_shipped(tmp_path):
    """`c7n-ingress init` writes the policies and mode/ as they are, and a second run changes nothing."""
    folder = tmp_path / "new" / "folder"
    first, second = (
        subprocess.run([COMMAND, "init", folder], capture_output=True, text=True, check=True) for _ in range(2)
    )
    names = shipped_names()
    assert first.stdout == f"{folder}: c7n-ingress {VERSION}: {len(names)} written\n"
    assert second.stdout == first.stdout.replace("written", "unchanged")
    assert {POLICY, "policies/terraform/open-ingress.yml", "mode/stack.yml", "mode/mailer.yml"} <= set(names)
    assert {name.partition("/")[0] for name in names} <= {"policies", "mode", "settings.yml"}
    assert all((folder / name).read_bytes() == (ROOT / name).read_bytes() for name in names)
    assert sorted(content(folder)) == names
    assert PACK == ROOT, "an editable install writes the project's files, and no copy of them"


def test_what_is_replaced_is_listed(tmp_path, capsys):
    """A different file of the pack is replaced and listed; one that is missing is written again."""
    assert main(["init", str(tmp_path)]) == 0
    (tmp_path / POLICY).write_text("# mine\n")
    (tmp_path / "policies" / "restore-ingress.yml").unlink()
    (tmp_path / "mine").write_text("mine")
    capsys.readouterr()
    assert main(["init", str(tmp_path)]) == 0
    first, *listed = capsys.readouterr().out.splitlines()
    assert first.endswith(f": 1 written, 1 replaced, {len(shipped_names()) - 2} unchanged")
    assert listed == [f"replaced: {tmp_path / POLICY}"]
    assert content(tmp_path) == {name: (ROOT / name).read_text() for name in shipped_names()} | {"mine": "mine"}


@pytest.mark.parametrize("yours", sorted(USERS))
def test_what_is_the_users_is_written_once(tmp_path, yours):
    """An update replaces the pack's files, and never those that a user edits."""
    first = pack(tmp_path / "1", {POLICY: "1", yours: "example 1"})
    second = pack(tmp_path / "2", {POLICY: "2", yours: "example 2"})
    folder = tmp_path / "mine"
    assert write_pack(folder, first) == {POLICY: "written", yours: "written"}
    (folder / yours).write_text("mine")
    assert write_pack(folder, second) == {POLICY: "replaced", yours: "unchanged"}
    assert content(folder) == {POLICY: "2", yours: "mine"}


def test_the_users_files_exist():
    """The pack has each file that is written once."""
    assert set(shipped_names()) >= USERS


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda folder: folder.write_text(""), "is a file, and has to be a folder"),
        (lambda folder: pack(folder, {"policies": ""}), "is a file, and has to be a folder"),
        (lambda folder: (folder / POLICY).mkdir(parents=True), "is a folder, and has to be a file"),
    ],
    ids=["file", "file within", "folder"],
)
def test_refusals(tmp_path, capsys, wrong, says):
    """A folder that cannot be written is refused in one line with the fix, and nothing is written."""
    folder = tmp_path / "mine"
    wrong(folder)
    before = sorted(tmp_path.rglob("*"))
    assert main(["init", str(folder)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert says in printed.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("link", [POLICY, "policies", "policies/terraform"])
@pytest.mark.parametrize("there", [True, False], ids=["leads out", "leads nowhere"])
def test_links_are_not_written_through(tmp_path, link, there):
    """A link instead of a file, or a folder that leads elsewhere, is refused, and nothing is written anywhere."""
    path, outside = tmp_path / "mine" / link, tmp_path / "outside"
    path.parent.mkdir(parents=True)
    if there:
        outside.write_text("theirs") if path.suffix else outside.mkdir()
    path.symlink_to(outside)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CommandError, match="is a link, or behind one"):
        write_pack(tmp_path / "mine")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_is_written_beside_what_is_there(tmp_path):
    """A link named like the file's temporary one is not written through, and a replaced file keeps its mode."""
    folder, outside = tmp_path / "mine", tmp_path / "outside"
    mine = folder / POLICY
    mine.parent.mkdir(parents=True)
    mine.write_text("# mine")
    mine.chmod(0o640)
    outside.write_text("theirs")
    mine.with_name(f"{mine.name}.part").symlink_to(outside)
    assert main(["init", str(folder)]) == 0
    assert outside.read_text() == "theirs"
    assert mine.read_bytes() == (ROOT / POLICY).read_bytes()
    assert stat.filemode(mine.stat().st_mode) == "-rw-r-----"


def test_several_at_once(tmp_path):
    """Commands that write into one folder at once do not disturb each other."""
    with ThreadPoolExecutor(8) as pool:
        done = [*pool.map(write_pack, [tmp_path] * 32)]
    assert [sorted(each) for each in done] == [shipped_names()] * 32
    assert sorted(content(tmp_path)) == shipped_names()


def test_no_folder_at_all(tmp_path, monkeypatch, capsys):
    """An empty path, as of a variable that is not set, is refused in one line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", ""]) == 2
    said = "a path is empty: name the file or the folder, or leave it out"
    assert capsys.readouterr().err == f"c7n-ingress: {said}\n"
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_one_line(tmp_path, capsys):
    """A folder that cannot be made ends the command with 2 and one line."""
    assert main(["init", str(tmp_path / ("x" * 300))]) == 2
    shown = capsys.readouterr().err
    assert "File name too long: fix that, and run this again\n" in shown
    assert shown.count("\n") == 1


def test_a_file_that_could_not_be_written_whole(tmp_path):
    """Where the disk is full in the middle of a file, nothing half is left, and the next run writes it."""
    largest = max(shipped_names(), key=lambda name: (ROOT / name).stat().st_size)
    assert main(["init", str(tmp_path)]) == 0
    (tmp_path / largest).unlink()
    limit = (ROOT / largest).stat().st_size - 1
    failed = subprocess.run(
        [COMMAND, "init", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "fix that, and run this again" in failed.stderr
    again = subprocess.run([COMMAND, "init", tmp_path], capture_output=True, text=True, check=True).stdout
    assert again.endswith(f": 1 written, {len(shipped_names()) - 1} unchanged\n")
    assert sorted(content(tmp_path)) == shipped_names()
