import json
import os
import re
import shlex
import signal
import subprocess
from datetime import datetime, timedelta, timezone
from time import sleep

import pytest
from botocore.exceptions import ClientError
from c7n.exceptions import PolicyExecutionError
from moto.ec2.models import ec2_backends

import c7n_ingress.actions.restore_ingress
from c7n_ingress.actions.restore_ingress import RestoreIngress
from c7n_ingress.aws.read import OLDEST
from c7n_ingress.decide.commands import Undo
from c7n_ingress.decide.undo import exemption
from c7n_ingress_tools import undo
from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.functions.runtime import deployed
from tests.support.docs import PAGES
from tests.support.embedded import (
    ACCOUNT,
    LOG_GROUP,
    NOTIFY,
    ROOT,
    act,
    cases,
    custodian,
    day,
    group_of,
    journal,
    load,
    make_queue,
    messages,
    permission,
    rules_of,
    run,
    shape,
    shipped,
    source_of,
    wanted_shape,
)
from tests.support.forked import C7N_INGRESS, commands
from tests.support.meanwhile import started

CASES = cases("restore-ingress")
AUTHORIZED = CASES["authorized"]
SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0", "description": "ssh"}
WEB = {"protocol": "tcp", "ports": 443, "source": "::/0", "description": "web"}
RESTORE = {"type": "restore-ingress", "from": {"log-groups": [LOG_GROUP]}, "days": 30, "preview": False}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Look at a group again at once."""
    monkeypatch.setattr("c7n_ingress.aws.settle.time.sleep", lambda _seconds: None)


@pytest.fixture
def replace(cloud, tmp_path):
    """Close all groups, keep the records in the journal, and return them; the messages do not matter."""

    def close(before=None, after=None, **action):
        done = act(cloud, tmp_path, before, after, **{"notify": NOTIFY, "authorized": AUTHORIZED, **action})
        messages(cloud)
        journal(done)
        return done

    return close


@pytest.fixture
def restore(cloud, tmp_path):
    """Restore all groups from the journal, and return the records."""

    def undo(before=None, after=None, filters=({"VpcId": "present"},), **action):
        cloud.calls.clear()
        return act(cloud, tmp_path, before, after, list(filters), **{**RESTORE, "notify": NOTIFY, **action})

    return undo


def tags_of(cloud, group_id):
    """Return a group's tags."""
    (group,) = cloud.session().client("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    return {tag["Key"]: tag["Value"] for tag in group["Tags"]}


def shapes(rules):
    """Return what rules let in, and how they are described, sorted."""
    return sorted(map(shape, rules), key=str)


def by_source(group_id):
    """Return the group's rules by their source."""
    return {source_of(rule): rule for rule in rules_of(group_id).values()}


def calls(cloud):
    """Return the names of the calls that changed anything in EC2, in order."""
    return [each.action for each in cloud.calls if each.service == "ec2" and not each.action.startswith("Describe")]


def reported(cloud):
    """Return the subject of the one message that was sent, and what it says of each group."""
    (message,) = messages(cloud)
    return message["action"]["subject"], {resource["GroupId"]: resource for resource in message["resources"]}


# -- cases


def edit(cloud, group_id, since):
    """Do what people did since the group was closed."""
    ec2 = cloud.session().client("ec2")
    if "adds" in since:
        ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[permission(since["adds"])])
        return
    rule_id = by_source(group_id)[since["rule"]]["SecurityGroupRuleId"]
    if "tags" in since:
        tags = [{"Key": key, "Value": value} for key, value in since["tags"].items()]
        ec2.create_tags(Resources=[rule_id], Tags=tags)
        return
    if "becomes" not in since:
        ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=[rule_id])
        return
    said = permission(since["becomes"])
    (source,) = said.pop("IpRanges")
    request = {**said, "CidrIpv4": source["CidrIp"], "Description": source["Description"]}
    ec2.modify_security_group_rules(
        GroupId=group_id, SecurityGroupRules=[{"SecurityGroupRuleId": rule_id, "SecurityGroupRule": request}]
    )


def test_cases(cloud, tmp_path, replace):
    """Closed and restored, each group is as its case says, ids, tags and descriptions too, and needs nothing more."""
    groups = [group_of(case, number) for number, case in enumerate(CASES["groups"], 1)]
    load(groups)
    make_queue(cloud)
    ec2 = cloud.session().client("ec2")
    for group in groups:
        ec2.create_tags(Resources=[*rules_of(group["GroupId"])], Tags=[{"Key": "owner", "Value": "web"}])
    before = {group["GroupId"]: rules_of(group["GroupId"]) for group in groups}
    replace()
    for case, group in zip(CASES["groups"], groups, strict=True):
        for since in case.get("since", ()):
            edit(cloud, group["GroupId"], since)

    restoring = {**RESTORE, "filters": [{"VpcId": "present"}], "notify": NOTIFY}
    done = act(cloud, tmp_path, **restoring)

    _, resources = reported(cloud)
    for case, group in zip(CASES["groups"], groups, strict=True):
        group_id, after = group["GroupId"], rules_of(group["GroupId"])
        if "since" in case:
            wanted = case.get("afterwards", case["ingress"])
            assert shapes(after.values()) == sorted(map(wanted_shape, wanted), key=str), case["name"]
        else:
            same = {key: rule for key, rule in before[group_id].items() if source_of(rule) not in case.get("new", ())}
            assert {key: rule for key, rule in after.items() if key in same} == same, case["name"]
            assert shapes(after.values()) == shapes(before[group_id].values()), case["name"]
            assert [r["Tags"] for r in after.values()] == [[{"Key": "owner", "Value": "web"}]] * len(after), case[
                "name"
            ]
        left = resources.get(group_id, {}).get("c7n:left-ingress", [])
        assert sorted(re.sub("sgr-[0-9a-f]+", "sgr-", text) for text in left) == case.get("left", []), case["name"]
        back = resources.get(group_id, {}).get("c7n:back-ingress", [])
        assert back == case.get("back", []), case["name"]
        exempt = back or any(record["group"] == group_id for record in done)
        assert tags_of(cloud, group_id) == ({"open-ingress-until": day("+30")} if exempt else {}), case["name"]

    cloud.calls.clear()
    assert act(cloud, tmp_path, **restoring) == []
    assert calls(cloud) == []


# -- the lines that the message carries


@pytest.fixture
def obey(cloud, tmp_path):
    """Return a function that runs a line of a message as a person does: pasted into a shell, in any folder."""
    (tmp_path / "elsewhere").mkdir()

    def paste(line):
        environment = cloud.environment() | {"PATH": os.pathsep.join([str(commands()), os.environ["PATH"]])}
        command = ["bash", "-c", line]
        folder = tmp_path / "elsewhere"
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return paste


def sweep_into(cloud, folder, output, *arguments):
    """Close all groups by the sweep, its output going there."""
    return run(cloud, shipped("open-ingress-sweep", folder, AUTHORIZED), output, *arguments)


def by_sweep(cloud, folder, _group_id):
    """Close all groups by the sweep, its output going into a folder."""
    return sweep_into(cloud, folder, folder / "it's my output")


def by_quiet_sweep(cloud, folder, _group_id):
    """Close all groups by the sweep, which is to log as little as it can."""
    return sweep_into(cloud, folder, folder / "out", "-qqq")


def by_sweep_into_s3(cloud, folder, _group_id):
    """Close all groups by the sweep, its output going into a bucket."""
    cloud.session().client("s3").create_bucket(Bucket="the-bucket")
    return sweep_into(cloud, folder, "s3://the-bucket/some/where?region=us-east-1")


def by_lambda(cloud, folder, group_id):
    """Close a group by the policy's deployed function, which logs into CloudWatch Logs."""
    iam = cloud.session().client("iam")
    iam.create_role(
        RoleName="custodian-open-ingress", AssumeRolePolicyDocument='{"Version": "2012-10-17", "Statement": []}'
    )
    cloud.session().client("sqs").create_queue(QueueName="custodian-open-ingress-failed")
    done = run(cloud, shipped("open-ingress", folder, AUTHORIZED), folder)
    assert done.returncode == 0, done.stderr
    (group,) = cloud.session().client("ec2").describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    with deployed(cloud, "custodian-open-ingress") as function:
        function.invoke(event(configuration_item(group), "custodian-open-ingress"))
    return done


@pytest.mark.parametrize(
    "close",
    [by_sweep, by_lambda, *(pytest.param(way, marks=pytest.mark.soak) for way in (by_quiet_sweep, by_sweep_into_s3))],
)
def test_the_lines_of_the_message(cloud, group, obey, tmp_path, close):
    """The message's command shows what it then does: that group is as it was, and the sweep respects it."""
    group_id = group(SSH, WEB)
    before = rules_of(group_id)
    done = close(cloud, tmp_path, group_id)
    assert done.returncode == 0, done.stderr
    (message,) = messages(cloud)
    (resource,) = message["resources"]
    (line,) = resource["c7n:undo-ingress"]
    closed = rules_of(group_id)
    assert {source_of(rule) for rule in closed.values()} == set(AUTHORIZED)

    other = group(SSH, number=2)
    looked = obey(f"{line} --json")
    assert looked.returncode == 0, looked.stderr
    assert (rules_of(group_id), tags_of(cloud, group_id)) == (closed, {})
    assert {record["how"] for record in json.loads(looked.stdout)["changes"]} == {"preview"}

    undone = obey(f"{line} --yes --json")
    assert undone.returncode == 0, undone.stderr
    assert shapes(rules_of(group_id).values()) == shapes(before.values())
    assert by_source(group_id)["0.0.0.0/0"] == next(r for r in before.values() if source_of(r) == "0.0.0.0/0")
    foreseen, made = ([(r["was"], r["now"]) for r in json.loads(each.stdout)["changes"]] for each in (looked, undone))
    assert foreseen == made

    swept = run(cloud, shipped("open-ingress-sweep", tmp_path, AUTHORIZED), tmp_path / "again")
    assert swept.returncode == 0, swept.stderr
    assert shapes(rules_of(group_id).values()) == shapes(before.values())
    assert set(by_source(other)) == set(AUTHORIZED)

    cloud.calls.clear()
    again = obey(f"{line} --yes")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines() == [
        f"{group_id}: nothing to undo",
        *(f"{group_id}: was back already: {text}" for text in ("tcp 22 from 0.0.0.0/0", "tcp 443 from ::/0")),
    ]
    assert calls(cloud) == []


def test_the_command_reports_what_it_leaves_alone(cloud, group, obey, tmp_path):
    """A rule that somebody changed since is named with the reason, before and after, and the command ends with 1."""
    group_id = group(SSH)
    done = act(cloud, tmp_path, authorized=AUTHORIZED[:1])
    journal(done, "/aws/lambda/custodian-open-ingress")
    line = f"c7n-ingress undo {group_id} --run {done[0]['run']} --region us-east-1"
    changed = next(each for each in rules_of(group_id).values() if source_of(each) == AUTHORIZED[0])
    said = {key: changed[key] for key in ("IpProtocol", "FromPort", "ToPort", "CidrIpv4")} | {"Description": "ours"}
    update = {"SecurityGroupRuleId": changed["SecurityGroupRuleId"], "SecurityGroupRule": said}
    cloud.session().client("ec2").modify_security_group_rules(GroupId=group_id, SecurityGroupRules=[update])
    closed = rules_of(group_id)
    wanted = "left alone: tcp 22 from 198.18.7.0/24"
    for option in ("--json", "--yes"):
        done = obey(f"{line} {option}")
        assert (done.returncode, rules_of(group_id)) == (1, closed), done.stderr
        assert wanted in done.stdout
        assert "its description changed since it was 0.0.0.0/0" in done.stdout


def test_two_runs_of_one_hour_in_a_bucket(cloud, group, obey, tmp_path):
    """With a folder for each run, as docs/limits.md says, both runs of one hour can be undone."""
    (output,) = re.findall(r"`-s '(s3://[^']+)'`", PAGES["docs/limits.md"])
    cloud.session().client("s3").create_bucket(Bucket="my-bucket")
    lines = []
    for number in (1, 2):
        group(SSH, number=number)
        assert sweep_into(cloud, tmp_path, f"{output}?region=us-east-1").returncode == 0
        lines += [each["c7n:undo-ingress"][0] for message in messages(cloud) for each in message["resources"]]
        sleep(1)  # the folder's name has seconds
    for number, line in enumerate(lines, 1):
        undone = obey(f"{line} --yes")
        assert undone.returncode == 0, undone.stderr
        assert "0.0.0.0/0" in by_source(f"sg-{number:017x}")


def test_two_undos_in_one_folder(cloud, group, obey, tmp_path):
    """Commands of two groups do not meet when people run them in one folder at once."""
    both = [group(SSH), group(SSH, number=2)]
    assert by_sweep(cloud, tmp_path, both[0]).returncode == 0
    lines = [each["c7n:undo-ingress"][0] for message in messages(cloud) for each in message["resources"]]
    done = obey(" & ".join(f"{line} --yes" for line in lines) + " & wait")
    assert sorted(line for line in done.stdout.splitlines() if line.startswith("sg-")) == [f"{g}: undone" for g in both]
    assert [g for g in both if "0.0.0.0/0" in by_source(g)] == both
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_command_asks(cloud, group, obey, tmp_path):
    """Without --yes, the command shows the table and asks; with any other answer than yes, nothing is changed."""
    group_id = group(SSH)
    assert by_sweep(cloud, tmp_path, group_id).returncode == 0
    (line,) = [each["c7n:undo-ingress"][0] for message in messages(cloud) for each in message["resources"]]
    closed = rules_of(group_id)
    for answer in ("echo n", "true"):
        refused = obey(f"{answer} | {line}")
        assert (refused.returncode, rules_of(group_id)) == (2, closed)
        assert "would change, nothing is changed yet" in refused.stdout
        assert refused.stderr.splitlines()[-1] == "c7n-ingress: stopped"
    agreed = obey(f"echo y | {line}")
    assert agreed.returncode == 0, agreed.stderr
    assert "0.0.0.0/0" in by_source(group_id)


def test_a_journal_that_changes_while_the_command_asks(cloud, group, obey, tmp_path):
    """A record that is forged between the table and the answer opens nothing: only what was shown is undone."""
    never_open = {**SSH, "ports": 5432, "source": AUTHORIZED[0]}
    group_id = group(SSH, never_open)
    assert by_sweep(cloud, tmp_path, group_id).returncode == 0
    (line,) = [each["c7n:undo-ingress"][0] for message in messages(cloud) for each in message["resources"]]
    closed = rules_of(group_id)
    (rule_id,) = [each for each, rule in closed.items() if rule["FromPort"] == never_open["ports"]]
    (log,) = tmp_path.rglob("custodian-run.log")
    record = json.loads(re.search(r'custodian\.journal - INFO - (\{.*"how": "modified".*)', log.read_text())[1])
    traffic = {**record["traffic"], "FromPort": never_open["ports"], "ToPort": never_open["ports"]}
    forged = tmp_path / "forged"
    forged.write_text(json.dumps({**record, "rule": rule_id, "traffic": traffic}) + "\n")
    forge = shlex.join(["tee", "-a", str(log)])
    answer = f"until grep -q 'would change' shown; do sleep 0.1; done; {forge} < '{forged}' > /dev/null; echo y"
    done = obey(f"touch shown; {{ {answer}; }} | {line} | tee shown; exit ${{PIPESTATUS[1]}}")
    assert (done.returncode, rules_of(group_id)) == (2, closed), done.stdout
    assert "changed while you looked" in done.stderr


def test_the_journal_is_found(cloud, group, obey, tmp_path):
    """Records in the log group of any of the pack's functions are found; others have to be named."""
    group_id = group(SSH)
    (record,) = [each for each in act(cloud, tmp_path, authorized=AUTHORIZED[:1]) if each["group"] == group_id]
    line = f"c7n-ingress undo {group_id} --run {record['run']} --region us-east-1"
    nowhere = obey(line)
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)
    assert (
        "no function of the pack has a log group in us-east-1: check the account and the region, or name"
        in nowhere.stderr
    )
    journal([], "/aws/lambda/custodian-open-ingress")
    journal([record], "/aws/lambda/custodian-open-ingress-noticed")
    journal([{**record, "was": "::/0"}], "/aws/lambda/custodian-open-ingress-forged")
    done = obey(f"{line} --yes")
    assert done.returncode == 0, done.stderr
    assert set(by_source(group_id)) == {"0.0.0.0/0"}


def test_a_run_of_an_earlier_release(cloud, group, obey, tmp_path):
    """A run whose id is not of version 7 is undone from a journal that is named, and from no other."""
    group_id, run_id = group(SSH), "3e0c5a86-0d5f-4f0e-9a37-6b1f2d4c8e97"
    (record,) = [each for each in act(cloud, tmp_path, authorized=AUTHORIZED[:1]) if each["group"] == group_id]
    journal([record | {"run": run_id}], "/custodian/ours")
    line = f"c7n-ingress undo {group_id} --run {run_id} --region us-east-1"
    refused = obey(f"{line} --yes")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "is not the id of a run" in refused.stderr
    assert "--journal" in refused.stderr
    done = obey(f"{line} --journal /custodian/ours --yes")
    assert done.returncode == 0, done.stderr
    assert set(by_source(group_id)) == {"0.0.0.0/0"}


def test_the_command_says_why_nothing_was_restored(cloud, group, obey, tmp_path):
    """If an undo restores nothing because it failed, the command shows each reason, also as JSON, and ends with 1."""
    group_id = group(WEB)
    done = act(cloud, tmp_path, authorized=AUTHORIZED)
    journal(done)
    filler = [{**WEB, "ports": port, "source": "fd00::/8"} for port in range(1000, 1060)]
    ec2 = cloud.session().client("ec2")
    ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=list(map(permission, filler)))
    line = f"c7n-ingress undo {group_id} --run {done[0]['run']} --region us-east-1 --yes"
    for option in ("", "--json"):
        refused = obey(f"{line} {option}")
        assert (refused.returncode, refused.stderr) == (1, "")
        assert "tcp 443 from ::/0 found no room: the group had as many rules as EC2 allows." in refused.stdout
        assert "nothing was restored, so open-ingress-until" in refused.stdout
    assert "nothing to undo" not in obey(line).stdout


def test_an_undo_that_fails_after_its_changes(cloud, group, monkeypatch, tmp_path):
    """An error after the changes is shown beside them, though no group failed."""
    group_id = group(SSH)
    (record,) = act(cloud, tmp_path, authorized=AUTHORIZED[:1])
    journal([record], "/aws/lambda/custodian-open-ingress")
    process = RestoreIngress.process

    def fail(action, *arguments):
        process(action, *arguments)
        raise OSError("no space left")

    monkeypatch.setattr(RestoreIngress, "process", fail)
    asked = Undo(group_id, record["run"], "us-east-1", None)
    session = cloud.session()
    done = undo.run(asked, session, {}, preview=False)
    assert ([each["now"] for each in done.changes], done.problems) == (["0.0.0.0/0"], ["no space left"])


@pytest.mark.parametrize(("call", "code"), [("RevokeSecurityGroupIngress", 1), ("CreateTags", 2)])
def test_ctrl_c_during_an_undo(cloud, failing_aws, group, tmp_path, call, code):
    """Ctrl-C after the first change shows what was changed, and ends with 1; before, nothing is changed."""
    failing_aws.proxy.heal()
    group_id = group(SSH, WEB)
    done = act(cloud, tmp_path, authorized=AUTHORIZED)
    journal(done, "/aws/lambda/custodian-open-ingress")
    closed = rules_of(group_id)

    async def interrupt(name):
        if name == call:
            process.send_signal(signal.SIGINT)

    failing_aws.proxy.passing(interrupt)
    command = [C7N_INGRESS, "undo", group_id, "--run", done[0]["run"], "--region", "us-east-1", "--yes"]
    process = started(command, cwd=tmp_path, env=failing_aws.environment())
    printed, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    if code == 1:
        assert set(by_source(group_id)) >= {"0.0.0.0/0", "::/0"}
        assert f"{group_id}: undone\n" in printed
        assert "perhaps" in printed  # its answer did not arrive
        assert printed.splitlines()[-1] == undo.STOPPED
    else:
        assert (rules_of(group_id), tags_of(cloud, group_id), printed) == (closed, {}, "")
        assert said.splitlines()[-1] == "c7n-ingress: stopped"


def test_the_settings_of_an_undo(cloud, group, obey, tmp_path):
    """The settings in the folder are checked before an undo; wrong ones are refused in one line."""
    group_id = group(SSH)
    (record,) = [each for each in act(cloud, tmp_path, authorized=AUTHORIZED[:1]) if each["group"] == group_id]
    journal([record], "/aws/lambda/custodian-open-ingress")
    line = f"c7n-ingress undo {group_id} --run {record['run']} --region us-east-1 --yes"
    settings = tmp_path / "elsewhere" / "settings.yml"
    settings.write_text("authorized: [vpc]\nundo-days: 91\n")
    refused = obey(line)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), refused.stderr
    assert refused.stderr.startswith("c7n-ingress: settings.yml: undo-days 91 is not a whole number from 1 to 90")
    assert set(by_source(group_id)) == {AUTHORIZED[0]}
    settings.write_text("database: {host: localhost}\n")  # another tool's
    done = obey(line)
    assert done.returncode == 0, done.stderr
    assert set(by_source(group_id)) == {"0.0.0.0/0"}


def test_what_cannot_be_undone_is_one_line(cloud, group, obey, tmp_path):
    """A group that does not exist, a run without records and a log that does not exist are refused in one line."""
    group_id = group(SSH)
    (record,) = [each for each in act(cloud, tmp_path, authorized=AUTHORIZED[:1]) if each["group"] == group_id]
    journal([record], "/aws/lambda/custodian-open-ingress")
    here = f"--run {record['run']} --region us-east-1"
    for words, says in (
        (f"sg-0123456789abcdef0 {here}", "no such security group"),
        (f"{group_id} --run 01a0c450-6c00-7f0e-9a37-6b1f2d4c8e97 --region us-east-1", "the journal has no record of"),
        (f"{group_id} {here} --journal file:///nowhere/custodian-run.log", "cannot be read"),
        (f"{group_id} {here} --settings nowhere.yml", "nowhere.yml: No such file"),
    ):
        refused = obey(f"c7n-ingress undo {words} --yes")
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), refused.stderr
        assert says in refused.stderr


def test_the_policy_as_shipped(cloud, group, replace, tmp_path):
    """`custodian run` on the pack's file, which nobody has filled, is refused, and changes nothing."""
    group_id = group(SSH)
    replace()
    done = run(cloud, shipped("restore-ingress", tmp_path, AUTHORIZED), tmp_path)
    assert done.returncode != 0
    assert "named matched nothing: groups.0 '{group}' was not filled: `c7n-ingress undo` fills it" in done.stderr
    assert set(by_source(group_id)) == set(AUTHORIZED)


@pytest.mark.parametrize("key", ["from", "run", "preview"])
def test_a_place_that_nobody_filled(cloud, group, replace, restore, key):
    """A `"{name}"` that no --vars-file filled is refused before anything is changed."""
    group(SSH)
    replace()
    with pytest.raises(PolicyExecutionError, match=rf"changed nothing: {key} '{{it}}' was not filled"):
        restore(**{key: "{it}"})
    assert calls(cloud) == []


def stop(**_):
    """Stop the run, as a person does."""
    raise KeyboardInterrupt


def test_what_was_perhaps_added(cloud, group, replace, restore):
    """A network that a stopped run perhaps added is named in the undo, and left: somebody else may have added it."""
    group_id = group(SSH)
    with pytest.raises(KeyboardInterrupt):
        replace(after={"AuthorizeSecurityGroupIngress": stop})
    (message,) = messages(cloud)
    (record,) = message["resources"][0]["c7n:replaced-ingress"]
    assert (record["how"], record["rule"]) == ("perhaps authorized", None)
    journal([record])
    replace()  # which finds the network there already

    restore()
    assert set(by_source(group_id)) == {"0.0.0.0/0", AUTHORIZED[1]}
    (left,) = reported(cloud)[1][group_id]["c7n:left-ingress"]
    assert left.startswith(f"tcp 22 from {AUTHORIZED[1]}: perhaps added by a call whose answer was lost")


def test_a_group_that_is_not_there(cloud, group, replace, restore):
    """If one of the groups that are named is not there, the run fails aloud, and changes nothing."""
    group_id = group(SSH)
    replace()
    with pytest.raises(PolicyExecutionError, match="sg-0123: no such security group in account 123456789012"):
        restore(filters=[{"type": "named", "groups": [group_id, "sg-0123"]}])
    assert calls(cloud) == []


# -- which records


def test_one_run_of_several(cloud, group, replace, restore):
    """With a run, only its changes are undone."""
    group_id = group(SSH)
    first = replace(authorized=["198.18.7.0/24"])
    second = replace(filters=[{"type": "ingress", "Cidr": "198.18.7.0/24"}], authorized=["198.18.7.7/32"])
    restore(run=first[0]["run"])
    _, resources = reported(cloud)
    assert "changed since it was 0.0.0.0/0" in resources[group_id]["c7n:left-ingress"][0]
    restore(run=second[0]["run"])
    assert set(by_source(group_id)) == {"198.18.7.0/24"}


def test_a_time(cloud, group, replace, restore):
    """Only records of the time that is asked for count."""
    group(SSH)
    replace()
    past, future = ((datetime.now(timezone.utc) + timedelta(hours=hours)).isoformat() for hours in (-1, 1))
    with pytest.raises(PolicyExecutionError, match="has no record of"):
        restore(**{"from": {**RESTORE["from"], "since": future}})
    assert calls(cloud) == []
    assert len(restore(**{"from": {**RESTORE["from"], "since": past}})) == 2


def test_a_preview_is_nothing_to_undo(cloud, group, replace, restore):
    """What a preview foresaw, and somebody then did by hand, is not undone."""
    group_id = group(SSH, WEB)
    foreseen = replace(preview=True)
    assert {record["how"] for record in foreseen} == {"preview"}
    ec2 = cloud.session().client("ec2")
    ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=[*rules_of(group_id)])
    with pytest.raises(PolicyExecutionError, match="has no record of"):
        restore()
    assert calls(cloud) == []


# -- what is reported


def test_records(group, replace, restore):
    """What was turned back or came back is recorded as restored, what was added as removed."""
    group_id = group(SSH, WEB)
    replace()
    records = restore()
    assert [(r["how"], r["ports"], r["was"], r["now"], r["description"]) for r in records] == [
        ("restored", "443", None, "::/0", "web"),
        ("restored", "22", "198.18.7.0/24", "0.0.0.0/0", "ssh"),
        ("removed", "22", "198.18.8.0/24", None, "ssh"),
    ]
    assert {record["account"] for record in records} == {ACCOUNT}
    assert {record["rule"] for record in records if record["now"]} == set(rules_of(group_id))


def test_a_message_says_what_was_restored(cloud, group, replace, restore):
    """The subject says how many rules were restored, and until when; the message has the records and the day."""
    group_id = group(SSH, WEB)
    replace()
    records = restore()
    subject, resources = reported(cloud)
    assert subject == f"Open ingress: 2 rules restored in 1 group until {day('+30')} (123456789012 us-east-1)"
    assert resources[group_id]["c7n:restored-ingress"] == records
    assert resources[group_id]["c7n:exempt-ingress"] == day("+30")


@pytest.mark.parametrize("said", [{"preview": True}, {}])
def test_preview(cloud, group, replace, tmp_path, said):
    """Without `preview: false` it returns what would be restored, changes nothing, and notifies nobody."""
    group_id = group(SSH, WEB)
    replace()
    before = rules_of(group_id), tags_of(cloud, group_id)
    cloud.calls.clear()
    action = {key: value for key, value in RESTORE.items() if key != "preview"} | said
    foreseen = act(cloud, tmp_path, filters=[{"GroupId": group_id}], notify=NOTIFY, **action)
    assert [(record["how"], record["was"], record["now"]) for record in foreseen] == [
        ("preview", None, "::/0"),
        ("preview", "198.18.7.0/24", "0.0.0.0/0"),
        ("preview", "198.18.8.0/24", None),
    ]
    assert calls(cloud) == []
    assert (rules_of(group_id), tags_of(cloud, group_id)) == before
    assert messages(cloud) == []


def test_a_long_journal(group, replace, restore, monkeypatch):
    """However long it takes to make sense of the records, a reading of the group does not grow old meanwhile."""
    group_id = group(SSH)
    replace()

    def slow(entries, fold=c7n_ingress.actions.restore_ingress.fold):
        sleep(OLDEST + 0.1)
        return fold(entries)

    monkeypatch.setattr(c7n_ingress.actions.restore_ingress, "fold", slow)
    restore()
    assert set(by_source(group_id)) == {"0.0.0.0/0"}


def test_what_is_left_alone_is_reported_without_failing(cloud, group, replace, restore):
    """If all that was replaced has been changed since, the group is not exempted nor changed, and people hear of it."""
    group_id = group(SSH)
    replace(authorized=["198.18.7.0/24"])
    edit(cloud, group_id, {"rule": "198.18.7.0/24", "becomes": {**SSH, "source": "198.18.7.7/32"}})
    assert restore() == []
    assert calls(cloud) == []
    subject, _ = reported(cloud)
    assert subject == "Open ingress: 1 group not restored (123456789012 us-east-1)"


def test_what_is_back_already(cloud, group, replace, restore, tmp_path):
    """An undo of what somebody has put back by hand exempts the group, reports that, and no later event closes it."""
    group_id = group(SSH)
    replace(authorized=AUTHORIZED[:1])
    edit(cloud, group_id, {"rule": AUTHORIZED[0], "becomes": SSH})
    assert restore(preview=True) == []
    assert messages(cloud) == []
    assert tags_of(cloud, group_id) == {}

    assert restore() == []
    subject, resources = reported(cloud)
    assert subject == f"Open ingress: 1 rule back already until {day('+30')} (123456789012 us-east-1)"
    assert resources[group_id]["c7n:back-ingress"] == ["tcp 22 from 0.0.0.0/0"]
    assert resources[group_id]["c7n:exempt-ingress"] == day("+30")
    assert calls(cloud) == ["CreateTags"]
    swept = run(cloud, shipped("open-ingress-sweep", tmp_path, AUTHORIZED), tmp_path / "again")
    assert swept.returncode == 0, swept.stderr
    assert set(by_source(group_id)) == {"0.0.0.0/0"}


# -- in which order


def test_order(cloud, group, replace, restore):
    """The exemption comes first, then what comes back, then what goes: a call each."""
    group(SSH, {**SSH, "ports": 23}, WEB)
    replace()
    restore()
    assert calls(cloud) == [
        "CreateTags",
        "AuthorizeSecurityGroupIngress",
        "ModifySecurityGroupRules",
        "RevokeSecurityGroupIngress",
    ]


class Once:
    """Do something the first time only."""

    def __init__(self, happens):
        self.happens = happens
        self.times = 0

    def __call__(self, **_):
        """Count, and do it if it is the first time."""
        self.times += 1
        if self.times == 1:
            self.happens()


def refused(operation="CreateTags"):
    """Make something that happens: AWS refuses the call."""

    def refuse(**_):
        metadata = {"RetryAttempts": 0, "HTTPStatusCode": 403}
        error = {"Code": "AccessDeniedException", "Message": "not you"}
        raise ClientError({"Error": error, "ResponseMetadata": metadata}, operation)

    return refuse


def test_without_an_exemption_nothing_is_opened(group, replace, restore):
    """If the exemption is refused, nothing is restored, and the run fails."""
    group_id = group(SSH)
    replace()
    with pytest.raises(PolicyExecutionError, match="not you"):
        restore({"CreateTags": refused()})
    assert set(by_source(group_id)) == set(AUTHORIZED)


FORMER = [{}, {"open-ingress-until": "+10"}, {"open-ingress-until": "friday"}, {"open-ingress-until": ""}]


def taken_back(cloud, group_id):
    """Check that the message says of the group that its exemption was taken back."""
    resource = reported(cloud)[1][group_id]
    said = f"nothing was restored, so open-ingress-until = {day('+30')} was taken back"
    assert resource["c7n:failed-ingress"][-1] == said
    assert "c7n:exempt-ingress" not in resource


@pytest.mark.parametrize("former", FORMER, ids=str)
def test_an_exemption_for_nothing_is_taken_back(cloud, group, replace, restore, former):
    """If nothing is restored, the tag is what it was before the undo, and the failure says so."""
    tags = {key: day(value) for key, value in former.items()}
    group_id = group(WEB, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
    replace(filters=[{"type": "open-ingress"}])
    with pytest.raises(PolicyExecutionError):
        restore({"AuthorizeSecurityGroupIngress": refused()})
    assert tags_of(cloud, group_id) == tags
    taken_back(cloud, group_id)


def test_an_exemption_for_what_finds_no_room_is_taken_back(cloud, group, replace, restore):
    """If the only rule finds no room, the group is not exempt."""
    group_id = group(WEB)
    replace()
    filler = [{**WEB, "ports": port, "source": "fd00::/8"} for port in range(1000, 1060)]
    ec2 = cloud.session().client("ec2")
    ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=list(map(permission, filler)))
    with pytest.raises(PolicyExecutionError, match=r"found no room: .* 1 more, see the log"):
        restore()
    assert tags_of(cloud, group_id) == {}
    taken_back(cloud, group_id)


def test_an_exemption_of_an_undo_that_was_stopped_is_taken_back(cloud, group, replace, restore):
    """If somebody stops the undo before anything is restored, the group is not exempt."""
    group_id = group(WEB)
    replace()
    with pytest.raises(KeyboardInterrupt):
        restore(after={"CreateTags": stop})
    assert tags_of(cloud, group_id) == {}
    taken_back(cloud, group_id)


def test_an_exemption_of_what_was_perhaps_restored(cloud, group, replace, restore):
    """If somebody stops the undo while EC2 is at work, a rule may be back, so the group stays exempt."""
    group_id = group(WEB)
    replace()
    with pytest.raises(KeyboardInterrupt):
        restore(after={"AuthorizeSecurityGroupIngress": stop})
    assert tags_of(cloud, group_id) == {"open-ingress-until": day("+30")}
    assert reported(cloud)[1][group_id]["c7n:exempt-ingress"] == day("+30")


def test_an_exemption_that_cannot_be_taken_back(cloud, group, replace, restore):
    """If the tag cannot be removed, the failure says until when the group is exempt, and what to do."""
    group_id = group(WEB)
    replace()
    with pytest.raises(PolicyExecutionError):
        restore({"AuthorizeSecurityGroupIngress": refused(), "DeleteTags": refused("DeleteTags")})
    resource = reported(cloud)[1][group_id]
    said = resource["c7n:failed-ingress"][-1]
    assert said.startswith(f"nothing was restored, and open-ingress-until = {day('+30')} could not be taken back")
    assert said.endswith("remove the tag")
    assert resource["c7n:exempt-ingress"] == day("+30")


@pytest.mark.parametrize(
    ("present", "until"),
    [("+60", "+60"), ("+10", "+30"), ("+91", "+30"), ("9999-12-31", "+30"), ("friday", "+30"), ("2026-1-1", "+30")],
)
def test_an_exemption_that_is_there_already(present, until):
    """An exemption that lasts longer stays; one that does not, or that the policies ignore, is overwritten."""
    today = datetime.now(timezone.utc).date()
    assert exemption(today, 30, day(present)) == day(until)


# -- when EC2 says no


def test_a_run_that_broke_off_is_finished(cloud, group, replace, restore):
    """If a run breaks off between two calls, the next one does the rest."""
    group_id = group(SSH, WEB)
    before = shapes(rules_of(group_id).values())
    replace()
    for operation in ("AuthorizeSecurityGroupIngress", "ModifySecurityGroupRules", "RevokeSecurityGroupIngress"):
        with pytest.raises(PolicyExecutionError, match="not you"):
            restore({operation: refused(operation=operation)})
    restore()
    assert shapes(rules_of(group_id).values()) == before
    assert tags_of(cloud, group_id) == {"open-ingress-until": day("+30")}


def test_a_rule_that_comes_meanwhile(cloud, group, replace, restore):
    """If somebody puts a revoked rule back between read and write, the rest is restored all the same."""
    group_id = group(SSH, WEB)
    replace()
    authorize = cloud.session().client("ec2").authorize_security_group_ingress
    comes = Once(lambda: authorize(GroupId=group_id, IpPermissions=[permission(WEB)]))
    restore({"AuthorizeSecurityGroupIngress": comes})
    assert set(by_source(group_id)) == {"0.0.0.0/0", "::/0"}
    assert tags_of(cloud, group_id) == {"open-ingress-until": day("+30")}


@pytest.mark.parametrize("operation", ["CreateTags", "ModifySecurityGroupRules", "RevokeSecurityGroupIngress"])
def test_a_group_that_goes_meanwhile(cloud, group, replace, restore, operation):
    """If somebody deletes the group between two calls, that is no failure."""
    group_id = group(SSH)
    replace()
    restore({operation: Once(lambda: cloud.session().client("ec2").delete_security_group(GroupId=group_id))})


def test_a_group_that_always_changes(cloud, group, replace, restore):
    """If somebody changes the group each time, the third time is the last, and it fails aloud."""
    group_id = group(SSH, {**WEB, "source": "::/1"}, WEB)
    replace()
    ec2 = cloud.session().client("ec2")

    def comes_and_goes(**_):
        if "::/0" in by_source(group_id):
            rule_id = by_source(group_id)["::/0"]["SecurityGroupRuleId"]
            ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=[rule_id])
        else:
            ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=[permission(WEB)])

    def gone_again(**_):
        if "::/0" in by_source(group_id):
            comes_and_goes()

    with pytest.raises(PolicyExecutionError, match="changed by somebody else 3 times while it was being restored"):
        restore({"AuthorizeSecurityGroupIngress": comes_and_goes}, {"AuthorizeSecurityGroupIngress": gone_again})


def test_a_full_group(group, replace, restore):
    """What was revoked comes back in the same run, though there is room for it only when what was added is gone."""
    halves = [{**SSH, "source": source} for source in ("0.0.0.0/1", "128.0.0.0/1")]
    many = [{**SSH, "ports": port, "source": "10.0.0.0/8"} for port in range(1000, 1058)]
    group_id = group(*halves, *many)
    before = shapes(rules_of(group_id).values())
    replace(filters=[{"type": "open-ingress"}])
    restore()
    assert shapes(rules_of(group_id).values()) == before


def test_what_finds_no_room_is_reported_and_comes_back_later(cloud, group, replace, restore):
    """If the group has been filled since, what finds no room is reported, and comes back later."""
    group_id = group(WEB, SSH)
    replace(authorized=["198.18.7.0/24"])
    filler = [{**WEB, "ports": port, "source": "fd00::/8"} for port in range(1000, 1060)]
    ec2 = cloud.session().client("ec2")
    filled = ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=list(map(permission, filler)))
    with pytest.raises(PolicyExecutionError, match="tcp 443 from ::/0 found no room"):
        restore()
    ids = [rule["SecurityGroupRuleId"] for rule in filled["SecurityGroupRules"]]
    ec2.revoke_security_group_ingress(GroupId=group_id, SecurityGroupRuleIds=ids)
    restore()
    assert set(by_source(group_id)) == {"0.0.0.0/0", "::/0"}


def test_another_accounts_group(cloud, group, replace, restore):
    """A group of an account that shares its VPC is skipped, and reported."""
    group_id = group(SSH)
    replace()

    def belongs_elsewhere(parsed, **_):
        for each in parsed["SecurityGroups"]:
            each["OwnerId"] = "999999999999"

    restore(after={"DescribeSecurityGroups": belongs_elsewhere})
    assert calls(cloud) == []
    _, resources = reported(cloud)
    assert "belongs to account 999999999999" in resources[group_id]["c7n:skipped-ingress"]


def test_a_prefix_list(cloud, group, replace, restore):
    """A reference to an open prefix list that was revoked comes back, and the networks that took its place go."""
    ec2 = cloud.session().client("ec2")
    made = ec2.create_managed_prefix_list(
        PrefixListName="everybody", MaxEntries=1, AddressFamily="IPv4", Entries=[{"Cidr": "0.0.0.0/0"}]
    )["PrefixList"]["PrefixListId"]
    group_id = group({**SSH, "source": made})
    before = shapes(rules_of(group_id).values())
    replace(filters=[{"type": "open-ingress"}])
    assert set(by_source(group_id)) == set(AUTHORIZED)
    restore()
    assert shapes(rules_of(group_id).values()) == before


def test_a_prefix_list_that_is_deleted(cloud, group, replace, restore):
    """What names a prefix list that does not exist any more is left and reported, and all other rules come back."""
    ec2 = cloud.session().client("ec2")
    made = ec2.create_managed_prefix_list(
        PrefixListName="everybody", MaxEntries=1, AddressFamily="IPv4", Entries=[{"Cidr": "0.0.0.0/0"}]
    )["PrefixList"]["PrefixListId"]
    group_id = group(SSH, WEB, {**WEB, "ports": 8080}, {**SSH, "ports": 2222, "source": made})
    replace(filters=[{"type": "open-ingress"}])
    del ec2_backends[ACCOUNT]["us-east-1"].managed_prefix_lists[made]  # moto keeps what is deleted
    restore()
    assert sorted(rule["FromPort"] for rule in rules_of(group_id).values() if source_of(rule)[-2:] == "/0") == [
        *(22, 443, 8080)
    ]
    _, resources = reported(cloud)
    assert (
        resources[group_id]["c7n:left-ingress"][-1] == f"tcp 2222 from {made}: its prefix list does not exist any more"
    )


# -- a journal that is of no use


def nowhere(_cloud, _folder):
    """Name a log group that is not there."""
    return {"log-groups": ["/aws/lambda/custodian-elsewhere"]}


def no_file(_cloud, folder):
    """Name a file that is not there."""
    return {"url": f"file:{folder}/missing.log"}


def no_text(_cloud, folder):
    """Name a file that is no text."""
    (folder / "picture.log").write_bytes(bytes(range(256)))
    return {"url": f"file:{folder}/picture.log"}


def no_object(cloud, _folder):
    """Name an object that is not there."""
    cloud.session().client("s3").create_bucket(Bucket="the-bucket")
    return {"url": "s3://the-bucket/missing/custodian-run.log.gz"}


@pytest.mark.parametrize(
    "useless",
    [
        (nowhere, "custodian-elsewhere cannot be read: .*ResourceNotFound.* logs:FilterLogEvents"),
        (no_file, "missing.log cannot be read: .*No such file.*: is it the log of the run that closed the group"),
        (no_text, "picture.log cannot be read: .*can't decode.*: is it the log of the run that closed the group"),
        (no_object, "missing/custodian-run.log.gz cannot be read: .*NoSuchKey.*: is it the log of the run"),
    ],
)
def test_a_journal_that_cannot_be_read(cloud, group, restore, tmp_path, useless):
    """A journal that cannot be read is an error that says which, why, and what to do; nothing is changed."""
    group(SSH)
    place, why = useless
    with pytest.raises(PolicyExecutionError, match=f"changed nothing: the journal .*{why}"):
        restore(**{"from": place(cloud, tmp_path)})
    assert calls(cloud) == []


def test_a_journal_that_may_not_be_read(cloud, group, replace, restore):
    """If the caller may not read the journal, the missing permission is named, and nothing is changed."""
    group(SSH)
    replace()
    with pytest.raises(PolicyExecutionError, match=r"cannot be read: .*AccessDenied.* logs:FilterLogEvents"):
        restore({"FilterLogEvents": refused("FilterLogEvents")})
    assert calls(cloud) == []


def test_a_journal_that_is_throttled(group, replace, restore):
    """If CloudWatch Logs takes no more calls for the moment, it is asked again."""
    group_id = group(SSH)
    replace()

    def throttle():
        error = {"Code": "ThrottlingException", "Message": "Rate exceeded"}
        raise ClientError({"Error": error, "ResponseMetadata": {"RetryAttempts": 4}}, "FilterLogEvents")

    once = Once(throttle)
    restore({"FilterLogEvents": once})
    assert once.times == 2
    assert set(by_source(group_id)) == {"0.0.0.0/0"}


def test_an_expired_journal(cloud, group, restore):
    """If the journal has no record of a group, the error names the log group whose retention may be over."""
    group(SSH)
    journal([])
    says = f"changed nothing: .*no record of sg-.* If the run is older than the retention of {LOG_GROUP}, restore"
    with pytest.raises(PolicyExecutionError, match=says):
        restore()
    assert calls(cloud) == []


def test_an_empty_file(cloud, group, restore, tmp_path):
    """A file without a record of the group is an error that names it, by the command, too."""
    group_id = group(SSH)
    (tmp_path / "custodian-run.log").write_text("")
    place = {"url": f"file:{tmp_path}/custodian-run.log"}
    with pytest.raises(
        PolicyExecutionError, match=r"custodian-run.log has no record of sg-.*: name the log of the run"
    ):
        restore(**{"from": place})
    (tmp_path / "undo.json").write_text(json.dumps({"group": group_id, "run": "a", "journal": place, "preview": False}))
    policy = ROOT / "policies" / "restore-ingress.yml"
    done = run(cloud, policy, tmp_path / "out", "--vars-file", tmp_path / "undo.json")
    assert done.returncode != 0
    assert "custodian-run.log has no record of" in done.stderr
    assert calls(cloud) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1/journal", "https://example.com/journal", "journal.log"])
def test_a_journal_that_anybody_could_write(cloud, group, tmp_path, url):
    """The journal is read from a file, from S3 and from CloudWatch Logs; other places are refused by the schema."""
    policy = {"name": "undo", "resource": "aws.security-group", "filters": [{"GroupId": group(SSH)}]}
    policy["actions"] = [{**RESTORE, "from": {"url": url}}]
    path = tmp_path / "undo.json"
    path.write_text(json.dumps({"policies": [policy]}))
    done = custodian(cloud, "validate", path)
    assert done.returncode != 0


# -- forged and foreign records

FORGED = cases("journal")


def filled(value, **ids):
    """Return what a case says with the ids put in."""
    if isinstance(value, dict):
        return {key: filled(each, **ids) for key, each in value.items()}
    return value.format(**ids) if isinstance(value, str) else value


@pytest.mark.parametrize("case", FORGED["cases"], ids=lambda case: case["name"])
def test_what_the_journal_must_not_do(cloud, group, restore, tmp_path, case):
    """A record that is forged, foreign or unreadable opens nothing, and what is unreadable is reported."""
    ids = {
        "group": group({**SSH, "source": "198.18.7.0/24"}),
        "other": group({**SSH, "source": "198.18.7.0/24"}, number=2),
    }
    before = {group_id: rules_of(group_id) for group_id in ids.values()}
    ids["rule"], ids["other_rule"] = (rule_id for rules in before.values() for rule_id in rules)
    made = [filled({**FORGED["record"], **each}, **ids) for each in case.get("records", [])]
    record = json.dumps(filled(FORGED["record"], **ids))
    lines = [json.dumps({key: value for key, value in each.items() if value != "(missing)"}) for each in made]
    lines += [line.replace("RECORD", record).replace("QUOTED", json.dumps(record)) for line in case.get("lines", [])]
    (tmp_path / "journal.log").write_text("\n".join(lines))
    for place in (journal(lines), {"url": f"file:{tmp_path}/journal.log"}):
        undo = {"filters": [{"type": "named", "groups": [ids["group"]]}], "from": place}
        if "error" in case:
            with pytest.raises(PolicyExecutionError, match=case["error"]):
                restore(**undo)
        else:
            assert restore(**undo) == []
            left = reported(cloud)[1][ids["group"]]["c7n:left-ingress"]
            assert [re.sub("sgr-[0-9a-f]+", "sgr-", text) for text in left] == case["left"]
        assert calls(cloud) == []
    assert {group_id: rules_of(group_id) for group_id in before} == before


def test_a_record_as_it_should_be(group, restore):
    """The record that the cases forge restores its rule."""
    group_id = group({**SSH, "source": "198.18.7.0/24"})
    (rule,) = rules_of(group_id)
    journal([filled(FORGED["record"], rule=rule, group=group_id)])
    restore()
    assert set(by_source(group_id)) == {"0.0.0.0/0"}


def test_what_cannot_be_read_keeps_nothing_back(cloud, group, replace, restore):
    """Beside a record that cannot be read, all others are undone, and it is reported."""
    group_id = group(SSH, WEB)
    done = replace()
    journal([{**done[0], "traffic": "all"}, {**done[0], "v": 2, "group": "sg-0123"}])
    restore()
    assert set(by_source(group_id)) == {"0.0.0.0/0", "::/0"}
    _, resources = reported(cloud)
    (left,) = resources[group_id]["c7n:left-ingress"]
    assert left.startswith("a record that cannot be read")


def test_tags_that_only_aws_sets(cloud, replace, restore):
    """A removed rule comes back with its owner's tags, and without those that only AWS can set."""
    group = group_of({"name": "web", "ingress": [SSH, {**SSH, "source": AUTHORIZED[0]}]}, 1)
    load([group])
    make_queue(cloud)
    ids = {source_of(rule): rule_id for rule_id, rule in rules_of(group["GroupId"]).items()}
    tags = {"owner": "web", "aws:cloudformation:stack-name": "web"}
    ec2_backends[ACCOUNT]["us-east-1"].create_tags([ids["0.0.0.0/0"]], tags)  # as AWS does, which EC2's API refuses
    replace(authorized=AUTHORIZED[:1])
    assert ids["0.0.0.0/0"] not in rules_of(group["GroupId"])

    restore()

    (back,) = (rule for rule in rules_of(group["GroupId"]).values() if source_of(rule) == "0.0.0.0/0")
    assert back["Tags"] == [{"Key": "owner", "Value": "web"}]
