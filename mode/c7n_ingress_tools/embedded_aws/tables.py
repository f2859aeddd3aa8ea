"""DynamoDB whose updates are made in one step each: moto reads an item, checks the condition, and writes later.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/WorkingWithItems.html#WorkingWithItems.ConditionalUpdate
"""

from __future__ import annotations

from threading import Lock
from typing import Any

from moto.dynamodb import urls
from moto.dynamodb.models import DynamoDBBackend

UPDATING = Lock()


class Backend(DynamoDBBackend):
    """moto's DynamoDB, which makes one update after the other."""

    _url_module = urls  # moto looks for it beside this file

    def update_item(self, *args: Any, **kwargs: Any) -> Any:
        """Check the condition and make the update, while no other update is made."""
        with UPDATING:
            return super().update_item(*args, **kwargs)
