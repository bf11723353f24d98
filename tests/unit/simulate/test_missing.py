"""What was denied for want of a rule becomes the smallest rule; nothing else is suggested."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.engine import records
from proxy.model.decision import Decision
from proxy.model.decision import Effect as Given
from proxy.model.identity import JobContext
from proxy.model.intent import RequestView
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord
from proxy.policy.compile import RuleSet
from proxy.simulate.history import Miner
from proxy.simulate.missing import find_lacking, find_missing, find_undeclared
from proxy.simulate.suggestion import AddRule, Confidence, SetList, Suggestion, Topic
from tests.fakes.flows import JOB, NOON, connected, decided, ended, opened, written
from tests.fakes.policy import a_rule, a_view, ruleset_of

ELSEWHERE = a_rule(id="elsewhere", to="elsewhere.test")
NPM = "https://registry.npmjs.org"
STEP = {"organization": "acme", "pipeline": "shop", "step": "release", "branch": "main"}
WHO = {"pipeline": "shop", "step": "release", "branch": "main"}


def trail_of(rules: RuleSet, views: list[RequestView], jobs: int = 3, job: JobContext = JOB) -> list[AuditRecord]:
    """Each request by each of so many jobs."""
    trail: list[AuditRecord] = []
    for number in range(jobs):
        mine, session = replace(job, job_id=f"j-{number}"), f"s-{number}"
        trail.append(opened(session, mine))
        trail += [
            decided(rules, view, job=mine, session=session, flow=f"f-{number}-{at}") for at, view in enumerate(views)
        ]
    return trail


def missing(rules: RuleSet, views: list[RequestView], jobs: int = 3, job: JobContext = JOB) -> list[Suggestion]:
    miner = Miner(rules)
    miner.read(written(trail_of(rules, views, jobs, job)))
    return list(find_missing(miner.history, rules))


def added(suggestion: Suggestion) -> dict[str, Any]:
    assert isinstance(suggestion.patch, AddRule)
    return dict(suggestion.patch.rule)


def get(*paths: str, host: str = "https://example.com") -> list[RequestView]:
    return [a_view(url=f"{host}{path}") for path in paths]


def test_a_rule_for_what_was_refused() -> None:
    """This step, this place, these paths; sure, because harmless and often."""
    rules = ruleset_of(ELSEWHERE)
    (found,) = missing(rules, get("/a", "/b"))
    assert added(found) == {
        "id": "shop-release-reads-example-com",
        "why": "shop, step release needs http GET (suggested from its record)",
        "job": STEP,
        "to": "example.com",
        "path": ["/a", "/b"],
    }
    assert (found.topic, found.confidence, found.seen.count) == (Topic.MISSING, Confidence.HIGH, 6)
    assert found.hosts == {"example.com"}
    assert len(found.id) == 8


def test_what_may_harm_is_a_suggestion_of_its_own() -> None:
    """Reads are sure, a write seen as often less so; a single job's wish is not sure at all."""
    rules = ruleset_of(ELSEWHERE)
    views = [*get("/a"), a_view("PUT", "https://example.com/a"), a_view("POST", "https://example.com/a")]
    found = {tuple(added(each).get("method", ())): each.confidence for each in missing(rules, views)}
    assert Confidence.HIGH in found.values()
    assert sorted(found.values()) != [Confidence.HIGH] * len(found)
    assert {each.confidence for each in missing(rules, views, jobs=1)} == {Confidence.LOW}
    assert missing(rules, get("/a"), jobs=2)[0].confidence is Confidence.MEDIUM


def test_many_paths_are_one_pattern() -> None:
    (found,) = missing(ruleset_of(ELSEWHERE), get(*(f"/app/{n}/x.tgz" for n in range(10, 19))))
    assert added(found)["path"] == "/app/*/x.tgz"


def test_paths_with_nothing_in_common_are_no_rule() -> None:
    assert missing(ruleset_of(ELSEWHERE), get(*("/" + "x/" * n for n in range(1, 9)))) == []


def test_intents_are_named_where_rules_speak_of_them() -> None:
    """By what was read; with the port and scheme where they are not the usual ones."""
    rules = ruleset_of(a_rule(id="npm", to="registry.npmjs.org", job={"pipeline": "another"}, intent="npm install **"))
    (found,) = missing(rules, get("/left-pad", "/right-pad", host=NPM))
    assert added(found)["intent"] == [
        "npm install registry.npmjs.org/left-pad",
        "npm install registry.npmjs.org/right-pad",
    ]
    (plain,) = missing(ruleset_of(ELSEWHERE), get("/a", host="http://example.com:8080"))
    assert added(plain)["to"] == "http://example.com:8080"
    (six,) = missing(ruleset_of(ELSEWHERE), get("/a", host="https://[2001:db8::1]"))
    assert added(six)["to"] == "[2001:db8::1]"


def test_a_tunnel_says_where_alone() -> None:
    miner = Miner(ruleset_of(ELSEWHERE))
    trail = [opened(), *(connected(ruleset_of(ELSEWHERE), "example.com", flow=f"f-{n}") for n in range(9))]
    miner.read(written(trail))
    (found,) = find_missing(miner.history, ruleset_of(ELSEWHERE))
    assert (added(found)["to"], found.confidence) == ("example.com", Confidence.LOW)
    assert "path" not in added(found)


@pytest.mark.parametrize(
    "job, block",
    [
        (JobContext(repository="acme/shop", tag="v1"), {"repository": "acme/shop", "tag": "v1"}),
        (JobContext(pipeline="shop"), {"pipeline": "shop"}),
        (JobContext(organization="acme"), None),
        (JobContext(pipeline="a*b"), None),
    ],
)
def test_a_rule_names_what_is_known_of_the_job(job: JobContext, block: dict[str, str] | None) -> None:
    """A job that states nothing to know it by gets none; nor one whose name would be a pattern."""
    found = missing(ruleset_of(ELSEWHERE), get("/a"), job=job)
    assert [added(each)["job"] for each in found] == ([] if block is None else [block])


def test_branches_are_named_while_they_are_few_or_alike() -> None:
    """Else the rule is for any branch: the record shows that it is not about one."""
    rules = ruleset_of(ELSEWHERE)

    def of(*branches: str) -> object:
        trail: list[AuditRecord] = []
        for number, branch in enumerate(branches):
            job = replace(JOB, branch=branch, job_id=f"j-{number}")
            trail += [opened(f"s-{number}", job), decided(rules, a_view(), job=job, session=f"s-{number}")]
        miner = Miner(rules)
        miner.read(written(trail))
        (found,) = find_missing(miner.history, rules)
        return added(found)["job"].get("branch")

    assert of("main", "next") == ["main", "next"]
    assert of(*(f"release/{n}.x" for n in range(10, 19))) == "release/*.x"
    assert of(*("abcdefgh")) is None


NEAR = {"job": WHO, "to": "registry.npmjs.org", "intent": "npm install registry.npmjs.org/left-pad"}


def test_a_rule_that_lacks_one_line_gets_it() -> None:
    """Where it is for these very jobs at this very place."""
    (found,) = missing(ruleset_of(a_rule(id="near", **NEAR)), get("/left-pad", "/right-pad", host=NPM))
    assert found.patch == SetList(
        id="near",
        field="intent",
        values=("npm install registry.npmjs.org/left-pad", "npm install registry.npmjs.org/right-pad"),
    )


def test_a_rule_that_lacks_a_path_gets_it() -> None:
    """Where its methods are no more than what was seen."""
    near = a_rule(id="near", job=WHO, path="/a")
    (found,) = missing(ruleset_of(near), get("/b"))
    assert found.patch == SetList(id="near", field="path", values=("/a", "/b"))
    wide = ruleset_of({**near, "method": ["GET", "PUT"]})
    assert isinstance(missing(wide, get("/b"))[0].patch, AddRule)


@pytest.mark.parametrize(
    "changed",
    [
        {"job": {"pipeline": "shop"}},
        {"job": {**WHO, "step": ["release", "test"]}},
        {"job": {**WHO, "branch": "ma*"}},
        {"to": ["registry.npmjs.org", "other.test"]},
        {"effect": "deny", "intent": "npm publish **"},
        {"method": "PUT"},
    ],
)
def test_a_rule_for_others_too_is_left_alone(changed: dict[str, Any]) -> None:
    """Adding to it would give them what only this step was seen to want: it gets a rule of its own."""
    found = missing(ruleset_of(a_rule(id="near", **{**NEAR, **changed})), get("/right-pad", host=NPM))
    assert [type(each.patch) for each in found] == [AddRule]


def test_of_two_things_a_rule_must_lack_the_same() -> None:
    """One flow lacks a path, another is refused for its intent: no one list."""
    near = a_rule(id="near", job=WHO, to="registry.npmjs.org", path="/a", intent="npm install **")
    found = missing(ruleset_of(near), get("/left-pad", host=NPM))
    assert isinstance(found[0].patch, AddRule)


def test_a_new_rule_gives_the_credential_that_its_jobs_are_given_there() -> None:
    """Where it is one and the same; without what a rule's own lines are derived to."""
    aws = {"aws": {"role": "r", "duration": "15m"}}
    given = a_rule(id="given", job=WHO, to=["example.com", "other.test"], path="/a", credential=aws)
    (found,) = missing(ruleset_of(given), get("/b"))
    assert added(found)["credential"] == aws
    other = a_rule(id="other", job=WHO, path="/c", credential={"aws": {"role": "another"}})
    (found,) = missing(ruleset_of(given, other), get("/b"))
    assert "credential" not in added(found)


def test_names_of_new_rules_are_free() -> None:
    name = "shop-release-reads-example-com"
    taken = [a_rule(id=name, to="x.test"), a_rule(id=f"{name}-2", to="y.test")]
    (found,) = missing(ruleset_of(*taken), get("/a"))
    assert added(found)["id"] == f"{name}-3"


def test_what_a_rule_denies_is_no_want() -> None:
    assert missing(ruleset_of(a_rule(effect="deny")), get("/a")) == []


def test_what_was_not_read_has_no_words() -> None:
    """A publish whose body nobody read: its path alone is no rule where rules speak of intents."""
    refused = Decision(effect=Given.DENY, reason=Reason.NO_RULE, rule_ids=(), revision="r")
    view = a_view("PUT", f"{NPM}/left-pad")
    parts = {"session": "s-1", **records.request_facts(view)}
    rules = ruleset_of(a_rule(id="npm", to="registry.npmjs.org", intent="npm install **"))
    miner = Miner(rules)
    miner.read(written([opened(), records.decision_record(NOON, "f-1", parts, refused)]))
    (found,) = find_missing(miner.history, rules)
    assert added(found)["path"] == "/left-pad"  # replay cannot support it: what it would be read as is not known


def test_what_goes_beyond_a_declaration_is_for_the_pipeline() -> None:
    """Lines to declare; nothing for what no decoder reads."""
    rules = ruleset_of(a_rule(id="npm", to="registry.npmjs.org", intent="npm install **"), a_rule(id="web"))
    declared = ["npm install registry.npmjs.org/left-pad"]
    trail = [opened(declared=tuple(declared))]
    trail += [decided(rules, view, declared=[*declared]) for view in (*get("/right-pad", host=NPM), *get("/"))]
    miner = Miner(rules)
    miner.read(written(trail))
    (found,) = find_undeclared(miner.history)
    assert (found.topic, found.patch) == (Topic.UNDECLARED, None)
    assert "npm install registry.npmjs.org/right-pad" in found.said


GO = "https://proxy.golang.org"
DEEP = ["/example.com/" + "m/" * n + "x/@v/v1.0.0.zip" for n in range(9)]


def test_declarations_that_a_few_lines_cannot_say_are_left_out() -> None:
    rules = ruleset_of(a_rule(id="go", to="proxy.golang.org", intent="go install **"))
    declared = ["npm install registry.npmjs.org/left-pad"]
    trail = [opened(declared=tuple(declared))]
    trail += [decided(rules, view, declared=[*declared]) for view in get(*DEEP, host=GO)]
    miner = Miner(rules)
    miner.read(written(trail))
    assert {key.reason for key in miner.history.habits} == {"undeclared"}
    assert list(find_undeclared(miner.history)) == []


def test_names_that_rules_cannot_hold_are_left_out() -> None:
    """A star is a pattern wherever it stands."""
    rules = ruleset_of(a_rule(id="gcs", to="storage.googleapis.com", job={"pipeline": "x"}, intent="gcp read **"))
    assert missing(rules, get("/storage/v1/b/x/o/a*b", host="https://storage.googleapis.com")) == []


def test_what_credentials_lacked_is_for_the_owner_of_the_role() -> None:
    """Sure when it happened often; with all that the upstream said."""
    rules = ruleset_of(a_rule(id="given", credential={"aws": {"role": "r"}}))
    lack = {"code": "AccessDenied", "permission": "s3:GetObject", "resource": "arn:aws:s3:::b/k", "because": "session"}
    trail = [opened()]
    for number in range(4):
        flow = f"f-{number}"
        trail += [decided(rules, a_view(), flow=flow), ended(flow, lack=lack if number < 3 else {"code": "Forbidden"})]
    miner = Miner(rules)
    miner.read(written(trail))
    first, second = find_lacking(miner.history)
    assert first.said == (
        "example.com refused shop, step release: the credential of given lacks s3:GetObject on arn:aws:s3:::b/k "
        "(session policy)"
    )
    assert (first.seen.count, first.confidence) == (3, Confidence.HIGH)
    assert (second.seen.count, second.confidence) == (1, Confidence.MEDIUM)
    assert "lacks Forbidden" in second.said
