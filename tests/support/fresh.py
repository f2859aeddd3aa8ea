"""The project built, and virtual environments in which nothing is installed but what a test installs."""

import subprocess
import sys
import venv

from tests.support.cases import ROOT


def built(folder, *kinds):
    """Build the project as a release is built, or only its `--wheel`; the backend is the one that is installed here."""
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, *kinds, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    return sorted(folder.iterdir())


def installed(folder, *wanted):
    """Make a virtual environment, have pip install what is wanted there, and return the folder of its commands.

    It is this Python's pip, and compiles nothing ahead: of what is installed, a command imports little.
    """
    venv.create(folder)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    subprocess.run([*pip, "--quiet", "--disable-pip-version-check", "--no-compile", *wanted], check=True)
    return folder / "bin"
