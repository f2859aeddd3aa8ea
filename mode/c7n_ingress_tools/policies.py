"""Load policies into this process, as `custodian run --vars-file` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import c7n.policy
from c7n.config import Config

from c7n_ingress import autoload


def load(path: Path, variables: Mapping[str, Any], account: str, region: str) -> list[Any]:
    """Return the policies of a file for an account and region, filled, and validated before and after.

    :raises ValueError: says what is wrong with them.
    """
    autoload.install()  # for anyone who has removed the files that call it
    nowhere = {"output_dir": "null://", "log_group": "null://", "cache": None, "cache_period": 0}
    options = Config.empty(account_id=account, region=region, regions=[region], **nowhere)
    try:
        loaded = list(c7n.policy.load(options, str(path)) or ())
        for policy in loaded:
            policy.expand_variables(policy.get_variables(dict(variables)))
            policy.validate()
    except Exception as error:  # whatever c7n and its YAML parser raise
        raise ValueError(" ".join(str(error).split())) from error
    return loaded
