from c7n_ingress.decide.managed import MANAGED, managed_by
from tests.support.embedded import NOTIFY, act, group_of, load, make_queue, messages


def test_the_message(cloud, tmp_path):
    """A message names the manager of each group that has one."""
    ssh = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
    kept, free = (
        group_of({"name": name, "ingress": [ssh], "tags": tags}, number)
        for number, (name, tags) in enumerate([("kept", {"elbv2.k8s.aws/cluster": "prod"}), ("free", {})], 1)
    )
    load([kept, free])
    make_queue(cloud)
    act(cloud, tmp_path, authorized=["198.18.7.0/24"], notify=NOTIFY)
    (message,) = messages(cloud)
    reported = {resource["GroupId"]: resource.get(MANAGED) for resource in message["resources"]}
    assert reported == {kept["GroupId"]: managed_by(kept), free["GroupId"]: None}
    assert reported[kept["GroupId"]]["by"].endswith('"prod"')
