"""mode/stack.yml, created: by moto's CloudFormation, and where that knows a type of resource not, by the API itself."""

import json
import warnings
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from functools import cache
from operator import ge, lt
from pathlib import Path

from botocore import validate
from moto.cloudformation.models import Stack, cloudformation_backends
from moto.cloudformation.parsing import clean_json, get_model_map
from moto.cloudwatch.models import cloudwatch_backends
from moto.kms import models as kms
from moto.utilities.utils import get_partition

TEMPLATE = Path(__file__).parents[2] / "mode" / "stack.yml"
ACCOUNT = "123456789012"
REGION = "us-east-1"
SUFFIXES = {"aws-cn": "amazonaws.com.cn", "aws-eusc": "amazonaws.eu"}
"""What a partition's host names end with, where that is not `amazonaws.com`: botocore's `data/partitions.json`."""

# What is created here is JSON: moto reads all as YAML, in Python alone, for longer than it makes all resources.
Stack.parse_template = staticmethod(json.loads)
# moto makes an RSA key for each key of KMS, also where that is symmetric; nobody here signs.
kms.generate_private_key = cache(kms.generate_private_key)


def create(cloud, region=REGION, account=ACCOUNT, **parameters):
    """Create the stack.

    Returns what CloudFormation creates from template and parameters: logical id -> {"Type", "Properties"}, with
    every function worked out and nothing that a condition leaves out.
    """
    session = cloud.session(region, account)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # moto's, about each type that it does not know
        stack_id = session.client("cloudformation").create_stack(
            StackName="open-ingress",
            TemplateBody=processed(),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )["StackId"]
        resource_map = cloudformation_backends[account][region].stacks[stack_id].resource_map
        resource_map._parsed_resources |= pseudo_parameters(region)
        resources = made(resource_map)
    for resource in resources.values():
        if make := MAKE.get(resource["Type"]):
            make(session, resource["Properties"])
        else:
            assert resource["Type"] in get_model_map()
    return resources


@cache
def processed():
    """Return the template as JSON, with each short form (!Ref) in its long form."""
    from cfnlint.decode import decode

    template, problems = decode(str(TEMPLATE))
    assert not problems
    return json.dumps(template)


def pseudo_parameters(region):
    """Return the pseudo parameters that are a partition's own."""
    partition = get_partition(region)
    return {"AWS::Partition": partition, "AWS::URLSuffix": SUFFIXES.get(partition, "amazonaws.com")}


def made(resource_map):
    """Return the resources of moto's parsed template whose condition holds."""
    return {
        name: present(clean_json(resource, resource_map))
        for name, resource in resource_map._resource_json_map.items()
        if "Condition" not in resource or resource_map.lazy_condition_map[resource["Condition"]]
    }


def present(value):
    """Leave out what is AWS::NoValue, which is None to moto."""
    if isinstance(value, dict):
        return {key: present(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [present(each) for each in value if each is not None]
    return value


def set_topic_policies(session, properties):
    """Make an AWS::SNS::TopicPolicy."""
    for topic in properties["Topics"]:
        session.client("sns").set_topic_attributes(
            TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(properties["PolicyDocument"])
        )


def set_queue_policies(session, properties):
    """Make an AWS::SQS::QueuePolicy."""
    for queue in properties["Queues"]:
        policy = {"Policy": json.dumps(properties["PolicyDocument"])}
        session.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes=policy)


def put_inline_policies(session, properties):
    """Put the policies of an AWS::IAM::Role as JSON: moto's CloudFormation has put Python's notation there."""
    if "RoleName" not in properties:
        return
    for policy in properties["Policies"]:
        session.client("iam").put_role_policy(
            RoleName=properties["RoleName"],
            PolicyName=policy["PolicyName"],
            PolicyDocument=json.dumps(policy["PolicyDocument"]),
        )


def put_recorder(session, properties):
    """Make an AWS::Config::ConfigurationRecorder."""
    group = {key[0].lower() + key[1:]: value for key, value in properties["RecordingGroup"].items()}
    session.client("config").put_configuration_recorder(
        ConfigurationRecorder={"name": "default", "roleARN": properties["RoleARN"], "recordingGroup": group}
    )


def put_channel(session, properties):
    """Make an AWS::Config::DeliveryChannel, upon which CloudFormation starts the recorder."""
    config = session.client("config")
    config.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": properties["S3BucketName"]})
    config.start_configuration_recorder(ConfigurationRecorderName="default")


def put_query(session, properties):
    """Check the request that makes an AWS::Logs::QueryDefinition: moto's Logs saves no queries."""
    request = {key[0].lower() + key[1:]: value for key, value in properties.items()}
    shape = session.client("logs").meta.service_model.operation_model("PutQueryDefinition").input_shape
    problems = validate.ParamValidator().validate(request, shape)
    assert not problems.has_errors(), problems.generate_report()


MAKE = {
    "AWS::CloudWatch::Alarm": lambda session, properties: session.client("cloudwatch").put_metric_alarm(**properties),
    "AWS::Config::ConfigurationRecorder": put_recorder,
    "AWS::Config::DeliveryChannel": put_channel,
    "AWS::CloudWatch::Dashboard": lambda session, properties: session.client("cloudwatch").put_dashboard(**properties),
    "AWS::IAM::Role": put_inline_policies,
    "AWS::Logs::QueryDefinition": put_query,
    "AWS::SNS::Subscription": lambda session, properties: session.client("sns").subscribe(**properties),
    "AWS::SNS::TopicPolicy": set_topic_policies,
    "AWS::SQS::QueuePolicy": set_queue_policies,
}


def of_type(resources, kind):
    """Return the properties of all resources of a type, by logical id."""
    return {name: each["Properties"] for name, each in resources.items() if each["Type"] == kind}


def admitted(document, action, resource, context):
    """Whether a resource's policy lets somebody in; it knows the elements that the stack's policies use."""
    equal = lambda wanted, found: wanted == found
    operators = {"StringEquals": equal, "ArnEquals": arn_like, "ArnLike": arn_like}

    def holds(condition):
        return all(
            any(operators[operator](wanted, context.get(key, "")) for wanted in _as_list(values))
            for operator, keys in condition.items()
            for key, values in keys.items()
        )

    return any(
        (statement["Effect"], statement["Principal"]) == ("Allow", "*")
        and action in _as_list(statement["Action"])
        and resource in _as_list(statement["Resource"])
        and holds(statement.get("Condition", {}))
        for statement in document["Statement"]
    )


def arn_like(pattern, arn):
    """Match as IAM does: each of an ARN's six parts by itself, in which * and ? match anything.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    """
    patterns, parts = pattern.split(":", 5), arn.split(":", 5)
    return len(patterns) == len(parts) and all(map(fnmatchcase, parts, patterns))


def _as_list(value):
    return value if isinstance(value, list) else [value]


def inbox(cloud, region=REGION, account=ACCOUNT):
    """Subscribe a queue to the topic, and return a function that takes from it what has arrived."""
    session = cloud.session(region, account)
    sqs = session.client("sqs")
    url = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    session.client("sns").subscribe(
        TopicArn=f"arn:{get_partition(region)}:sns:{region}:{account}:open-ingress",
        Protocol="sqs",
        Endpoint=f"arn:{get_partition(region)}:sqs:{region}:{account}:inbox",
    )

    def take():
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in received:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in received]

    return take


def put_metric(cloud, alarm, values):
    """Put data where an alarm reads it: `values` says how many of the alarm's periods ago, and how much then."""
    period = timedelta(seconds=alarm["Period"])
    data = [
        {
            "MetricName": alarm["MetricName"],
            "Dimensions": alarm["Dimensions"],
            "Timestamp": NOW - period * ago - period / 2,
            "Value": value,
        }
        for ago, value in values.items()
    ]
    if data:
        cloud.session().client("cloudwatch").put_metric_data(Namespace=alarm["Namespace"], MetricData=data)


def fires(cloud, alarm):
    """Do what CloudWatch does for an alarm at the end of a period, which moto does not, and return whether it fires.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    """
    cloudwatch = cloud.session().client("cloudwatch")
    period = timedelta(seconds=alarm["Period"])
    breaching = []
    for ago in range(alarm["EvaluationPeriods"]):
        points = cloudwatch.get_metric_statistics(
            Namespace=alarm["Namespace"],
            MetricName=alarm["MetricName"],
            Dimensions=alarm["Dimensions"],
            Period=alarm["Period"],
            StartTime=NOW - period * (ago + 1),
            EndTime=NOW - period * ago,
            Statistics=[alarm["Statistic"]],
        )["Datapoints"]
        compare = COMPARE[alarm["ComparisonOperator"]]
        breaching += [compare(point[alarm["Statistic"]], alarm["Threshold"]) for point in points] or [
            {"breaching": True, "notBreaching": False}[alarm["TreatMissingData"]]
        ]
    if all(breaching):
        for topic in alarm["AlarmActions"]:
            region = topic.split(":")[3]
            cloud.session(region).client("sns").publish(
                TopicArn=topic,
                Subject=f'ALARM: "{alarm["AlarmName"]}" in {region}',
                Message=json.dumps({"AlarmDescription": alarm["AlarmDescription"], "NewStateValue": "ALARM"}),
            )
    return all(breaching)


def forget_metrics():
    """Remove what AWS has measured, and keep the alarms."""
    cloudwatch_backends[ACCOUNT][REGION].metric_data.clear()


COMPARE = {"GreaterThanOrEqualToThreshold": ge, "LessThanThreshold": lt}
NOW = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)


def stop_polling(cloud, region=REGION, account=ACCOUNT):
    """Keep moto away from the mailer's queue: it would run the function in a container; `poll` does its part."""
    client = cloud.session(region, account).client("lambda")
    for mapping in client.list_event_source_mappings(FunctionName="custodian-mailer")["EventSourceMappings"]:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)


def poll(session, function):
    """Do what Lambda does for an event source, with the function's own permissions, once; return how many were taken.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
    """
    sqs = session.client("sqs")
    url = f"https://sqs.{session.region_name}.amazonaws.com/{ACCOUNT}/custodian-mailer"
    sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    batch = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    records = [
        {"messageId": message["MessageId"], "body": message["Body"], "attributes": {"SentTimestamp": "0"}}
        for message in batch
    ]
    if not records:
        return 0
    failed = {each["itemIdentifier"] for each in function.invoke({"Records": records})["batchItemFailures"]}
    for message in batch:
        if message["MessageId"] not in failed:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return len(batch)
