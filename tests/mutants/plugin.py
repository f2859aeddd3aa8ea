"""Leaves out tests of deployed functions, whose zip has changed code and no mutmut, and shows what fails unchanged.

mutmut keeps what pytest prints to itself.
"""

import os
import sys

import pytest

from c7n_ingress_tools.functions import runtime


def pytest_configure():
    """Skip a test when it starts a deployed function."""
    runtime.deployed = left_out


def left_out(*_, **__):
    """Skip the test that calls this."""
    pytest.skip("a function's zip has no mutmut")


def pytest_runtest_logreport(report):
    """Show a test that fails while nothing is changed: mutmut notes which functions it reaches, and stops."""
    if report.failed and os.environ.get("MUTANT_UNDER_TEST") == "stats":
        print(f"\n{report.nodeid}\n{report.longreprtext}", file=sys.__stderr__)
