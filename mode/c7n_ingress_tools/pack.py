"""Where the pack's own files are: policies, stack and samples."""

from pathlib import Path

HERE = Path(__file__).parent
PACK = HERE / "pack" if (HERE / "pack").exists() else HERE.parents[1]
"""The folder that has ``policies`` and ``mode``: in a wheel beside this module, in a clone the project."""
