"""The environment of processes that call no other AWS than the embedded one. It imports nothing that takes long."""

from __future__ import annotations

import os


def alone() -> dict[str, str]:
    """Return this process's environment without the caller's AWS settings and proxies.

    With a profile that does not exist, or a file that is broken, neither moto nor Cloud Custodian can be imported. A
    proxy does not reach this machine's loopback.
    """
    proxies = {"http_proxy", "https_proxy", "all_proxy"}
    kept = {name: value for name, value in os.environ.items() if name[:4] != "AWS_" and name.lower() not in proxies}
    return kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
