"""Security Hub as it is, where moto's is not: what becomes of a finding that is imported again.

moto keeps any finding, and takes over whatever it is given. Security Hub refuses an account that has not enabled it,
and keeps for itself what its customers use to investigate:

- https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_BatchImportFindings.html: once a finding is created, an
  import changes neither its Note, UserDefinedFields, VerificationState nor Workflow; 240 KB a finding
- https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_Workflow.html: a finding starts as NEW, and is NEW again
  if it was NOTIFIED or RESOLVED and its record becomes ACTIVE, or its compliance is PASSED no more

Not here: whether the integration of the product is enabled.
"""

from __future__ import annotations

import json
from typing import Any

from moto.securityhub import urls
from moto.securityhub.exceptions import SecurityHubClientError
from moto.securityhub.models import SecurityHubBackend, securityhub_backends

CUSTOMERS_OWN = ("Note", "UserDefinedFields", "VerificationState", "Workflow")
MOST_BYTES = 240 * 1024


def install() -> None:
    """Have moto serve this Security Hub, wherever it holds none yet."""
    securityhub_backends.backend = Backend


class Backend(SecurityHubBackend):
    """moto's Security Hub, with the life of a finding."""

    _url_module = urls

    def batch_import_findings(self, findings: list[dict[str, Any]]) -> tuple[int, int, list[dict[str, Any]]]:
        """Import findings; give how many failed, how many did not, and which failed for what.

        :raises SecurityHubClientError: the account has no Security Hub.
        """
        if not self.enabled:
            text = f"Account {self.account_id} is not subscribed to AWS Security Hub"
            raise SecurityHubClientError("InvalidAccessException", text)
        known = {finding.id: finding.data for finding in self.findings}
        fitting = [each for each in findings if len(json.dumps(each).encode()) <= MOST_BYTES]
        too_large = [
            {"Id": each["Id"], "ErrorCode": "InvalidInput", "ErrorMessage": "Finding is larger than 240 KB"}
            for each in findings
            if each not in fitting
        ]
        failed, succeeded, failures = super().batch_import_findings(
            [imported(each, known.get(each["Id"])) for each in fitting]
        )
        return failed + len(too_large), succeeded, failures + too_large


def imported(finding: dict[str, Any], known: dict[str, Any] | None) -> dict[str, Any]:
    """Give what an import makes of a finding.

    :param known: the finding under this id as it stands, if there is one.
    """
    if known is None:
        return {"Workflow": {"Status": "NEW"}, **finding}
    kept = {key: known[key] for key in CUSTOMERS_OWN if key in known}
    came_back = (known["RecordState"], finding["RecordState"]) == ("ARCHIVED", "ACTIVE") or (
        compliance(known) == "PASSED" != compliance(finding)
    )
    if came_back and kept["Workflow"]["Status"] in ("NOTIFIED", "RESOLVED"):
        kept["Workflow"] = {"Status": "NEW"}
    return {key: value for key, value in finding.items() if key not in CUSTOMERS_OWN} | kept


def compliance(finding: dict[str, Any]) -> str | None:
    """Give a finding's compliance status."""
    return finding.get("Compliance", {}).get("Status")
