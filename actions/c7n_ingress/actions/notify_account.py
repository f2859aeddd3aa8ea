"""The action ``notify-in-parts`` for an account: ``mode/watch.yml`` notifies the recipients of ``settings.yml``."""

from c7n.resources.account import Account

from c7n_ingress.actions.notify_in_parts import NotifyInParts

Account.action_registry.register("notify-in-parts", NotifyInParts)
