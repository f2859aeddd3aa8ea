import json
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from c7n_ingress_tools.__main__ import main
from c7n_ingress_tools.init import NOTE, PACK, KitError, difference, lay, shipped_names
from tests.support.embedded import ROOT
from tests.support.search import examples

COMMAND = Path(sys.executable).with_name("c7n-ingress")
POLICY = "policies/open-ingress.yml"


def pack(folder, files):
    """Make a version of the pack, with given files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def content(folder):
    """Give what a folder holds beside the note."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != NOTE)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def test_the_command_lays_what_is_shipped(tmp_path):
    """`c7n-ingress init` lays all policies and all of mode/ as they are, and a second run leaves them."""
    folder = tmp_path / "new" / "folder"
    first, second = (
        subprocess.run([COMMAND, "init", folder], capture_output=True, text=True, check=True) for _ in range(2)
    )
    names = shipped_names()
    assert first.stdout == f"{folder}: c7n-ingress {metadata.version('c7n-ingress')}: {len(names)} written\n"
    assert second.stdout == first.stdout.replace("written", "as shipped")
    assert {
        POLICY,
        "policies/terraform/open-ingress.yml",
        "mode/stack.yml",
        "mode/mailer.yml",
    } <= set(names)
    assert all((folder / name).read_bytes() == (ROOT / name).read_bytes() for name in names)
    assert PACK == ROOT, "an editable install lays what stands in the project, and no copy of it"


def test_what_somebody_edited_is_shown(tmp_path, capsys):
    """An edited file stays, the difference is printed, and the exit code is 0 while there is nothing to bring in."""
    assert main(["init", str(tmp_path)]) == 0
    path = tmp_path / POLICY
    edited = path.read_text().replace("203.0.113.0/24", "198.18.7.0/24")
    path.write_text(edited)
    (tmp_path / "policies" / "restore-ingress.yml").unlink()
    capsys.readouterr()

    assert main(["init", str(tmp_path)]) == 0

    shown = capsys.readouterr().out
    assert path.read_text() == edited
    assert "-    - 198.18.7.0/24\n+    - 203.0.113.0/24\n" in shown
    assert "1 edited and left, 1 taken away and left so" in shown
    assert "restore-ingress.yml: taken away by somebody; not laid again" in shown
    assert not (tmp_path / "policies" / "restore-ingress.yml").exists()


def test_what_changed_on_both_sides_is_told_once(tmp_path, capsys):
    """A file that somebody edited and that the new version changes fails the command, until it has been told."""
    assert main(["init", str(tmp_path)]) == 0
    (tmp_path / POLICY).write_text("# mine\n")
    note = json.loads((tmp_path / NOTE).read_text())
    note["files"][POLICY] = "as an earlier version had it"
    (tmp_path / NOTE).write_text(json.dumps(note))
    capsys.readouterr()

    assert main(["init", str(tmp_path)]) == 1
    assert f"{POLICY}: edited, and changed in" in capsys.readouterr().out
    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / POLICY).read_text() == "# mine\n"


def test_a_folder_that_was_there_before(tmp_path):
    """What stands in a folder in which nothing was laid yet counts as edited."""
    new = pack(tmp_path / "1", {"policies/a.yml": "shipped", "mode/b.yml": "shipped"})
    folder = pack(tmp_path / "mine", {"policies/a.yml": "mine", "other": "mine"})
    laid = lay(folder, "1", new)
    assert (laid.edited, laid.behind, laid.written) == (["policies/a.yml"], ["policies/a.yml"], ["mode/b.yml"])
    assert content(folder) == {"policies/a.yml": "mine", "mode/b.yml": "shipped", "other": "mine"}


names = st.sampled_from(["policies/a.yml", "policies/b.yml", "mode/c/d.j2", "mode/e.py"])
versions = st.lists(st.dictionaries(names, st.sampled_from("xyz")), min_size=1, max_size=4)
edits = st.lists(st.dictionaries(names, st.sampled_from([None, "x", "mine"])), min_size=4, max_size=4)


@examples(80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions, edits)
def test_edits_stay_and_all_else_is_as_shipped(tmp_path_factory, versions, edits):
    """Over any versions and edits, a file is as shipped if nobody touched it since it was laid, else as it was."""
    top = tmp_path_factory.mktemp("lay")
    folder, laid, old = top / "mine", {}, {}
    for number, (version, edit) in enumerate(zip(versions, edits, strict=False)):
        shipped = pack(top / str(number), {"policies/always.yml": "", **version})
        before = content(folder)
        lay(folder, str(number), shipped)
        ours = content(shipped)
        was = {name: old.get(name) or laid.get(name) for name in ours}
        untouched = {name: text for name, text in ours.items() if before.get(name) in (text, laid.get(name), was[name])}
        assert content(folder) == before | untouched
        laid, old = ours, was | untouched
        for name, text in edit.items():
            (folder / name).unlink(missing_ok=True)
            if text is not None:
                pack(folder, {name: text})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda folder: folder.write_text(""), "is a file, and is to be a folder"),
        (lambda folder: pack(folder, {"policies": ""}), "is a file, and is to be a folder"),
        (lambda folder: (folder / POLICY).mkdir(parents=True), "is a folder, and is to be a file"),
        (lambda folder: pack(folder, {NOTE: "{"}), "is not what this command wrote: delete it"),
        (lambda folder: pack(folder, {NOTE: '{"files": []}'}), "is not what this command wrote: delete it"),
    ],
    ids=["file", "file within", "folder", "no JSON", "no note"],
)
def test_refusals(tmp_path, wrong, says):
    """A folder that cannot be laid is refused with the mend, and nothing is written."""
    folder = tmp_path / "mine"
    wrong(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KitError, match=says):
        lay(folder, "1")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("link", [POLICY, "policies", NOTE, "mode/c7n_ingress_tools/rehearsal"])
@pytest.mark.parametrize("there", [True, False], ids=["leads out", "leads nowhere"])
def test_links_are_not_written_through(tmp_path, link, there):
    """A link in the place of a file, or a folder that leads elsewhere, is refused, and nothing is written anywhere."""
    path, outside = tmp_path / "mine" / link, tmp_path / "outside"
    path.parent.mkdir(parents=True)
    if there:
        outside.write_text("theirs") if path.suffix else outside.mkdir()
    path.symlink_to(outside)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(KitError, match=r"is a link, or behind one .*|is not what this command wrote"):
        lay(tmp_path / "mine", "1")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_the_system_refuses_is_one_line(tmp_path, capsys):
    """A folder that cannot be made ends the command with 2 and one line."""
    assert main(["init", str(tmp_path / ("x" * 300))]) == 2
    shown = capsys.readouterr().err
    assert "File name too long: mend that, and run this again\n" in shown
    assert shown.count("\n") == 1


def test_names_that_lead_out_are_passed_over(tmp_path):
    """A note's names that lead out of the folder are not looked for."""
    (tmp_path / "theirs").write_text("")
    files = {"../theirs": "x", str(tmp_path / "theirs"): "x", "policies/../../theirs": "x"}
    folder = pack(tmp_path / "mine", {NOTE: json.dumps({"files": files})})
    assert lay(folder, "1", pack(tmp_path / "1", {"policies/a": ""})).dropped == []


def test_what_was_put_back_is_updated(tmp_path):
    """An edited file that is put back as it was laid is brought up to date, however many versions later."""
    first, second, third = (pack(tmp_path / text, {"policies/a": text}) for text in "123")
    folder = tmp_path / "mine"
    lay(folder, "1", first)
    pack(folder, {"policies/a": "mine"})
    assert lay(folder, "2", second).behind == lay(folder, "3", third).behind == ["policies/a"]
    pack(folder, {"policies/a": "1"})
    assert lay(folder, "3", third).updated == ["policies/a"]
    assert content(folder) == {"policies/a": "3"}
    pack(folder, {"policies/a": "1"})
    assert lay(folder, "3", third).edited == ["policies/a"]


def test_a_refusal_is_one_line(tmp_path):
    """The command ends with 2, and says what is wrong in one line."""
    (tmp_path / "policies").write_text("")
    done = subprocess.run([COMMAND, "init", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("c7n-ingress init: ")
    assert done.stderr.count("\n") == 1


def test_a_difference_without_a_last_line_break(tmp_path):
    """Each line of a difference is a line, though a file does not end with one."""
    new = pack(tmp_path / "1", {"policies/a": "x"})
    folder = pack(tmp_path / "mine", {"policies/a": "y"})
    assert difference(folder, "policies/a", "1", new).splitlines()[-2:] == ["-y", "+x"]


def test_a_file_that_could_not_be_written_whole(tmp_path):
    """Where the disk is full in the middle of a file, nothing half is left: the next run finds no edited file."""
    largest = max(shipped_names(), key=lambda name: (ROOT / name).stat().st_size)
    assert main(["init", str(tmp_path)]) == 0
    (tmp_path / largest).unlink()
    (tmp_path / NOTE).unlink()
    limit = (ROOT / largest).stat().st_size - 1
    failed = subprocess.run(
        [COMMAND, "init", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "mend that, and run this again" in failed.stderr
    again = subprocess.run([COMMAND, "init", tmp_path], capture_output=True, text=True, check=True).stdout
    assert again.endswith(f": 1 written, {len(shipped_names()) - 1} as shipped\n")
    assert sorted(content(tmp_path)) == shipped_names()
