"""What the tokens of registries are asked for."""

import pytest

from proxy.intents.oci_tokens import FORM_LIMIT, MAX_SCOPES, is_token_path, read_token
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView

SITE = "auth.example"
FORM = "application/x-www-form-urlencoded"
PULL = "repository:acme/app:pull"
PUSH = "repository:acme/app:pull,push"


def ask(
    query: str = "", method: str = "GET", body: bytes | None = None, content_type: str = FORM, length: int = 0
) -> Intent | BodyWanted | None:
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(SITE, 443),
        path="/token",
        query=query or None,
        headers=(("content-type", content_type), ("authorization", "Basic secret")),
        body_length=length,
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )
    return read_token(view, SITE)


def read(query: str = "", method: str = "GET", body: bytes | None = None) -> Intent:
    answer = ask(query, method, body)
    assert isinstance(answer, Intent)
    return answer


@pytest.mark.parametrize(
    "path, expected",
    [
        ("/token", True),
        ("/token/", True),
        ("/v2/token", True),
        ("/v2/auth", True),
        ("/service/token", True),
        ("/oauth2/token", True),
        ("/oauth2/exchange", True),
        ("/jwt/auth", True),
        ("/artifactory/api/docker/docker-local/v2/token", True),
        ("/artifactory/api/docker/a/b/v2/token", False),
        ("/artifactory/api/npm", False),
        ("/v2/a/token", False),
        ("/", False),
    ],
)
def test_token_paths(path: str, expected: bool) -> None:  # noqa: FBT001 - a column
    """Where the makes of registry have their token endpoint, and not below or above."""
    assert is_token_path(path) is expected


@pytest.mark.parametrize(
    "query, where, kind, facts",
    [
        ("", SITE, "registry", {}),
        ("service=hub&account=me", SITE, "registry", {"service": "hub", "account": "me"}),
        (f"scope={PULL}", f"{SITE}/acme/app", "repository", {"scope": PULL, "actions": "pull"}),
        ("scope=repository%3Aa%3A*", f"{SITE}/a", "repository", {"scope": "repository:a:*", "actions": "*"}),
        (
            "scope=repository(plugin):a:pull",
            f"{SITE}/a",
            "repository",
            {"scope": "repository(plugin):a:pull", "actions": "pull"},
        ),
        ("scope=registry:catalog:*", SITE, "registry", {"scope": "registry:catalog:*"}),
        ("service=public.ecr.aws&scope=aws", SITE, "registry", {"service": "public.ecr.aws", "scope": "aws"}),
        ("scope=aws&offline_token=true", SITE, "registry", {"scope": "aws", "offline": "true"}),
        ("access_type=offline", SITE, "registry", {"offline": "true"}),
        ("offline_token=false", SITE, "registry", {}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_token_is_a_credential_for_its_scope(
    method: str, query: str, where: str, kind: str, facts: dict[str, str]
) -> None:
    """A scope of one repository is on that repository, any other on the endpoint's host."""
    intent = read(query, method)

    assert (intent.name, intent.effect, intent.exact) == ("oci token.mint", EffectClass.CREDENTIAL, True)
    assert (intent.resource.type, intent.resource.id) == (f"oci-{kind}", where)
    assert (intent.facts, intent.also) == (facts, ())


def test_each_scope_must_be_allowed() -> None:
    """Scopes come one by one or in one text; each is an intent, and the same one is asked once."""
    intent = read(f"service=s&scope={PUSH}&scope=repository:b:pull%20{PUSH}+registry:catalog:*")

    assert [(part.resource.id, part.facts["scope"]) for part in (intent, *intent.also)] == [
        (f"{SITE}/acme/app", PUSH),
        (f"{SITE}/b", "repository:b:pull"),
        (SITE, "registry:catalog:*"),
    ]
    assert {part.effect for part in intent.also} == {EffectClass.CREDENTIAL}


def test_a_form_is_read_without_its_secrets() -> None:
    """The kind of grant is stated; passwords, tokens and the header are not."""
    body = f"grant_type=refresh_token&refresh_token=secret&password=secret&username=secret&service=s&scope={PULL}"
    intent = read("", "POST", body.encode())

    assert intent.resource.id == f"{SITE}/acme/app"
    assert intent.facts == {"grant": "refresh_token", "service": "s", "scope": PULL, "actions": "pull"}
    assert "secret" not in str(intent).replace("refresh_token", "")


def test_query_and_form_are_read_together() -> None:
    """Some servers take parameters from both: what either asks counts."""
    intent = read(f"scope={PULL}", "POST", b"scope=repository:b:push")

    assert [part.resource.id for part in (intent, *intent.also)] == [f"{SITE}/acme/app", f"{SITE}/b"]


def test_a_form_is_asked_for() -> None:
    """A POST is not answered before its form was seen."""
    answer = ask(f"scope={PULL}", "POST")
    assert isinstance(answer, BodyWanted)
    assert answer.limit == FORM_LIMIT


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS"])
def test_other_methods_ask_for_no_token(method: str) -> None:
    """The caller reads the rest as unknown."""
    assert ask("", method) is None


@pytest.mark.parametrize(
    "query",
    [
        "service=a&service=b",
        "service=a&Service=b",
        "Service=a",
        "Scope=aws",
        "SCOPE=aws&scope=a",
        "a;scope=aws",
        "service=a%0Ab",
        "scope=repository:acme/app",
        "scope=repository:acme/app:",
        "scope=repository:Acme:pull",
        "scope=repository:acme/*:pull",
        "scope=repository:../a:pull",
        "scope=repository:a:pull;push",
        "scope=repository(:a:pull",
        "scope=a%09b",
        "scope=%C3%A9",
        f"scope={'x' * 513}",
        "scope=" + "+".join(f"repository:a{number}:pull" for number in range(MAX_SCOPES + 1)),
        "scope=%zz",
    ],
)
def test_hostile_queries_are_refused(query: str) -> None:
    """A scope that is none, a parameter in two spellings or sent twice is denied."""
    with pytest.raises(IntentError):
        ask(query)


def test_hostile_bodies_are_refused() -> None:
    """A body that is no form, a GET with a body, and a parameter in query and form both."""
    for query, method, body, content_type in (
        ("", "POST", b"{}", "application/json"),
        ("", "POST", b"scope=\xc3\xa9", FORM),
        ("service=a", "POST", b"service=b", FORM),
        ("", "GET", b"scope=aws", FORM),
    ):
        with pytest.raises(IntentError):
            ask(query, method, body, content_type, len(body))
