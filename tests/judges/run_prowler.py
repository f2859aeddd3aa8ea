"""Run Prowler's checks of what the internet may reach, by its own Python, and write what each says of each group.

    .venv/judges/prowler/bin/python tests/judges/run_prowler.py us-east-1 findings.json

Prowler's command would import the packages of all clouds. Its checks import those of AWS.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from prowler.providers.aws.aws_provider import AwsProvider
from prowler.providers.aws.services import ec2
from prowler.providers.common.models import Audit_Metadata
from prowler.providers.common.provider import Provider

CHECKS = "ec2_securitygroup_allow_ingress_from_internet_to_"


def findings(region):
    """Return a check, a group and PASS or FAIL, for each check and group of a region."""
    provider = AwsProvider(regions={region}, scan_unused_services=True)
    provider.audit_metadata = Audit_Metadata(
        services_scanned=0, expected_checks=[], completed_checks=0, audit_progress=0
    )
    Provider.set_global_provider(provider)
    for _, name, _ in iter_modules(ec2.__path__):
        if name.startswith(CHECKS):
            check = getattr(import_module(f"{ec2.__name__}.{name}.{name}"), name)()
            for finding in check.execute():
                yield name.removeprefix(CHECKS), finding.resource_id, finding.status


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps([*findings(sys.argv[1])]))
