import pytest

from mode.local.server import serving


@pytest.fixture(scope="session")
def embedded_aws():
    """Serve AWS in each of the processes that run tests."""
    with serving() as cloud:
        yield cloud


@pytest.fixture
def cloud(embedded_aws):
    """Give the embedded AWS, empty; one server for all the tests of a worker process."""
    embedded_aws.reset()
    return embedded_aws
