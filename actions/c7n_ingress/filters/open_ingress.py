"""The ``open-ingress`` filter."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from c7n.exceptions import PolicyExecutionError
from c7n.resources.vpc import SecurityGroup, SGPermission, SGPermissionSchema
from c7n.utils import type_schema

from c7n_ingress.aws.calls import client_of
from c7n_ingress.aws.prefix_lists import PERMISSIONS, PrefixList, prefix_lists, referenced
from c7n_ingress.aws.read import MATCHED
from c7n_ingress.aws.settings import checking, fill
from c7n_ingress.decide.checks import UNFILLED, is_unfilled
from c7n_ingress.decide.openness import open_sources
from c7n_ingress.decide.ports import PORT_PATTERN, any_in, parse_ports
from c7n_ingress.decide.rules import NETWORKS, PREFIX_LISTS, UNREADABLE, Network, network, traffic

log = logging.getLogger("custodian.filters")

TRAFFIC_KEYS = ("IpProtocol", "FromPort", "ToPort")

PORT = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": 65535},
        {"type": "string", "pattern": PORT_PATTERN},
        UNFILLED,
    ]
}
PORTS = {"anyOf": [{"type": "array", "items": PORT}, UNFILLED]}
"""The schema of ports, or of the variable that fills them."""


@SecurityGroup.filter_registry.register("open-ingress")
class OpenIngress(SGPermission):  # type: ignore[misc]  # c7n ships no types
    """Match ingress rules that let the internet in: by themselves, together with others, or through a prefix list.

    A source wider than /8 (IPv6: wider than /16) is open. A group's sources for the same port are open together if they
    have more addresses than one /8 (/16). Then the widest ones match. Private, link-local, loopback, multicast and
    reserved addresses do not count, because nobody comes from them over the internet. The filter annotates the rules as
    the ``ingress`` filter does, so ``replace-ingress`` works on them.

    A customer-managed prefix list counts as the sum of its entries. A list matches if it cannot be read, because
    another account no longer shares it or because EC2 fails: ``replace-ingress`` leaves its rules alone and reports it.
    If EC2 fails in a policy without that action, the filter fails. Each list is read once in a run.

    ``IpProtocol``, ``FromPort`` and ``ToPort`` are the ``ingress`` filter's own keys. ``Ports`` matches a rule that
    lets in one of these ports. All traffic (``-1``) includes all ports. ICMP, GRE and ESP have no ports. ``OnlyPorts``
    excludes a rule for exactly one of these ports or ranges. In both, ``443`` is TCP and UDP port 443, ``tcp/443`` or
    ``udp/443`` is that port of one protocol, and ``8000-8010`` is a range.

    :example:

    .. code-block:: yaml

        policies:
          - name: open-ssh
            resource: aws.security-group
            filters:
              - {type: open-ingress, Ports: [22]}
            actions:
              - type: replace-ingress
                authorized: [203.0.113.0/24]
    """

    ip_permissions_key = "IpPermissions"
    schema = type_schema(
        "open-ingress", Ports=PORTS, OnlyPorts=PORTS, **{key: SGPermissionSchema[key] for key in TRAFFIC_KEYS}
    )
    permissions = ("ec2:DescribeManagedPrefixLists", *PERMISSIONS)

    def __init__(self, data: dict[str, Any], manager: Any = None) -> None:
        super().__init__(data, manager)
        self.lists: dict[str, PrefixList] = {}  # those that were read, by id

    def validate(self) -> OpenIngress:
        """Refuse values that variables have filled with what they must not be."""
        with checking(self):
            for ports in (self.data.get("Ports"), self.data.get("OnlyPorts")):
                if ports and not is_unfilled(ports):
                    parse_ports([each for each in ports if not is_unfilled(each)])
        return self

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Read the prefix lists that the groups refer to and no earlier call has read, and match the groups.

        :raises PolicyExecutionError: a variable was not filled, or EC2 did not return a list and no action reports it.
        """
        fill(self, "matched nothing")
        if unread := referenced(resources) - self.lists.keys():
            self.lists |= prefix_lists(client_of(self.manager), unread)
            for list_id, prefix_list in self.lists.items():
                if prefix_list.unanswered and not self._is_reported():
                    raise PolicyExecutionError(f"EC2 did not return the entries of {list_id}: {prefix_list.unanswered}")
        return super().process(resources, event)  # type: ignore[no-any-return]

    def _is_reported(self) -> bool:
        """Whether the policy has the action that reports what this filter cannot read, and leaves it alone."""
        return any(action.type == "replace-ingress" for action in self.manager.actions)

    def __call__(self, group: dict[str, Any]) -> bool:
        """Whether a group matches. One that cannot be read does, so that the action reports it and the others go on."""
        try:
            return self._match(group)
        except Exception as error:
            if not self._is_reported():
                raise
            log.exception("%s cannot be read", group["GroupId"])
            group[UNREADABLE] = repr(error)
            return True

    def _match(self, group: dict[str, Any]) -> bool:
        """Whether a group matches. Its rules are annotated here, because c7n would compare each with all others."""
        matched = [
            rule
            for rule in self.expand_permissions(group[self.ip_permissions_key])
            if all(each(rule) for each in self.vfilters)
        ]
        if matched:
            annotated = group.setdefault(MATCHED, [])
            known = set(map(repr, annotated))
            annotated += [rule for rule in matched if repr(rule) not in known]
        if noted := {list_id: self.lists[list_id].noted for rule in matched for list_id in _lists_of(rule)}:
            group[PREFIX_LISTS] = group.get(PREFIX_LISTS, {}) | noted
        return bool(matched)

    def expand_permissions(self, permissions: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Return only the permissions that are open, one for each source."""
        public, meant = (parse_ports(self.data.get(key) or []) for key in ("OnlyPorts", "Ports"))
        every = super().expand_permissions(permissions)
        rules = [(rule, of) for rule in every if (of := traffic(rule)) not in public]
        networks = {number: found for number, (rule, _) in enumerate(rules) if (found := self._networks(rule))}
        open_ones = open_sources({number: rules[number][1] for number in networks}, networks)
        for number, (rule, of) in enumerate(rules):
            if meant and not any_in(meant, of):
                continue
            if number in open_ones or any(self.lists[list_id].family is None for list_id in _lists_of(rule)):
                yield rule  # what an unread list holds may be open

    def _networks(self, rule: Mapping[str, Any]) -> Sequence[Network]:
        for ranges, key in NETWORKS.items():
            if rule[ranges]:
                return [network(rule[ranges][0][key])]
        return next((self.lists[list_id].networks for list_id in _lists_of(rule)), ())


def _lists_of(rule: Mapping[str, Any]) -> list[str]:
    """Return the id of the prefix list that a rule refers to, if it does."""
    return [reference["PrefixListId"] for reference in rule["PrefixListIds"]]
