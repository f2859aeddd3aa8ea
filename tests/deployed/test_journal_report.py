"""`c7n-ingress report --journal`: what the deployed functions wrote into their logs."""

import csv
import json
from datetime import datetime, timedelta, timezone

import pytest
from moto.core.exceptions import AccessDeniedError
from moto.sts.responses import TokenResponse

from c7n_ingress_tools.cli import main
from c7n_ingress_tools.embedded_aws import logs
from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.functions.runtime import FunctionError, deployed
from tests.support.docs import blocks, commands
from tests.support.embedded import ACCOUNT, group_of, load, run, shipped
from tests.support.stacked import create

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
LOG_GROUP = "/aws/lambda/custodian-open-ingress"
OTHER = "210987654321"
NOW = datetime.now(timezone.utc)


def reported(capsys, *words):
    """Run the command, and return what it prints as JSON."""
    assert main(["report", "--journal", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def closure(number, seconds=None, **more):
    """Return the record of a rule that was closed after so many seconds."""
    opened = {} if seconds is None else {"seconds_open": seconds}
    record = {"v": 1, "account": ACCOUNT, "region": "us-east-1", "group": f"sg-{number}", "group_name": "=web"}
    record |= {
        "rule": f"sgr-{number}",
        "protocol": "tcp",
        "ports": "22",
        "traffic": {},
        "was": "0.0.0.0/0",
        "now": "198.18.7.0/24",
    }
    return json.dumps({**record, "how": "modified", "time": f"{NOW:%Y-%m-%dT%H:%M:%S.%fZ}", **opened, **more})


def write(*lines, log_group=LOG_GROUP, account=ACCOUNT, region="us-east-1"):
    """Write lines into a log group, as a function does."""
    logs.write(account, region, log_group, "a-stream", lines)


@pytest.fixture(autouse=True)
def here(cloud, monkeypatch):
    """Let the command call the embedded AWS."""
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)


def test_what_functions_wrote(cloud, tmp_path, capsys):
    """What deployed functions closed, could not close, and found exempt is counted, from their own logs."""
    create(cloud)
    tag = {"open-ingress-until": "+30"}
    groups = [group_of({"name": f"g{n}", "ingress": [SSH], "tags": tag if n == 3 else {}}, n) for n in (1, 2, 3)]
    load(groups)
    policies = shipped(["open-ingress", "open-ingress-exempt"], tmp_path, ["198.18.7.0/24"], at_most=1)
    assert run(cloud, policies, tmp_path).returncode == 0
    captured = datetime.now(timezone.utc) - timedelta(minutes=10)
    with deployed(cloud, "custodian-open-ingress") as function:
        function.invoke(event(configuration_item(groups[0], captured=captured), "custodian-open-ingress"))
        with pytest.raises(FunctionError):
            function.invoke(event(configuration_item(groups[1], captured=captured), "custodian-open-ingress"))
    with deployed(cloud, "custodian-open-ingress-exempt") as function:
        function.invoke({})
    report = reported(capsys, "--region", "us-east-1")
    (found,) = report["accounts"]
    assert (found["account"], found["closures"], found["failures"], found["exempt"]) == (ACCOUNT, 1, 1, 1)
    assert 600 <= found["median"] == found["most"] < 900
    assert report["closures"][0]["group"] == groups[0]["GroupId"]
    assert report["notes"] == []


def test_the_numbers(capsys, tmp_path):
    """Median and 95 % are of the rules whose opening is known; who opened most comes first; a CSV has each rule."""
    by = [{"opened_by": "arn:aws:iam::1:user/alice"}] * 3 + [{"opened_by": "arn:aws:iam::1:user/bob"}] * 2
    write(*(closure(n, seconds, **who) for n, (seconds, who) in enumerate(zip((1, 2, 3, 4, 100), by, strict=True))))
    write(closure(9), closure(10, how="preview"), closure(11, was=None, how="authorized"), "no record", '{"v": 1}')
    undone = f"undone in {ACCOUNT} us-east-1: "
    lines = [f"[INFO]\t2026-11-29T19:00:00.000Z\t0a1b-0\t{undone}sg-1, sg-2", f"[INFO] x {undone}sg-3 is no recipient"]
    write(*lines, log_group="/aws/lambda/custodian-mailer")
    report = reported(capsys, "--region", "us-east-1", "--csv", str(tmp_path / "closed.csv"))
    (found,) = report["accounts"]
    assert (found["closures"], found["median"], found["undone"]) == (6, 3, 2)
    assert found["most"] == pytest.approx(80.8)
    assert [each["opened_by"].rpartition("/")[2] for each in report["openers"]] == ["alice", "bob"]
    with (tmp_path / "closed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {row["name"] for row in rows} == {"'=web"}


@pytest.mark.parametrize("seconds", ["9" * 400, "1e999", "-1e999"], ids=["huge", "infinite", "less than nothing"])
def test_forged_times(capsys, seconds):
    """A forged record whose rule was open for longer than anything counts as a closure of unknown time."""
    write(closure(1, 4), closure(2, 8), closure(3, 5).replace('"seconds_open": 5', f'"seconds_open": {seconds}'))
    report = reported(capsys, "--region", "us-east-1")
    (found,) = report["accounts"]
    assert (found["closures"], found["median"]) == (3, 6)
    assert [each["seconds"] for each in report["closures"]] == [4, 8, None]


@pytest.mark.parametrize("nested", [f"{'[' * 20_000}{']' * 20_000}", "9" * 5000], ids=["too deeply", "a huge number"])
def test_a_forged_line_that_cannot_be_read(capsys, monkeypatch, nested):
    """A forged line that Python cannot read counts for nothing, and the other records are reported."""
    line = closure(2, 8).replace('"traffic": {}', f'"traffic": {nested}')
    monkeypatch.setattr(logs.JsonPattern, "matches", lambda *_: True)  # AWS reads such a line
    write(closure(1, 4), line)
    (found,) = reported(capsys, "--region", "us-east-1")["accounts"]
    assert (found["closures"], found["median"]) == (1, 4)


@pytest.mark.parametrize("account", [5, None, OTHER, ["1"]])
def test_a_forged_account(capsys, account):
    """A record counts for the account whose log it is in, whatever account it names."""
    write(closure(1, 10), closure(2, 10, account=account))
    report = reported(capsys, "--region", "us-east-1")
    assert [(each["account"], each["closures"]) for each in report["accounts"]] == [(ACCOUNT, 2)]
    assert {each["account"] for each in report["closures"]} == {ACCOUNT}


def test_a_forged_count(capsys):
    """A forged number of exempt groups that Python refuses to read does not count."""
    digest = "policy:open-ingress-exempt resource:aws.security-group region:us-east-1 count:{} time:0.1"
    write(digest.format(3), digest.format("9" * 5000), log_group="/aws/lambda/custodian-open-ingress-exempt")
    (found,) = reported(capsys, "--region", "us-east-1")["accounts"]
    assert found["exempt"] == 3


def test_what_a_person_sees(capsys):
    """Without --json, a table has a row for each account, and lines say who opened the most."""
    write(closure(1, 90, opened_by="arn:aws:iam::1:user/al\x1b[31mice"))
    assert main(["report", "--journal", "--region", "us-east-1", "--region", "eu-west-1"]) == 0
    said = capsys.readouterr().out
    assert ACCOUNT in said
    assert "90 s" in said
    assert "1 rule opened by arn:aws:iam::1:user/al⟨U+001B⟩[31mice" in said
    assert "eu-west-1: no journal" in said


def test_several_accounts(capsys, tmp_path):
    """With c7n-org's file, each account is read under its role, in its regions."""
    write(closure(1, 10))
    write(closure(2, 20, account=OTHER), closure(3, account=OTHER), account=OTHER, region="eu-west-1")
    accounts = [
        {"name": name, "account_id": number, "role": "custodian-open-ingress", "regions": [region]}
        for name, number, region in (("shop", ACCOUNT, "us-east-1"), ("lab", OTHER, "eu-west-1"))
    ]
    path = tmp_path / "accounts.yml"
    path.write_text(json.dumps({"accounts": accounts}))
    report = reported(capsys, "--accounts", str(path))
    assert [(each["account"], each["closures"]) for each in report["accounts"]] == [
        (ACCOUNT, 1),
        (OTHER, 2),
        ("all", 3),
    ]


@pytest.mark.parametrize("regions", [["us-east-1"], ["all"]], ids=["again", "all"])
def test_an_account_that_is_listed_twice(capsys, tmp_path, regions):
    """What an account closed counts once, however often c7n-org's file lists the account and region."""
    write(closure(1, 10))
    account = {"account_id": ACCOUNT, "role": "custodian-open-ingress"}
    listed = [{**account, "name": name, "regions": of} for name, of in (("shop", ["us-east-1"]), ("web", regions))]
    (path := tmp_path / "accounts.yml").write_text(json.dumps({"accounts": listed}))
    report = reported(capsys, "--accounts", str(path))
    assert [(each["account"], each["closures"]) for each in report["accounts"]] == [(ACCOUNT, 1)]


@pytest.mark.parametrize("region", ["us-east-1", "all"])
def test_an_account_that_cannot_be_read(capsys, monkeypatch, tmp_path, region):
    """An account that cannot be read is a note, the others are reported, and the command ends with 1."""
    write(closure(1, 10), account=OTHER)
    accounts = [
        {"name": number, "account_id": number, "role": "custodian-open-ingress", "regions": [region]}
        for number in (ACCOUNT, OTHER)
    ]
    path = tmp_path / "accounts.yml"
    path.write_text(json.dumps({"accounts": accounts}))
    assume_role = TokenResponse.assume_role

    def of_the_other(response):
        if ACCOUNT in response._get_param("RoleArn"):
            raise AccessDeniedError(user_arn="arn:aws:iam::1:user/alice", action="sts:AssumeRole")
        return assume_role(response)

    monkeypatch.setattr(TokenResponse, "assume_role", of_the_other)
    assert main(["report", "--journal", "--json", "--accounts", str(path)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [each["closures"] for each in report["accounts"]] == [0, 1, 1]
    assert f"{ACCOUNT} {region}: could not be read: " in report["notes"][0]


def test_records_that_somebody_wrote(capsys):
    """A record whose values are of another kind is none, and stops nothing."""
    write(closure(1, 10), closure(2, "soon"), closure(3, [5]), closure(4, 5, how=["modified"]))
    (found,) = reported(capsys, "--region", "us-east-1")["accounts"]
    assert (found["closures"], found["median"]) == (3, 10)


@pytest.mark.parametrize("command", commands(blocks("docs/operate.md", "Look back")[0])[1:])
def test_what_the_page_says(capsys, command):
    """The commands of docs/operate.md run."""
    write(closure(1, 10))
    program, *words = command.split()
    assert program == "c7n-ingress"
    assert main(words) == 0
    assert "closed rules" in capsys.readouterr().out


def test_since(capsys):
    """Lines before --since are left out."""
    write(closure(1, 10))
    later = (NOW + timedelta(hours=1)).isoformat()
    assert reported(capsys, "--region", "us-east-1", "--since", later)["accounts"][0]["closures"] == 0
    assert reported(capsys, "--region", "us-east-1", "--since", "1h")["accounts"][0]["closures"] == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--journal needs --region, or --accounts"),
        (
            ["--region", "us-east-1", "--since", "soon"],
            "--since 'soon' is no time in the past: write 90d, 12h or 2026-01-31",
        ),
        (["--region", "us-east-1", "--since", "9999-12-31"], "--since '9999-12-31' is no time in the past: write 90d"),
        (
            ["--region", "us-east-1", "--since", "9999-12-31T23:59:59-05:00"],
            "-05:00' is no time in the past: write 90d, 12h or",
        ),
        (["--accounts", "settings.yml"], "is not c7n-org's file of accounts: $: "),
        (["--accounts", "pyproject.toml"], "pyproject.toml is not YAML: "),
    ],
)
def test_what_is_refused(capsys, words, says):
    """Bad input ends with 2 and one line."""
    assert main(["report", "--journal", *words]) == 2
    assert says in capsys.readouterr().err


def test_options_of_the_journal_alone(capsys):
    """What belongs to --journal is refused without it."""
    assert main(["report", "--region", "us-east-1"]) == 2
    assert "--region needs --accounts or --journal" in capsys.readouterr().err
