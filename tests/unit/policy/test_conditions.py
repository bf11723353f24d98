from dataclasses import replace

import pytest

from proxy.model.authority import Authority
from proxy.model.identity import JobContext
from proxy.policy.conditions import ConditionError, bind_place, bind_request, compile_condition, search
from tests.fakes.policy import NOON, a_request

JOB = JobContext(
    pipeline="deploy",
    branch="main",
    build_number=7,
    protected=True,
    claims={"sub": "x:y", "groups": ["a", "b"], "nested": {"k": "v"}, "count": 3},
)
REQUEST = a_request(JOB, "PUT", "https://example.com:8443/a/b?x=1", {"content-type": "text/plain", "x-a": "1"})

ANSWERS = [
    ("job.branch == 'main'", True),
    ("job.branch != 'main'", False),
    ("job.build_number > 6 && job.protected", True),
    ("job.claims.sub == 'x:y'", True),
    ("'a' in job.claims.groups", True),
    ("job.claims.nested.k == 'v'", True),
    ("job.claims.count == 3", True),
    ("job.claims.?nope.orValue('') == 'x'", False),
    ("has(job.claims.nope)", False),
    ("'branch' in job.stated && !('tag' in job.stated)", True),
    ("request.method == 'PUT' && request.path.startsWith('/a/')", True),
    ("request.scheme == 'https' && request.host == 'example.com' && request.port == 8443", True),
    ("request.query == 'x=1'", True),
    ("request.headers['content-type'] == 'text/plain'", True),
    ("intent.protocol == 'http' && intent.action == 'PUT' && intent.effect == 'write' && !intent.exact", True),
    ("intent.resource_type == 'url' && intent.facts.size() == 0", True),
    ("now < timestamp('2027-01-01T00:00:00Z')", True),
    ("job.branch.matches('^ma.n$')", True),
    ("matches(job.branch, 'x')", False),
    # errors: never a yes
    ("job.tag == 'v1'", "could not be evaluated: `job.tag` is not known"),
    ("job.tag != 'v1'", "could not be evaluated: `job.tag` is not known"),
    ("!(job.tag == 'v1')", "could not be evaluated: `job.tag` is not known"),
    ("job.claims.nope == 'x'", "could not be evaluated: Key not found"),
    ("job.claims.sub > 3", "could not be evaluated: No matching overloads"),
    ("1 / (job.build_number - 7) == 1", "could not be evaluated: divide by zero"),
    ("job.branch.matches(job.branch + '(')", "could not be evaluated: invalid regular expression"),
    # what an unknown cannot change is known
    ("job.tag == 'v1' || job.branch == 'main'", True),
    ("job.tag == 'v1' && job.branch == 'x'", False),
]


@pytest.mark.parametrize("text, expected", ANSWERS)
def test_a_condition_is_true_false_or_an_error(text: str, expected: bool | str) -> None:  # noqa: FBT001
    """Only a true boolean is a yes; an evaluation error, whose text would be truthy, is told as an error."""
    answer = compile_condition(text).holds(bind_request(REQUEST))

    if isinstance(expected, bool):
        assert answer is expected
    else:
        assert isinstance(answer, str)
        assert answer.startswith("could not be evaluated")
        assert expected.split(": ")[1] in answer


REFUSED = [
    # text, message, hint, column
    ("job.brnach == 'main'", "`job.brnach` is not a name known here", "Did you mean `job.branch`?", 1),
    ("true && job.brnach == 'x'", "`job.brnach` is not a name", "Did you mean `job.branch`?", 9),
    ("zzzzzz == 'main'", "`zzzzzz` is not a name", "Known names: job.organization", 1),
    ("job.branch == 1", "no matching overload", "", 12),
    ("job.branch", "this is string", "Compare it", 1),
    ("job.claims.sub", "this is dyn", "Compare it", 1),
    ("1 ==", "mismatched input 'the end'", "", 5),
    ("has(job.branch)", "cannot tell whether a fact is stated", "Write `'branch' in job.stated`.", 1),
    ("has(event.fork)", "cannot tell", "Write `'fork' in event.stated`.", 1),
    ("true && has( job.tag )", "cannot tell", "Write `'tag' in job.stated`.", 9),
    ("job.branch.matches('(')", "missing )", "RE2", 20),
    ("matches(job.branch, r'[')", "missing ]", "RE2", 21),
    ("(" * 200, "recursion limit", "", 1),
    ("'" + "x" * 5000 + "' == ''", "at most 4096", "Split", 1),
]


@pytest.mark.parametrize("text, message, hint, column", REFUSED)
def test_a_wrong_condition_is_refused_at_load(text: str, message: str, hint: str, column: int) -> None:
    """Typos, type errors and bad constant patterns are load errors with their place, not surprises at run time."""
    with pytest.raises(ConditionError) as caught:
        compile_condition(text)

    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert (caught.value.line, caught.value.column) == (1, column)


def test_a_fault_on_a_later_line_is_placed_there() -> None:
    """In a condition of several lines the fault's own line is named."""
    with pytest.raises(ConditionError) as caught:
        compile_condition("job.branch == 'x' &&\n  has(job.tag)")
    assert (caught.value.line, caught.value.column) == (2, 3)


@pytest.mark.parametrize(
    "claims",
    [{"n": 2**80}, {"s": "\ud800"}, {"o": object()}],
    ids=["too large a number", "lone surrogate", "not JSON"],
)
def test_facts_the_runtime_cannot_hold_are_an_error_not_a_crash(claims: dict[str, object]) -> None:
    """A hostile claim can make a condition undecidable, never raise or allow."""
    request = a_request(JobContext(claims=claims))
    (name,) = claims

    answer = compile_condition(f"job.claims.{name} != ''").holds(bind_request(request))

    assert isinstance(answer, str) or answer is True  # a number merely differs from a text


def test_a_connect_knows_the_place_and_the_job_only() -> None:
    """Before the first request, conditions about it cannot be told."""
    place = bind_place(JOB, Authority("example.com", 443), NOON)

    assert compile_condition("request.host == 'example.com' && request.port == 443").holds(place) is True
    assert isinstance(compile_condition("request.method == 'GET'").holds(place), str)
    assert compile_condition("request.host == 'x'").needs_request is False
    assert compile_condition("request.path == '/'").needs_request is True
    assert compile_condition("intent.effect == 'read'").needs_request is True


def test_a_condition_on_the_time_is_known() -> None:
    """Not by the word in a text."""
    assert compile_condition("now.getHours() < 18").needs_time is True
    assert compile_condition("job.step == 'now'").needs_time is False


@pytest.mark.parametrize(
    "text, constant",
    [("true || job.branch == 'x'", True), ("1 == 2 && job.branch == 'x'", False), ("job.branch == 'x'", None)],
)
def test_a_constant_is_what_no_fact_can_change(text: str, constant: bool | None) -> None:  # noqa: FBT001
    """Lint can tell a condition that always, or never, holds."""
    assert compile_condition(text).constant is constant


def test_a_header_sent_twice_is_one_list() -> None:
    """Repeated fields are joined as RFC 9110 5.3 has it."""
    request = a_request(JOB, headers={"a": "1"})
    view = request.view
    twice = type(view)(
        method="GET", scheme="https", authority=view.authority, path="/", query=None, headers=(("a", "1"), ("a", "2"))
    )
    bound = bind_request(type(request)(job=JOB, view=twice, intent=request.intent, now=NOON))
    assert compile_condition("request.headers['a'] == '1, 2'").holds(bound) is True


def test_a_pattern_is_sought_in_a_text() -> None:
    assert search("^ma.n$", "main") is True
    assert search("^ma.n$", "domain") is False
    assert search("(", "main") is None, "RE2 does not have it"


def test_what_of_a_request_is_not_known_decides_nothing() -> None:
    """As when a record of long ago is decided again."""
    asked = replace(REQUEST, unknown=frozenset({"request.query"}))
    assert compile_condition("request.path == '/a/b'").holds(bind_request(asked)) is True
    assert isinstance(compile_condition("request.query == 'x=1'").holds(bind_request(asked)), str)
