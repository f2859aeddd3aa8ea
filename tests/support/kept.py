"""What takes long is done once in each process that runs tests: a deployment, and the start of a function's process.

once(cloud, "open-ingress", deploy)  # deploys, or puts a copy of what was deployed into the empty AWS
with warm(cloud, "custodian-open-ingress") as function:  # its process may have run another test's events
"""

import copyreg
import json
from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from threading import Condition, RLock
from unittest.mock import patch
from weakref import WeakValueDictionary

from moto.core.base_backend import BackendDict

from c7n_ingress_tools.functions.runtime import deployed
from tests.support.embedded import make_queue, run, shipped

ROLE = "custodian-open-ingress"
MOST_PROCESSES = 4
"""How many functions keep their process: each takes 80 MB."""

# A copy has locks of its own.
copyreg.pickle(type(RLock()), lambda _: (RLock, ()))
copyreg.pickle(Condition, lambda _: (Condition, ()))

_made = {}
_kept = OrderedDict()


def once(cloud, key, make):
    """Put into the empty AWS what a function makes there: the first call makes it, each later one puts a copy there.

    :param key: what distinguishes it from anything else that is made.
    :returns: what the function returned when it was called.
    """
    assert not _places(), "AWS is not empty: what is in it would be lost"
    if key not in _made:
        returned = make()
        _made[key] = _copy(_places()), returned
    else:
        for service, account, region, backend in _copy(_made[key][0]):
            dict.__setitem__(service[account], region, backend)
    cloud.calls.clear()
    return _made[key][1]


def deploy_once(cloud, folder, names, authorized, change=None, **more):
    """Make the stock command deploy policies of the pack, as `shipped` returns them, and what they need, to empty AWS.

    For the same policies and settings it runs once.
    """

    def deploy():
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        cloud.session().client("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust)
        cloud.session().client("sqs").create_queue(QueueName="custodian-open-ingress-failed")
        make_queue(cloud)
        done = run(cloud, shipped(names, folder, authorized, change, **more), folder)
        assert done.returncode == 0, done.stderr

    once(cloud, (repr((names, authorized, more)), change), deploy)


class _Service:
    """One of moto's services, which a copy of what is in it does not copy."""

    def __init__(self, backends):
        self._backends = backends

    def __deepcopy__(self, _):
        return self

    def __getitem__(self, account):
        return self._backends[account]


def _copy(places):
    """Copy what moto has, with new locks, and with what moto's Lambda refers to weakly."""
    with patch.object(WeakValueDictionary, "__deepcopy__", _copy_weak):
        return deepcopy(places)


def _copy_weak(weak, memo):
    """Copy the values, too: Python's own copy refers to the same values."""
    return WeakValueDictionary({key: deepcopy(value, memo) for key, value in weak.items()})


def _places():
    """Return what moto has: a service, an account, a region, and what is there."""
    return [(_Service(each), *place) for each in BackendDict._instances for place in each.iter_backends()]


@contextmanager
def warm(cloud, name):
    """Run a deployed function in a process that may have run events before, and return it with an empty log.

    A process runs what one zip and one configuration say. `stop` ends it: the next event starts another.
    """
    found = cloud.session().client("lambda").get_function_configuration(FunctionName=name)
    written = {key: found[key] for key in found.keys() - {"LastModified", "ResponseMetadata", "RevisionId"}}
    written |= {key: value for key, value in cloud.environment().items() if key.startswith("AWS_")}
    with kept(json.dumps(written, sort_keys=True), lambda: deployed(cloud, name)) as function:
        yield function


@contextmanager
def kept(key, start):
    """Return the function that `start` runs, with an empty log; its process stays for the next one who has the key."""
    if key not in _kept:
        if len(_kept) == MOST_PROCESSES:
            _, (oldest, _) = _kept.popitem(last=False)
            oldest.close()
        stack = ExitStack()
        _kept[key] = stack, stack.enter_context(start())
    _kept.move_to_end(key)
    _, function = _kept[key]
    for log in function.logs:
        log.write_bytes(b"")
    yield function


def close():
    """End the processes."""
    while _kept:
        _, (stack, _) = _kept.popitem()
        stack.close()
