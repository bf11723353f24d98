"""Every call to Buildkite is told by what it does, to which job and under which name; the rest is unknown."""

import json

import pytest

from proxy.intents import buildkite
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Intent, RequestView

JOB = "018f2b6c-3f5e-4c1d-9a55-2f6f0f0a1b2c"
AGENT = "agent.buildkite.com"
REST = "api.buildkite.com"
JSON = ("content-type", "application/json")
CI = frozenset({"ci"})


def view(
    method: str,
    target: str,
    body: object = None,
    *,
    host: str = AGENT,
    headers: tuple[tuple[str, str], ...] = (JSON,),
) -> RequestView:
    path, mark, query = target.partition("?")
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=headers if content else (),
        body_length=len(content),
        body=BodyPrefix(data=content, is_whole=True),
    )


def read(asked: RequestView, spoken: frozenset[str] = frozenset()) -> Intent:
    answer = buildkite.decode(asked, spoken)
    assert isinstance(answer, Intent)
    assert answer.protocol == "ci"
    return answer


@pytest.mark.parametrize(
    "method, path, body, action, resource, effect",
    [
        ("POST", "oidc/tokens", {"audience": "sts.amazonaws.com"}, "oidc.mint", "audience/sts.amazonaws.com",
         "credential"),
        ("POST", "oidc/tokens", {"audience": "https://v.example/x"}, "oidc.mint", "audience/https://v.example/x",
         "credential"),
        ("POST", "oidc/tokens", {}, "oidc.mint", "audience", "credential"),
        ("POST", "oidc/tokens", {"audience": ""}, "oidc.mint", "audience", "credential"),
        ("POST", "oidc/tokens", None, "oidc.mint", "audience", "credential"),
        ("POST", "pipelines?async=true", {"uuid": "u", "pipeline": {}}, "pipeline.upload", f"job/{JOB}", "admin"),
        ("GET", "pipelines/u-1", None, "pipeline.upload-status", f"job/{JOB}", "read"),
        ("GET", "secrets?key=DEPLOY_KEY", None, "secret.get", "secret/DEPLOY_KEY", "credential"),
        ("POST", "repository_access_token", {"repo_url": "https://github.com/acme/app.git"},
         "repository-token.mint", "repository/github.com/acme/app", "credential"),
        ("POST", "github_code_access_token", {"repo_url": "git@github.com:acme/app.git"},
         "repository-token.mint", "repository/github.com/acme/app", "credential"),
        ("POST", "repository_access_token", {"repo_url": "ssh://git@git.example:22/acme/app"},
         "repository-token.mint", "repository/git.example:22/acme/app", "credential"),
        ("POST", "repository_access_token", None, "repository-token.mint", "repository", "credential"),
        ("POST", "data/set", {"key": "release/version", "value": "1"}, "meta.set", "meta/release/version", "write"),
        ("POST", "data/get", {"key": "k"}, "meta.get", "meta/k", "read"),
        ("POST", "data/exists", {"key": "k"}, "meta.exists", "meta/k", "read"),
        ("POST", "data/keys", None, "meta.list", f"job/{JOB}", "list"),
        ("POST", "artifacts", {"artifacts": []}, "artifact.upload", "artifact", "write"),
        ("PUT", "artifacts", {"artifacts": []}, "artifact.upload", "artifact", "write"),
        ("PUT", "artifacts/a-1", {"state": "finished"}, "artifact.upload", "artifact/a-1", "write"),
        ("POST", "annotations", {"body": "x", "context": "lint"}, "annotate", "annotation/lint", "write"),
        ("POST", "annotations", {"body": "x"}, "annotate", "annotation", "write"),
        ("DELETE", "annotations/lint", None, "annotation.delete", "annotation/lint", "delete"),
        ("GET", "", None, "job.get", f"job/{JOB}", "read"),
        ("POST", "errors", {"code": "x"}, "job.report-error", f"job/{JOB}", "write"),
        ("PUT", "accept", None, "job.accept", f"job/{JOB}", "credential"),
        ("PUT", "acquire", None, "job.acquire", f"job/{JOB}", "credential"),
        ("PUT", "start", {"started_at": "t"}, "job.start", f"job/{JOB}", "write"),
        ("PUT", "finish", {"exit_status": "0"}, "job.finish", f"job/{JOB}", "write"),
        ("POST", "chunks?sequence=1&offset=0&size=3", {}, "job.log", f"job/{JOB}", "write"),
        ("POST", "oidc/token", None, "unknown", f"v3/jobs/{JOB}/oidc/token", "unknown"),
        ("POST", "oidc/tokens.json", None, "unknown", f"v3/jobs/{JOB}/oidc/tokens.json", "unknown"),
        ("GET", "oidc/tokens", None, "unknown", f"v3/jobs/{JOB}/oidc/tokens", "unknown"),
        ("POST", "query", {"query": "{ a }"}, "unknown", f"v3/jobs/{JOB}/query", "unknown"),
    ],
)  # fmt: skip
def test_a_call_of_a_job_tells_its_job(
    method: str, path: str, body: object, action: str, resource: str, effect: str
) -> None:
    """Each call a job can make is named with its effect and what it names, and always with the job of its path."""
    intent = read(view(method, f"/v3/jobs/{JOB}/{path}".rstrip("/"), body))

    assert (intent.action, intent.resource.id, intent.effect.value) == (action, resource, effect)
    assert intent.facts["job"] == JOB
    assert intent.exact is (action != "unknown")


@pytest.mark.parametrize(
    "method, path, body, action, resource, effect, facts",
    [
        ("POST", "builds/b-1/data/get", {"key": "k"}, "meta.get", "meta/k", "read", {"build": "b-1"}),
        ("POST", "builds/b-1/data/keys", None, "meta.list", "build/b-1", "list", {"build": "b-1"}),
        ("GET", "builds/b-1/artifacts/search?query=x", None, "artifact.search", "build/b-1", "list", {"build": "b-1"}),
        ("POST", "builds/b-1/cancel", None, "build.cancel", "build/b-1", "execute", {"build": "b-1"}),
        ("POST", "steps/deploy/export", {"attribute": "state"}, "step.get", "step/deploy", "read", {}),
        ("PUT", "steps/deploy", {"attribute": "label"}, "step.update", "step/deploy", "write", {}),
        ("GET", "cache_registries/~", None, "cache.get", "cache/~", "read", {}),
        ("GET", "cache_registries/r/retrieve?key=k", None, "cache.read", "cache/r", "read", {}),
        ("PUT", "cache_registries/r/store", {"key": "k"}, "cache.write", "cache/r", "write", {}),
        ("POST", "register", {"name": "a"}, "agent.register", "agent", "credential", {}),
        ("GET", "ping", None, "agent.ping", "agent", "credential", {}),
        ("POST", "stop", {"force": True}, "agent.stop", "agent", "admin", {}),
        ("POST", "stacks/register", {}, "unknown", "v3/stacks/register", "unknown", {}),
        ("GET", "jobs", None, "unknown", "v3/jobs", "unknown", {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("host", [AGENT, "agent-edge.buildkite.com", "agent-edge-2.buildkite.com"])
def test_a_call_of_the_agent_is_told_from_a_jobs(
    method: str, path: str, body: object, action: str, resource: str, effect: str, facts: dict[str, str], host: str
) -> None:
    """What belongs to builds, steps, caches or the agent itself names no job."""
    intent = read(view(method, f"/v3/{path}", body, host=host))

    assert (intent.action, intent.resource.id, intent.effect.value) == (action, resource, effect)
    assert intent.facts == facts


def test_several_keys_are_several_intents() -> None:
    """Keys that are set together must all be allowed."""
    batch = {"items": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]}

    intent = read(view("POST", f"/v3/jobs/{JOB}/data/set-batch", batch))

    assert [one.resource.id for one in (intent, *intent.also)] == ["meta/a", "meta/b"]
    assert {one.action for one in (intent, *intent.also)} == {"meta.set"}


def test_a_token_tells_its_lifetime_and_subject() -> None:
    """What makes one token weaker or stronger than another is recorded."""
    body = {"audience": "a", "lifetime": 300, "subject_claim": "pipeline_id", "claims": ["organization_id"]}

    intent = read(view("POST", f"/v3/jobs/{JOB}/oidc/tokens", body))

    assert intent.facts == {"job": JOB, "lifetime": "300", "subject_claim": "pipeline_id"}


@pytest.mark.parametrize(
    "method, path, body, action, resource, effect, facts",
    [
        ("GET", "", None, "build.get", "builds/12", "read", {"build": "12"}),
        ("PUT", "/cancel", None, "build.cancel", "builds/12", "execute", {"build": "12"}),
        ("PUT", "/rebuild", None, "build.rebuild", "builds/12", "execute", {"build": "12"}),
        ("PUT", f"/jobs/{JOB}/unblock", {"fields": {}}, "job.unblock", f"builds/12/jobs/{JOB}", "admin", None),
        ("PUT", f"/jobs/{JOB}/retry", None, "job.retry", f"builds/12/jobs/{JOB}", "execute", None),
        ("PUT", f"/jobs/{JOB}/reprioritize", {"priority": 1}, "job.reprioritize", f"builds/12/jobs/{JOB}", "write",
         None),
        ("GET", f"/jobs/{JOB}/env", None, "job.environment", f"builds/12/jobs/{JOB}", "credential", None),
        ("GET", f"/jobs/{JOB}/log.txt", None, "job.read-log", f"builds/12/jobs/{JOB}", "read", None),
        ("GET", f"/jobs/{JOB}/artifacts/a/download", None, "artifact.download",
         f"builds/12/jobs/{JOB}/artifacts/a", "read", None),
        ("GET", "/artifacts", None, "artifact.list", "builds/12", "list", None),
    ],
)  # fmt: skip
def test_a_call_about_a_build_names_its_path(
    method: str, path: str, body: object, action: str, resource: str, effect: str, facts: dict[str, str] | None
) -> None:
    """The REST API's resources are the documented paths, without the verb; another's job is never called `job`."""
    intent = read(view(method, f"/v2/organizations/acme/pipelines/app/builds/12{path}", body, host=REST))

    whole = f"organizations/acme/pipelines/app/{resource}"
    assert (intent.action, intent.resource.id, intent.effect.value) == (action, whole, effect)
    assert "job" not in intent.facts
    if facts is not None:
        assert intent.facts == {"organization": "acme", "pipeline": "app", **facts}


@pytest.mark.parametrize(
    "method, path, body, action, resource, effect",
    [
        ("POST", "organizations/acme/pipelines/app/builds", {"branch": "main", "commit": "HEAD"},
         "build.create", "organizations/acme/pipelines/app", "execute"),
        ("POST", "organizations/acme/pipelines", {}, "pipeline.create", "organizations/acme", "admin"),
        ("PATCH", "organizations/acme/pipelines/app", {}, "pipeline.update", "organizations/acme/pipelines/app",
         "admin"),
        ("DELETE", "organizations/acme/pipelines/app", None, "pipeline.delete", "organizations/acme/pipelines/app",
         "admin"),
        ("PUT", "organizations/acme/agents/a-1/stop", None, "agent.stop", "organizations/acme/agents/a-1", "admin"),
        ("GET", "organizations/acme/clusters/c/tokens", None, "agent-token.list", "organizations/acme/clusters/c",
         "credential"),
        ("POST", "organizations/acme/clusters/c/secrets", {}, "cluster-secret.create", "organizations/acme/clusters/c",
         "credential"),
        ("GET", "user", None, "user.get", "user", "read"),
        ("GET", "builds", None, "build.list", "builds", "list"),
        ("POST", "packages/organizations/acme/registries/r/packages", {}, "package.publish",
         "packages/organizations/acme/registries/r", "publish"),
        ("GET", "organizations/acme/portals", None, "unknown", "v2/organizations/acme/portals", "unknown"),
    ],
)  # fmt: skip
def test_the_rest_api_is_read_by_table(
    method: str, path: str, body: object, action: str, resource: str, effect: str
) -> None:
    """Builds are executed, pipelines and agents administered, tokens and secrets are credentials; else unknown."""
    intent = read(view(method, f"/v2/{path}", body, host=REST))

    assert (intent.action, intent.resource.id, intent.effect.value) == (action, resource, effect)


def test_a_new_build_tells_what_it_builds() -> None:
    """A rule can say which branch may be built."""
    body = {"branch": "main", "commit": "HEAD", "message": "hello"}

    intent = read(view("POST", "/v2/organizations/acme/pipelines/app/builds", body, host=REST))

    assert intent.facts == {"organization": "acme", "pipeline": "app", "branch": "main", "commit": "HEAD"}


@pytest.mark.parametrize(
    "method, host, path, action, effect",
    [
        ("GET", AGENT, "/.well-known/jwks", "oidc.keys", EffectClass.READ),
        ("POST", "agent-edge.buildkite.com", "/agentedge.v1.AgentEdgeService/StreamPings", "agent.ping",
         EffectClass.CREDENTIAL),
        ("POST", "webhook.buildkite.com", "/deliver/not-a-real-secret", "build.create", EffectClass.EXECUTE),
        ("POST", "buildkite.com", "/oauth/token", "token.exchange", EffectClass.CREDENTIAL),
        ("GET", AGENT, "/", "unknown", EffectClass.UNKNOWN),
        ("POST", AGENT, "/v4/jobs", "unknown", EffectClass.UNKNOWN),
    ],
)  # fmt: skip
def test_what_stands_beside_the_apis_is_told(
    method: str, host: str, path: str, action: str, effect: EffectClass
) -> None:
    """Keys, streams and hooks have a name of their own, and a secret in a path is not repeated."""
    intent = read(view(method, path, host=host))

    assert (intent.action, intent.effect) == (action, effect)
    assert "secret" not in intent.resource.id


def test_graphql_is_read_by_its_mutations() -> None:
    """A mutation behind an alias or beside a harmless one is told by its own name."""
    body = {"query": "mutation { a: buildCreate(input: {}) { x } b: pipelineDelete(input: {}) { x } }"}

    intent = read(view("POST", "/v1", body, host="graphql.buildkite.com"))

    assert [(one.action, one.effect.value) for one in (intent, *intent.also)] == [
        ("graphql.buildCreate", "execute"),
        ("graphql.pipelineDelete", "admin"),
    ]
    query = read(view("POST", "/v1", {"query": "{ viewer { user { name } } }"}, host="graphql.buildkite.com"))
    assert (query.action, query.effect, query.facts) == ("graphql.query", EffectClass.READ, {"fields": "viewer"})
    assert read(view("POST", "/v1", {}, host=REST)).action == "unknown"


def test_a_host_that_speaks_ci_is_read_alike() -> None:
    """A self-hosted or renamed endpoint is read when a rule names the protocol, and only then."""
    asked = view("GET", f"/v3/jobs/{JOB}/secrets?key=K", host="ci.example.com")

    assert read(asked, CI).resource.id == "secret/K"
    assert buildkite.decode(asked, frozenset({"git"})) is None


@pytest.mark.parametrize("host", ["example.com", "buildkite.com", "evil-buildkite.com", "www.buildkite.com"])
def test_other_hosts_are_not_ours(host: str) -> None:
    """Nothing is claimed by a host's likeness."""
    assert buildkite.decode(view("GET", "/v3/ping", host=host), frozenset()) is None


def test_the_body_is_asked_for_only_where_it_says_something() -> None:
    """A large upload is not held back to be read."""

    def unread(path: str) -> RequestView:
        return RequestView(
            method="POST",
            scheme="https",
            authority=Authority(AGENT, 443),
            path=path,
            query=None,
            headers=(JSON,),
            body_length=None,
        )

    assert isinstance(buildkite.decode(unread(f"/v3/jobs/{JOB}/oidc/tokens"), CI), BodyWanted)
    assert isinstance(buildkite.decode(unread(f"/v3/jobs/{JOB}/data/set-batch"), CI), BodyWanted)
    assert isinstance(buildkite.decode(unread("/v1"), CI), BodyWanted)
    assert isinstance(buildkite.decode(unread("/v2/organizations/a/pipelines/b/builds"), CI), BodyWanted)
    assert isinstance(buildkite.decode(unread(f"/v3/jobs/{JOB}/pipelines"), CI), Intent)


@pytest.mark.parametrize(
    "asked",
    [
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens?audience=b", {"audience": "a"}),
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens?audience[]=b"),
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens", b'{"audience": "a", "audience": "b"}'),
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens", {"audience": "a", "Audience": "b"}),
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens", {"audience": ["a", "b"]}),
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens", {"audience": "a\nb"}),
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens", {"subject_claim": ["a"]}),
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens", ["audience"]),
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens", b"audience=a", headers=(("content-type", "text/plain"),)),
        view("POST", f"/v3/jobs/{JOB}/oidc/tokens", b"audience=a",
             headers=(("content-type", "application/x-www-form-urlencoded"),)),
        view("GET", f"/v3/jobs/{JOB}/secrets"),
        view("GET", f"/v3/jobs/{JOB}/secrets?key=A&key=B"),
        view("GET", f"/v3/jobs/{JOB}/secrets?key=A&name=B"),
        view("GET", f"/v3/jobs/{JOB}/secrets?key="),
        view("GET", f"/v3/jobs/{JOB}/secrets?key=A%0AB"),
        view("GET", f"/v3/jobs/{JOB}/secrets?key=A", {"key": "B"}),
        view("GET", "/v3/jobs/a%20b"),
        view("GET", f"/v3/jobs/{JOB}.json"),
        view("POST", "/v3/jobs/a.b/unheard"),
        view("POST", f"/v3/jobs/{JOB}/data/set", {"value": "x"}),
        view("POST", f"/v3/jobs/{JOB}/data/set-batch", {"items": []}),
        view("POST", f"/v3/jobs/{JOB}/data/set-batch", {"items": [{"key": "k"}] * 101}),
        view("POST", f"/v3/jobs/{JOB}/data/set-batch", {"items": {"key": "k"}}),
        view("POST", f"/v3/jobs/{JOB}/data/set-batch", {"items": [{"key": "k"}, {"value": "v"}]}),
        view("POST", f"/v3/jobs/{JOB}/data/set-batch", {"items": [{"key": "k"}, "l"]}),
        view("POST", f"/v3/jobs/{JOB}/repository_access_token", {"repo_url": "https://u:p@github.com/a/b"}),
        view("POST", f"/v3/jobs/{JOB}/repository_access_token", {"repo_url": "file:///etc"}),
        view("POST", f"/v3/jobs//{JOB}/oidc/tokens"),
        view("POST", "/v1", [{"query": "{ a }"}], host="graphql.buildkite.com"),
        view("GET", "/v1?query=mutation{buildCreate}", host="graphql.buildkite.com"),
        view("DELETE", "/v2/organizations/acme/pipelines/app.json", host=REST),
        view("DELETE", "/v2/organizations/acme/pipelines/a%2Fb", host=REST),
        view("GET", "/v2/organizations/acme/pipelines/app?_method=delete", host=REST),
        view("POST", f"/v3/jobs/{JOB}/artifacts", b"{}", headers=(JSON, ("x-http-method-override", "DELETE"))),
    ],
)  # fmt: skip
def test_a_call_with_two_readings_is_refused(asked: RequestView) -> None:
    """Whatever Rails might find elsewhere than the decoder did is denied."""
    with pytest.raises(IntentError):
        buildkite.decode(asked, frozenset())
