"""Systems Manager that knows which instances it reaches, which moto's does not.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstanceInformation.html
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

from moto.ssm import urls
from moto.ssm.models import SimpleSystemManagerBackend, ssm_backends
from moto.ssm.responses import SimpleSystemManagerResponse


class Response(SimpleSystemManagerResponse):
    """Adds the call that lists instances."""

    def describe_instance_information(self) -> str:
        """List the instances that a filter by id names, all in one page."""
        nodes = backend_of(self.current_account, self.region).nodes
        wanted = {
            value for each in self._get_param("Filters") if each["Key"] == "InstanceIds" for value in each["Values"]
        }
        return json.dumps({"InstanceInformationList": [each for each in nodes if each["InstanceId"] in wanted]})


class Backend(SimpleSystemManagerBackend):
    """moto's Systems Manager, with nodes."""

    _url_module = SimpleNamespace(url_bases=urls.url_bases, url_paths={"{0}/$": Response.dispatch})

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.nodes: list[dict[str, Any]] = []  # the instances, as InstanceInformation


def backend_of(account: str, region: str) -> Backend:
    """Return the Systems Manager of an account and region."""
    return cast("Backend", ssm_backends[account][region])
