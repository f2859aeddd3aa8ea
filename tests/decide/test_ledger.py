"""What has become of one group's changes, whatever EC2 answers and in whatever order."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from c7n_ingress.decide.ledger import Ledger
from c7n_ingress.decide.plan import Plan, Replacement
from c7n_ingress.decide.records import Change
from c7n_ingress.decide.rules import Rule, Traffic

ANYBODY, OWN = ip_network("0.0.0.0/0"), ip_network("198.18.7.0/24")
RULES = [Rule(f"sgr-{port}", Traffic("tcp", port, port), ANYBODY, None) for port in (22, 443, 5432)]
ADDED, CHANGED, REMOVED = CHANGES = [
    Change("authorized", None, RULES[0], None, OWN),
    Change("modified", RULES[1].id, RULES[1], ANYBODY, OWN),
    Change("revoked", RULES[2].id, RULES[2], ANYBODY, None),
]
STEPS = st.lists(st.tuples(st.sampled_from(("made", "lost")), st.sampled_from(CHANGES)), max_size=12)


@given(STEPS)
def test_each_change_is_news_once(steps):
    """However often an answer is lost, a change is recorded once, and is doubtful only as long as it is not made."""
    ledger, made, doubtful = Ledger(), [], []
    for what, change in steps:
        if what == "lost":
            ledger.doubt([change])
            doubtful += [change] if change not in doubtful else []
        else:
            assert ledger.is_news(change) is (change not in made)
            ledger.enter(change)
            made += [change] if change not in made else []
            doubtful = [each for each in doubtful if each != change]
        assert (ledger.made, ledger.doubtful) == (made, doubtful)


@given(st.lists(st.sampled_from(CHANGES), unique=True), st.sets(st.sampled_from(CHANGES)))
def test_what_has_come_true(lost, done):
    """What EC2 may have done counts as done only if the rules show it. An added rule has its id."""
    ledger = Ledger()
    ledger.doubt(lost)
    rules = [RULES[0], RULES[1]._replace(source=OWN if CHANGED in done else ANYBODY)]
    rules += [RULES[0]._replace(id="sgr-new", source=OWN)] if ADDED in done else []
    rules += [RULES[2]] if REMOVED not in done else []
    assert set(ledger.come_true(rules)) == {
        each._replace(rule_id="sgr-new") if each == ADDED else each for each in lost if each in done
    }


@given(st.sets(st.sampled_from(RULES)), st.booleans(), st.sets(st.sampled_from(RULES)))
def test_what_is_owed(full, removed, standing):
    """A source that found no room is owed from the removal of its open rule until it exists, and not before."""
    ledger = Ledger()
    for rule in full:
        ledger.enter_refused(Replacement(rule, OWN), has_room=False)
        ledger.enter_refused(Replacement(rule, OWN), has_room=False)
    assert len(ledger.full) == len(full)
    if removed:
        ledger.enter(REMOVED)
    owed = {Replacement(rule, OWN) for rule in (full - standing if removed else ())}
    for _ in range(3):  # EC2 throttles, or an answer is lost
        plan = ledger.to_try(Plan(), [rule._replace(source=OWN) for rule in standing])
        assert set(plan.authorize) == owed


def test_added_once_more():
    """A rule that is added once more, as somebody removed the first one, is news: it has another id."""
    ledger = Ledger()
    ledger.enter(ADDED._replace(rule_id="sgr-first"))
    assert not ledger.is_news(ADDED)
    assert ledger.is_news(ADDED._replace(rule_id="sgr-second"))


def test_what_found_no_room_is_left_out():
    """Only what found no room is left out of a plan."""
    ledger, (first, second) = Ledger(), [Replacement(rule, OWN) for rule in RULES[:2]]
    ledger.enter_refused(first, has_room=False)
    plan = Plan([first, second], [second], RULES[2:])
    assert ledger.without_full(plan) == plan._replace(authorize=[second])


def test_what_has_no_prefix_list_is_not_tried_again():
    """Neither before nor after a rule was removed is tried again what names a prefix list that does not exist."""
    ledger, (first, second) = Ledger(), [Replacement(rule, OWN) for rule in RULES[:2]]
    ledger.enter_refused(first, has_room=True)
    for _ in range(2):
        assert ledger.to_try(Plan([first, second]), ()).authorize == [second]
        ledger.enter(REMOVED)


def test_what_is_settled():
    """What was made or refused needs no further try: each counts once, however often it is entered."""
    ledger, (first, second) = Ledger(), [Replacement(rule, OWN) for rule in RULES[:2]]
    for _ in range(2):
        ledger.enter_refused(first, has_room=False)
        ledger.enter_refused(second, has_room=True)
        ledger.enter(REMOVED)
    assert ledger.settled == 3
    ledger.enter(ADDED)  # it found room in the end
    assert (ledger.settled, ledger.full) == (3, {})
