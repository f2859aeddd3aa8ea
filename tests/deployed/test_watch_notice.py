from c7n_ingress_tools.functions.runtime import deployed
from c7n_ingress_tools.mailer import deploy
from tests.support.embedded import ROOT, custodian, settings
from tests.support.stacked import create, inbox, poll, stop_polling

NOTICE, WATCH = ROOT / "policies" / "open-ingress-notice.yml", ROOT / "mode" / "watch.yml"
RULE = "custodian-open-ingress"
A_DAY = {"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}


def test_notice_that_nobody_gets(cloud, tmp_path):
    """Where groups are closed after notice, it is reported if no group is marked: the rule or the function is gone."""
    create(cloud, RunsDaily=f"{RULE}-noticed")
    take = inbox(cloud)
    given = ["--vars-file", settings(tmp_path, ["198.18.7.0/24"])]
    for options in ([NOTICE], ["-p", "open-ingress-watch-trigger", WATCH]):
        done = custodian(cloud, "run", "--region", "us-east-1", "-s", tmp_path, *given, *options)
        assert done.returncode == 0, done.stderr
    deploy.deploy(deploy.read_config(deploy.CONFIG), cloud.session())
    stop_polling(cloud)
    events = cloud.session().client("events")
    with deployed(cloud, f"{RULE}-watch-trigger") as watch, deployed(cloud, "custodian-mailer") as mailer:

        def reported():
            watch.invoke(A_DAY)
            while poll(cloud.session(), mailer):
                pass
            return [message["Subject"] for message in take()]

        assert reported() == []
        events.disable_rule(Name=f"{RULE}-notice")
        assert reported() == ["Open ingress: EventBridge does not invoke a policy"]
        events.enable_rule(Name=f"{RULE}-notice")
        assert reported() == []
        cloud.session().client("lambda").delete_function(FunctionName=f"{RULE}-notice")
        assert reported() == ["Open ingress: EventBridge does not invoke a policy"]


def test_without_settings(cloud, tmp_path):
    """The watch is not deployed without settings.yml, which names its recipients."""
    done = custodian(cloud, "run", "--region", "us-east-1", "-s", tmp_path, WATCH)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("'{tell}' was not filled: add --vars-file settings.yml")
    assert not cloud.session().client("lambda").list_functions()["Functions"]
