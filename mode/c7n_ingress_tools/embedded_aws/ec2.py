"""Security groups that behave as EC2's do, where moto's do not.

`rules.py` defines rules and how they change, and lists the sources ([API] is EC2's API reference, there and here). This
module adds groups with such rules to moto's EC2, and the calls that read and change them. It counts the quota, and it
can show old rules as EC2 does. Everything else, such as VPCs and managed prefix lists, is moto's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partialmethod
from threading import RLock
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from moto.core.responses import ActionResult
from moto.core.utils import aws_api_matches, get_service_model
from moto.ec2 import urls
from moto.ec2.exceptions import (
    EC2ClientError,
    InvalidParameterCombination,
    InvalidParameterValue,
    InvalidPermissionNotFoundError,
    InvalidSecurityGroupNotFoundError,
    InvalidSecurityGroupRuleIdNotFoundError,
    MissingParameter,
    RulesPerSecurityGroupLimitExceededError,
    TagLimitExceeded,
)
from moto.ec2.models import EC2Backend, ec2_backends, security_groups
from moto.ec2.models.managed_prefixes import ManagedPrefixList
from moto.ec2.models.security_groups import SecurityGroup
from moto.ec2.models.vpcs import VPC
from moto.ec2.responses import EC2Response

from c7n_ingress_tools.embedded_aws.answers import Answer
from c7n_ingress_tools.embedded_aws.rules import (
    NETWORKS,
    Rule,
    Rules,
    permissions_of,
    rules_from,
    shape_of,
    with_added,
    with_modified,
    without,
)

T = TypeVar("T")

MOST_FILTER_VALUES = 200
MOST_TAGS = 50


@dataclass
class Behaviour:
    """What differs between accounts, or happens by chance."""

    rules_per_group: int = 60
    """The quota of rules for each direction and family: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html"""

    lag: int = 0
    """How many describe calls after a change show the group as it was before: EC2 is eventually consistent."""

    block_public_access: str = "off"
    """The account's mode of VPC Block Public Access: off, block-bidirectional or block-ingress."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    """The instances that Systems Manager knows, as its InstanceInformation."""

    endpoints: list[dict[str, Any]] = field(default_factory=list)
    """The EC2 Instance Connect Endpoints, as [API] Ec2InstanceConnectEndpoint."""

    def reset(self) -> None:
        """Behave as an account does by default."""
        vars(self).update(vars(Behaviour()))


behaviour = Behaviour()


def backend_of(account: str, region: str) -> Backend:
    """Return the EC2 of an account and region."""
    return cast("Backend", ec2_backends[account][region])


def load_groups(groups: Iterable[Mapping[str, Any]], region: str = "us-east-1", account: str | None = None) -> None:
    """Put groups into EC2 as `aws ec2 describe-security-groups` prints them; lists may be absent or null.

    The quota is not counted. VPCs and groups that a rule names need not exist. A prefix list that does not exist is
    created as one of AWS's, because its id does not show its entries.

    :param account: where the groups go; by default to the account in their `OwnerId`, else to 123456789012. It sees a
        group of another owner as shared, and cannot change it.
    """
    for group in groups:
        owner = group.get("OwnerId") or account or "123456789012"
        backend = backend_of(account or owner, region)
        loaded = Group(
            backend,
            group["GroupId"],
            group.get("GroupName") or group["GroupId"],
            group.get("Description") or "",
            group.get("VpcId"),
            {tag["Key"]: tag["Value"] for tag in group.get("Tags") or ()},
        )
        loaded.owner_id = owner
        loaded.arn = loaded.arn.replace(f":{backend.account_id}:", f":{owner}:")
        loaded.rules = (
            *rules_from(group.get("IpPermissions") or (), egress=False),
            *rules_from(group.get("IpPermissionsEgress") or (), egress=True),
        )
        backend.groups[loaded.vpc_id or ""][loaded.id] = loaded
        for rule in loaded.rules:
            if rule.kind == "PrefixListId" and rule.source not in backend.managed_prefix_lists:
                load_prefix_list(rule.source, [], owner="AWS", region=region, account=backend.account_id)


def load_prefix_list(
    list_id: str,
    cidrs: Sequence[str],
    *,
    owner: str | None = None,
    region: str = "us-east-1",
    account: str = "123456789012",
) -> None:
    """Put a managed prefix list with this id into an account's EC2.

    :param owner: the account that shares the list, or AWS; by default the account itself.
    """
    family = "IPv6" if any(":" in cidr for cidr in cidrs) else "IPv4"
    loaded = ManagedPrefixList(
        ec2_backends[account][region],
        region,
        family,
        [{"Cidr": cidr} for cidr in cidrs],
        str(len(cidrs)),
        prefix_list_name=list_id,
        owner_id=owner,
    )
    loaded.id = list_id
    loaded.prefix_list_arn = loaded.arn(region, loaded.owner_id)
    loaded.ec2_backend.managed_prefix_lists[list_id] = loaded


def load_interfaces(
    interfaces: Iterable[Mapping[str, Any]], region: str = "us-east-1", account: str = "123456789012"
) -> None:
    """Put interfaces into EC2 as `aws ec2 describe-network-interfaces` prints them. What they name need not exist."""
    backend_of(account, region).loaded_interfaces |= {each["NetworkInterfaceId"]: each for each in interfaces}


def load_vpcs(vpcs: Iterable[Mapping[str, Any]], region: str = "us-east-1", account: str = "123456789012") -> None:
    """Put VPCs into EC2 with their ids and networks, as `aws ec2 describe-vpcs` prints them."""
    backend = backend_of(account, region)
    for shape in vpcs:
        loaded = VPC(backend, shape["VpcId"], shape["CidrBlock"], is_default=False)
        associations = {
            each["AssociationId"]: {
                "association_id": each["AssociationId"],
                "cidr_block": each[f"{prefix}CidrBlock"],
                "cidr_block_state": {"state": each[f"{prefix}CidrBlockState"]["State"], "StatusMessage": None},
                "ipv6_pool": "Amazon",
                "ipv6_cidr_block_network_border_group": None,
            }
            for prefix in ("", "Ipv6")
            for each in shape.get(f"{prefix}CidrBlockAssociationSet") or ()
        }
        if associations:
            loaded._cidr_block_association_set = associations  # moto would invent IPv6 networks
        backend.vpcs[loaded.id] = loaded


class Group(SecurityGroup):
    """moto's security group, with other rules."""

    ec2_backend: Backend

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a group with the rules of a new one: all traffic may leave.

        A VPC's default group lets in what its own members send:
        https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html
        """
        super().__init__(*args, **kwargs)
        del self.ingress_rules, self.egress_rules
        leaving = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        own = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": self.id, "UserId": self.owner_id}]}
        self._rules: Rules = (
            *rules_from([leaving], egress=True),
            *rules_from([own] if self.is_default else [], egress=False),
        )
        self._outdated: list[Rules] = []
        self.vpc_associations: dict[str, str] = {}
        """The state of each association with a further VPC, by the VPC's id."""

    @property
    def rules(self) -> Rules:
        """The rules as they are now. After a change, describe calls may still show the old ones."""
        return self._rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        seen = self._outdated[0] if self._outdated else self._rules
        self._outdated, self._rules = [seen] * behaviour.lag, rules

    def seen_rules(self) -> Rules:
        """Return the rules that a describe call shows."""
        return self._outdated.pop() if self._outdated else self._rules

    def get_tags(self) -> list[dict[str, str]]:
        """Return the group's tags. moto looks through all tags of the region, for every group."""
        return [{"key": key, "value": value} for key, value in self.ec2_backend.tags.get(self.id, {}).items()]

    def described(self) -> dict[str, Any]:
        """Return the group as [API] SecurityGroup."""
        rules = self.seen_rules()
        return {
            "GroupId": self.id,
            "GroupName": self.name,
            "Description": self.description,
            "OwnerId": self.owner_id,
            "VpcId": self.vpc_id,
            "SecurityGroupArn": self.arn,
            "Tags": [{"Key": tag["key"], "Value": tag["value"]} for tag in self.get_tags()],
            "IpPermissions": permissions_of(rule for rule in rules if not rule.egress),
            "IpPermissionsEgress": permissions_of(rule for rule in rules if rule.egress),
        }

    def described_rule(self, rule: Rule) -> dict[str, Any]:
        """Return one rule as [API] SecurityGroupRule."""
        backend = self.ec2_backend
        shape = shape_of(rule) | {
            "GroupId": self.id,
            "GroupOwnerId": self.owner_id,
            "Tags": [{"Key": key, "Value": value} for key, value in backend.tags.get(rule.id, {}).items()],
            "SecurityGroupRuleArn": self.arn.replace(f"group/{self.id}", f"group-rule/{rule.id}"),
        }
        if group_id := shape.pop("ReferencedGroupId", None):
            shape["ReferencedGroupInfo"] = {"GroupId": group_id, **rule.peer}
        return shape

    def matches_filter(self, key: str, filter_value: list[str]) -> bool:
        """Whether the group matches a filter of DescribeSecurityGroups. Filters on rules are not emulated."""
        if not key.startswith("tag") and ("ip-permission." in key or key not in self.filters):
            raise InvalidParameterValue(f"The filter '{key}' is invalid")
        if key == "group-id" and self.id in filter_value:  # moto takes each of 200 ids for a pattern
            return True
        return bool(super().matches_filter(key, filter_value))


class Response(EC2Response):
    """Answers requests about security groups."""

    @property
    def ec2_backend(self) -> Backend:
        """The EC2 of the caller's account and region."""
        return backend_of(self.current_account, self.region)

    def describe_security_groups(self) -> Answer:
        """Describe groups by ids or names, which must all exist, and by filters."""
        self.error_on_dryrun()
        named = [*self._get_param("GroupIds", []), *self._get_param("GroupNames", [])]
        if named and self._get_param("MaxResults"):
            raise InvalidParameterCombination("The parameter groupIds cannot be used with the parameter maxResults")
        filters = self._filters()
        groups = map(self.ec2_backend.group, named) if named else self.ec2_backend.candidates(filters)
        page, token = self._page([group for group in groups if group.matches_filters(filters)])
        return Answer({"SecurityGroups": [group.described() for group in page], "NextToken": token})

    def describe_security_group_rules(self) -> Answer:
        """Describe rules by ids, which must all exist, and by filters."""
        ids, groups = self._get_param("SecurityGroupRuleIds", []), self.ec2_backend.candidates(self._filters())
        rules = [rule for group in groups for rule in map(group.described_rule, group.seen_rules())]
        for rule_id in set(ids) - {rule["SecurityGroupRuleId"] for rule in rules}:
            raise InvalidSecurityGroupRuleIdNotFoundError(rule_id)
        named = [rule for rule in rules if not ids or rule["SecurityGroupRuleId"] in ids]
        fields = {"group-id": "GroupId", "security-group-rule-id": "SecurityGroupRuleId"}
        return self._listed("SecurityGroupRules", named, fields)

    def describe_network_interfaces(self) -> Answer:
        """List the loaded interfaces, with `IncludeManagedResources` also those that services hide.

        [API] OperatorResponse.
        """
        all_of_them, loaded = self._get_param("IncludeManagedResources"), self.ec2_backend.loaded_interfaces.values()
        shown = [each for each in loaded if all_of_them or not each.get("Operator", {}).get("HiddenByDefault")]
        return self._listed("NetworkInterfaces", shown, {"group-id": "Groups.GroupId"})

    def describe_instance_connect_endpoints(self) -> Answer:
        """List the loaded endpoints ([API] DescribeInstanceConnectEndpoints)."""
        fields = {"vpc-id": "VpcId", "state": "State"}
        return self._listed("InstanceConnectEndpoints", behaviour.endpoints, fields)

    def describe_security_group_vpc_associations(self) -> Answer:
        """List associations ([API] DescribeSecurityGroupVpcAssociations)."""
        owner = {"VpcOwnerId": self.current_account}
        associations = [
            {"GroupId": group.id, "GroupOwnerId": group.owner_id, "VpcId": vpc_id, "State": state, **owner}
            for group in self.ec2_backend.candidates(self._filters())
            for vpc_id, state in group.vpc_associations.items()
        ]
        fields = {"group-id": "GroupId", "vpc-id": "VpcId", "state": "State"}
        return self._listed("SecurityGroupVpcAssociations", associations, fields)

    def describe_vpc_block_public_access_options(self) -> Answer:
        """Whether the account keeps the internet out of its VPCs ([API] VpcBlockPublicAccessOptions)."""
        self.error_on_dryrun()
        return Answer({"VpcBlockPublicAccessOptions": {"InternetGatewayBlockMode": behaviour.block_public_access}})

    def get_managed_prefix_list_entries(self) -> Answer:
        """Return a list's entries, page by page. moto returns all at once, and nothing for an unknown list."""
        prefix_list = self.ec2_backend.managed_prefix_lists.get(self._get_param("PrefixListId"))
        if prefix_list is None:
            raise unknown_prefix_list(self._get_param("PrefixListId"))
        entries = prefix_list.entries.get(int(self._get_param("TargetVersion") or prefix_list.version or 1), [])
        return self._listed("Entries", entries, {})

    def modify_security_group_rules(self) -> Answer:
        """Change rules in place."""
        self.error_on_dryrun()
        updates = self._get_param("SecurityGroupRules", [])
        if not updates:
            raise MissingParameter("The request must contain the parameter securityGroupRules")
        self.ec2_backend.change(self._group(), lambda rules: with_modified(rules, updates))
        return Answer({"Return": True})

    def create_tags(self) -> ActionResult:
        """Tag resources, except with keys that AWS reserves."""
        refuse_keys_of_aws(tag["Key"] for tag in self._get_param("Tags", []))
        return super().create_tags()

    def _parse_tag_specification(self, expected_type: str | None = None) -> dict[str, dict[str, str]]:
        """Return the tags of what a call creates. Wrong tags are refused before anything is created."""
        specified = super()._parse_tag_specification(expected_type)
        for tags in specified.values():
            refuse_keys_of_aws(tags)
            if len(tags) > MOST_TAGS:
                raise TagLimitExceeded
        return specified

    def _authorize(self, *, egress: bool) -> Answer:
        """Add rules. Each gets all tags of the request ([API])."""
        self.error_on_dryrun()
        added, tags = self._rules(egress=egress), self._parse_tag_specification().get("security-group-rule", {})
        if not added:
            raise MissingParameter("The request must contain the parameter ipPermissions")
        group = self._group()
        self.ec2_backend.change(group, lambda rules: with_added(rules, added))
        self.ec2_backend.create_tags([rule.id for rule in added], tags)
        return Answer({"Return": True, "SecurityGroupRules": [group.described_rule(rule) for rule in added]})

    def _revoke(self, *, egress: bool) -> Answer:
        """Remove rules by their ids, or by all their fields except the description.

        [API] RevokeSecurityGroupIngress: if rules do not exist, the answer for a group of the default VPC is true, with
        a list of them. For any other group it is `InvalidPermission.NotFound`, and nothing is revoked.
        """
        self.error_on_dryrun()
        group, ids, said = self._group(), self._get_param("SecurityGroupRuleIds", []), self._rules(egress=egress)
        if not ids and not said:
            raise MissingParameter("Either 'ipPermissions' or 'securityGroupRuleIds' should be provided.")
        unknown: list[Rule] = []

        def revoked(rules: Rules) -> Rules:
            present = {rule: rule.id for rule in rules}
            unknown.extend(rule for rule in said if rule not in present)
            if unknown and group.vpc_id != self.ec2_backend.default_vpc.id:
                raise InvalidPermissionNotFoundError
            known = [present[rule] for rule in said if rule in present]
            return without(rules, [*ids, *known], egress=egress)

        gone = [shape_of(rule) | {"GroupId": group.id} for rule in self.ec2_backend.change(group, revoked)]
        more = {"UnknownIpPermissions": permissions_of(unknown)} if unknown else {}
        return Answer({"Return": True, "RevokedSecurityGroupRules": gone, **more})

    authorize_security_group_ingress = partialmethod(_authorize, egress=False)
    authorize_security_group_egress = partialmethod(_authorize, egress=True)
    revoke_security_group_ingress = partialmethod(_revoke, egress=False)
    revoke_security_group_egress = partialmethod(_revoke, egress=True)

    def _group(self) -> Group:
        return self.ec2_backend.group(self._get_param("GroupId"))

    def _rules(self, *, egress: bool) -> Rules:
        permissions = self._get_param("IpPermissions", [])
        for permission in permissions:
            for pair in permission.get("UserIdGroupPairs", ()):
                pair.setdefault("UserId", self.current_account)
        return tuple(rules_from(permissions, egress=egress))

    def _filters(self) -> dict[str, list[str]]:
        filters: dict[str, list[str]] = {
            each["Name"]: each.get("Values", []) for each in self._get_param("Filters", [])
        }
        if sum(map(len, filters.values())) > MOST_FILTER_VALUES:
            what = f"The maximum number of filter values specified on a single call is {MOST_FILTER_VALUES}"
            raise EC2ClientError("FilterLimitExceeded", what)
        return filters

    def _listed(self, name: str, items: Iterable[Mapping[str, Any]], fields: Mapping[str, str]) -> Answer:
        """Answer with a page of what the request's filters match.

        :param fields: which field a filter is about, or which in a list of structures.
        """
        self.error_on_dryrun()
        filters = self._filters()
        for key in filters:
            if key not in fields and not key.startswith("tag:"):
                raise InvalidParameterValue(f"The filter '{key}' is invalid")
        found = [item for item in items if all(matches(item, key, fields, values) for key, values in filters.items())]
        page, token = self._page(found)
        return Answer({name: page, "NextToken": token})

    def _page(self, items: list[T]) -> tuple[list[T], str | None]:
        """Return the requested page, and the token of the next. Without `MaxResults` the page has all items ([API])."""
        token, size = self._get_param("NextToken"), self._get_param("MaxResults")
        call = get_service_model("ec2").operation_model(self._get_action())
        if size and size > (most := call.input_shape.members["MaxResults"].metadata["max"]):
            what = f"Expecting a value of {most} at most."  # botocore refuses what is too small
            raise InvalidParameterValue(f"Value ( {size} ) for parameter maxResults is invalid. {what}")
        start = int(token or 0)
        end = start + (size or len(items))
        return items[start:end], str(end) if end < len(items) else None


def refuse_keys_of_aws(keys: Iterable[str]) -> None:
    """Refuse tag keys that AWS reserves, in small letters or capitals.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions
    """
    for key in keys:
        if key.lower().startswith("aws:"):
            raise InvalidParameterValue(
                f"Value ( {key} ) for parameter key is invalid. "
                "Tag keys starting with 'aws:' are reserved for internal use"
            )


def unknown_prefix_list(list_id: str) -> EC2ClientError:
    """Return EC2's error for a managed prefix list that does not exist, or is not shared with the account."""
    return EC2ClientError("InvalidPrefixListID.NotFound", f"The prefix list ID '{list_id}' does not exist")


def matches(item: Mapping[str, Any], key: str, fields: Mapping[str, str], values: Collection[str]) -> bool:
    """Whether an item's tag or field is one of a filter's values, or like one that has `*` or `?`."""
    if key.startswith("tag:"):
        texts = [tag["Value"] for tag in item.get("Tags", ()) if f"tag:{tag['Key']}" == key]
    else:
        listing, _, name = fields[key].rpartition(".")
        texts = [each[name] for each in (item[listing] if listing else [item])]
    return any(text in values or any(aws_api_matches(value, text) for value in values) for text in texts)


class Backend(EC2Backend):
    """moto's EC2 with these groups."""

    _url_module = SimpleNamespace(url_bases=urls.url_bases, url_paths={"{0}/": Response.dispatch})

    def __init__(self, region_name: str, account_id: str) -> None:
        self._changing = RLock()
        self.loaded_interfaces: dict[str, Mapping[str, Any]] = {}
        super().__init__(region_name, account_id)

    def group(self, id_or_name: str) -> Group:
        """Return the group, or raise EC2's error."""
        group = self.get_security_group_by_name_or_id(id_or_name)
        if not isinstance(group, Group):
            raise InvalidSecurityGroupNotFoundError(id_or_name)
        return group

    def get_security_group_from_id(self, group_id: str) -> Group | None:
        """Return the group with an id, by one look in each VPC: moto goes through all groups."""
        found = (groups[group_id] for groups in list(self.groups.values()) if group_id in groups)
        return cast("Group | None", next(found, None))

    def candidates(self, filters: Mapping[str, list[str]]) -> list[Group]:
        """Return the groups that the filters can match: those with the ids in a filter, else all."""
        ids = filters.get("group-id", ["*"])
        if any("*" in each or "?" in each for each in ids):
            return [cast("Group", group) for groups in list(self.groups.values()) for group in list(groups.values())]
        return [group for group in map(self.get_security_group_from_id, dict.fromkeys(ids)) if group]

    def change(self, group: Group, changed: Callable[[Rules], Rules]) -> list[Rule]:
        """Change a group's rules, one change at a time.

        :returns: the rules that are gone.
        :raises EC2ClientError: a source is unknown, there are too many rules, the group is another account's, or
            `changed` raised it. Then nothing changed.
        """
        if group.owner_id != self.account_id:
            raise EC2ClientError("UnauthorizedOperation", "You are not authorized to perform this operation.")
        with self._changing:
            before = group.rules
            after = changed(before)
            known = {(rule.kind, rule.source) for rule in before}
            self._refuse_unknown_sources(rule for rule in after if (rule.kind, rule.source) not in known)
            self._refuse_too_many(before, after)
            group.rules = after
        left = {rule.id for rule in after}
        return [rule for rule in before if rule.id not in left]

    def _refuse_unknown_sources(self, rules: Iterable[Rule]) -> None:
        """Refuse references to what does not exist. Other accounts' groups are not known here."""
        for rule in rules:
            if rule.kind == "PrefixListId" and rule.source not in self.managed_prefix_lists:
                raise unknown_prefix_list(rule.source)
            if rule.kind == "ReferencedGroupId" and rule.peer.get("UserId", self.account_id) == self.account_id:
                self.group(rule.source)

    def _refuse_too_many(self, before: Rules, after: Rules) -> None:
        """Refuse a change that adds rules beyond the quota of a direction and family."""
        for egress in (False, True):
            for family in NETWORKS:
                had, has = (
                    sum(self._weight(rule, family) for rule in rules if rule.egress == egress)
                    for rules in (before, after)
                )
                if had < has > behaviour.rules_per_group:
                    raise RulesPerSecurityGroupLimitExceededError

    def _weight(self, rule: Rule, family: str) -> int:
        """Return how much a rule counts in the quota of a family, `CidrIpv4` or `CidrIpv6`.

        A reference to a group, or to a prefix list of AWS's, counts once in both families
        (https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html). A reference to a customer's prefix
        list counts the list's maximum of entries, in the list's family
        (https://docs.aws.amazon.com/vpc/latest/userguide/managed-prefix-lists.html).
        """
        if rule.kind in NETWORKS:
            return int(rule.kind == family)
        prefix_list = self.managed_prefix_lists.get(rule.source)
        if prefix_list is None or prefix_list.owner_id == "AWS":
            return 1
        of_family = (prefix_list.address_family or "").lower() in family.lower()
        return int(prefix_list.max_entries or 0) if of_family else 0


ec2_backends.backend = Backend
vars(security_groups)["SecurityGroup"] = Group  # moto creates groups of this class
