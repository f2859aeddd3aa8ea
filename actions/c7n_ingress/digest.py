"""The ``notify-in-parts`` action."""

from __future__ import annotations

from c7n.actions.notify import Notify, ResourceMessageBuffer
from c7n.resources.vpc import SecurityGroup

SCHEMA = {
    **Notify.schema,
    "anyOf": [{"required": ["type", "transport", who]} for who in ("to", "to_from")],
    "properties": {**Notify.schema["properties"], "type": {"enum": ["notify-in-parts"]}},
}


class NoGuess(ResourceMessageBuffer):  # type: ignore[misc]  # c7n ships no types
    """Fills a message by what it can grow to: c7n guesses that text halves, and raises where it guessed wrong.

    What zlib cannot shorten, base64 makes longer by a third.
    """

    compress_ratio = 1.4


@SecurityGroup.action_registry.register("notify-in-parts")
class NotifyInParts(Notify):  # type: ignore[misc]  # c7n ships no types
    """Tell of groups as c7n's own ``notify`` does, in as many messages as it takes.

    With ``notify``, groups whose tags hold much that cannot be compressed keep all others from being told of.

    :example:

    .. code-block:: yaml

        actions:
          - type: notify-in-parts
            to: ["arn:{partition}:sns:{region}:{account_id}:open-ingress"]
            template: open-ingress-exempt
            transport: {type: sqs, queue: custodian-mailer}
    """

    schema_alias = False
    schema = SCHEMA
    message_buffer_class = NoGuess
