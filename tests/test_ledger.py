"""What has become of one group's changes, whatever EC2 answers and in whatever order."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.ledger import Ledger
from c7n_ingress.decide.plan import Plan, Replacement
from c7n_ingress.decide.records import Change
from c7n_ingress.decide.rules import Rule, Traffic

ANYBODY, OWN = ip_network("0.0.0.0/0"), ip_network("198.18.7.0/24")
RULES = [Rule(f"sgr-{port}", Traffic("tcp", port, port), ANYBODY, None) for port in (22, 443)]
CHANGES = [
    change
    for rule in RULES
    for change in (
        Change("authorized", None, rule, None, OWN),
        Change("revoked", rule.id, rule, ANYBODY, None),
    )
]
STEPS = st.lists(st.tuples(st.sampled_from(("made", "lost")), st.sampled_from(CHANGES)), max_size=12)


@given(STEPS)
def test_each_change_is_news_once(steps):
    """However often an answer is lost, a change is recorded once, and is doubtful only as long as it is not made."""
    ledger, made, doubtful = Ledger(), [], []
    for what, change in steps:
        if what == "lost":
            ledger.doubtful.append(change)
            doubtful.append(change)
        else:
            assert ledger.enter(change) is (change not in made)
            made += [change] if change not in made else []
            doubtful = [each for each in doubtful if each != change]
        assert (ledger.made, ledger.doubtful) == (made, doubtful)


@given(st.sets(st.sampled_from(CHANGES)), st.sets(st.sampled_from(CHANGES)))
def test_what_has_come_true(lost, done):
    """What EC2 may have done has come true where the rules show it, and nowhere else; what was added bears its id."""
    ledger = Ledger(doubtful=[*lost])
    gone = {change.rule_id for change in done if change.now is None}
    rules = [rule for rule in RULES if rule.id not in gone]
    rules += [change.rule._replace(id=f"new-{change.rule.id}", source=OWN) for change in done if change.now]
    expected = {change._replace(rule_id=f"new-{change.rule.id}") if change.now else change for change in lost & done}
    assert set(ledger.come_true(rules)) == expected


@given(st.sets(st.sampled_from(RULES)), st.booleans(), st.sets(st.sampled_from(RULES)))
def test_what_is_owed(full, removed, standing):
    """What found no room is owed once a rule was removed for it, unless it stands by now; before, nothing is."""
    ledger = Ledger()
    for rule in full:
        ledger.enter_full(Replacement(rule, OWN))
        ledger.enter_full(Replacement(rule, OWN))
    assert len(ledger.full) == len(full)
    if removed:
        ledger.enter(CHANGES[1])
    plan = ledger.with_owed(Plan(), [rule._replace(source=OWN) for rule in standing])
    assert set(plan.authorize) == {Replacement(rule, OWN) for rule in (full - standing if removed else ())}
