"""The ``replace-ingress`` action."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from c7n.actions import EventAction
from c7n.actions.notify import Notify
from c7n.exceptions import ClientError, PolicyExecutionError, PolicyValidationError
from c7n.resolver import ValuesFrom
from c7n.resources.vpc import SecurityGroup
from c7n.utils import chunks, local_session, type_schema

from c7n_ingress.apply import CHANGED_MEANWHILE, GROUP_GONE, Applier, Change, NoRoom, error_code, in_doubt, took_effect
from c7n_ingress.authorized import PLACEHOLDER, documentation, missing_versions, parse_list, refuse_documentation
from c7n_ingress.checks import check_filters, check_notify
from c7n_ingress.live import GROUPS_A_CALL, LiveGroups, Reading
from c7n_ingress.opened import OPENED, call_in, opened_by, owner_event
from c7n_ingress.outcome import REPLACED, Outcome, Record, subject
from c7n_ingress.plan import Match, Network, Plan, plan
from c7n_ingress.rules import ports_text

LOOKS = 3
"""How often a group is read and planned anew while somebody else changes it."""

FINDERS = frozenset({"ingress", "open-prefix-list"})
"""The filters that annotate the rules that they match."""

NOTIFY_PROPERTIES = {name: schema for name, schema in Notify.schema["properties"].items() if name != "type"}


@SecurityGroup.action_registry.register("replace-ingress")
class ReplaceIngress(EventAction):
    """Put authorized networks in the place of the ingress rules that the policy's ``ingress`` filter matched.

    An open rule becomes a rule for the first authorized network of its family (IPv4 or IPv6), in place: its id, its
    tags and its description stay. Each further network gets a rule beside it. Where all of them stand already, or no
    network of the family is authorized, the open rule is revoked. Rules that the filter did not match stay as they are.

    The group is read and filtered again just before, so that what has been closed or exempted in the meantime is left
    alone. What changed and what failed is logged, one JSON record a line, and told by ``notify``, which takes the keys
    of c7n's own ``notify`` action. If a group failed, the others are done all the same, and the action raises at the
    end.

    ``authorized`` is a list of CIDRs, in order of preference, or one ``"{name}"`` that c7n-org fills from an account's
    ``vars``. ``authorized-from`` takes the list from S3 or HTTP, as c7n's ``value_from`` does. ``preview: true`` tells
    what would change, and changes nothing.

    :example:

    .. code-block:: yaml

        policies:
          - name: open-ssh
            resource: aws.security-group
            filters:
              - type: ingress
                Ports: [22]
                Cidr: 0.0.0.0/0
            actions:
              - type: replace-ingress
                authorized: [198.18.7.0/24]
                notify:
                  to: ["arn:{partition}:sns:{region}:{account_id}:open-ingress"]
                  template: open-ingress
                  transport: {type: sqs, queue: custodian-mailer}
    """

    schema = type_schema(
        "replace-ingress",
        **{
            "authorized": {"type": ["array", "string"]},  # validate says better than a schema what is wrong inside
            "authorized-from": ValuesFrom.schema,
            "preview": {"type": "boolean"},
            "notify": {
                "type": "object",
                "additionalProperties": False,
                "required": ["transport"],
                "properties": NOTIFY_PROPERTIES,
            },
        },
    )
    permissions = (
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSecurityGroupRules",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:ModifySecurityGroupRules",
        "ec2:RevokeSecurityGroupIngress",
    )

    def get_permissions(self) -> tuple[str, ...]:
        """Give what the action needs, its notification included."""
        return self.permissions + (self.notify_action().get_permissions() if "notify" in self.data else ())

    @property
    def preview(self) -> bool:
        """Whether to tell what would change and to change nothing."""
        return bool(self.data.get("preview"))

    # -- before anything runs

    def validate(self) -> None:
        """Refuse a policy that could lock people out, let the internet in, or touch rules it did not mean to.

        :raises PolicyValidationError: names the value and the mend.
        """
        try:
            self.validate_authorized()
            check_filters(self.manager.filters, FINDERS)
            if "notify" in self.data:
                check_notify(self.data["notify"])
        except ValueError as error:
            raise PolicyValidationError(f"policy {self.manager.data['name']}: replace-ingress: {error}") from None
        if "notify" in self.data:
            self.notify_action().validate()

    def validate_authorized(self) -> None:
        """Check where the authorized networks come from, and warn of a list that is unlikely to be meant."""
        if ("authorized" in self.data) == ("authorized-from" in self.data):
            raise ValueError(
                "give the authorized networks either as 'authorized' or as 'authorized-from', and not as both"
            )
        if "authorized-from" in self.data:
            url = self.data["authorized-from"]["url"]
            if url.startswith("file:") and "mode" in self.manager.data:
                raise ValueError(f"authorized-from {url!r}: a Lambda has no such file; put it into S3, or behind https")
            return
        authorized = self.data["authorized"]
        if isinstance(authorized, str) and PLACEHOLDER.fullmatch(authorized):
            return  # c7n fills it only after it has validated the file
        networks = parse_list(authorized)
        for network in documentation(networks):
            self.log.warning("authorized %s is an example from the documentation: put your own network there", network)
        for version in missing_versions(networks):
            self.log.warning("no IPv%s network is authorized: open IPv%s rules will be revoked", version, version)

    # -- the run

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[Record]:
        """Replace the matched rules of the groups, and tell of it.

        :param resources: groups, of which nothing but the id is trusted.
        :returns: one record for each change.
        :raises PolicyExecutionError: the authorized networks cannot be used (then nothing has changed), or a group
            failed, or the notification could not be sent (then everything else has been done).
        """
        self.authorized = self.authorized_networks()
        self.event = event
        client = local_session(self.manager.session_factory).client("ec2")
        self.live = LiveGroups(self.manager, client)
        self.applier = Applier(client, self.manager.retry)

        outcomes: list[Outcome] = []
        for number, batch in enumerate(chunks(resources, GROUPS_A_CALL)):
            outcomes += self.process_batch(batch)
            looked_at = number * GROUPS_A_CALL + len(batch)
            self.log.info("replace-ingress: looked at %d of %d groups", looked_at, len(resources))
        annotate(resources, outcomes)
        failures = [f"{outcome.group['GroupId']}: {text}" for outcome in outcomes for text in outcome.failures]
        failures += self.tell([outcome for outcome in outcomes if outcome.worth_telling])
        for failure in failures:
            self.log.error("replace-ingress: %s", failure)
        if failures:
            more = f" (and {len(failures) - 1} more, see the log)" if len(failures) > 1 else ""
            raise PolicyExecutionError(f"replace-ingress: {failures[0]}{more}")
        return [record for outcome in outcomes for record in outcome.records]

    def authorized_networks(self) -> list[Network]:
        """Give the authorized networks in order of preference, those from elsewhere by family and address.

        :raises PolicyExecutionError: they cannot be had, or must not be put into a rule.
        """
        try:
            networks = parse_list(self.data["authorized"]) if "authorized" in self.data else self.fetch_authorized()
            if not self.preview:
                refuse_documentation(networks)
        except ValueError as error:
            raise PolicyExecutionError(f"replace-ingress changed nothing: {error}") from error
        return networks

    def fetch_authorized(self) -> list[Network]:
        """Read ``authorized-from``. c7n gives most formats as a set, so the networks are put in an order."""
        source = self.data["authorized-from"]
        try:
            values = ValuesFrom(source, self.manager).get_values()
        except Exception as error:  # whatever c7n, urllib, boto3 and the parsers raise: there is no list
            raise ValueError(f"authorized-from {source['url']} cannot be read: {error}") from error
        try:
            networks = parse_list(values)
        except ValueError as error:
            raise ValueError(f"authorized-from {source['url']}: {error}") from error
        return sorted(networks, key=lambda network: (network.version, network))

    def process_batch(self, batch: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """Read up to 200 groups at once, and replace the rules of those that still match."""
        try:
            readings = self.live.matching([group["GroupId"] for group in batch], self.event)
        except Exception as error:  # the other batches must still be done; told and raised at the end
            self.log.exception("replace-ingress: %d groups could not be read", len(batch))
            return [Outcome(group, failures=[f"could not be read: {error}"]) for group in batch]
        return [self.process_group(reading) for reading in readings]

    def process_group(self, reading: Reading) -> Outcome:
        """Replace the matched rules of one group."""
        outcome = Outcome(reading.group)
        owner = reading.group["OwnerId"]
        if owner != self.manager.config.account_id:
            outcome.skipped = f"belongs to account {owner}, which shares its VPC: only that account can change it"
            return outcome
        try:
            self.replace(reading, outcome)
        except Exception as error:  # the other groups must still be done; told and raised at the end
            self.log.exception("replace-ingress: %s failed", reading.group["GroupId"])
            outcome.failures.append(str(error))
        return outcome

    def replace(self, reading: Reading, outcome: Outcome) -> None:
        """Plan and apply until the group is as it should be, or has changed under our hands too often."""
        group_id = reading.group["GroupId"]
        for look in range(1, LOOKS + 1):
            todo = plan(reading.rules, reading.matches, self.authorized, reading.prefix_lists)
            settled = self.apply(todo, outcome)
            if (settled and not todo.missing) or look == LOOKS or self.preview:
                break
            time.sleep(look)  # EC2's answers may lag behind a change
            again = self.live.matching([group_id], self.event)
            if not again:  # deleted, exempted or closed meanwhile
                return
            reading = again[0]
        outcome.failures += left_undone(todo, settled=settled)

    def apply(self, todo: Plan, outcome: Outcome) -> bool:
        """Apply a plan, and record each change once it is made.

        :returns: whether nothing is left to be done: False if somebody changed the group meanwhile.
        """
        if self.preview:
            for change in previewed(todo):
                self.record(change, outcome)
            return True
        done: list[Change] = []
        try:
            for result in self.applier.apply(outcome.group["GroupId"], todo):
                if isinstance(result, NoRoom):
                    outcome.failures.append(no_room(result))
                else:
                    done.append(result)
                    self.record(result, outcome)
        except Exception as error:
            if isinstance(error, ClientError) and error_code(error) == GROUP_GONE:
                return True
            if in_doubt(error):
                self.record_in_doubt(todo, done, outcome)
            if isinstance(error, ClientError) and error_code(error) in CHANGED_MEANWHILE:
                return False
            raise
        return True

    def record_in_doubt(self, todo: Plan, done: Sequence[Change], outcome: Outcome) -> None:
        """Record what a call has done whose answer did not arrive."""
        group_id = outcome.group["GroupId"]
        try:
            rules = self.live.rules([group_id])[group_id]
        except Exception as error:  # the first error is raised and told; this one must not take its place
            self.log.exception("replace-ingress: %s could not be read again", group_id)
            outcome.failures.append(f"whether EC2 made the last change could not be read: {error}")
            return
        for change in took_effect(todo, rules):
            if change not in done:
                self.record(change, outcome)

    def record(self, change: Change, outcome: Outcome) -> None:
        """Log a change at once: a run that breaks off writes no other trace of it."""
        group, config, rule = outcome.group, self.manager.config, change.rule
        record = {
            "account": config.account_id,
            "region": config.region,
            "vpc": group.get("VpcId"),
            "group": group["GroupId"],
            "group_name": group["GroupName"],
            "rule": change.rule_id,
            "protocol": rule.traffic.protocol,
            "ports": ports_text(rule.traffic),
            "was": change.was and str(change.was),
            "now": change.now and str(change.now),
            "description": rule.description,
            "how": change.how,
            "policy": self.manager.data["name"],
            "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self.log.info(json.dumps(record))
        outcome.records.append(record)

    # -- afterwards

    def tell(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Send what changed and what failed to where ``notify`` says.

        :returns: why it could not be sent, if so.
        """
        if "notify" not in self.data or not outcomes:
            return []
        config = self.manager.config
        text = subject(outcomes, config.account_id, config.region, preview=self.preview)
        call = call_in(self.event)
        told = [outcome.told() | ({OPENED: opened_by(call, outcome.records)} if call else {}) for outcome in outcomes]
        try:
            self.notify_action(subject=text).process(told, call and owner_event(call))
        except Exception as error:  # raised at the end, together with what else failed
            self.log.exception("replace-ingress: the notification could not be sent")
            return [f"the notification could not be sent: {error}"]
        return []

    def notify_action(self, **defaults: str) -> Notify:
        """Give c7n's own action for what ``notify`` says."""
        return Notify({"type": "notify", **defaults, **self.data["notify"]}, self.manager)


def previewed(todo: Plan) -> list[Change]:
    """Give the changes of a plan as what would happen."""
    return [
        *(Change("preview", None, rule, None, network) for rule, network in todo.authorize),
        *(Change("preview", rule.id, rule, rule.source, network) for rule, network in todo.modify),
        *(Change("preview", rule.id, rule, rule.source, None) for rule in todo.revoke),
    ]


def annotate(resources: Sequence[dict[str, Any]], outcomes: Sequence[Outcome]) -> None:
    """Put the records on the resources, where later actions and their templates find them."""
    records = {outcome.group["GroupId"]: outcome.records for outcome in outcomes}
    for resource in resources:
        resource[REPLACED] = records.get(resource["GroupId"], [])


def left_undone(todo: Plan, *, settled: bool) -> list[str]:
    """Say what of the last plan could not be done."""
    failures = [f"{text_of(match)} matched, but EC2 lists no such rule" for match in todo.missing]
    failures += [
        f"{text_of(rule.match)}: no network can take the place of a reference; narrow the filter by Cidr or CidrV6"
        for rule in todo.references
    ]
    failures += [
        f"{text_of(rule.match)}: that prefix list cannot be read, so nobody knows whether it is open: have its owner "
        "share it with this account again, or revoke the rule"
        for rule in todo.unreadable
    ]
    if not settled:
        failures.append(f"was changed by somebody else {LOOKS} times while it was being replaced")
    return failures


def no_room(result: NoRoom) -> str:
    """Say which network is missing now, and what to do about it."""
    rule, network = result.replacement
    return (
        f"{network} found no room on {text_of(rule.match)}: the group has as many rules as EC2 allows; "
        "authorize fewer networks, or have the quota 'Inbound or outbound rules per security group' raised"
    )


def text_of(match: Match) -> str:
    """Say what a rule lets in, for people."""
    return f"{match.traffic.protocol} {ports_text(match.traffic)} from {match.source}"
