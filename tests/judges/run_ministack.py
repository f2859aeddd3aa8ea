"""Run MiniStack by its own Python, with a shim for each thing that differs from AWS and that the pack needs.

    GATEWAY_PORT=4566 .venv/judges/ministack/bin/python tests/judges/run_ministack.py

The docstring of a shim names the page that describes what AWS does. Everything else is MiniStack's own.
"""

import json
import uuid

from ministack import app
from ministack.core import lambda_runtime
from ministack.core.responses import json_response
from ministack.services import config, ec2
from ministack.services.cloudformation import provisioners


def saved_queries():
    """CloudFormation creates saved queries. MiniStack refuses a template that has one.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-logs-querydefinition.html
    """

    def create(_name, _properties, _stack):
        query_id = str(uuid.uuid4())
        return query_id, {"QueryDefinitionId": query_id}

    actions = {"create": create, "delete": lambda _id, _properties: None}
    provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = actions


def filter_by_group_id():
    """DescribeSecurityGroups lists the groups that the filter `group-id` names. MiniStack lists all groups.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html
    """
    describe = ec2._describe_security_groups

    def described(parameters):
        wanted = ec2._parse_filters(parameters).get("group-id")
        if wanted is None:
            return describe(parameters)
        # The parameter GroupId fails if a group is gone, and the filter does not.
        found = [group_id for group_id in wanted if group_id in ec2._security_groups]
        if not found:
            return ec2._xml(200, "DescribeSecurityGroupsResponse", "<securityGroupInfo/>")
        return describe({**parameters, **{f"GroupId.{number}": [each] for number, each in enumerate(found, 1)}})

    ec2._ACTION_MAP["DescribeSecurityGroups"] = described


def prefix_lists():
    """EC2 keeps a prefix list as the source of a rule. MiniStack keeps the rule without a source.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRule.html
    """
    parse, describe = ec2._parse_ip_permissions, ec2._sg_rule_xml

    def parsed(parameters, name):
        permissions = parse(parameters, name)
        for number, permission in enumerate(permissions, 1):
            if list_id := ec2._p(parameters, f"{name}.{number}.PrefixListIds.1.PrefixListId"):
                permission["PrefixListIds"] = [{"PrefixListId": list_id}]
        return permissions

    def described(group_id, rule, is_egress=False):  # noqa: FBT002  MiniStack's own parameters
        xml = describe(group_id, rule, is_egress)
        for source in rule.get("PrefixListIds", ()):
            xml = xml.replace("</toPort>", f"</toPort><prefixListId>{source['PrefixListId']}</prefixListId>")
        return xml

    ec2._parse_ip_permissions, ec2._sg_rule_xml = parsed, described


def name_of_the_log_group():
    """Lambda sets AWS_LAMBDA_LOG_GROUP_NAME in a function's environment. MiniStack does not.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
    """
    spawn = lambda_runtime.Worker._spawn

    def spawned(worker):
        variables = worker.config.get("Environment", {}).get("Variables", {})
        named = {"AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{worker.func_name}"}
        worker.config = {**worker.config, "Environment": {"Variables": {**variables, **named}}}
        spawn(worker)

    lambda_runtime.Worker._spawn = spawned


def evaluations():
    """AWS Config takes evaluations, and lists the latest one of each resource. MiniStack takes none.

    https://docs.aws.amazon.com/config/latest/APIReference/API_PutEvaluations.html
    https://docs.aws.amazon.com/config/latest/APIReference/API_GetComplianceDetailsByConfigRule.html
    """
    handle, latest = config.handle_request, {}

    async def handled(method, path, headers, body, query):
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action == "PutEvaluations":
            latest.update({each["ComplianceResourceId"]: each for each in json.loads(body)["Evaluations"]})
            return json_response({"FailedEvaluations": []})
        if action == "GetComplianceDetailsByConfigRule":
            return json_response({"EvaluationResults": [*map(result, latest.values())]})
        return await handle(method, path, headers, body, query)

    def result(evaluation):
        about = {"ResourceType": evaluation["ComplianceResourceType"], "ResourceId": evaluation["ComplianceResourceId"]}
        qualifier = {"EvaluationResultQualifier": about}
        return {"EvaluationResultIdentifier": qualifier, "ComplianceType": evaluation["ComplianceType"]}

    config.handle_request = handled


if __name__ == "__main__":
    for shim in (saved_queries, filter_by_group_id, prefix_lists, name_of_the_log_group, evaluations):
        shim()
    app.main()
