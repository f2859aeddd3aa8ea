import gc
import os
import sys
from functools import partial
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from c7n_ingress_tools.embedded_aws import models
from tests.support import forked, search

# If the environment forbids bytecode, each of the many processes would compile the same again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

gc.disable()  # until all tests are loaded: most of what is loaded stays
models.share()  # before moto is imported


@pytest.fixture(scope="session")
def embedded_aws(tmp_path_factory):
    """Serve AWS in each of the processes that run tests; what its Lambdas unpack and compile, all of them share.

    Moto and Cloud Custodian are imported where they are needed: the tests of decisions do without them.
    """
    from c7n_ingress_tools.embedded_aws.server import serving
    from c7n_ingress_tools.functions import runtime
    from tests.support import kept
    from tests.support.unpacked import unpack_once

    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tasks"
    runtime.unpack = partial(unpack_once, shared)
    with serving() as cloud:
        yield cloud
        kept.close()


@pytest.fixture(scope="module")
def failing_aws(embedded_aws):
    """Serve the proxy that makes AWS fail, in front of the embedded AWS."""
    from tests.support.faults import failing

    with failing(embedded_aws) as aws:
        yield aws


@pytest.fixture
def cloud(embedded_aws):
    """Return the embedded AWS, empty; one server for all the tests of a worker process.

    c7n keeps a thread's sessions: without this, a policy that is run here may call where an earlier test's went.
    """
    from c7n.utils import reset_session_cache

    reset_session_cache()
    embedded_aws.reset()
    return embedded_aws


@pytest.fixture
def group(cloud):
    """Put a group with given rules into EC2, with a queue for messages about it, and return its id."""
    from tests.support.embedded import group_of, load, make_queue

    def put(*ingress, number=1, **more):
        shape = {**group_of({"name": f"group {number}", "ingress": ingress}, number), **more}
        load([shape])
        return shape["GroupId"]

    make_queue(cloud)
    return put


def pytest_xdist_auto_num_workers(config):
    """Run two processes more than there are cores: many tests wait for a Lambda, a browser or another try.

    Tests of decisions wait for nothing: alone, they take less time than it takes to start more processes.
    """
    decisions = Path(__file__).parent / "decide"
    paths = [config.invocation_params.dir / each.partition("::")[0] for each in config.args]
    return 0 if all(path.is_relative_to(decisions) for path in paths) else (os.cpu_count() or 1) + 2


def pytest_xdist_setupnodes():
    """Start the process that forks commands before those that run tests: they share it."""
    forked.serving()


LONGEST_FIRST = [
    "test_faults_deployed.py::test_many_items_at_once",
    "test_types.py",
    "test_flows.py",
    "test_readme.py",
    "test_accounts.py",
    "test_restore.py",
    "test_tickets.py",
    "test_mailer.py",
    "test_faults.py",
    "test_operations.py",
    "test_watch.py",
    "test_faults_deployed.py",
    "test_permissions.py",
    "test_install.py",
    "test_deployed.py",
    "test_notice.py",
    "test_requirements.py",
    "test_demo.py",
    "test_stack.py",
    "test_warm.py",
    "test_canary.py",
    "test_report.py",
    "test_rehearse_live.py",
    "test_slack.py",
    "test_release.py",
    "test_pagerduty.py",
    "test_properties.py",
    "test_brake.py",
    "test_check.py",
]
"""What takes longest, by `pytest --durations=0`, so that no core is idle at the end. The first mostly waits."""


def unit_of(nodeid):
    """Return what runs in one process: a long test alone, else all of its file, because fixtures are expensive."""
    path, _, test = nodeid.partition("::")
    name = f"{path.rpartition('/')[2]}::{test}"
    return name if name in LONGEST_FIRST else name.partition("::")[0]


def pytest_collection_modifyitems(config, items):
    """Leave out what only `make soak` runs, and put the longest first, and the rest after it in its own order."""
    if not search.is_night():
        left_out = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    place = {unit: number for number, unit in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(unit_of(item.nodeid), len(place)))


class Units(LoadScopeScheduling):
    """Hands unit after unit to the process that has the least to do."""

    def _split_scope(self, nodeid):
        return unit_of(nodeid)


def pytest_xdist_make_scheduler(config, log):
    """Distribute units, not tests: what a file sets up, one process sets up once."""
    return Units(config, log)


def pytest_collection_finish():
    """Keep the garbage collector away from what is loaded: it would slow the tests."""
    forked.pass_over_what_is_loaded()
