"""The ``replace-ingress`` action."""

from __future__ import annotations

from functools import partial
from typing import Any

from c7n.actions import EventAction
from c7n.exceptions import ClientError, PolicyExecutionError
from c7n.resolver import ValuesFrom
from c7n.resources.vpc import SecurityGroup
from c7n.utils import type_schema

from c7n_ingress.aws import authorized, behind, history, notify, plans, prefix_lists
from c7n_ingress.aws.brake import PERMISSIONS as BRAKE
from c7n_ingress.aws.brake import Brake
from c7n_ingress.aws.calls import GONE, client_of, error_code, said
from c7n_ingress.aws.job import Job, is_tried_again
from c7n_ingress.aws.read import LiveGroups, Reading
from c7n_ingress.aws.run import PERMISSIONS, run
from c7n_ingress.aws.settings import checking, is_run
from c7n_ingress.aws.values import check_source, fresh_values
from c7n_ingress.decide import checks
from c7n_ingress.decide.authorized import (
    blocked_inside,
    documentation,
    missing_versions,
    parse_fixed,
    refuse_documentation,
    words,
)
from c7n_ingress.decide.brake import EVENT_MODES
from c7n_ingress.decide.commands import authorize_line
from c7n_ingress.decide.message import REPLACED, Outcome, lack
from c7n_ingress.decide.plan import Plan, Replacement, replacement
from c7n_ingress.decide.records import Record
from c7n_ingress.decide.rules import FINDERS, permission
from c7n_ingress.decide.settings import check_filled, filled


@SecurityGroup.action_registry.register("replace-ingress")
class ReplaceIngress(EventAction):
    """Replace the ingress rules that ``open-ingress`` or ``ingress`` matched with rules for authorized networks.

    An open rule becomes a rule for the first authorized network of its family, in place: it keeps its id, tags and
    description. Each further network gets a rule of its own. If all networks have a rule already, or no network of the
    family is authorized, the open rule is revoked. A rule that is narrower than every authorized network stays, and is
    reported as a failure. A rule for a prefix list is revoked once the networks have rules.

    Each group is read and filtered again within a second before it is changed. Each change is logged as one line of
    JSON. ``notify`` reports changes and failures, and takes the keys of c7n's own ``notify``. If a group fails, the
    others are changed all the same, and the action raises at the end. ``restore-ingress`` undoes changes.

    ``authorized`` is a list of CIDRs, in order of preference. The word ``vpc`` in it means the CIDRs of the group's own
    VPC and of all VPCs that the group is associated with. If a group's VPC cannot be read, the group fails. The id of a
    prefix list means its entries. If they cannot be read or must not be authorized, all groups stay as they are.
    ``authorized-from`` reads the list from S3 or HTTPS, as c7n's ``value_from`` does, but past c7n's cache.

    ``at-most`` is how many groups one run may change, the worst first. If more are open, the run reports that and
    fails. A deployed policy that has reported it does not fail, because Lambda would run it again and close more. In a
    policy that runs on events (config-rule, cloudtrail), ``at-most`` is how many groups may be changed in a region in
    an hour of the clock (UTC), all runs together. The stack's DynamoDB table counts them. A group over the limit stays
    open, and its event ends in the dead-letter queue. If the table cannot be reached, groups are changed, and reported
    as not counted.

    ``preview: true`` changes nothing, reports what would change and what would fail, and writes the file plan.json to
    the run's output. ``only`` is a path, or an address in S3 or behind https, of such a plan. It changes exactly the
    rules of the plan that are still as planned. The others are reported, and the run fails. ``at-most`` does not count
    then.

    ``behind: true`` adds to messages what uses each group, and how people still get into instances whose SSH or RDP was
    closed. Groups that the internet can reach come first. ``untag`` removes that tag from each group in which nothing
    is open any more. ``reopened: {times: 3, hours: 24}`` looks up in AWS Config how often each closed group was opened.
    From the third time in 24 hours on, the message says so.

    :example:

    .. code-block:: yaml

        filters:
          - {type: open-ingress, Ports: [22]}
        actions:
          - type: replace-ingress
            authorized: [203.0.113.0/24]
            notify:
              to: ["arn:{partition}:sns:{region}:{account_id}:open-ingress"]
              template: open-ingress
              transport: {type: sqs, queue: custodian-mailer}
    """

    schema = type_schema(
        "replace-ingress",
        **{
            "authorized": {"type": ["array", "string"]},  # validate says better than a schema what is wrong inside
            "authorized-from": {"anyOf": [ValuesFrom.schema, checks.UNFILLED, {"type": "null"}]},
            "at-most": checks.or_unfilled({"type": "integer", "minimum": 1}),
            "behind": {"type": "boolean"},
            "only": {"type": ["string", "null"], "minLength": 1},
            "preview": checks.or_unfilled({"type": "boolean"}),
            "reopened": history.SCHEMA,
            "untag": {"type": "string", "minLength": 1},
            "notify": notify.SCHEMA,
        },
    )
    permissions = (
        *PERMISSIONS,
        *authorized.OF_VPCS,
        *prefix_lists.PERMISSIONS,
        *behind.PERMISSIONS,
        *BRAKE,
        *history.PERMISSIONS,
        "ec2:DeleteTags",
    )

    def get_permissions(self) -> tuple[str, ...]:
        """Return the permissions that the action can need, its notification included."""
        if "notify" not in self.data:
            return self.permissions
        reach = notify.REACH[self.data["notify"]["transport"]["type"]]
        return (*self.permissions, *reach, *notify.notifier(self).get_permissions())

    # -- before anything runs

    def validate(self) -> None:
        """Refuse a policy that could block people, let the internet in, or change rules that it was not meant for."""
        with checking(self):
            self.check_authorized()
            plans.check(filled(self.data), self.manager)
            checks.check_query(self.manager.data)
            checks.check_filters(self.manager.data.get("filters", []))
            for each in self.manager.iter_filters():
                if each.type in FINDERS:  # c7n checks nothing of its own ``ingress`` once variables have filled it
                    checks.check_values(each.data, each.schema)
                    checks.check_ingress(each.data)
                    if warning := checks.matches_portless(each.data):
                        self.log.warning(warning)
            if "notify" in self.data:
                checks.check_notify(self.data["notify"])
                notify.notifier(self).validate()
            elif "at-most" in self.data and self.fails_again:
                raise ValueError(
                    "at-most: a run that leaves groups open has to report them. Without 'notify' it can only fail, "
                    "Lambda runs it twice more, and three times as many groups are changed: add 'notify'"
                )

    def check_authorized(self) -> None:
        """Check where the authorized networks come from, and warn of a list that is unlikely to be meant."""
        data = filled(self.data)
        if ("authorized" in data) == ("authorized-from" in data):
            raise ValueError(
                "write the authorized networks either as 'authorized' or as 'authorized-from', and not as both"
            )
        if "authorized-from" in data:
            check_source("authorized-from", data["authorized-from"], self.manager)
            return
        values = data["authorized"]
        if checks.is_unfilled(values):
            return  # c7n fills it only after it has validated the file
        networks = parse_fixed(values)
        if is_run(self.manager) and not self.manager.config.get("dryrun") and not data.get("preview"):
            refuse_documentation(networks)
        for network in documentation(networks):
            self.log.warning("authorized %s is an example from the documentation: put your own network there", network)
        if words(values):
            return
        for version in missing_versions(networks):
            self.log.warning("no IPv%s network is authorized: open IPv%s rules will be revoked", version, version)
        if warning := blocked_inside(networks):
            self.log.warning(warning)

    # -- the run

    def process(self, resources: list[dict[str, Any]], event: dict[str, Any] | None = None) -> list[Record]:
        """Replace the matched rules, report what changed and what failed, and return the records of all changes.

        :raises PolicyExecutionError: a group failed, or nobody could be notified; the other groups are done by then.
        """
        self.data: dict[str, Any] = filled(self.data)
        try:
            values, only = self.authorized(), plans.read(self)
        except ValueError as error:
            why = [f"replace-ingress changed nothing: {error}", *notify.report_to_config(self.manager, event)]
            raise PolicyExecutionError("; ".join(why)) from error

        client = client_of(self.manager)
        networks = authorized.read(client, values, resources, examples_pass=bool(self.data.get("preview")))

        def plan(reading: Reading) -> Plan:
            wanted = networks.of[reading.group["GroupId"]]
            if isinstance(wanted, str):
                return Plan(refused=[f"{wanted}; the group is left as it is"] if reading.matches else [])
            replace = partial(replacement, reading.rules, authorized=wanted, prefix_lists=reading.prefix_lists)
            return only.plan(reading, replace) if only else replace(reading.matches)

        is_limited = not (self.data.get("preview") or only)
        at_most = self.data.get("at-most") if is_limited else None
        brake = Brake(self.manager, at_most) if at_most and self.counts_by_hour else None
        limits: dict[str, Any] = {"before": brake.count, "brake": brake} if brake else {"at_most": at_most}
        lacks = partial(no_room, region=self.manager.config.region)
        unmet = partial(only.unmet, LiveGroups(self.manager, client, event)) if only else list
        job = Job(self, REPLACED, plan, lacks, after=self.untag, noted=networks.left_out, unmet=unmet, **limits)
        previewed = list(resources)  # a preview leaves only reported groups to later actions
        try:
            return run(job, resources, event)
        finally:
            if self.data.get("preview") and not only:
                plans.write(self, previewed)

    @property
    def counts_by_hour(self) -> bool:
        """Whether ``at-most`` limits the groups of an hour, and not those of a run."""
        return self.manager.data.get("mode", {}).get("type") in EVENT_MODES

    @property
    def fails_again(self) -> bool:
        """Whether Lambda would run the policy twice more because it left groups open."""
        return is_tried_again(self.manager) and not self.counts_by_hour

    def untag(self, outcome: Outcome) -> None:
        """Remove the tag ``untag`` from a group that is closed, so that people get notice if it is opened again."""
        if "untag" in self.data:
            client, tag = client_of(self.manager), self.data["untag"]
            try:
                self.manager.retry(client.delete_tags, Resources=[outcome.group["GroupId"]], Tags=[{"Key": tag}])
            except ClientError as error:
                if error_code(error) not in GONE:
                    outcome.unfinished.append(
                        f"the tag {tag} could not be removed: remove it, or nobody gets notice if the group is opened "
                        f"again ({said(error)})"
                    )

    def authorized(self) -> list[str]:
        """Return the authorized networks, and the words among them, in order of preference.

        :raises ValueError: they cannot be read, or must not be authorized, or a value of the policy was not filled.
        """
        check_filled(self.data, but=["authorized"])
        check_filled(filled(self.manager.data.get("filters", [])), path="filters")
        values: Any = self.data.get("authorized")
        if source := self.data.get("authorized-from"):
            values = fresh_values("authorized-from", source, self.manager, in_order)
        networks = parse_fixed(values)
        if not self.data.get("preview"):
            refuse_documentation(networks)
        return list(values)


def in_order(values: Any) -> list[str]:
    """Return networks by address, and words last: c7n returns most formats of a list as a set."""
    networks = sorted(parse_fixed(values), key=lambda network: (network.version, network))
    return [*map(str, networks), *sorted(words(values))]


def no_room(missing: Replacement, group_id: str, region: str) -> tuple[str, str]:
    """Return which network could not be added, and the command that adds it once there is room."""
    rule, network = missing
    request = {"GroupId": group_id, "IpPermissions": [permission(rule.traffic, network)]}
    return lack(network, rule.traffic), authorize_line(request, region)
