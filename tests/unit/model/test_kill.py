"""A kill says what is stopped and why, in a form that can be compared and printed."""

import pytest

from proxy.model.kill import KillScope, check_kill


@pytest.mark.parametrize("scope", KillScope)
def test_every_scope_takes_a_name(scope: KillScope) -> None:
    """A name and a reason of printable ASCII are enough."""
    assert check_kill(scope.value, "a-b.c", "stolen laptop") == (scope, "a-b.c", "stolen laptop")


@pytest.mark.parametrize("host", ["api.example.com", "*.example.com", "10.0.0.1", "[::1]", "localhost", "_a.b"])
def test_hosts(host: str) -> None:
    """A name, everything below a name, or an address."""
    assert check_kill("host", host, "x")[1] == host


@pytest.mark.parametrize(
    "scope, value, why, said",
    [
        ("team", "a", "x", "aimed at one of organization, pipeline, step, job, rule, connector, host"),
        ("", "a", "x", "aimed at one of"),
        ("job", "", "x", "the job is"),
        ("job", " a", "x", "the job is"),
        ("job", "a\nb", "x", "the job is"),
        ("job", "ä", "x", "the job is"),
        ("job", "a" * 256, "x", "the job is"),
        ("job", "a", "", "say why"),
        ("job", "a", "x\n", "say why"),
        ("host", "API.example.com", "x", "in lower case"),
        ("host", "a.*.com", "x", "such as"),
        ("host", "*", "x", "such as"),
        ("host", "a.com/x", "x", "such as"),
    ],
)
def test_what_is_no_kill_is_refused(scope: str, value: str, why: str, said: str) -> None:
    """The message says which part is wrong."""
    with pytest.raises(ValueError, match=said):
        check_kill(scope, value, why)
