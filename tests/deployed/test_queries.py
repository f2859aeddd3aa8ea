"""The saved queries of mode/stack.yml, in the grammar of CloudWatch Logs Insights, on what functions really log.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

import json
import re

import pytest

from c7n_ingress_tools.embedded_aws.config import configuration_item, event
from c7n_ingress_tools.functions.runtime import FunctionError, deployed
from tests.support.embedded import group_of, load, run, shipped
from tests.support.stacked import create, of_type

SSH = {"protocol": "tcp", "ports": 22, "source": "0.0.0.0/0"}
COMMANDS = {"fields", "filter", "limit", "parse", "sort", "stats"}
FUNCTIONS = {"bin", "count", "count_distinct", "ispresent", "max", "pct"}
WORDS = {"and", "as", "asc", "by", "desc", "in", "like", "or"}
RECORD = {"account", "group", "how", "opened_by", "region", "seconds_open", "v", "was"}
"""The keys of a record that queries name."""
UNDONE = "[INFO]\t2026-11-29T19:00:00.000Z\t0a1b2c3d-0000\tundone in 123456789012 us-east-1: sg-1, sg-2"
"""What the mailer logs, as Lambda writes it."""
FORGED = "[ERROR]\t2026-11-29T19:00:00.000Z\t0a1b2c3d-0000\tx undone in 123456789012 us-east-1: sg-1 is not a recipient"


@pytest.fixture
def queries(cloud):
    """Return the text of each saved query, by its name."""
    found = of_type(create(cloud), "AWS::Logs::QueryDefinition").values()
    return {each["Name"].removeprefix("open-ingress/"): each["QueryString"] for each in found}


def words_of(query):
    """Return the fields that a query reads and has not named itself; refuse any word that is no part of the grammar."""
    named, read = set(), set()
    for part in query.split(" | ") if "\n" not in query else re.split(r"\n\| ", query):
        command, _, rest = part.strip().partition(" ")
        assert command in COMMANDS, part
        named |= {*re.findall(r"\(\?<(\w+)>", rest), *re.findall(r"\bas (\w+)", rest)}
        bare = re.sub(r"/.*?(?<!\\)/|'[^']*'", "", rest)
        called = set(re.findall(r"(\w+)\(", bare))
        assert called <= FUNCTIONS, part
        assert bare.count("(") == bare.count(")"), part
        read |= (
            set(re.findall(r"@?[a-z]\w*", re.sub(r"\d+d\b", "", bare))) - called - WORDS - {"@message", "@timestamp"}
        )
    return read - named


def patterns(query):
    """Return the regular expressions of a query, as Python writes them."""
    return [re.compile(each.replace("(?<", "(?P<")) for each in re.findall(r"/(.*?)/", query)]


def test_what_they_read(queries):
    """Each query is in the grammar, and reads only keys that a record has."""
    assert set(queries) == {"closed rules", "seconds open", "who opens most", "not closed", "exempt", "undone"}
    for query in queries.values():
        assert words_of(query) <= RECORD, query


@pytest.mark.parametrize("mistake", ["filtr v = 1", "stats median(v)", "filter nothing = 1", "stats count(* by v"])
def test_a_mistake(mistake):
    """A query with a word that is no command, function or key does not pass."""
    with pytest.raises(AssertionError):
        assert words_of(mistake) <= RECORD


def test_that_they_match(cloud, queries, tmp_path):
    """What queries look for is in the lines that the functions write."""
    groups = [group_of({"name": f"g{number}", "ingress": [SSH]}, number) for number in (1, 2)]
    load(groups)
    policies = shipped(["open-ingress", "open-ingress-exempt"], tmp_path, ["198.18.7.0/24"], at_most=1)
    assert run(cloud, policies, tmp_path).returncode == 0
    with deployed(cloud, "custodian-open-ingress") as function:
        function.invoke(event(configuration_item(groups[0]), "custodian-open-ingress"))
        with pytest.raises(FunctionError):
            function.invoke(event(configuration_item(groups[1]), "custodian-open-ingress"))
        lines = function.logs[0].read_text().splitlines()
    with deployed(cloud, "custodian-open-ingress-exempt") as function:
        function.invoke({})
        lines += function.logs[0].read_text().splitlines()
    (record,) = [json.loads(line) for line in lines if line.startswith('{"v"')]
    assert record.keys() >= RECORD - {"opened_by"}  # only CloudTrail says who: test_cloudtrail.py
    for name in ("not closed", "exempt", "undone"):
        for pattern in patterns(queries[name]):
            assert any(map(pattern.search, [*lines, UNDONE])), pattern.pattern
    first, *_ = patterns(queries["undone"])
    assert not first.search(FORGED)


def test_the_dashboard(cloud):
    """On request there is a dashboard, whose widgets are queries of the same grammar over the same logs."""
    (board,) = of_type(create(cloud, Dashboard="yes"), "AWS::CloudWatch::Dashboard").values()
    assert board["DashboardName"] == "open-ingress-us-east-1"
    widgets = json.loads(board["DashboardBody"])["widgets"]
    assert len(widgets) == 3
    for widget in widgets:
        *sources, query = re.split(r" \| (?=filter)", widget["properties"]["query"], maxsplit=1)
        assert len(re.findall(r"SOURCE '/aws/lambda/custodian-open-ingress[\w-]*'", sources[0])) == 4
        assert words_of(query) <= RECORD
