import pytest
from embedded import group_of, load, make_queue

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


@pytest.fixture
def group(cloud):
    """Put a group with given rules into EC2, with a queue for what is told of it, and give its id."""

    def put(*ingress, number=1, **more):
        shape = {**group_of({"name": f"group {number}", "ingress": ingress}, number), **more}
        load([shape])
        return shape["GroupId"]

    make_queue(cloud)
    return put
