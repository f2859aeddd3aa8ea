import json
import re
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError
from embedded import CASES_OF_OPEN_INGRESS, POLICIES, ROOT, edited, load, rules_of, source_of
from stacked import ACCOUNT, TEMPLATE, create, inbox, of_type, poll, stop_polling

from mode.local.config import configuration_item, event
from mode.local.runtime import deployed

README = ROOT / "mode" / "README.md"
POLICY = "policies/open-ingress.yml"
CENTRAL_QUEUE = "arn:aws:sqs:us-east-1:210987654321:custodian-mailer"
RUNNER = "arn:aws:iam::210987654321:role/c7n-org"
DEPLOYED = [path for path in POLICIES if "mode:" in path.read_text()]
FUNCTIONS = sorted(["custodian-mailer", *(f"custodian-{path.stem}" for path in DEPLOYED)])
QUEUES = {"custodian-mailer", "custodian-mailer-failed", "custodian-open-ingress-failed"}
REGIONS = {"aws": "eu-central-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}
OPTIONS = {
    "Email": "team@example.com",
    "PagerDutyEmail": "open-ingress@example.pagerduty.com",
    "MailFrom": "custodian@example.com",
    "OrganizationId": "o-abcdefghij",
    "RunnerArn": RUNNER,
    "AuthorizedFrom": "networks/authorized.txt",
    "RecordSecurityGroups": "yes",
}
OPEN, *_ = CASES_OF_OPEN_INGRESS


def attributes(cloud, queue, region="us-east-1"):
    """Give a queue's attributes."""
    sqs = cloud.session(region).client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def subscribers(cloud):
    """Give the addresses that are subscribed to the topic, with their protocol."""
    found = cloud.session().client("sns").list_subscriptions()["Subscriptions"]
    return {(each["Protocol"], each["Endpoint"]) for each in found}


def alarms(cloud):
    """Give the alarms by what they watch: the metric and the one queue or function."""
    found = cloud.session().client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {(alarm["MetricName"], alarm["Dimensions"][0]["Value"]): alarm for alarm in found}


def statements(document):
    """Give the statements of a policy document by their Sid."""
    return {each["Sid"]: each for each in document["Statement"]}


def commands():
    """Give the commands of the README, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", "").splitlines()]


def stacks():
    """Give region and parameters of the stacks that the README makes."""
    parser = ArgumentParser()
    parser.add_argument("--region")
    parser.add_argument("--stack-name")
    parser.add_argument("--template-file", type=Path)
    parser.add_argument("--capabilities")
    parser.add_argument("--parameter-overrides", nargs="+")
    made = [command[3:] for command in commands() if command[:3] == ["aws", "cloudformation", "deploy"]]
    for options in map(parser.parse_args, made):
        assert ROOT / options.template_file == TEMPLATE
        assert options.capabilities == "CAPABILITY_NAMED_IAM"
        yield options.region, dict(text.split("=") for text in options.parameter_overrides)


def deploy(cloud, folder):
    """Follow the README's steps 2 to 4 word by word, in a copy of the repository, with networks put in."""
    copy = folder / "copy"
    shutil.copytree(ROOT / "mode", copy / "mode", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "policies").mkdir()
    for policy in ("open-ingress", "open-ingress-daily"):
        edited(policy, copy / "policies", ["198.18.7.0/24", "2001:2:0:7::/64"])
    scripts = Path(sys.executable).parent
    environment = cloud.environment() | {"PATH": f"{scripts}:/usr/bin:/bin"}
    steps = [command for command in commands() if command[0] in ("custodian", "python")]
    assert [step[:3] for step in steps[:2]] == [["custodian", "validate", POLICY], ["custodian", "run", "--region"]]
    assert steps[2][:3] == ["python", "-m", "mode.mailer.deploy"]
    for step in steps:
        done = subprocess.run(step, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_lint():
    """cfn-lint has nothing to say, for any of the partitions."""
    command = [Path(sys.executable).with_name("cfn-lint"), "--regions", *REGIONS.values(), "--", TEMPLATE]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, "")


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


def test_the_whole_loop(cloud, tmp_path):
    """Who follows the README word by word has all of it running, from AWS Config's item to the topic's subscriber."""
    region, parameters = next(stacks())
    create(cloud, region, **parameters)
    take = inbox(cloud)
    deploy(cloud, tmp_path)
    stop_polling(cloud)
    client = cloud.session().client("lambda")
    roles = {each["FunctionName"]: each["Role"].rpartition("/")[2] for each in client.list_functions()["Functions"]}
    assert roles == {
        "custodian-mailer": "custodian-mailer",
        "custodian-open-ingress": "custodian-open-ingress",
        "custodian-open-ingress-daily": "custodian-open-ingress",
    }
    load([OPEN[1]])

    with deployed(cloud, "custodian-open-ingress") as policy:
        policy.invoke(event(configuration_item(OPEN[1]), "custodian-open-ingress"))
    with deployed(cloud, "custodian-mailer") as mailer:
        assert poll(cloud.session(), mailer) == 1

    assert "0.0.0.0/0" not in {source_of(rule) for rule in rules_of(cloud, OPEN[1]["GroupId"]).values()}
    (told,) = take()
    assert told["Subject"].startswith("Open ingress: ")
    assert OPEN[1]["GroupId"] in told["Message"]


def test_logs(cloud):
    """Each Lambda's log group is there before it, so that the logs do not pile up for ever."""
    create(cloud)
    logs = cloud.session().client("logs").describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
    assert sorted(each["logGroupName"] for each in logs) == [f"/aws/lambda/{name}" for name in FUNCTIONS]
    assert {each["retentionInDays"] for each in logs} == {365}


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: path.stem)
def test_dead_letters(cloud, path):
    """A policy's Lambda has its dead letters in the queue that the stack makes, which keeps them for 14 days."""
    create(cloud)
    (policy,) = yaml.safe_load(path.read_text())["policies"]
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
    timeout = yaml.safe_load((ROOT / "mode" / "mailer" / "mailer.yml").read_text())["timeout"]
    assert int(attributes(cloud, "custodian-mailer")["VisibilityTimeout"]) >= 6 * timeout


def test_subscriptions(cloud):
    """E-mail and PagerDuty are subscribed if they are given, and nobody is if not."""
    create(cloud)
    assert subscribers(cloud) == set()
    cloud.reset()
    create(cloud, Email="team@example.com", PagerDutyEmail="open-ingress@example.pagerduty.com")
    assert subscribers(cloud) == {("email", "team@example.com"), ("email", "open-ingress@example.pagerduty.com")}


def test_topic(cloud):
    """The topic is encrypted with the stack's own key, which rotates; this account's alarms may publish to it."""
    (key,) = of_type(create(cloud), "AWS::KMS::Key").values()
    assert key["EnableKeyRotation"] is True
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:open-ingress"
    found = cloud.session().client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    assert [each["KeyId"] for each in cloud.session().client("kms").list_keys()["Keys"]] == [found["KmsMasterKeyId"]]
    assert json.loads(found["Policy"])["Statement"] == [
        {
            "Sid": "AlarmsTell",
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": "sns:Publish",
            "Resource": topic,
            "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
        }
    ]


def test_key(cloud):
    """The topic's key admits SNS and alarms of this account, the mailer's role by way of SNS, and nobody else."""
    (key,) = of_type(create(cloud), "AWS::KMS::Key").values()
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
    """Alarms tell the topic of either dead-letter queue, of each Lambda's errors, and of messages that nobody takes."""
    create(cloud)
    found = alarms(cloud)
    assert set(found) == {
        ("ApproximateNumberOfMessagesVisible", "custodian-open-ingress-failed"),
        ("ApproximateNumberOfMessagesVisible", "custodian-mailer-failed"),
        ("ApproximateAgeOfOldestMessage", "custodian-mailer"),
        *(("Errors", name) for name in FUNCTIONS),
    }
    for (metric, watched), alarm in found.items():
        assert alarm["AlarmActions"] == [f"arn:aws:sns:us-east-1:{ACCOUNT}:open-ingress"]
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        assert alarm["Threshold"] == (900 if metric == "ApproximateAgeOfOldestMessage" else 1)
        assert alarm["Statistic"] == ("Sum" if metric == "Errors" else "Maximum")
        assert alarm["TreatMissingData"] == "notBreaching"
        assert watched in alarm["AlarmName"]


def test_several_regions(cloud):
    """Roles are made in the one region that is named, whatever the order; everything else in each region."""
    first = create(cloud, "eu-central-1", RolesRegion="us-east-1")
    second = create(cloud, "us-east-1", RolesRegion="us-east-1")
    only_there = {name for name in second if name not in first}
    assert only_there == {"PolicyRole", "MailerRole", "DeployerPolicy"}
    assert set(first) < set(second)
    assert attributes(cloud, "custodian-mailer", "eu-central-1")["QueueArn"].split(":")[3] == "eu-central-1"


def test_several_regions_by_the_readme(cloud):
    """The README's commands for several regions make each region's stack."""
    for region, parameters in list(stacks())[1:]:
        create(cloud, region, **parameters)
        assert attributes(cloud, "custodian-mailer", region)["QueueArn"].split(":")[3] == region


def test_the_readmes_other_commands():
    """What else the README has people type is there, with the options that it names."""
    assert shlex.split("c7n-org validate --per-account -c mode/accounts.yml") == commands()[-5][:5]
    assert {command[0] for command in commands()} == {"aws", "python3", "custodian", "python", "c7n-org"}
    *_, delete_rule, delete_function, redrive = commands()
    assert delete_rule[:3] == ["aws", "configservice", "delete-config-rule"]
    assert delete_function[:3] == ["aws", "lambda", "delete-function"]
    assert delete_rule[-1] == delete_function[-1] == "custodian-open-ingress"
    boto3.client("sqs").meta.service_model.operation_model("StartMessageMoveTask")
    assert redrive[:4] == ["aws", "sqs", "start-message-move-task", "--source-arn"]
    alarms_told = set(re.findall(r"`(custodian-[a-z-]+)`", README.read_text().rpartition("### When an alarm rings")[2]))
    template = yaml.load(TEMPLATE.read_text(), Loader=yaml.BaseLoader)["Resources"].values()
    names = {each["Properties"]["AlarmName"] for each in template if each["Type"] == "AWS::CloudWatch::Alarm"}
    assert alarms_told == {name for name in names if not re.fullmatch("custodian-open-ingress-.+-errors", name)}


def test_roles_twice(cloud):
    """A second region's stack that is not told where the roles are fails, and does not take them over."""
    create(cloud, "us-east-1")
    with pytest.raises(ClientError, match="EntityAlreadyExists"):
        create(cloud, "eu-central-1")


@pytest.mark.parametrize(("partition", "region"), REGIONS.items(), ids=list(REGIONS))
def test_partitions(cloud, partition, region):
    """In each partition every ARN is of this partition, and the key's service name is the partition's own."""
    made = json.dumps(create(cloud, region, **OPTIONS | {"RunnerArn": RUNNER.replace("aws", partition, 1)}))
    assert f"arn:{partition}:" in made
    assert {text.split(":")[0] for text in made.split('"arn:')[1:]} == {partition}
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    assert f'"sns.{region}.{suffix}"' in made


def test_organization(cloud):
    """The organization that is named may send to the mailer's queue, and nobody else; without one, nobody may."""
    create(cloud)
    assert "Policy" not in attributes(cloud, "custodian-mailer")
    cloud.reset()
    create(cloud, OrganizationId="o-abcdefghij")
    queue = attributes(cloud, "custodian-mailer")
    assert json.loads(queue["Policy"])["Statement"] == [
        {
            "Sid": "TheOrganizationTells",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "sqs:SendMessage",
            "Resource": queue["QueueArn"],
            "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij"}},
        }
    ]
    assert not any("Policy" in attributes(cloud, name) for name in QUEUES - {"custodian-mailer"})


def test_another_account_tells(cloud):
    """With a central queue there is no mailer here, and the policies' role may send to that queue in place of one."""
    resources = create(cloud, CentralQueueArn=CENTRAL_QUEUE)
    assert not [name for name in resources if name.startswith("Mailer")]
    (role,) = of_type(resources, "AWS::IAM::Role").values()
    tell = statements(role["Policies"][0]["PolicyDocument"])["Tell"]
    assert tell["Resource"] == [CENTRAL_QUEUE, f"arn:aws:sqs:*:{ACCOUNT}:custodian-open-ingress-failed"]
    assert {watched for _, watched in alarms(cloud)} == {"custodian-open-ingress-failed", *FUNCTIONS[1:]}


def test_trust(cloud):
    """Lambda alone takes on the roles; who runs c7n-org may take on the policies' role if the stack is told so."""
    lambda_ = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    runner = {"Effect": "Allow", "Principal": {"AWS": RUNNER}, "Action": "sts:AssumeRole"}
    assert trusted(create(cloud)) == {"PolicyRole": [lambda_], "MailerRole": [lambda_]}
    cloud.reset()
    assert trusted(create(cloud, RunnerArn=RUNNER)) == {"PolicyRole": [lambda_, runner], "MailerRole": [lambda_]}


def trusted(resources):
    """Give the trust policy's statements of each role."""
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
