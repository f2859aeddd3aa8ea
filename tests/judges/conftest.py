"""The judges as processes: each runs by the Python of its own environment, and the pack calls it as it calls AWS."""

import os
import socket
import subprocess
import time
from contextlib import closing, contextmanager
from functools import partial
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from c7n_ingress_tools.embedded_aws.server import Cloud
from tests.support.embedded import ACCOUNT, ROOT

JUDGES = ROOT / ".venv" / "judges"
SERVE = ROOT / "tests" / "judges" / "run_ministack.py"
PYTHON = JUDGES / "ministack" / "bin" / "python"
STARTED = pytest.StashKey()
LONGEST_START = 60


class Ministack(Cloud):
    """MiniStack as the embedded AWS is used: by its environment and its sessions."""

    def new_session(self, *place):
        """Return a session whose clients call MiniStack, wherever the environment points."""
        session = super().new_session(*place)
        session.client = partial(session.client, endpoint_url=self.endpoint)
        return session


@pytest.fixture(scope="session")
def ministack(tmp_path_factory, pytestconfig):
    """Run MiniStack on a free port of loopback, and return it as AWS."""
    folder = tmp_path_factory.mktemp("ministack")
    port = free_port()
    # It puts what its functions unpack into TMPDIR. Without Docker, it runs functions as processes.
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "MINISTACK_ACCOUNT_ID": ACCOUNT}
    settings |= {"TMPDIR": str(folder), "LAMBDA_EXECUTOR": "local"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    before = time.perf_counter()
    with running([PYTHON, SERVE], kept | settings, folder / "log") as process:
        wait_for(f"http://127.0.0.1:{port}/_ministack/health", process, folder / "log")
        pytestconfig.stash[STARTED] = time.perf_counter() - before
        yield Ministack(f"http://127.0.0.1:{port}")


def free_port():
    """Return a port of loopback that nobody listens on."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def running(command, environment, log):
    """Run a process until the block ends, with its output in a file."""
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(LONGEST_START)


def wait_for(address, process, log):
    """Return when a server answers."""
    end = time.monotonic() + LONGEST_START
    while not answers(address):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


def answers(address):
    """Whether a server answers."""
    try:
        urlopen(address, timeout=1).close()
    except URLError:
        return False
    return True


def pytest_terminal_summary(terminalreporter, config):
    """Print how long MiniStack took to start."""
    if STARTED in config.stash:
        terminalreporter.write_line(f"MiniStack answered {config.stash[STARTED]:.1f} s after its start")
