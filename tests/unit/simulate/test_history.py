"""What jobs did, by step, as the rules of now decide it: habits, uses of rules, chances, in bounded memory."""

from dataclasses import replace
from datetime import timedelta

from proxy.model.record import AuditRecord
from proxy.policy.compile import RuleSet
from proxy.simulate import history as module
from proxy.simulate.history import History, Miner, Who, is_missing, needed_entries
from proxy.simulate.replay import Effect
from tests.fakes.flows import JOB, NOON, connected, decided, ended, opened, written
from tests.fakes.policy import a_rule, a_view, ruleset_of

RULES = ruleset_of(
    a_rule(id="open", to=["example.com", "*.example.com"], path=["/a", "/b", "/c/*"], method=["GET", "PUT"]),
    a_rule(id="install", to="registry.npmjs.org", intent=["npm install **", "npm publish **"]),
    a_rule(id="other", to="other.test", job={"pipeline": "another"}),
    a_rule(id="never", to="evil.test", effect="deny"),
)


def mined(*trail: AuditRecord, rules: RuleSet = RULES) -> History:
    miner = Miner(rules)
    miner.read(written(trail))
    return miner.history


def test_flows_are_gathered_into_habits() -> None:
    """By who, where and what; each thing that was acted on has an example, and a few flows are named."""
    views = [a_view(url=f"https://example.com{path}") for path in ("/a", "/b", "/a", "/x")]
    later = [decided(RULES, view, NOON + timedelta(hours=at), flow=f"f-{at}") for at, view in enumerate(views)]
    found = mined(opened(), *later)
    assert (found.flows, found.sessions, found.left_out) == (4, 1, 0)
    assert (found.first[:13], found.last[:13]) == ("2030-01-01T12", "2030-01-01T15")
    allowed, denied = found.habits.values()
    assert allowed.key.who == Who("acme", "shop", None, "release")
    assert (allowed.key.effect, allowed.key.rules, allowed.seen.count) == (Effect.ALLOW, ("open",), 3)
    assert sorted(allowed.examples) == ["/a", "/b"]
    assert (allowed.seen.first[:13], allowed.seen.last[:13]) == ("2030-01-01T12", "2030-01-01T14")
    assert allowed.seen.flows == ["f-0", "f-1", "f-2"]
    assert allowed.facts == {"branch": {"main"}, "tag": {None}}
    assert is_missing(denied.key)
    assert not is_missing(allowed.key)


def test_what_was_allowed_then_is_decided_by_the_rules_of_now() -> None:
    """A rule that is gone since, and one that is new."""
    old = ruleset_of(a_rule(id="gone", to="example.com"))
    found = mined(opened(), decided(old, a_view(url="https://example.com/x")))
    (habit,) = found.habits.values()
    assert is_missing(habit.key)


def test_the_uses_of_rules_are_counted_by_entry() -> None:
    """Each entry of each list that a request needed; of intents, the actions too."""
    install = a_view(url="https://registry.npmjs.org/left-pad")
    found = mined(
        opened(),
        decided(RULES, a_view(url="https://example.com/c/1")),
        decided(RULES, a_view(url="https://x.example.com/a")),
        decided(RULES, install),
        decided(RULES, install),
    )
    usage = found.usage
    assert (usage["open"].entries["to", 0], usage["open"].entries["to", 1]) == (1, 1)
    assert [usage["open"].entries["path", index] for index in range(3)] == [1, 0, 1]
    assert usage["open"].entries["method", 0] == 2
    assert (usage["install"].entries["intent", 0], usage["install"].entries["intent", 1]) == (2, 0)
    assert usage["install"].actions == {0: {"install"}}
    assert usage["other"].seen.count == 0
    assert "never" not in usage


def test_the_jobs_that_a_rule_is_for_are_counted() -> None:
    """By what they state, once each; a rule for another pipeline had none."""
    jobs = [replace(JOB, job_id=f"j-{number % 3}") for number in range(6)]
    found = mined(*(opened(f"s-{number}", job) for number, job in enumerate(jobs)))
    assert found.usage["open"].chances == {"j-0", "j-1", "j-2"}
    assert found.usage["other"].chances == set()


def test_what_credentials_lacked_is_kept_with_the_habit() -> None:
    view = a_view(url="https://example.com/a")
    lack = {"permission": "s3:GetObject", "code": "AccessDenied"}
    trail = [opened(), decided(RULES, view, flow="f-1"), ended("f-1", lack=lack), ended("f-9", lack=lack)]
    (habit,) = mined(*trail, decided(RULES, view, flow="f-2"), ended("f-2")).habits.values()
    assert habit.lacks == {(("code", "AccessDenied"), ("permission", "s3:GetObject")): 1}


def test_tunnels_are_habits_too() -> None:
    """One that was refused, and one that passes through: it needs its rule's target."""
    opaque = ruleset_of(a_rule(id="opaque", inspect=False))
    found = mined(opened(), connected(opaque, "example.com"), connected(opaque, "no.test"), rules=opaque)
    assert [key.method for key in found.habits] == ["CONNECT", "CONNECT"]
    assert found.usage["opaque"].entries["to", 0] == 1


def test_memory_is_bounded() -> None:
    """Examples, jobs and branches up to a number; the count goes on."""
    count = module.MAX_JOBS + 5
    trail: list[AuditRecord] = []
    for number in range(count):
        job = replace(JOB, job_id=f"j-{number}", branch=f"b-{number}")
        trail += [
            opened(f"s-{number}", job),
            decided(RULES, a_view(url=f"https://example.com/c/{number}"), job=job, session=f"s-{number}"),
        ]
    found = mined(*trail)
    (habit,) = found.habits.values()
    assert habit.seen.count == count
    assert len(habit.seen.jobs) == module.MAX_JOBS
    assert (len(habit.examples), habit.more) == (module.MAX_EXAMPLES, True)
    assert len(habit.facts["branch"]) == module.MAX_EXAMPLES
    assert len(found.usage["open"].chances) == module.MAX_JOBS


def test_only_so_much_is_kept_at_once() -> None:
    """With room for next to nothing the answers are the same, and what did not fit is counted."""
    views = [a_view(url=f"https://{name}.test/") for name in "abc"]
    trail = [opened(), opened("s-2", replace(JOB, pipeline="another"))]
    for view in views:
        trail += [decided(RULES, view, flow=view.authority.host), ended(view.authority.host)]
    trail += [decided(RULES, views[0], flow=f"g-{number}") for number in range(2)]
    small = Miner(RULES, most=1)
    small.read(written(trail))
    assert len(small.history.habits) == 1
    assert small.history.left_out == 2
    assert small.history.usage["other"].chances == {"s-2"}


def test_where_rules_ask_for_the_time_each_moment_is_decided() -> None:
    rules = ruleset_of(a_rule(id="early", when="now < timestamp('2030-01-01T12:30:00Z')"))
    views = [decided(rules, a_view(), NOON + timedelta(hours=hour)) for hour in range(2)]
    found = mined(opened(), *views, rules=rules)
    assert {key.effect for key in found.habits} == {Effect.ALLOW, Effect.DENY}


def test_what_seen_things_have_in_common_is_joined() -> None:
    first, second = module.Seen(), module.Seen()
    second.add({"at": "2030", "flow": "f", "session": "s", "job": None})
    first.join(second)
    first.join(module.Seen())
    assert (first.count, first.first, first.last, first.jobs, first.flows) == (1, "2030", "2030", {"s"}, ["f"])


def test_a_request_that_was_not_read_needs_no_intent() -> None:
    (rule,) = (rule for rule in RULES.rules if rule.id == "install")
    entries = list(needed_entries(rule, a_view(url="https://registry.npmjs.org/x"), None))
    assert entries == [("to", 0, "")]


def test_others_may_listen() -> None:
    heard: list[str] = []
    Miner(RULES).read(written([opened(), decided(RULES, a_view())]), [lambda record: heard.append(record["kind"])])
    assert heard == ["session.opened", "flow.decision"]
