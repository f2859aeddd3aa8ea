"""Virtual environments in which nothing is installed but what a test installs."""

import subprocess
import sys
import venv


def installed(folder, *wanted):
    """Make a virtual environment, have pip install what is wanted there, and return the folder of its commands.

    It is this Python's pip, and compiles nothing ahead: of what is installed, a command imports little.
    """
    venv.create(folder)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    subprocess.run([*pip, "--quiet", "--disable-pip-version-check", "--no-compile", *wanted], check=True)
    return folder / "bin"
