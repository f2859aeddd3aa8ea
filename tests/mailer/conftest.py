import pytest

from tests.support.internet import serving
from tests.support.posted import Post


@pytest.fixture(scope="session")
def internet(tmp_path_factory):
    """Serve the hosts that a test sets, on one address, so that mailers with one configuration are one process."""
    with serving({}, tmp_path_factory.mktemp("internet")) as internet:
        yield internet


@pytest.fixture
def post(cloud, tmp_path):
    """Return the queues, the role and the sender of e-mail."""
    return Post(cloud, tmp_path)
