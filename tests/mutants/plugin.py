"""Leaves out tests of deployed functions: their zip has the changed code, which imports mutmut, and not mutmut."""

import pytest

from c7n_ingress_tools.functions import runtime


def pytest_configure():
    """Skip a test when it starts a deployed function."""
    runtime.deployed = left_out


def left_out(*_, **__):
    """Skip the test that calls this."""
    pytest.skip("a function's zip has no mutmut")
