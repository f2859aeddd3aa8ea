import asyncio
import base64
import csv
import json
import os
import re
import shlex
import signal
import sys
import time
import zlib
from argparse import ArgumentParser
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit
from zipfile import ZipFile

import boto3
import jsonschema
import pytest
import yaml
from botocore.exceptions import ClientError
from c7n.utils import yaml_load
from c7n_org.cli import CONFIG_SCHEMA
from moto.core.exceptions import AccessDeniedError
from moto.iam.models import iam_backends
from moto.sqs.models import sqs_backends
from moto.sqs.responses import SQSResponse
from moto.sts.models import sts_backends
from moto.sts.responses import TokenResponse

from c7n_ingress.decide.settings import KEYS
from c7n_ingress_tools.check import canary
from c7n_ingress_tools.embedded_aws.config import configuration_item, event, record
from c7n_ingress_tools.embedded_aws.ec2 import load_groups
from c7n_ingress_tools.embedded_aws.server import CREDENTIALS
from c7n_ingress_tools.embedded_aws.services import code_at
from c7n_ingress_tools.functions.runtime import deployed
from tests.support.docs import BLOCKS, blocks, commands
from tests.support.embedded import ROOT, group_of
from tests.support.faults import failing
from tests.support.followed import attempted, copied, stack_of, typed
from tests.support.forked import C7N_INGRESS, forked
from tests.support.kept import once
from tests.support.meanwhile import repeating, started
from tests.support.search import by_day
from tests.support.stacked import admitted, create, stop_polling

C7N_ORG = Path(sys.executable).with_name("c7n-org")
SAMPLE = ROOT / "mode" / "accounts.yml"
SWEEP = "policies/open-ingress-sweep.yml"
FUNCTION = "custodian-open-ingress"
ISSUED = ("AccessKeyId", "SecretAccessKey", "SessionToken")

CENTRAL, FORGOTTEN, STRANGER = "123456789012", "200000000099", "300000000001"
ACCOUNTS = {f"2000000000{number:02}": number for number in range(1, by_day(3, at_night=20) + 1)}
FIRST, SECOND, *_ = ACCOUNTS
REGIONS = ["eu-central-1", "us-east-1"]
ORGANIZATION = "o-abcdefghij"
RUNNER = f"arn:aws:iam::{CENTRAL}:role/c7n-org"
QUEUE = f"arn:aws:sqs:us-east-1:{CENTRAL}:custodian-mailer"
OTHER_QUEUE = f"arn:aws:sqs:eu-central-1:{CENTRAL}:custodian-mailer"
TOPIC = f"arn:aws:sns:us-east-1:{CENTRAL}:open-ingress"
EVERYBODY = ["0.0.0.0/0", "::/0"]
REFUSED = "account-{} us-east-1 1 1 0 0 0 replace-ingress changed nothing: '{{authorized}}' is not a list of CIDRs"
HOST_BITS = "policy open-ingress-sweep: replace-ingress: '198.18.1.1/24' is not a CIDR: write '198.18.1.0/24',"


# ---- What AWS does between accounts, and moto does not


def assume_role(response, original=TokenResponse.assume_role):
    """Refuse a role that does not exist, or does not trust the caller. AWS has one answer for both."""
    arn = response._get_param("RoleArn")
    roles = iam_backends[arn.split(":")[4]]["aws"].get_roles()
    if not any(role.arn == arn and RUNNER in json.dumps(role.assume_role_policy_document) for role in roles):
        raise AccessDeniedError(user_arn=RUNNER, action="sts:AssumeRole")
    return original(response)


def queue_of_url(response):
    """Return the queues of the account in the queue's URL, if its policy lets this account in."""
    url = response._get_param("QueueUrl") or ""
    owner = url.split("/")[-2] if "/" in url else response.current_account
    backend = sqs_backends[owner][response.region]
    if owner == response.current_account:
        return backend
    queue = backend.get_queue(url.rpartition("/")[2])
    key = response.get_access_key()
    found = (each["aws"].get_assumed_role_from_access_key(key) for each in sts_backends.values())
    role = next((role.role_arn for role in found if role), "")
    within = ORGANIZATION if response.current_account in {*ACCOUNTS, FORGOTTEN} else ""
    context = {"aws:PrincipalArn": role, "aws:PrincipalOrgID": within}
    if not admitted(json.loads(queue.policy or '{"Statement": []}'), "sqs:SendMessage", queue.queue_arn, context):
        raise AccessDeniedError(user_arn=response.current_account, action="sqs:SendMessage")
    return backend


@pytest.fixture
def organization(cloud, monkeypatch):
    """Return an organization, with the stack in the central account."""
    monkeypatch.setattr(TokenResponse, "assume_role", assume_role)
    monkeypatch.setattr(SQSResponse, "sqs_backend", property(queue_of_url))
    once(cloud, "organization", lambda: create(cloud, OrganizationId=ORGANIZATION) and None)
    return cloud


def join(cloud, account):
    """Create the stack in an account of the organization, in the region that makes the roles."""
    create(cloud, "us-east-1", account, CentralQueueArn=QUEUE, RunnerArn=RUNNER)


# ---- The accounts' own


def networks(number):
    """Return an account's own networks, in the order that text has."""
    return [f"198.18.{number}.0/24", f"2001:2:0:{number:x}::/64"]


def open_group(account):
    """Return a group of an account that lets everybody in, by IPv4 and IPv6."""
    ingress = [{"protocol": "tcp", "ports": 22, "source": source} for source in EVERYBODY]
    return group_of({"name": "web", "ingress": ingress}, 1) | {"OwnerId": account}


def exempt_group(account):
    """Return a group of an account that is exempt for some days."""
    ingress = [{"protocol": "tcp", "ports": 443, "source": "0.0.0.0/0"}]
    group = group_of({"name": "shop", "ingress": ingress, "tags": {"open-ingress-until": "+30"}}, 2)
    return group | {"OwnerId": account}


def sources(cloud, account, region):
    """Return the sources of the account's open group, as they are now."""
    ec2 = cloud.session(region, account).client("ec2")
    groups = [open_group(account)["GroupId"]]
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": groups}])["SecurityGroupRules"]
    return sorted(rule.get("CidrIpv4") or rule["CidrIpv6"] for rule in rules if not rule["IsEgress"])


def accounts_file(folder, accounts):
    """Write a file as the sample has it, with these accounts."""
    sample = yaml_load(SAMPLE.read_text())
    pattern = sample["accounts"][0]
    sample["vars"] |= {"tell": [TOPIC], "queue": QUEUE}
    sample["accounts"] = [
        pattern | {"name": f"account-{account}", "account_id": account, "vars": own}
        for account, own in accounts.items()
    ]
    path = folder / "accounts.yml"
    path.write_text(yaml.safe_dump(sample))
    return path


def c7n_org(cloud, folder, command, accounts, *options):
    """Run the stock command with the sweep in accounts."""
    command = [C7N_ORG, command, "-c", accounts_file(folder, accounts), "-u", SWEEP, *options]
    return forked(command, env=cloud.environment(), cwd=ROOT)


def run_everywhere(cloud, folder, accounts):
    """Run the sweep over accounts."""
    return c7n_org(cloud, folder, "run", accounts, "-s", folder / "out", "--cache-path", folder)


def messages(cloud):
    """Take all messages from the central queue, unpacked."""
    sqs = cloud.session().client("sqs")
    url = sqs.get_queue_url(QueueName="custodian-mailer")["QueueUrl"]
    found = []
    while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [json.loads(zlib.decompress(base64.b64decode(message["Body"]))) for message in batch]
    return found


def test_sample():
    """The sample is one that c7n-org takes, and every account in it fills what the policy asks for."""
    sample = yaml_load(SAMPLE.read_text())
    jsonschema.validate(sample, CONFIG_SCHEMA)
    assert set(sample["vars"]) == {*KEYS} - {"authorized", "undo-days"}
    assert all(account["vars"]["authorized"] for account in sample["accounts"])


def test_many_accounts(organization, tmp_path):
    """Each account's groups get its own networks in each region, and one report each; an account without role fails."""
    for account in ACCOUNTS:
        join(organization, account)
    for account in [*ACCOUNTS, FORGOTTEN]:
        for region in REGIONS:
            load_groups([open_group(account)], region)
    accounts = {account: {"authorized": networks(number)} for account, number in ACCOUNTS.items()}

    done = run_everywhere(organization, tmp_path, {FORGOTTEN: {"authorized": networks(99)}, **accounts})

    assert done.returncode == 1
    refused = [line for line in done.stderr.splitlines() if "Access denied api:AssumeRole" in line]
    assert len(refused) == len(REGIONS)
    assert all(f"account:account-{FORGOTTEN}" in line for line in refused)
    reported = messages(organization)
    assert {message["action"]["to"][0] for message in reported} == {TOPIC}
    assert sorted((message["account_id"], message["region"]) for message in reported) == sorted(
        (account, region) for account in ACCOUNTS for region in REGIONS
    )
    for account, own in accounts.items():
        for region in REGIONS:
            assert sources(organization, account, region) == own["authorized"]
    assert sources(organization, FORGOTTEN, "us-east-1") == EVERYBODY


def report_of(folder, *options):
    """Run the command on what c7n-org wrote, and return what it printed, with single spaces, and the JSON."""
    command = [C7N_INGRESS, "report", folder / "out", *options]
    done = forked(command, cwd=ROOT)
    assert done.stderr == ""
    made = json.loads((folder / "out" / "report.json").read_text())
    return done.returncode, [" ".join(line.split()) for line in done.stdout.splitlines()], made


def test_one_table_and_one_report(organization, tmp_path):
    """A sweep ends with one table and one page: what failed comes first, with the reason, and nothing is left out.

    An account whose vars lack the networks fails aloud and stays as it is, and the others are done.
    """
    third, fourth = "200000000003", "200000000004"
    for account in (FIRST, SECOND, third, fourth):
        join(organization, account)
        load_groups([open_group(account)], "us-east-1")
    load_groups([exempt_group(SECOND)], "us-east-1")
    sweep = {
        FORGOTTEN: {"authorized": networks(99)},
        FIRST: {"authorized": networks(1)},
        SECOND: {"authorized": networks(2)},
        third: {"authorized": ["198.18.1.1/24"]},
        fourth: {},
    }
    done = run_everywhere(organization, tmp_path, sweep)
    assert done.returncode == 1
    assert f"account:account-{fourth}" in done.stderr
    assert sources(organization, fourth, "us-east-1") == EVERYBODY
    assert sources(organization, SECOND, "us-east-1") == networks(2)
    (tmp_path / "c7n-org.log").write_text(done.stderr)
    accounts = tmp_path / "accounts.yml"

    code, lines, made = report_of(tmp_path, "--accounts", accounts, "--log", tmp_path / "c7n-org.log")
    assert code == 1
    assert [line for line in lines if line.startswith(("account-", "all "))] == [
        REFUSED.format(fourth),
        *(f"account-{third} {region} - - - - - {HOST_BITS}" for region in REGIONS),
        *(f"account-{FORGOTTEN} {region} - - - - - Access denied api:AssumeRole" for region in REGIONS),
        f"account-{SECOND} us-east-1 1 0 0 1 1",
        f"account-{FIRST} us-east-1 1 0 0 0 1",
        f"account-{FIRST} eu-central-1 0 0 0 0 0",
        f"account-{SECOND} eu-central-1 0 0 0 0 0",
        f"account-{fourth} eu-central-1 0 0 0 0 0",
        "all 3 1 0 1 2",
    ]
    assert lines[0] == made["headline"] == "5 of 10 accounts and regions failed"
    states = Counter(row["account"] + " " + row["state"] for row in made["rows"])
    assert states == {f"{FIRST} closed": 2, f"{SECOND} closed": 2, f"{fourth} not closed": 2}
    with (tmp_path / "out" / "report.csv").open(encoding="utf-8-sig", newline="") as file:
        failed = [row for row in csv.DictReader(file) if row["state"] == "failed"]
    assert [(row["account"], row["region"]) for row in failed[1:3]] == [(third, region) for region in REGIONS]

    code, lines, made = report_of(tmp_path)  # of those that wrote something
    assert code == 1
    assert {place["name"] for place in made["places"]} == {f"account-{each}" for each in sweep if each != third}
    assert sum("usually because its role cannot be assumed" in line for line in lines) == len(REGIONS)

    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    code, lines, made = report_of(tmp_path, "--accounts", accounts, "--since", tomorrow.isoformat())
    assert (code, made["rows"], made["headline"]) == (1, [], "10 of 10 accounts and regions failed")
    assert sum("no output since" in line for line in lines) == 6


def test_the_page_shows_what_a_sweep_prints(organization, tmp_path):
    """The page's table is what its commands print, and the last one ends with 1."""
    names = {"shop": FIRST, "web": SECOND, "lab": FORGOTTEN}
    for account in (FIRST, SECOND):
        join(organization, account)
    for region in REGIONS:
        load_groups([open_group(FIRST)], region)
    load_groups([exempt_group(FIRST)], "eu-central-1")
    copy = copied(tmp_path)
    accounts = yaml.safe_load(
        accounts_file(copy, {each: {"authorized": networks(1)} for each in names.values()}).read_text()
    )
    for name, account in zip(names, accounts["accounts"], strict=True):
        account["name"] = name
    (copy / "accounts.yml").write_text(yaml.safe_dump(accounts))
    (steps,) = blocks("docs/many-accounts.md", "Sweep all accounts")
    role, sweep, table = commands(steps)
    typed(organization, copy, role)
    typed(organization, copy, sweep)
    done = attempted(organization, copy, table)
    assert done.returncode == 1
    (shown,) = [block.text for block in BLOCKS if block[:3] == ("docs/many-accounts.md", "Sweep all accounts", "text")]
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    assert printed == shown.splitlines(), done.stdout


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGINT, id="Ctrl-C", marks=pytest.mark.soak),
    ],
)
def test_a_job_that_is_cancelled(organization, tmp_path, ask):
    """If a job is ended, each running account reports, no further one starts, and no process stays."""
    accounts = dict(list(ACCOUNTS.items())[:4])
    for account in accounts:
        join(organization, account)
        load_groups([open_group(account)], "us-east-1")
    begun = []

    async def hang(call):
        if call == "ModifySecurityGroupRules":
            begun.append(call)
            await asyncio.sleep(3600 if len(begun) <= 2 else 0)

    with failing(organization) as aws:
        aws.proxy.passing(hang)
        own = {account: {"authorized": networks(number)} for account, number in accounts.items()}
        command = [C7N_ORG, "run", "-c", accounts_file(tmp_path, own), "-u", SWEEP, "-r", "us-east-1"]
        command += ["-s", tmp_path / "out", "--cache-path", tmp_path]
        environment = aws.environment() | {"C7N_ORG_PARALLEL": "2"}
        with started(command, env=environment, cwd=ROOT, start_new_session=True) as job:
            while len(begun) < 2:
                time.sleep(0.1)
            os.killpg(job.pid, ask)
            job.communicate(timeout=60)  # until nobody has its standard error any more
    assert len(begun) == 2
    assert len({message["account_id"] for message in messages(organization)}) == 2


def test_every_account_well(organization, tmp_path):
    """When nothing fails, the command's exit code says so."""
    join(organization, FIRST)
    load_groups([open_group(FIRST)], "us-east-1")
    assert run_everywhere(organization, tmp_path, {FIRST: {"authorized": networks(1)}}).returncode == 0
    assert sources(organization, FIRST, "us-east-1") == networks(1)


def test_validation(cloud, tmp_path):
    """Networks that no run would take are found by `c7n-org validate --per-account`; `run` exits with 0 on some."""
    own = {FIRST: {"authorized": networks(1)}}
    assert c7n_org(cloud, tmp_path, "validate", own, "--per-account").returncode == 0
    host_bits, missing = "200000000003", "200000000004"
    own |= {host_bits: {"authorized": ["198.18.1.1/24"]}, missing: {}}
    done = c7n_org(cloud, tmp_path, "validate", own, "--per-account")
    assert done.returncode == 1, done.stderr
    judged = re.findall(r"validation (PASSED|FAILED): account-(\d+)", done.stderr)
    assert judged == [("PASSED", FIRST), ("FAILED", host_bits), ("FAILED", missing)]


def under(organization, account, role):
    """Return a client of SQS under a role of an account."""
    trust = json.dumps({"Statement": [{"Effect": "Allow", "Principal": {"AWS": RUNNER}, "Action": "sts:AssumeRole"}]})
    session = organization.session("us-east-1", account)
    arn = session.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    given = session.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    return boto3.client(
        "sqs",
        region_name="us-east-1",
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


def test_strangers(organization):
    """The pack's roles of the organization may send to the central queue; other roles and accounts may not."""
    url = f"https://sqs.us-east-1.amazonaws.com/{CENTRAL}/custodian-mailer"
    under(organization, FIRST, "custodian-open-ingress").send_message(QueueUrl=url, MessageBody="reported")
    strangers = [under(organization, FIRST, "admin"), under(organization, STRANGER, "custodian-open-ingress")]
    for stranger in [*strangers, organization.session("us-east-1", SECOND).client("sqs")]:
        with pytest.raises(ClientError, match="AccessDenied"):
            stranger.send_message(QueueUrl=url, MessageBody="reported")


def stack_sets(command):
    """Return the parameters of a command that makes a stack set, or the regions of one that makes its instances."""
    parser = ArgumentParser()
    for name in ("region", "stack-set-name", "template-body", "capabilities", "permission-model"):
        parser.add_argument(f"--{name}")
    for name in ("auto-deployment", "deployment-targets", "operation-preferences"):
        parser.add_argument(f"--{name}")
    for name in ("parameters", "regions"):
        parser.add_argument(f"--{name}", nargs="+")
    return parser.parse_args(shlex.split(command)[3:])


def joined(cloud, accounts):
    """Make an organization of accounts. Each has a role that trusts the runner of c7n-org."""
    client = cloud.session().client("organizations")
    client.create_organization(FeatureSet="ALL")
    statement = {"Effect": "Allow", "Principal": {"AWS": RUNNER}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    made = {}
    for name, tags in accounts.items():
        status = client.create_account(Email=f"{name}@example.com", AccountName=name)["CreateAccountStatus"]
        made[name] = account = status["AccountId"]
        client.tag_resource(ResourceId=account, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
        iam = cloud.session("us-east-1", account).client("iam")
        iam.update_assume_role_policy(RoleName="OrganizationAccountAccessRole", PolicyDocument=trust)
    return made


@pytest.fixture
def whole(cloud, monkeypatch, tmp_path):
    """Return an organization of two accounts and a closed one, and a copy of the pack, with the stacks of the page."""
    monkeypatch.setattr(TokenResponse, "assume_role", assume_role)
    monkeypatch.setattr(SQSResponse, "sqs_backend", property(queue_of_url))
    accounts = joined(cloud, {"first": {"open-ingress-stage": "first"}, "second": {}, "closed": {}})
    cloud.session().client("organizations").close_account(AccountId=accounts.pop("closed"))
    monkeypatch.setitem(ACCOUNTS, accounts["first"], 1)
    monkeypatch.setitem(ACCOUNTS, accounts["second"], 2)
    copy = copied(tmp_path)
    own = {"authorized": networks(7), "tell": [TOPIC], "queue": QUEUE}
    (copy / "settings.yml").write_text(yaml.safe_dump(own))
    central, stacks, *steps = blocks("docs/many-accounts.md", "All accounts of an organization")
    _install, deploy, mailer = commands(central)
    region, parameters = stack_of(deploy)
    create(cloud, region, **parameters)
    typed(cloud, copy, mailer)
    stop_polling(cloud)
    *of_stacks, _delegation = commands(stacks)
    first, second = map(stack_sets, of_stacks)
    assert first.template_body == "file://mode/stack.yml"
    given = dict(re.findall(r"ParameterKey=(\w+),ParameterValue=(\S+)", " ".join(first.parameters)))
    assert given["CentralQueueArn"] == QUEUE
    assert given["RunnerArn"] == RUNNER
    assert second.regions[0] == given["RolesRegion"]
    for account in accounts.values():
        for region in second.regions:
            create(cloud, region, account, **given)
            load_groups([open_group(account)], region)
    return cloud, copy, accounts, second.regions, steps


def test_from_nothing_to_all_accounts(whole):
    """The page's steps deploy the policies into each account and region, and list what is wrong where."""
    cloud, copy, accounts, regions, (listing, deploying, checking) = whole
    for command in commands(listing) + commands(deploying):
        typed(cloud, copy, command)
    made = json.loads((copy / "out" / "report.json").read_text())
    assert [(place["name"], place["groups"]) for place in made["places"]] == [
        (account, {"not closed": 1}) for account in sorted(accounts) for _ in regions
    ]
    for account in accounts.values():
        for region in regions:
            functions = cloud.session(region, account).client("lambda").list_functions()["Functions"]
            names = {each["FunctionName"] for each in functions}
            assert {"custodian-open-ingress", "custodian-open-ingress-daily"} <= names, (account, region)
            assert sources(cloud, account, region) == EVERYBODY
    client = cloud.session("eu-central-1", accounts["second"]).client("lambda")
    client.delete_function(FunctionName="custodian-open-ingress-daily")
    scripts, table = commands(checking)
    attempted(cloud, copy, scripts)
    done = attempted(cloud, copy, table)
    assert done.returncode == 1
    lines = re.findall(r"^[✓✗] (\w+) (\S+): ", done.stdout, re.MULTILINE)
    assert lines == [(account, region) for account in sorted(accounts) for region in sorted(regions)]
    (broken,) = re.findall(r"^✗ second eu-central-1: (?:.|\n    )*", done.stdout, re.MULTILINE)
    assert "no policy is deployed that runs every day" in broken
    assert "no policy is deployed that runs every day" not in done.stdout.replace(broken, "")


def test_a_sweep_after_the_steps(whole):
    """The page's sweep closes each account's groups, and the central queue gets a message about each."""
    cloud, copy, accounts, regions, (listing, _, _) = whole
    (sweep,) = blocks("docs/many-accounts.md", "Sweep all accounts")
    for command in commands(listing) + commands(sweep):
        typed(cloud, copy, command)
    places = sorted((account, region) for account in accounts.values() for region in regions)
    assert sorted((message["account_id"], message["region"]) for message in messages(cloud)) == places
    assert [sources(cloud, *place) for place in places] == [networks(7)] * len(places)


@pytest.mark.parametrize(
    "file",
    ["open-ingress-notice", *(pytest.param(f"open-ingress{each}", marks=pytest.mark.soak) for each in ("-sweep", ""))],
)
def test_validation_of_the_sample(cloud, tmp_path, file):
    """The sample has a value for each key that a policy file names."""
    copy = copied(tmp_path)
    sample = yaml_load(SAMPLE.read_text())
    for number, account in enumerate(sample["accounts"], 1):  # a run refuses the example's networks
        account["vars"]["authorized"] = networks(number)
    (copy / "accounts.yml").write_text(yaml.safe_dump(sample))
    typed(cloud, copy, f"c7n-org validate --per-account -c accounts.yml -u policies/{file}.yml")


def canaries(cloud, region, account):
    """Return the canary's groups in a place."""
    groups = cloud.session(region, account).client("ec2").describe_security_groups()["SecurityGroups"]
    return [group for group in groups if group["GroupName"].startswith(canary.TAG)]


@contextmanager
def watched(cloud, account, regions):
    """Let AWS Config start the account's function, under its role, when a group of the canary changes."""
    arn = f"arn:aws:iam::{account}:role/custodian-open-ingress"
    sts = cloud.session("us-east-1", account).client("sts")
    issued = sts.assume_role(RoleArn=arn, RoleSessionName="lambda")["Credentials"]
    under_role = dict(zip(CREDENTIALS, (issued[key] for key in ISSUED), strict=True))
    lambda_of = SimpleNamespace(environment=lambda **place: cloud.environment(**place) | under_role)
    known = {}

    def look(functions):
        for region, function in functions.items():
            for group in canaries(cloud, region, account):
                shape = json.dumps(group["IpPermissions"], sort_keys=True)
                if known.get(group["GroupId"]) != shape:
                    known[group["GroupId"]] = shape
                    function.invoke(event(record(configuration_item(group, region)), FUNCTION))

    with ExitStack() as stack:
        functions = {
            region: stack.enter_context(deployed(lambda_of, FUNCTION, session=cloud.session(region, account)))
            for region in regions
        }
        with repeating(partial(look, functions)):
            yield


def workflow(copy):
    """Return the scripts of the sample's steps by their names, and its variables."""
    (job,) = yaml_load((ROOT / "mode" / "deploy-workflow.yml").read_text())["jobs"].values()
    fill = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in job["env"].items())
    fill += f"export GITHUB_STEP_SUMMARY={copy / 'summary.md'}\nset -eo pipefail\n"
    return {step["name"]: fill + step["run"] for step in job["steps"] if "run" in step}, job["env"]


def test_the_workflow_with_settings_in_tags(whole):
    """A tag overrides a setting that is text; if it has the name of another setting, the step that deploys fails."""
    cloud, copy, accounts, regions, _ = whole
    client = cloud.session().client("organizations")
    client.tag_resource(ResourceId=accounts["first"], Tags=[{"Key": "queue", "Value": OTHER_QUEUE}])
    client.tag_resource(ResourceId=accounts["second"], Tags=[{"Key": "public-ports", "Value": "443"}])
    scripts, _ = workflow(copy)
    typed(cloud, copy, scripts["List the accounts"])
    assert attempted(cloud, copy, scripts["Deploy to all accounts"]).returncode == 1
    for region in regions:
        client = cloud.session(region, accounts["first"]).client("lambda")
        place = client.get_function(FunctionName=FUNCTION)["Code"]["Location"]
        with ZipFile(BytesIO(code_at(urlsplit(place).path))) as code:
            assert OTHER_QUEUE in code.read("config.json").decode()


@pytest.mark.soak
def test_the_workflow_stops_after_its_first_accounts(whole):
    """The sample's steps deploy to the first accounts, and to the others only if the check of the first is right."""
    cloud, copy, accounts, _, _ = whole
    scripts, settings = workflow(copy)
    first = ("List the accounts", "Deploy the mailer", "Deploy to the first accounts", "Check the first accounts")
    assert list(scripts) == ["Install", *first, "Deploy to all accounts", "Check all accounts"]
    *before, check = first
    for name in before:
        done = attempted(cloud, copy, scripts[name])
        assert done.returncode == 0, done
    with watched(cloud, accounts["first"], settings["REGIONS"].split()):
        done = attempted(cloud, copy, scripts[check])
        assert done.returncode == 0, done
        client = cloud.session("us-east-1", accounts["first"]).client("lambda")
        client.delete_function(FunctionName="custodian-open-ingress-daily")
        assert attempted(cloud, copy, scripts[check]).returncode == 1
    summary = (copy / "summary.md").read_text()
    assert "✗ first us-east-1: " in summary
    assert "second" not in summary

    def names(account):
        found = cloud.session("us-east-1", accounts[account]).client("lambda").list_functions()["Functions"]
        return {each["FunctionName"] for each in found}

    assert names("second") == set()
    assert attempted(cloud, copy, scripts["Deploy to all accounts"]).returncode == 0
    everywhere = names("first")
    assert {"custodian-open-ingress", "custodian-open-ingress-daily", "custodian-open-ingress-watch-rule"} <= everywhere
    assert names("second") == everywhere
    checked = attempted(cloud, copy, scripts["Check all accounts"])
    assert re.findall(r"^[✓✗] (\w+) (\S+): ", checked.stdout, re.MULTILINE) == [
        (account, region) for account in sorted(accounts) for region in settings["REGIONS"].split()[::-1]
    ], checked.stdout
