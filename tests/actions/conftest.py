import time

import pytest


@pytest.fixture(scope="module", autouse=True)
def elsewhere():
    """Be where the clock is not at UTC: no time that an action writes may depend on that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        yield
    time.tzset()
