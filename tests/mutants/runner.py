"""How the tests of a change run: in a copy of a process that has imported all tests and what they use, and run none."""

import gc
import os
from functools import partial

import pytest
from mutmut.configuration import config
from mutmut.runners.harness import PytestRunner, TestRunner
from mutmut.utils.file_utils import change_cwd
from mutmut.workers.isolation import ForkServerRunner

UNKNOWN = 35  # mutmut's exit code of a change that nothing is known of; it takes an exception for a time-out


class Runner(ForkServerRunner):
    """mutmut's own, with its loop inside of pytest, where all tests are collected: else each change collects again."""

    def __init__(self, processes=1):
        super().__init__(processes, PytestRunner, {})

    def _forkserver_main(self, work_fd, result_fd):
        served = Served(partial(super()._forkserver_main, work_fd, result_fd))
        self.test_runner_class = partial(ChosenTests, served)
        for output in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), output)
        with change_cwd("mutants"):  # the copies would share the files of --capture=fd
            arguments = ["-x", "-q", "--capture=sys", *config().pytest_add_cli_args_test_selection]
            os._exit(PytestRunner().execute_pytest(arguments, plugins=[served]))


class Chosen(BaseException):  # no Exception, which mutmut would catch
    """Leaves mutmut's loop, in the copy of the process for a change, with the tests to run."""


class Served:
    """Runs mutmut's loop instead of all tests. In each copy, pytest goes on with the tests of the change."""

    def __init__(self, serve):
        self.serve = serve
        self.items = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session):
        """Copy this process for each change."""
        load_what_the_first_call_loads()
        self.items = {item.nodeid: item for item in session.items}
        gc.freeze()  # a copy leaves alone what was loaded
        try:
            self.serve()
            os._exit(0)
        except Chosen as chosen:
            session.items[:] = chosen.args[0]
        return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus):
        """End the process: pytest would collect garbage five times, which takes longer than the tests."""
        os._exit(exitstatus)


class ChosenTests(TestRunner):
    """Leaves the tests of a change to the pytest that is running."""

    def __init__(self, served):
        self.served = served

    def run_tests(self, *, mutant_name, tests):  # noqa: ARG002 - the parameters of mutmut
        """Leave mutmut's loop with the tests."""
        if not self.served.items.keys() >= set(tests):
            return UNKNOWN
        raise Chosen([self.served.items[test] for test in tests])


def load_what_the_first_call_loads():
    """Call the embedded AWS once, directly and through the proxy that makes it fail, and make hypothesis search once.

    Hypothesis reads the constants of all modules before it searches; those of changed modules are many. What is
    imported here imports changed code, which mutmut's first process makes.
    """
    from hypothesis import given, settings
    from hypothesis import strategies as st

    from c7n_ingress_tools.embedded_aws.server import serving
    from tests.support.faults import failing

    settings(max_examples=1)(given(st.integers())(lambda _: None))()
    with serving() as cloud, failing(cloud) as aws:
        cloud.session().client("sqs").list_queues()
        aws.session().client("ec2").describe_security_groups()
