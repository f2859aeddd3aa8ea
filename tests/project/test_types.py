import subprocess
import sys
from pathlib import Path

from tests.support.cases import ROOT


def test_types():
    """The types of both packages are right, as pyproject.toml asks for them."""
    done = subprocess.run(
        [Path(sys.executable).with_name("mypy")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
