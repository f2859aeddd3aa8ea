"""AWS Config where moto's differs: the events that it sends to a rule's Lambda, and the evaluations that it receives.

    item = configuration_item(group)
    function.invoke(event(item, "custodian-open-ingress"))
    print(cloud.evaluations)

Sources of the shapes:

- events: https://docs.aws.amazon.com/config/latest/developerguide/evaluate-config_develop-rules_example-events.html;
  and one that a Lambda received, in github.com/guardian/security-hq, `com.gu.hq.lambda.fixtures.Events`
- items of security groups, version 1.3, that AWS Config recorded: github.com/cloud-custodian/cloud-custodian,
  `tests/test_utils.py`, test_camel_nested; github.com/awslabs/workload-discovery-on-aws; and, with the envelope,
  github.com/gruntwork-io/module-security, `modules/aws-config/core-concepts.md`
- items of a history: https://docs.aws.amazon.com/config/latest/APIReference/API_ConfigurationItem.html, and
  the example of https://docs.aws.amazon.com/cli/latest/reference/configservice/get-resource-config-history.html
- the item of a deleted resource, with its nulls: events in articles about custom rules
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from operator import itemgetter
from typing import Any, NamedTuple

from moto.config.exceptions import (
    InvalidResultTokenException,
    NoAvailableConfigurationRecorderException,
    NoSuchConfigRuleException,
    ResourceNotDiscoveredException,
    ValidationException,
)
from moto.config.models import ConfigBackend, config_backends
from moto.config.responses import ConfigResponse
from moto.core.base_backend import BaseBackend
from moto.utilities.utils import get_partition

from c7n_ingress_tools.embedded_aws.services import Moto, replaces

MOST_BYTES = 256 * 1024
LONGEST_ANNOTATION = 256
SPAN = 7 * 24 * 60 * 60
"""How many seconds of a history a page has at most."""


class Evaluation(NamedTuple):
    """A rule's verdict on a resource, and when the item that it is about was captured."""

    rule: str
    resource: str
    verdict: str
    annotation: str
    captured: float


def configuration_item(
    group: Mapping[str, Any],
    region: str = "us-east-1",
    *,
    status: str = "OK",
    captured: datetime | None = None,
) -> dict[str, Any]:
    """Return the item that AWS Config records for a security group.

    :param status: OK, ResourceDiscovered or ResourceDeleted; the item of a deleted group has no configuration.
    """
    captured = captured or datetime.now(timezone.utc)
    deleted = status == "ResourceDeleted"
    vpc = {"resourceId": group.get("VpcId"), "resourceName": None, "resourceType": "AWS::EC2::VPC"}
    arn = f"arn:{get_partition(region)}:ec2:{region}:{group['OwnerId']}:security-group/{group['GroupId']}"
    return {
        "relatedEvents": [],
        "relationships": [] if deleted else [vpc | {"name": "Is contained in Vpc"}],
        "configuration": None if deleted else _configuration(group),
        "supplementaryConfiguration": {},
        "tags": {} if deleted else {tag["Key"]: tag["Value"] for tag in group.get("Tags") or ()},
        "configurationItemVersion": "1.3",
        "configurationItemCaptureTime": _iso(captured),
        "configurationStateId": int(captured.timestamp() * 1000),
        "awsAccountId": group["OwnerId"],
        "configurationItemStatus": status,
        "resourceType": "AWS::EC2::SecurityGroup",
        "resourceId": group["GroupId"],
        "resourceName": None if deleted else group.get("GroupName"),
        "ARN": arn,
        "awsRegion": region,
        "availabilityZone": None if deleted else "Not Applicable",
        "configurationStateMd5Hash": "",
        "resourceCreationTime": None,
    }


def _configuration(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the group as it is in an item: in camel case, and with IPv4 ranges twice, as texts and as objects."""
    shown = ("Description", "GroupName", "IpPermissions", "OwnerId", "GroupId", "IpPermissionsEgress", "Tags", "VpcId")
    item: dict[str, Any] = _camel({key: group.get(key) for key in shown})
    for permission in [*item["ipPermissions"], *item["ipPermissionsEgress"]]:
        permission["ipv4Ranges"] = permission["ipRanges"]
        permission["ipRanges"] = [ipv4["cidrIp"] for ipv4 in permission["ipv4Ranges"]]
    return item


def record(item: dict[str, Any]) -> dict[str, Any]:
    """Put an item into the history of AWS Config, and return it."""
    _kept(config_backends[item["awsAccountId"]][item["awsRegion"]], "history").append(item)
    return item


def event(item: Mapping[str, Any], rule: str) -> dict[str, Any]:
    """Return the event with which AWS Config invokes a rule's Lambda for an item.

    PutEvaluations accepts its result token for this rule.

    :raises ValueError: the item is too large. Config sends another kind of notification for it, which Cloud Custodian's
        rules do not subscribe to.
    """
    account, region = item["awsAccountId"], item["awsRegion"]
    partition = get_partition(region)
    invoking = {
        "configurationItemDiff": None,
        "configurationItem": item,
        "notificationCreationTime": _iso(datetime.now(timezone.utc)),
        "messageType": "ConfigurationItemChangeNotification",
        "recordVersion": "1.3",
    }
    invoking_event = json.dumps(invoking)
    if len(invoking_event) > MOST_BYTES:
        raise ValueError(f"{item['resourceId']}: an item of {len(invoking_event)} bytes is never sent to a rule")
    return {
        "version": "1.0",
        "invokingEvent": invoking_event,
        "ruleParameters": "{}",
        "resultToken": f"{uuid.uuid4()}:{rule}",
        "eventLeftScope": False,
        "executionRoleArn": f"arn:{partition}:iam::{account}:role/config-role",
        "configRuleArn": f"arn:{partition}:config:{region}:{account}:config-rule/config-rule-abcdef",
        "configRuleName": rule,
        "configRuleId": "config-rule-abcdef",
        "accountId": account,
    }


def evaluations() -> list[Evaluation]:
    """Return all evaluations that were put, in their order within a region."""
    return [each for *_, config in config_backends.iter_backends() for each in _kept(config, "evaluations")]


@replaces(ConfigResponse)
def get_resource_config_history(_: object, response: ConfigResponse) -> str:
    """Return a page of a resource's items since a time, the newest first. moto has only the present one.

    Limits and errors are those of
    https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html.
    """
    asked, config = response._get_param, response.config_backend
    kind, resource, limit = asked("resourceType"), asked("resourceId"), asked("limit") or 10
    if not config.recorders:
        raise NoAvailableConfigurationRecorderException
    items = [_as_in_history(item) for item in _kept(config, "history") if item["resourceId"] == resource]
    if not items:
        raise ResourceNotDiscoveredException(kind, resource)
    time = itemgetter("configurationItemCaptureTime")
    found = sorted((item for item in items if time(item) >= (asked("earlierTime") or 0)), key=time, reverse=True)
    start = int(asked("nextToken") or 0)
    page = found[start : start + limit]
    end = start + sum(time(page[0]) - time(item) <= SPAN for item in page)
    more = {"nextToken": str(end)} if end < len(found) else {}
    return json.dumps({"configurationItems": found[start:end], **more})


@replaces(ConfigBackend)
def describe_config_rules(moto_s: Moto, config: ConfigBackend, names: list[str] | None, token: str | None) -> Any:
    """Return rules. An unknown name is an error, even when there is no rule at all."""
    for name in names or ():
        _check_rule(config, name)
    return moto_s(config, names, token)


@replaces(ConfigBackend)
def put_evaluations(
    moto_s: Moto, config: ConfigBackend, evaluations: list[dict[str, Any]] | None, token: str | None, test: bool | None
) -> Any:
    """Accept evaluations for the rule that the token belongs to.

    Limits and errors are those of
    https://docs.aws.amazon.com/config/latest/APIReference/API_PutEvaluations.html and API_Evaluation.html there.
    """
    answer = moto_s(config, evaluations, token, test_mode=True)
    evaluations, rule = evaluations or [], str(token).partition(":")[2]
    if any(len(each.get("Annotation", "")) > LONGEST_ANNOTATION for each in evaluations):
        raise ValidationException(f"annotations have {LONGEST_ANNOTATION} characters at most")
    if not rule:
        raise InvalidResultTokenException
    _check_rule(config, rule)
    if not test:
        fields = ("ComplianceResourceId", "ComplianceType", "Annotation", "OrderingTimestamp")
        put = [Evaluation(rule, *(each.get(name, "") for name in fields)) for each in evaluations]
        _kept(config, "evaluations").extend(put)
    return answer


def _kept(config: BaseBackend, name: str) -> list[Any]:
    """Return a list that the AWS Config of an account and region keeps until it is reset."""
    kept: list[Any] = vars(config).setdefault(name, [])
    return kept


def _check_rule(config: ConfigBackend, name: str) -> None:
    """Refuse a rule that does not exist."""
    if name not in config.config_rules:
        raise NoSuchConfigRuleException(name)


RENAMED = {
    "configurationItemVersion": "version",
    "awsAccountId": "accountId",
    "ARN": "arn",
    "configurationStateMd5Hash": "configurationItemMD5Hash",
    "name": "relationshipName",
}
"""What a history calls the fields of an item and of its relationships."""


def _as_in_history(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item as GetResourceConfigHistory does: other names, times as numbers, the configuration as text."""
    captured = datetime.fromisoformat(item["configurationItemCaptureTime"].replace("Z", "+00:00"))
    return _renamed(item) | {
        "configurationStateId": str(item["configurationStateId"]),
        "configurationItemCaptureTime": captured.timestamp(),
        "configuration": json.dumps(item["configuration"]),
        "relationships": [*map(_renamed, item["relationships"])],
    }


def _renamed(shape: Mapping[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(key, key): value for key, value in shape.items() if value is not None}


def _camel(shape: Any) -> Any:
    """Return a shape with keys in camel case, and without what is None."""
    if isinstance(shape, Mapping):
        return {key[0].lower() + key[1:]: _camel(value) for key, value in shape.items() if value is not None}
    return [_camel(each) for each in shape] if isinstance(shape, list) else shape


def _iso(moment: datetime) -> str:
    """Return a moment as AWS Config writes it: 2026-01-31T12:00:00.000Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
