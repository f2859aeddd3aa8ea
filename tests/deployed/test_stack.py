import json
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from c7n.utils import yaml_load

from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from tests.support.docs import PAGES, blocks
from tests.support.embedded import CASES_OF_OPEN_INGRESS, POLICIES, ROOT, cases, load, rules_of, source_of
from tests.support.followed import deployed_pack, follow
from tests.support.kept import warm
from tests.support.stacked import (
    ACCOUNT,
    SUFFIXES,
    TEMPLATE,
    admitted,
    arn_like,
    create,
    fires,
    forget_metrics,
    inbox,
    of_type,
    poll,
    processed,
    put_metric,
)

CENTRAL_QUEUE = "arn:aws:sqs:us-east-1:210987654321:custodian-mailer"
MANY = "docs/many-accounts.md"
RUNNER = "arn:aws:iam::210987654321:role/c7n-org"
DEPLOYED = [policy for path in POLICIES for policy in yaml_load(path.read_text())["policies"] if "mode" in policy]
ON_CHANGES = [policy["name"] for policy in yaml_load((ROOT / "policies" / "open-ingress.yml").read_text())["policies"]]
WATCH = [policy["name"] for policy in yaml_load((ROOT / "mode" / "watch.yml").read_text())["policies"]]
NAMES = [*(policy["name"] for policy in DEPLOYED), *WATCH]
FUNCTIONS = ["custodian-mailer", *sorted(f"custodian-{name}" for name in NAMES)]
QUEUES = {"custodian-mailer", "custodian-mailer-failed", "custodian-open-ingress-failed"}
REGIONS = {"aws": "eu-central-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1", "aws-eusc": "eusc-de-east-1"}
OPTIONS = {
    "Email": "team@example.com",
    "PagerDutyEmail": "open-ingress@example.pagerduty.com",
    "MailFrom": "custodian@example.com",
    "TicketSecrets": f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:c7n-ingress/*",
    "OrganizationId": "o-abcdefghij",
    "RunnerArn": RUNNER,
    "AuthorizedFrom": "networks/authorized.txt",
    "ExemptionsFrom": "registers/exemptions.json",
    "RecordSecurityGroups": "yes",
    "EncryptTopic": "yes",
    "Dashboard": "yes",
}
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:open-ingress"
ALARMS = cases("alarms")["alarms"]
EARLIER = cases("stack")["earlier"]
NAMED = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
}
JOURNALS = {"PolicyLog", "DailyPolicyLog", "CloudTrailPolicyLog", "NoticedPolicyLog"}
"""The log groups that hold records of changes."""
OPEN, *_ = CASES_OF_OPEN_INGRESS


def attributes(cloud, queue, region="us-east-1"):
    """Return a queue's attributes."""
    sqs = cloud.session(region).client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def subscribers(cloud):
    """Return the addresses that are subscribed to the topic, with their protocol."""
    found = cloud.session().client("sns").list_subscriptions()["Subscriptions"]
    return {(each["Protocol"], each["Endpoint"]) for each in found}


def alarms(cloud):
    """Return the alarms by what they watch: the metric and the one queue or function."""
    found = cloud.session().client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {(alarm["MetricName"], alarm["Dimensions"][0]["Value"]): alarm for alarm in found}


def statements(document):
    """Return the statements of a policy document by their Sid."""
    return {each["Sid"]: each for each in document["Statement"]}


def test_lint():
    """cfn-lint has nothing to say, for any of the partitions."""
    command = [Path(sys.executable).with_name("cfn-lint"), "--regions", *REGIONS.values(), "--", TEMPLATE]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_stack_sets_take_the_template():
    """The template needs no macro, which StackSets with service-managed permissions refuse, and no bucket for its size.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/stacksets-limitations.html
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
    """
    assert "Transform" not in json.loads(processed())
    assert "Fn::ForEach" not in processed()
    assert len(TEMPLATE.read_bytes()) < 51_200


def test_parameters():
    """Every parameter has a description and a default, so that the template can be created as it is."""
    template = yaml.load(TEMPLATE.read_text(), Loader=yaml.BaseLoader)
    for name, parameter in template["Parameters"].items():
        assert parameter["Description"].endswith("."), name
        assert "Default" in parameter, name


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_parameters_that_make_no_sense(name):
    """A parameter refuses what cannot be meant, such as a whole bucket as the one S3 object."""
    parameter = yaml.load(TEMPLATE.read_text(), Loader=yaml.BaseLoader)["Parameters"][name]
    if "AllowedValues" in parameter:
        assert parameter["AllowedValues"] == ["yes", "no"]
        return
    matches = re.compile(parameter["AllowedPattern"]).fullmatch
    assert matches("")
    assert matches(OPTIONS[name])
    assert not matches("*")
    assert not matches(OPTIONS[name] + " *")


def test_the_region_that_makes_the_roles():
    """Each region that AWS has can make the roles, in every partition, and nothing else is a region."""
    pattern = yaml.load(TEMPLATE.read_text(), Loader=yaml.BaseLoader)["Parameters"]["RolesRegion"]["AllowedPattern"]
    session = boto3.Session()
    regions = [
        each for name in session.get_available_partitions() for each in session.get_available_regions("ec2", name)
    ]
    assert {"us-gov-west-1", "cn-north-1", "eusc-de-east-1"} <= set(regions)
    refused = [region for region in regions if not re.fullmatch(pattern, region)]
    assert refused == []
    assert not any(re.fullmatch(pattern, each) for each in ("us-east", "us-east-1a", "useast1", "*", "US-EAST-1"))


def test_the_whole_loop(cloud, tmp_path):
    """A reader who follows docs/deploy.md has everything running, from AWS Config's item to the topic's subscriber."""
    deployed_pack(cloud, tmp_path)
    take = inbox(cloud)
    client = cloud.session().client("lambda")
    roles = {each["FunctionName"]: each["Role"].rpartition("/")[2] for each in client.list_functions()["Functions"]}
    assert roles == {
        "custodian-mailer": "custodian-mailer",
        **{f"custodian-{name}": "custodian-open-ingress" for name in ON_CHANGES},
        **{f"custodian-{name}": "custodian-open-ingress-watch" for name in WATCH},
    }
    load([OPEN[1]])

    with warm(cloud, "custodian-open-ingress") as policy:
        policy.invoke(event(configuration_item(OPEN[1]), "custodian-open-ingress"))
    with warm(cloud, "custodian-mailer") as mailer:
        assert poll(cloud.session(), mailer) == 1

    assert "0.0.0.0/0" not in {source_of(rule) for rule in rules_of(OPEN[1]["GroupId"]).values()}
    (reported,) = take()
    assert reported["Subject"].startswith("Open ingress: ")
    assert OPEN[1]["GroupId"] in reported["Message"]


def test_logs(cloud):
    """Each Lambda's log group is there before it, so that the logs do not pile up for ever."""
    create(cloud)
    logs = cloud.session().client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    assert sorted(each["logGroupName"] for each in logs) == [f"/aws/lambda/{name}" for name in FUNCTIONS]
    assert {each["retentionInDays"] for each in logs} == {400}


def test_journals_remain(cloud):
    """The logs that hold records remain when the stack is deleted, and not when its creation fails; others go."""
    logs = {name: each for name, each in create(cloud).items() if each["Type"] == "AWS::Logs::LogGroup"}
    kept = {name for name, each in logs.items() if each.get("DeletionPolicy") == "RetainExceptOnCreate"}
    assert kept == JOURNALS
    assert {name for name, each in logs.items() if each.get("UpdateReplacePolicy") == "Retain"} == JOURNALS


def test_journals_are_what_undo_reads(cloud):
    """The logs that remain are those that a person who undoes may read."""
    resources = create(cloud)
    document = resources["UndoPolicy"]["Properties"]["PolicyDocument"]
    read = {
        arn.removesuffix(":*").partition("log-group:")[2] for arn in statements(document)["ReadRecords"]["Resource"]
    }
    assert read == {resources[name]["Properties"]["LogGroupName"] for name in JOURNALS}


def test_a_stack_over_the_journals_of_an_earlier_one(cloud):
    """Over a log that an earlier stack left, a stack fails by default; `Records=existing` leaves the log as it is."""
    logs = cloud.session().client("logs")

    def leave_a_log():
        logs.create_log_group(logGroupName="/aws/lambda/custodian-open-ingress")
        logs.put_retention_policy(logGroupName="/aws/lambda/custodian-open-ingress", retentionInDays=731)

    leave_a_log()
    with pytest.raises(ResponseParserError, match="already exists"):  # JSON, where CloudFormation speaks XML
        create(cloud)
    cloud.reset()
    leave_a_log()
    assert not JOURNALS & set(create(cloud, Records="existing"))
    (found,) = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/custodian-open-ingress")["logGroups"][:1]
    assert found["retentionInDays"] == 731


def test_missing_records_of_another_region(cloud):
    """The role may create each log of a region with `Records=existing`, even if its own stack creates the logs."""
    resources = create(cloud, RolesRegion="us-east-1")
    assert not JOURNALS & set(create(cloud, "eu-central-1", RolesRegion="us-east-1", Records="existing"))
    (policy,) = resources["PolicyRole"]["Properties"]["Policies"]
    creates = statements(policy["PolicyDocument"])["CreateMissingRecords"]
    assert (creates["Effect"], creates["Action"]) == ("Allow", "logs:CreateLogGroup")
    for name in (resources[journal]["Properties"]["LogGroupName"] for journal in JOURNALS):
        arn = f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:{name}:log-stream:"
        assert any(arn_like(pattern, arn) for pattern in creates["Resource"])


@pytest.mark.parametrize("policy", DEPLOYED, ids=lambda policy: policy["name"])
def test_dead_letters(cloud, policy):
    """A policy's Lambda has its dead letters in the queue that the stack makes, which keeps them for 14 days."""
    create(cloud)
    arn = policy["mode"]["dead_letter_config"]["TargetArn"]
    queue = attributes(cloud, "custodian-open-ingress-failed")
    assert arn.format(partition="aws", region="us-east-1", account_id=ACCOUNT) == queue["QueueArn"]
    assert queue["MessageRetentionPeriod"] == str(14 * 24 * 60 * 60)


def test_redrive(cloud):
    """A message that fails five times goes to a dead-letter queue for 14 days; all queues are encrypted."""
    create(cloud)
    redrive = json.loads(attributes(cloud, "custodian-mailer")["RedrivePolicy"])
    failed = attributes(cloud, "custodian-mailer-failed")
    assert redrive == {"deadLetterTargetArn": failed["QueueArn"], "maxReceiveCount": 5}
    assert failed["MessageRetentionPeriod"] == str(14 * 24 * 60 * 60)
    assert {attributes(cloud, name)["SqsManagedSseEnabled"] for name in QUEUES} == {"true"}


def test_the_mailer_has_time(cloud):
    """The queue hides a message for six times the mailer's timeout, as AWS advises."""
    create(cloud)
    timeout = yaml_load((ROOT / "mode" / "mailer.yml").read_text())["timeout"]
    assert int(attributes(cloud, "custodian-mailer")["VisibilityTimeout"]) >= 6 * timeout


def test_subscriptions(cloud):
    """E-mail and PagerDuty are subscribed if they are parameters, and else nobody is."""
    create(cloud)
    assert subscribers(cloud) == set()
    cloud.reset()
    create(cloud, Email="team@example.com", PagerDutyEmail="open-ingress@example.pagerduty.com")
    assert subscribers(cloud) == {("email", "team@example.com"), ("email", "open-ingress@example.pagerduty.com")}


@pytest.mark.parametrize("encrypted", ["no", "yes"])
def test_topic(cloud, encrypted):
    """Alarms of this account may publish to the topic; on request a key of the stack's own encrypts it and rotates."""
    keys = of_type(create(cloud, EncryptTopic=encrypted), "AWS::KMS::Key")
    assert [key["EnableKeyRotation"] for key in keys.values()] == ([True] if encrypted == "yes" else [])
    found = cloud.session().client("sns").get_topic_attributes(TopicArn=TOPIC)["Attributes"]
    ids = [each["KeyId"] for each in cloud.session().client("kms").list_keys()["Keys"]]
    assert ids == [found[name] for name in ("KmsMasterKeyId",) if name in found]
    assert json.loads(found["Policy"])["Statement"] == [
        {
            "Sid": "AlarmsPublish",
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": "sns:Publish",
            "Resource": TOPIC,
            "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
        }
    ]


def test_key(cloud):
    """The topic's key admits SNS and alarms of this account, the mailer's role by way of SNS, and nobody else."""
    (key,) = of_type(create(cloud, EncryptTopic="yes"), "AWS::KMS::Key").values()
    by_sid = statements(key["KeyPolicy"])
    assert set(by_sid) == {"TheAccountAdministers", "AlarmsAndTheTopic", "TheMailer"}
    assert by_sid["TheAccountAdministers"]["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    services = by_sid["AlarmsAndTheTopic"]
    assert services["Principal"] == {"Service": ["cloudwatch.amazonaws.com", "sns.amazonaws.com"]}
    assert services["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    mailer = by_sid["TheMailer"]
    assert mailer["Condition"] == {
        "StringEquals": {"kms:CallerAccount": ACCOUNT, "kms:ViaService": "sns.us-east-1.amazonaws.com"},
        "ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/custodian-mailer"},
    }
    assert services["Action"] == mailer["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"]


def test_alarms(cloud):
    """Alarms report dead letters, messages that nobody takes, and policies that do not run every day."""
    create(cloud)
    found = alarms(cloud)
    assert set(found) == {
        ("ApproximateNumberOfMessagesVisible", "custodian-open-ingress-failed"),
        ("ApproximateNumberOfMessagesVisible", "custodian-mailer-failed"),
        ("ApproximateAgeOfOldestMessage", "custodian-mailer"),
        ("Invocations", "custodian-open-ingress-daily"),
        ("Invocations", "custodian-open-ingress-watch-trigger"),
    }
    assert {tuple(alarm["AlarmActions"]) for alarm in found.values()} == {(TOPIC,)}
    assert len({alarm["AlarmName"] for alarm in found.values()}) == len(found)


@pytest.mark.parametrize("case", ALARMS, ids=lambda case: case["name"])
def test_each_alarm_fires(cloud, case):
    """Every alarm fires when its trouble is there, not a moment earlier, and notifies the topic's subscriber."""
    create(cloud)
    take = inbox(cloud)
    for alarm in alarms(cloud).values():
        if re.fullmatch(case["alarms"], alarm["AlarmName"]):
            put_metric(cloud, alarm, case["quiet"])
            assert not fires(cloud, alarm), alarm["AlarmName"]
            assert take() == []
            forget_metrics()
            put_metric(cloud, alarm, case["fires"])
            assert fires(cloud, alarm), alarm["AlarmName"]
            (reported,) = take()
            assert reported["Subject"] == f'ALARM: "{alarm["AlarmName"]}" in us-east-1'
            assert alarm["AlarmDescription"] in reported["Message"]
            forget_metrics()


def test_every_alarm_is_rung(cloud):
    """No alarm of the stack is without a case in which it fires."""
    create(cloud)
    names = {alarm["AlarmName"] for alarm in alarms(cloud).values()}
    rung = [name for name in names if [case for case in ALARMS if re.fullmatch(case["alarms"], name)]]
    assert sorted(rung) == sorted(names)


def test_an_alarm_may_reach_that_far(cloud):
    """No alarm's periods reach over seven days, nor over one if they are shorter than an hour, which AWS refuses.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    create(cloud)
    for alarm in alarms(cloud).values():
        reach = alarm["Period"] * alarm["EvaluationPeriods"]
        assert reach <= (7 * 86400 if alarm["Period"] >= 3600 else 86400)


def test_who_gives_notice(cloud):
    """If the policies with notice are deployed, one of them must run every day."""
    create(cloud, RunsDaily="custodian-open-ingress-noticed")
    assert ("Invocations", "custodian-open-ingress-noticed") in alarms(cloud)


def test_names_keep_their_logical_ids(cloud):
    """What an earlier version's stack has named is updated, and not created a second time, which fails."""
    made = create(cloud, RecordSecurityGroups="yes")
    for kind, key in NAMED.items():
        named = {logical_id: each for logical_id, each in of_type(made, kind).items() if key in each}
        names = {each[key]: logical_id for logical_id, each in named.items()}
        assert names.items() >= EARLIER[kind].items(), kind


def test_several_regions(cloud):
    """Roles are made in the one region that is named, whatever the order; everything else in each region."""
    first = create(cloud, "eu-central-1", RolesRegion="us-east-1")
    second = create(cloud, "us-east-1", RolesRegion="us-east-1")
    only_there = {name for name in second if name not in first}
    assert only_there == {"PolicyRole", "WatchRole", "MailerRole", "CheckPolicy", "DeployerPolicy", "UndoPolicy"}
    assert set(first) < set(second)
    assert attributes(cloud, "custodian-mailer", "eu-central-1")["QueueArn"].split(":")[3] == "eu-central-1"


def test_who_reads_the_journals(cloud):
    """The policies' role may read the logs only if c7n-org's runner may use it, to report on many accounts."""
    for parameters, reads in (({}, False), ({"RunnerArn": RUNNER}, True)):
        cloud.reset()
        (policy,) = create(cloud, **parameters)["PolicyRole"]["Properties"]["Policies"]
        assert ("ReadJournals" in statements(policy["PolicyDocument"])) == reads


def test_several_regions_by_the_page(cloud, tmp_path):
    """The page's commands create each region's stack."""
    for block in blocks(MANY, "Several regions"):
        follow(cloud, tmp_path, block)
    for region in ("us-east-1", "eu-central-1"):
        assert attributes(cloud, "custodian-mailer", region)["QueueArn"].split(":")[3] == region


def test_each_alarm_names_its_steps(cloud):
    """Each alarm's description ends with the place in docs/operate.md that says what to do, under the alarm's name."""
    create(cloud)
    for alarm in alarms(cloud).values():
        page, anchor = re.search(r" See (docs/[a-z]+\.md)#(\S+)$", alarm["AlarmDescription"]).groups()
        assert anchor == alarm["AlarmName"]
        assert f"## `{anchor}`" in PAGES[page].splitlines()


def test_roles_twice(cloud):
    """A second region's stack without the parameter for the roles' region fails, and does not take them over."""
    create(cloud, "us-east-1")
    with pytest.raises(ClientError, match="EntityAlreadyExists"):
        create(cloud, "eu-central-1")


@pytest.mark.parametrize(("partition", "region"), REGIONS.items(), ids=list(REGIONS))
def test_partitions(cloud, partition, region):
    """In each partition every ARN is of this partition, and the key's service name is the partition's own."""
    options = {name: value.replace("arn:aws:", f"arn:{partition}:") for name, value in OPTIONS.items()}
    made = json.dumps(create(cloud, region, **options))
    assert f"arn:{partition}:" in made
    assert {text.split(":")[0] for text in made.split('"arn:')[1:]} == {partition}
    suffix = SUFFIXES.get(partition, "amazonaws.com")
    assert f'"sns.{region}.{suffix}"' in made


def test_organization(cloud):
    """The pack's roles of the organization may look for and send to the mailer's queue; nobody else may."""
    create(cloud)
    assert "Policy" not in attributes(cloud, "custodian-mailer")
    cloud.reset()
    create(cloud, OrganizationId="o-abcdefghij")
    queue = attributes(cloud, "custodian-mailer")
    assert json.loads(queue["Policy"])["Statement"] == [
        {
            "Sid": "TheOrganizationSends",
            "Effect": "Allow",
            "Principal": "*",
            "Action": ["sqs:SendMessage", "sqs:GetQueueAttributes"],
            "Resource": queue["QueueArn"],
            "Condition": {
                "StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij"},
                "ArnLike": {
                    "aws:PrincipalArn": [
                        "arn:aws:iam::*:role/custodian-open-ingress",
                        "arn:aws:iam::*:role/custodian-open-ingress-*",
                    ]
                },
            },
        }
    ]
    assert not any("Policy" in attributes(cloud, name) for name in QUEUES - {"custodian-mailer"})


@pytest.mark.parametrize(
    ("principal", "organization", "may"),
    [
        ("arn:aws:iam::222222222222:role/custodian-open-ingress", "o-abcdefghij", True),
        ("arn:aws:iam::222222222222:role/custodian-open-ingress-watch", "o-abcdefghij", True),
        ("arn:aws:iam::222222222222:role/custodian-open-ingress-undo", "o-abcdefghij", True),
        ("arn:aws:iam::222222222222:role/custodian-open-ingress", "o-klmnopqrst", False),
        ("arn:aws:iam::222222222222:role/custodian-open-ingress", "", False),
        ("arn:aws:iam::222222222222:role/admin", "o-abcdefghij", False),
        ("arn:aws:iam::222222222222:role/teams/custodian-open-ingress", "o-abcdefghij", False),
        ("arn:aws:iam::222222222222:role/my-custodian-open-ingress", "o-abcdefghij", False),
        ("arn:aws:iam::222222222222:user/custodian-open-ingress", "o-abcdefghij", False),
        ("arn:aws:iam::222222222222:root", "o-abcdefghij", False),
    ],
)
def test_who_may_send_to_the_central_queue(cloud, principal, organization, may):
    """Roles of the pack's names in the organization may send to the mailer's queue, and nobody else."""
    create(cloud, OrganizationId="o-abcdefghij")
    queue = attributes(cloud, "custodian-mailer")
    context = {"aws:PrincipalArn": principal, "aws:PrincipalOrgID": organization}
    assert admitted(json.loads(queue["Policy"]), "sqs:SendMessage", queue["QueueArn"], context) == may


def test_another_account_notifies(cloud):
    """With a central queue there is no mailer here, and the policies' role may send to that queue in place of one."""
    resources = create(cloud, CentralQueueArn=CENTRAL_QUEUE)
    assert not [name for name in resources if name.startswith("Mailer")]
    roles = of_type(resources, "AWS::IAM::Role")
    assert set(roles) == {"PolicyRole", "WatchRole"}
    for role in roles.values():
        send = statements(role["Policies"][0]["PolicyDocument"])["SendMessages"]
        assert send["Resource"] == [CENTRAL_QUEUE, f"arn:aws:sqs:*:{ACCOUNT}:custodian-open-ingress-failed"]
    undo = statements(resources["UndoPolicy"]["Properties"]["PolicyDocument"])
    assert undo["SendMessages"]["Resource"] == CENTRAL_QUEUE
    assert {watched for _, watched in alarms(cloud)} == {
        "custodian-open-ingress-failed",
        "custodian-open-ingress-daily",
        "custodian-open-ingress-watch-trigger",
    }


def test_trust(cloud):
    """Only Lambda may assume the roles; c7n-org may assume the policies' role if a parameter says so."""
    lambda_ = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    runner = {"Effect": "Allow", "Principal": {"AWS": RUNNER}, "Action": "sts:AssumeRole"}
    others = {"WatchRole": [lambda_], "MailerRole": [lambda_]}
    assert trusted(create(cloud)) == {"PolicyRole": [lambda_], **others}
    cloud.reset()
    assert trusted(create(cloud, RunnerArn=RUNNER)) == {"PolicyRole": [lambda_, runner], **others}


def trusted(resources):
    """Return the trust policy's statements of each role."""
    roles = of_type(resources, "AWS::IAM::Role")
    return {name: role["AssumeRolePolicyDocument"]["Statement"] for name, role in roles.items()}


def test_recorder(cloud):
    """On request, AWS Config records security groups, and nothing else, into a bucket that is not public."""
    assert not [each for each in create(cloud).values() if each["Type"].startswith(("AWS::Config", "AWS::S3"))]
    cloud.reset()
    resources = create(cloud, RecordSecurityGroups="yes")
    config = cloud.session().client("config")
    (recorder,) = config.describe_configuration_recorders()["ConfigurationRecorders"]
    assert recorder["recordingGroup"]["resourceTypes"] == ["AWS::EC2::SecurityGroup"]
    assert not recorder["recordingGroup"]["allSupported"]
    (status,) = config.describe_configuration_recorder_status()["ConfigurationRecordersStatus"]
    assert status["recording"]
    (channel,) = config.describe_delivery_channels()["DeliveryChannels"]
    cloud.session().client("s3").head_bucket(Bucket=channel["s3BucketName"])
    bucket = resources["RecorderBucket"]
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["DeletionPolicy"] == "Retain"


def test_outputs(cloud):
    """The outputs are what mode/accounts.yml asks for."""
    create(cloud)
    (stack,) = cloud.session().client("cloudformation").describe_stacks()["Stacks"]
    assert {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]} == {
        "TopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:open-ingress",
        "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:custodian-mailer",
    }
