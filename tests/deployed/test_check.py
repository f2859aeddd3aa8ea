import json
import os
import re
import textwrap
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import c7n_ingress
from c7n_ingress.aws.authorized import Authorized
from c7n_ingress.decide.authorized import parse_fixed
from c7n_ingress_tools.check import account, functions, here, read, run
from c7n_ingress_tools.check.facts import OK, WRONG
from c7n_ingress_tools.cli import main
from tests.support.docs import blocks, commands
from tests.support.embedded import ROOT, cases, group_of, load
from tests.support.followed import DEPLOY, attempted, copied, deployed_pack, typed
from tests.support.forked import C7N_INGRESS, forked
from tests.support.stacked import create, put_recorder, stop_polling

CASES = cases("check")
NAME, DAILY = "custodian-open-ingress", "custodian-open-ingress-daily"
(CHECK,) = commands(blocks("docs/operate.md", "Check that it works")[0])


def checked(cloud, copy, command=CHECK):
    """Run a check, and return its exit code and its facts."""
    done = attempted(cloud, copy, f"{command} --json")
    found = json.loads(done.stdout)
    assert found["wrong"] == sum(each["state"] != OK for each in found["facts"])
    return done.returncode, found["facts"]


def record_groups(cloud):
    """Start AWS Config's recorder."""
    put_recorder(
        cloud.session(),
        {"RoleARN": "arn:aws:iam::1:role/r", "RecordingGroup": {"ResourceTypes": ["AWS::EC2::SecurityGroup"]}},
    )
    config = cloud.session().client("config")
    config.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": "records"})
    config.start_configuration_recorder(ConfigurationRecorderName="default")


def test_check(cloud, tmp_path):
    """A check finds a pack right that was deployed as the page says, and whatever breaks then, with the fix."""
    copy = deployed_pack(cloud, tmp_path)
    record_groups(cloud)
    client = cloud.session().client("lambda")
    (mapping,) = client.list_event_source_mappings()["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    cloud.calls.clear()
    code, facts = checked(cloud, copy)
    assert (code, [each for each in facts if each["state"] != OK]) == (0, [])
    assert {NAME, DAILY, "custodian-mailer", "stack", "topic", "roles", "alarms"} <= {each["name"] for each in facts}
    assert {call.action for call in cloud.calls if not call.action.startswith(("Get", "List", "Describe"))} == set()

    for case in CASES["faults"]:
        service, operation, arguments = case["call"]
        getattr(cloud.session().client(service), operation)(**arguments)
    stop_polling(cloud)
    full = [{"protocol": "tcp", "ports": 22, "source": f"198.18.{number}.0/24"} for number in range(60)]
    load([group_of({"name": "full", "ingress": full}, 1)])
    template = copy / "mode" / "stack.yml"
    template.write_text(template.read_text().replace("MessageRetentionPeriod: 1209600", "MessageRetentionPeriod: 60"))
    for path in copy.glob("policies/*.yml"):
        path.write_text(path.read_text().replace("schedule: rate(1 day)", "schedule: rate(2 days)"))
    code, facts = checked(cloud, copy)
    assert code == 1
    wrong = [
        *CASES["faults"],
        {"fact": "custodian-mailer", "says": "its event source is disabled", "fix": "c7n-ingress mailer deploy"},
        {"fact": "stack", "says": "another template than mode/stack.yml", "fix": "aws cloudformation deploy"},
        {"fact": "room in groups", "says": "sg-00000000000000001", "fix": "raise the quota"},
        {"fact": DAILY, "says": 'mode.schedule is "rate(1 day)", here "rate(2 days)"', "fix": "custodian run"},
    ]
    for case in wrong:
        assert [
            each
            for each in facts
            if each["name"] == case["fact"] and case["says"] in each["said"] and case["fix"] in each["fix"]
        ], case


def test_a_mailer_that_does_not_get_the_messages(cloud, tmp_path):
    """A check reports that the queue to which the policies send is not the one that the mailer reads."""
    copy = deployed_pack(cloud, tmp_path)
    lambdas, sqs = (cloud.session().client(service) for service in ("lambda", "sqs"))
    (mapping,) = lambdas.list_event_source_mappings()["EventSourceMappings"]
    lambdas.delete_event_source_mapping(UUID=mapping["UUID"])
    sqs.create_queue(QueueName="orders")
    orders = "arn:aws:sqs:us-east-1:123456789012:orders"
    lambdas.create_event_source_mapping(FunctionName="custodian-mailer", EventSourceArn=orders)

    def mailer(queue):
        (copy / "settings.yml").write_text(f"authorized: [198.18.7.0/24]\nqueue: {queue}")
        _, facts = checked(cloud, copy)
        (fact,) = [each for each in facts if each["name"] == "custodian-mailer"]
        return fact["state"], fact["said"], fact["fix"].partition(",")[0]

    said = "the queue custodian-mailer is not its event source, so nobody is notified"
    assert mailer("custodian-mailer") == (
        WRONG,
        said,
        "name one queue in settings.yml and in mode/mailer.yml (queue_url)",
    )
    assert mailer("https://sqs.us-east-1.amazonaws.com/{account_id}/orders")[0] == OK
    stop_polling(cloud)


def test_policies_that_send_past_the_central_queue(cloud, tmp_path):
    """A check reports that the stack names a central queue, and the settings name another."""
    copy = copied(tmp_path)
    central = "arn:aws:sqs:us-east-1:210987654321:custodian-mailer"
    create(cloud, CentralQueueArn=central)

    def queue(name):
        (copy / "settings.yml").write_text(f"authorized: [198.18.7.0/24]\nqueue: {name}")
        return [each["said"] for each in checked(cloud, copy)[1] if each["name"] == "queue"]

    assert queue(central) == []
    (said,) = queue("custodian-mailer")
    assert said == f"the policies send to custodian-mailer, and the stack names {central}, so nobody is notified"


def test_an_account_with_vars_of_its_own(cloud, tmp_path):
    """A check compares an account with its vars in c7n-org's file, and its fix deploys these vars."""
    copy = deployed_pack(cloud, tmp_path)

    def write(**own):
        account = {"name": "shop", "account_id": "123456789012", "role": "deployer", "regions": ["us-east-1"]}
        settings = yaml.safe_load((copy / "settings.yml").read_text())
        (copy / "accounts.yml").write_text(json.dumps({"vars": settings, "accounts": [{**account, "vars": own}]}))

    def wrong():
        facts = [each for each in checked(cloud, copy)[1] if each["state"] != OK]
        return {each["name"]: each for each in facts if each["name"].startswith((NAME, "accounts.yml"))}

    write(**{"authorized": ["198.18.9.0/24"], "public-ports": [443]})
    typed(cloud, copy, "c7n-org run -c accounts.yml -u policies/open-ingress.yml -s out")
    assert wrong() == {}
    write(**{"authorized": ["198.18.9.0/24"], "public-ports": [443], "at-most": 5})
    found = wrong()
    assert 'actions[0].at-most is "{at-most}", here 5' in found[DAILY]["said"]
    typed(cloud, copy, found[DAILY]["fix"])
    assert wrong().keys() == found.keys() - {DAILY}
    write(authorized=["198.18.9.1/24"])
    assert "account 123456789012: authorized: '198.18.9.1/24'" in wrong()["accounts.yml"]["said"]


def test_vars_that_differ_from_the_settings(cloud, tmp_path):
    """A check compares an account with its vars alone, and of several entries with the one that has the region."""
    copy = copied(tmp_path)
    for region in ("us-east-1", "eu-central-1"):
        create(cloud, region, RolesRegion="us-east-1")
    (copy / "settings.yml").write_text("{authorized: [198.18.7.0/24], public-ports: [443]}")
    shop = {"account_id": "123456789012", "role": "deployer"}
    own = [{"authorized-from": {"url": "s3://lists/n.txt"}}, {"authorized": ["198.18.9.0/24"], "exemptions-from": None}]
    places = [("shop eu", "eu-central-1", own[0]), ("shop us", "us-east-1", own[1])]
    listed = [{**shop, "name": name, "regions": [region], "vars": given} for name, region, given in places]
    (copy / "accounts.yml").write_text(json.dumps({"accounts": listed}))
    typed(cloud, copy, "c7n-org run -c accounts.yml -u policies/open-ingress.yml -s out")

    def wrong(region):
        _, facts = checked(cloud, copy, f"c7n-ingress check --region {region}")
        return [each for each in facts if each["name"].startswith((NAME, "policies")) and each["state"] != OK]

    assert [wrong(region) for _, region, _ in places] == [[], []]
    listed[1]["vars"] = {"authorized": ["198.18.8.0/24"]}
    (copy / "accounts.yml").write_text(json.dumps({"accounts": listed}))
    found = wrong("us-east-1")
    assert {each["fix"].partition(" -s ")[0] for each in found} == {
        "c7n-org run -c accounts.yml -a 'shop us' -r us-east-1"
    }


def test_vars_without_what_a_run_needs(cloud, tmp_path):
    """A check names an account whose vars lack the networks, or have a setting that is null."""
    copy = copied(tmp_path)
    for own, says in (({}, "name the authorized networks by either"), ({"queue": None}, "queue None is not the name")):
        networks = {"authorized": ["198.18.7.0/24"]} if own else {}
        account = {"name": "shop", "account_id": "123456789012", "role": "deployer", "vars": {**networks, **own}}
        (copy / "accounts.yml").write_text(json.dumps({"accounts": [account]}))
        _, facts = checked(cloud, copy)
        said = [each["said"] for each in facts if each["name"] == "accounts.yml"]
        assert f"accounts.yml: account 123456789012: {says}" in "".join(said)


def test_vars_that_are_there_twice(cloud, tmp_path):
    """A check names a key that c7n-org's file has twice: c7n-org would forget the first one."""
    copy = copied(tmp_path)
    account = "{name: shop, account_id: '123456789012', role: deployer, vars: {public-ports: [80], public-ports: []}}"
    (copy / "accounts.yml").write_text(f"vars: {{authorized: [198.18.7.0/24]}}\naccounts:\n- {account}\n")
    _, facts = checked(cloud, copy)
    said = "".join(each["said"] for each in facts if each["name"] == "accounts.yml")
    assert "'public-ports' is there twice: only the last one would count (line 3)" in said


def test_notice_does_not_use_aws_config(cloud, tmp_path):
    """A check finds all right where people get notice first, as the page deploys it, without AWS Config's recorder."""
    copy = copied(tmp_path)
    create(cloud, RunsDaily="custodian-open-ingress-noticed", Email="you@example.com")
    (deploy,) = commands(blocks("docs/notice.md", "Notice before closing")[0])
    typed(cloud, copy, deploy)
    watch = "".join(f" -p open-ingress-watch-{name}" for name in ("errors", "topic", "trigger"))
    typed(cloud, copy, f"{DEPLOY} mode/watch.yml{watch}")
    typed(cloud, copy, "c7n-ingress mailer deploy --region us-east-1")
    assert [each for each in checked(cloud, copy)[1] if each["state"] != OK] == []
    stop_polling(cloud)


def test_security_hub(cloud, tmp_path):
    """A check finds the policies of Security Hub's page right, which extend the pack's and have their names."""
    copy = deployed_pack(cloud, tmp_path)
    page = (copy / "policies" / "security-hub" / "README.md").read_text()
    (_enable, action, deploy) = re.findall(r" +```\w+\n(.*?) +```", page, re.DOTALL)
    closing = yaml.safe_load((copy / "policies" / "open-ingress.yml").read_text())["policies"][:3]
    extended = [{**each, "actions": [*each["actions"], *yaml.safe_load(textwrap.dedent(action))]} for each in closing]
    (copy / "policies" / "mine.yml").write_text(yaml.safe_dump({"policies": extended}))
    typed(cloud, copy, deploy)
    _, facts = checked(cloud, copy)
    states = {each["name"]: each["state"] for each in facts}
    ours = [f"custodian-{name}" for name in ("open-ingress-resolved", *(each["name"] for each in closing))]
    assert [states[name] for name in ours] == [OK] * 4


def written(folder, settings, **policies):
    """Write settings and policies into a folder, and return its files."""
    for name in ("policies", "mode"):
        (folder / name).mkdir()
    (folder / "settings.yml").write_text(settings)
    (folder / "mode" / "watch.yml").write_text("policies: []")
    for name, text in policies.items():
        (folder / "policies" / f"{name}.yml").write_text(text)
    return here.files(folder / "settings.yml")


@pytest.mark.parametrize("case", CASES["settings"], ids=lambda case: case["text"])
def test_wrong_settings(tmp_path, case):
    """Settings that no run can use are one line with the fix, and nothing is said of networks that cannot be read."""
    facts = here.load(written(tmp_path, case["text"])).facts
    (fact,) = [each for each in facts if Path(each.name).name == case["fact"]]
    assert fact.state == WRONG
    assert case["says"] in fact.said
    assert case["fix"] in fact.fix
    assert any(each.name == "authorized networks" for each in facts) == (case["fact"] != "settings")


def test_wrong_policies(cloud, tmp_path):
    """A policy that c7n refuses is one line, and so is a file that is not YAML; the command ends with 1."""
    refused = "policies: [{name: a, resource: aws.security-group, filters: [{type: x}]}]"
    written(tmp_path, "authorized: [198.18.7.0/24]", a=refused, b="policies: [")
    code, facts = checked(cloud, tmp_path, "c7n-ingress check")
    assert code == 1
    assert [Path(fact["name"]).name for fact in facts if fact["state"] != OK] == ["a.yml", "b.yml"]
    assert all("\n" not in fact["said"] for fact in facts)


def test_without_credentials(tmp_path):
    """Without credentials, a check says how to set them, and ends with 1."""
    alone = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    command = [C7N_INGRESS, "check", "--region", "us-east-1", "--region", "eu-central-1"]
    done = forked(command, cwd=tmp_path, env=alone)
    assert done.returncode == 1
    assert done.stdout.count("✗ credentials: no AWS credentials found: set AWS_PROFILE") == 2
    assert done.stderr == ""


def test_where_aws_does_not_answer(tmp_path):
    """A region in which AWS does not answer is a line of its own, and the check goes on with the next."""
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    alone = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "AWS_ENDPOINT_URL": "http://127.0.0.1:9", **keys}
    command = [C7N_INGRESS, "check", "--json", "--region", "us-east-1", "--region", "eu-central-1"]
    done = forked(command, cwd=tmp_path, env=alone)
    assert (done.returncode, done.stderr) == (1, "")
    facts = json.loads(done.stdout)["facts"]
    assert [(each["region"], each["state"]) for each in facts if each["name"] == "credentials"] == [
        ("us-east-1", "wrong"),
        ("eu-central-1", "wrong"),
    ]
    assert "is it the right region, and does the network reach it?" in json.dumps(facts)


def test_checks_of_many_accounts(tmp_path, capsys):
    """Each account that is listed has a line: without a check of the last day there is no answer, and why."""
    right = {"facts": [{"region": "us-east-1", "name": "stack", "state": OK, "said": "", "fix": ""}]}
    wrong = {"facts": [{**right["facts"][0], "state": WRONG, "said": "is gone", "fix": "deploy it"}]}
    elsewhere = {"facts": [{**right["facts"][0], "region": None}]}
    canary = {**wrong["facts"][0], "name": "canary", "said": "not reached: replaced", "fix": "read the log"}
    canary = {"facts": [*right["facts"], canary]}
    outputs = {
        "right": json.dumps(right), "wrong": json.dumps(wrong), "canary": json.dumps(canary),
        "old": json.dumps(right), "broken": "{", "silent": "", "list": "[]", "empty": json.dumps({"facts": []}),
        "elsewhere": json.dumps(elsewhere), "earlier": json.dumps(right),
    }  # fmt: skip
    for name, text in outputs.items():
        (folder := tmp_path / name / "us-east-1").mkdir(parents=True)
        (folder / "stdout").write_text(text)
    (tmp_path / "a-file").touch()
    (tmp_path / "broken" / "us-east-1" / "stderr").write_bytes(b"Traceback\nKeyError: \xff\n\n")
    os.utime(tmp_path / "old" / "us-east-1" / "stdout", (0, 0))
    names = [*outputs, "a-file", "refused", "nowhere"]
    accounts = [{"name": name, "account_id": f"{n:012}", "role": "checker"} for n, name in enumerate(names)]
    tagged = [{**account, "tags": ["stage:first"] * (account["name"] in ("right", "canary"))} for account in accounts]
    path, log = tmp_path / "accounts.yml", tmp_path / "c7n-org.log"
    path.write_text(json.dumps({"accounts": tagged}))
    refused = "x: c7n_org:ERROR unable to obtain credentials for account:{} role:r error:An error occurred\n"
    started = "x: c7n_org:INFO running script on account:{} region:us-east-1 script: `c7n-ingress check`\n"
    # `right` was refused in another region. The output of `earlier` is of an earlier run.
    log.write_text(started.format("right") + "".join(map(refused.format, ("refused", "right", "earlier"))))

    def lines(*options):
        code = main(["check", "--of", str(tmp_path), "--region", "us-east-1", "--accounts", str(path), *options])
        shown = capsys.readouterr().out.replace(f"{tmp_path}/", "")
        return code, re.sub(r"since \S+ \S+ UTC", "since yesterday", shown).splitlines()

    code, said = lines("--log", str(log))
    assert code == 1
    assert said[:-2] == CASES["accounts"]
    assert said[-1] == "13 accounts and regions, 12 wrong"
    code, said = lines("--tag", "stage:first")
    assert said[-1] == "2 accounts and regions, 1 wrong"
    path.write_text(json.dumps({"accounts": [{**each, "tags": [*each["tags"], "env:test"]} for each in tagged]}))
    assert lines("--tag", "stage:first,env:test") == (code, said)


@pytest.mark.parametrize("command", ["check --of {0}/out", "report {0}/out"])
def test_all_regions_of_an_account_that_failed(tmp_path, capsys, command):
    """Of an account with all regions, a failure without a region is a line, though other regions have output."""
    (folder := tmp_path / "out" / "shop" / "us-east-1").mkdir(parents=True)
    fact = {"region": "us-east-1", "name": "stack", "state": OK, "said": "", "fix": ""}
    (folder / "stdout").write_text(json.dumps({"facts": [fact]}))
    account = {"name": "shop", "account_id": "123456789012", "role": "checker", "regions": ["all"]}
    (tmp_path / "accounts.yml").write_text(json.dumps({"accounts": [account]}))
    started = "x: c7n_org:INFO running script on account:shop region:us-east-1 script: `c7n-ingress check`\n"
    refused = "x: c7n_org:ERROR unable to obtain credentials for account:shop role:r error:An error occurred\n"
    (tmp_path / "log").write_text(started + refused)
    options = ["--accounts", str(tmp_path / "accounts.yml"), "--log", str(tmp_path / "log")]
    assert main([*command.format(tmp_path).split(), *options]) == 1
    assert re.search(r"shop +all.*\W+.*unable to obtain credentials", capsys.readouterr().out)


ACCOUNTS = "accounts:\n- {name: Zürich, account_id: '123456789012', role: checker, regions: [us-east-1]}\n"


@pytest.mark.parametrize("command", ["check --of {}", "report {}", "report --journal"])
@pytest.mark.parametrize(
    ("written", "why"),
    [
        (ACCOUNTS.encode("latin-1"), "unacceptable character #x00fc"),
        (f"{ACCOUNTS}vars: {{since: 2026-13-45}}".encode(), "month must be in 1..12"),
    ],
    ids=["Latin-1", "a date that is none"],
)
def test_accounts_that_cannot_be_read(tmp_path, capsys, command, written, why):
    """Each command refuses a file of accounts that cannot be read in one line, and ends with 2."""
    (path := tmp_path / "accounts.yml").write_bytes(written)
    assert main([*command.format(tmp_path).split(), "--accounts", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"c7n-ingress: {path} is not YAML: {why}")


@pytest.mark.parametrize("command", ["check --of {}", "report {}"])
def test_no_account(tmp_path, capsys, command):
    """A file that lists no account is refused: nothing was swept or checked, and that is not right."""
    (path := tmp_path / "accounts.yml").write_text("accounts: []")
    assert main([*command.format(tmp_path).split(), "--accounts", str(path)]) == 2
    assert capsys.readouterr().err == f"c7n-ingress: {path} lists no account\n"


def test_accounts_in_utf_16(tmp_path, capsys):
    """A file of accounts that is UTF-16 is read, as c7n-org reads it."""
    (path := tmp_path / "accounts.yml").write_text(ACCOUNTS, encoding="utf-16")
    assert main(["check", "--of", str(tmp_path), "--accounts", str(path)]) == 1
    assert capsys.readouterr().out.startswith("✗ Zürich us-east-1: 1 wrong")


def local(wanted=()):
    """Return what the pack's own files say, with these policies."""
    return here.Local(here.files(ROOT / "settings.yml"), "us-east-1", [], dict(wanted), [])


def test_checks_of_accounts_that_nothing_lists(tmp_path, capsys):
    """Without a list of accounts, each account that wrote a check has a line, also one with a slash in its name."""
    for name in ("web", "team/shop"):
        (folder := tmp_path / name / "us-east-1").mkdir(parents=True)
        fact = {"region": "us-east-1", "name": "stack", "state": OK, "said": "", "fix": ""}
        (folder / "stdout").write_text(json.dumps({"facts": [fact]}))
    (tmp_path / "stdout").touch()
    assert main(["check", "--of", str(tmp_path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["✓ team/shop us-east-1: all right", "✓ web us-east-1: all right"]
    assert shown[-1] == "2 accounts and regions, 0 wrong"


def test_errors_of_a_check_that_cannot_be_read(tmp_path, capsys):
    """If what a check printed as an error cannot be read, its account is wrong, and the others are shown."""
    (tmp_path / "web" / "us-east-1" / "stderr").mkdir(parents=True)
    (tmp_path / "web" / "us-east-1" / "stdout").touch()
    assert main(["check", "--of", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("✗ web us-east-1: 1 wrong\n    no answer: ")


IDENTITY = {"Arn": "me", "Account": "123456789012"}


def test_what_cannot_be_read_is_a_line_of_its_own():
    """What AWS refuses is reported once, with the policy that allows it, and everything else is still judged."""
    found = dict.fromkeys(
        ("stack", "roles", "functions", "config_rules", "event_rules", "mappings", "errors", "alarms", "groups"),
        read.Unread("AccessDenied", read.ATTACH),
    )
    found |= {"identity": IDENTITY, "recorder": None, "subscriptions": [], "queues": dict.fromkeys(read.QUEUES, 0)}
    found |= {"central_queue": "", "now": datetime.now(timezone.utc)}
    facts = list(run.judged(found, local()))
    unread = [fact for fact in facts if fact.said.startswith("cannot be read: ")]
    assert [fact.name for fact in unread] == [
        "stack", "roles", "functions", "config rules", "event rules", "mappings", "errors", "alarms", "groups",
    ]  # fmt: skip
    assert {fact.fix for fact in unread} == {
        "attach the policy custodian-open-ingress-check, which mode/stack.yml creates, to these credentials"
    }
    assert {fact.name: fact.state for fact in facts}["custodian-mailer-failed"] == OK


def test_whether_a_function_failed_is_not_known_without_the_watch():
    """Before the watch is deployed, a check does not claim that a function failed."""
    message = {"violation_desc": "a Lambda failed", "action_desc": "find it"}
    (fact,) = account.errors(local(), message, {})
    assert "not known whether a function failed: custodian-open-ingress-watch-errors is not deployed" in fact.said
    assert fact.fix == "custodian run --region us-east-1 --vars-file settings.yml -s out mode/watch.yml"
    (fact,) = account.errors(local(), message, {"custodian-open-ingress-watch-errors": deployed()})
    assert fact.said == "a Lambda failed"


# ---- Facts of functions


PACKAGE = Path(c7n_ingress.__file__).parent
CODE = {f"c7n_ingress/{path.relative_to(PACKAGE)}": path.read_bytes() for path in PACKAGE.rglob("*.py")}
POLICY = {"name": "open-ingress", "mode": {"type": "config-rule", "tags": {}}, "actions": [{"at-most": 50}]}


def deployed(**changes):
    """Return a function as it is deployed."""
    files = {**CODE, "config.json": json.dumps({"policies": [POLICY]}).encode()}
    function = read.Deployed(NAME, {"Runtime": "python3.13"}, {}, None, frozenset({"config.amazonaws.com"}), files)
    return function._replace(**changes)


def said(function, policy=POLICY, now=datetime(2026, 6, 1, tzinfo=timezone.utc)):
    """Return what is wrong with a function."""
    wanted = here.Wanted(SimpleNamespace(data=policy), Path("p.yml"))
    found = functions.facts(local({NAME: [wanted]}), {NAME: function}, {NAME: ""}, {}, now)
    return [fact.said for fact in found if fact.name == NAME and fact.state != OK]


OLD_FILE = {"files": {**deployed().files, "c7n_ingress/old.py": b""}}
OLD_C7N = {"files": {**deployed().files, "c7n/version.py": b'version = "0.9.1"'}}
FAILED = {"configuration": {"Runtime": "python3.13", "State": "Failed", "StateReason": "no role"}}
PAUSED = {"concurrency": 0, "tags": {"c7n-ingress-paused": "2026-01-01T00:00:00Z by jo was 5"}}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        (OLD_FILE, ["has the code of another version of c7n-ingress"]),
        (OLD_C7N, ["has c7n 0.9.1, and "]),
        (FAILED, ["Lambda cannot run it: no role"]),
        (PAUSED, ["paused since 2026-01-01T00:00:00Z by jo"]),
        ({"invokers": frozenset()}, ["AWS Config may not invoke it"]),
    ],
)
def test_what_is_wrong_with_a_function(changes, wrong):
    """Each fault of a function is one line."""
    found = said(deployed(**changes))
    assert len(found) == len(wrong)
    assert all(text.startswith(start) for text, start in zip(found, wrong, strict=True))


def test_a_preview_closes_nothing():
    """A function that only reports what would be closed is wrong, even if the settings here say the same."""
    policy = {**POLICY, "actions": [{"type": "replace-ingress", "preview": True}]}
    previews = deployed(files={**CODE, "config.json": json.dumps({"policies": [policy]}).encode()})
    assert said(previews, policy) == ["reports what would be closed, and closes nothing, because `preview` is true"]


@pytest.mark.parametrize(
    ("modified", "state"),
    [("2026-05-31T12:00:00.000+0000", OK), ("2026-05-30T09:00:00.000+0000", WRONG), (None, WRONG)],
)
def test_a_function_that_is_new_has_not_run_yet(modified, state):
    """The alarm about a function that does not run is no fault within 26 hours after the function was deployed."""
    now = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
    template = (ROOT / "mode" / "stack.yml").read_text()
    names = [each["Properties"] for each in account.parsed(template)["Resources"].values()]
    wanted = [each for each in names if "AlarmName" in each]
    dimensions = [{"Name": "FunctionName", "Value": DAILY}]
    states = [
        {**each, "StateValue": "ALARM" if "26 hours" in str(each) else "OK", "Dimensions": dimensions}
        for each in wanted
    ]
    functions = {DAILY: deployed(configuration={"LastModified": modified})} if modified else {}
    facts = list(account.alarms(local(), states, functions, "", now))
    assert {fact.state for fact in facts} == {state}
    assert [fact.name for fact in facts] == (
        ["alarms"]
        if state == OK
        else ["alarm custodian-open-ingress-missing", "alarm custodian-open-ingress-watch-missing"]
    )


def test_an_alarm_that_fires_and_notifies_nobody():
    """An alarm that fires is reported as one, also if somebody has disabled its actions."""
    states = [{"AlarmName": "custodian-mailer-failed", "AlarmActions": ["a topic"], "StateValue": "ALARM"}]
    states[0]["ActionsEnabled"] = False
    facts = account.alarms(local(), states, {}, "", datetime(2026, 6, 1, tzinfo=timezone.utc))
    assert [fact.said for fact in facts if fact.name == "alarm custodian-mailer-failed"] == ["fires"]


def test_a_runtime_ends():
    """A runtime is wrong from the day on after which AWS does not support it."""
    assert said(deployed(), now=datetime(2029, 6, 30, 23, tzinfo=timezone.utc)) == []
    assert said(deployed(), now=datetime(2029, 7, 1, tzinfo=timezone.utc)) == [
        "AWS does not support its runtime python3.13 since 2029-06-30"
    ]


def test_drift():
    """Settings that differ are named with both values, at most three of them; Custodian's own tags do not count."""
    tagged = {**POLICY, "mode": {**POLICY["mode"], "tags": {"custodian-info": "mode=config-rule"}}}
    assert said(deployed(), tagged) == []
    (found,) = said(deployed(), {**POLICY, "actions": [{"at-most": 5}]})
    assert found == "other settings are deployed than those here: actions[0].at-most is 50, here 5"
    (found,) = said(deployed(), {**POLICY, "a": 1, "b": 2, "c": 3, "d": 4})
    assert found.endswith("a is null, here 1; b is null, here 2; c is null, here 3 and 1 more")


# ---- Room in groups


@pytest.mark.parametrize(
    ("rules", "networks", "tight"),
    [
        (59, ["198.18.7.0/24"], False),
        (60, ["198.18.7.0/24"], True),
        (59, ["198.18.7.0/24", "198.18.8.0/24"], True),
        (60, ["2001:2:0:7::/64"], True),
    ],
)
def test_room(rules, networks, tight):
    """A group has room if a port that somebody opens in it, and all authorized networks of its family, fit in."""
    ranges = [{"CidrIp": f"10.0.{number}.0/24"} for number in range(rules)]
    group = {
        "GroupId": "sg-1",
        "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}],
    }
    found = read.Groups([group], Authorized({"sg-1": parse_fixed(networks)}, {}), {}, 60)
    assert account.is_tight(group, found) is tight


def test_what_counts_as_a_rule():
    """An open rule becomes the first network; a prefix list counts its most entries, one of AWS's and a group once."""
    references = [
        {
            "PrefixListIds": [{"PrefixListId": "pl-1"}, {"PrefixListId": "pl-2"}],
            "UserIdGroupPairs": [{"GroupId": "sg-2"}],
        }
    ]
    opened = [{"IpRanges": [{"CidrIp": "0.0.0.0/0"}], "FromPort": 22, "ToPort": 22}]
    group = {"GroupId": "sg-1", "IpPermissions": [{"IpProtocol": "tcp", **each} for each in (*references, *opened)]}
    lists = {
        "pl-1": {"AddressFamily": "IPv4", "MaxEntries": 50, "OwnerId": "1"},
        "pl-2": {"AddressFamily": "IPv4", "MaxEntries": 50, "OwnerId": "AWS"},
    }
    for quota, tight in ((54, False), (53, True)):
        networks = Authorized({"sg-1": parse_fixed(["198.18.7.0/24", "198.18.8.0/24"])}, {})
        assert account.is_tight(group, read.Groups([group], networks, lists, quota)) is tight
