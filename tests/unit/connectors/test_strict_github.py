"""The fake GitHub refuses what GitHub's documents say it refuses; otherwise tests against it would prove little."""

import http.client
import json
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from proxy.demo.tls import StageRoot
from tests.fakes.github import GitHub, Installation
from tests.fakes.keys import signing_key

HELD = {"contents": "write", "issues": "read", "metadata": "read"}
TOKENS = "/app/installations/77/access_tokens"
CONTENTS = "/repos/acme/app/contents/README.md"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHub]:
    root = StageRoot(tmp_path)
    made = GitHub(tmp_path / "git", root.server_side("github", ("127.0.0.1",)), signing_key(kid="key-1").public)
    names = frozenset({"acme/app", "acme/docs"})
    made.installations[77] = Installation(account="Acme", repositories=names, permissions=HELD)
    made.installations[78] = Installation(
        account="Sleepy", repositories=frozenset({"sleepy/app"}), permissions=HELD, suspended=True
    )
    made.add_repository("acme/app")
    made.site.start()
    yield made
    made.site.stop()


def app_token(key: str = "key-1", algorithm: str = "RS256", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iat": now - 60, "exp": now + 300, "iss": "123456", **changes}
    stated = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(stated, signing_key(kid=key).private, algorithm=algorithm)


def ask(
    hub: GitHub, method: str, path: str, credential: str = "", body: object = None, host: str = "api.github.com"
) -> tuple[int, Any]:
    side = ssl.create_default_context(cafile=str(hub.folder.parent / "stage-root.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", hub.site.port, context=side, timeout=10)
    headers = {"Host": host, **({"Authorization": credential} if credential else {})}
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, body=content, headers=headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    is_json = answer.headers.get("content-type") == "application/json"
    return answer.status, json.loads(said) if is_json else said


def bearer(token: str) -> str:
    return f"Bearer {token}"


def basic(token: str, user: str = "x-access-token") -> str:
    return f"Basic {b64encode(f'{user}:{token}'.encode()).decode()}"


def make(hub: GitHub, **body: Any) -> str:
    status, made = ask(hub, "POST", TOKENS, bearer(app_token()), body)
    assert status == 201, made
    return str(made["token"])


NOW = int(time.time())
BAD_APPS = [
    pytest.param(app_token("key-2"), id="another-key"),
    pytest.param(app_token(iss="7"), id="another-app"),
    pytest.param(app_token(iss=...), id="nobody"),
    pytest.param(app_token(iat=NOW + 3600), id="issued-in-the-future"),
    pytest.param(app_token(iat=...), id="never-issued"),
    pytest.param(app_token(exp=NOW - 10), id="over"),
    pytest.param(app_token(exp=NOW + 3600), id="too-long"),
    pytest.param(app_token(exp=...), id="never-over"),
    pytest.param(app_token(algorithm="RS512"), id="another-algorithm"),
    pytest.param("ghs_x", id="no-jwt"),
]


@pytest.mark.parametrize("token", BAD_APPS)
def test_an_app_must_sign_as_documented(hub: GitHub, token: str) -> None:
    """Key, `iss`, `iat`, and `exp` within ten minutes."""
    assert ask(hub, "GET", "/repos/acme/app/installation", bearer(token))[0] == 401
    assert ask(hub, "POST", TOKENS, bearer(token), {})[0] == 401


@pytest.mark.parametrize("issuer", ["123456", "Iv23liAbCdEfGhIjKlMn"])
def test_either_name_of_the_app_signs(hub: GitHub, issuer: str) -> None:
    """Client id or number; the installation is found by its repository, in any case."""
    status, found = ask(hub, "GET", "/repos/Acme/App/installation", bearer(app_token(iss=issuer)))
    assert (status, found["id"], found["account"]["login"]) == (200, 77, "Acme")
    assert ask(hub, "GET", "/repos/acme/none/installation", bearer(app_token()))[0] == 404
    assert ask(hub, "GET", "/repos/acme/app/installation", f"token {app_token()}")[0] == 401


REFUSED = [
    pytest.param({"repositories": ["none"]}, 422, "does not exist or is not accessible", id="repository"),
    pytest.param({"repositories": ["acme/app"]}, 422, "does not exist", id="full-name"),
    pytest.param({"repositories": "app"}, 422, "not an array", id="no-list"),
    pytest.param({"permissions": {"issues": "write"}}, 422, "not granted", id="level"),
    pytest.param({"permissions": {"members": "read"}}, 422, "not granted", id="permission"),
    pytest.param({"permissions": {"contents": "all"}}, 422, "not granted", id="no-level"),
    pytest.param({"scope": "repo"}, 422, "Invalid request", id="unknown-field"),
    pytest.param(b"{", 400, "Problems parsing", id="no-json"),
    pytest.param([], 400, "JSON object", id="no-object"),
]


@pytest.mark.parametrize("body, status, why", REFUSED)
def test_a_token_is_no_wider_than_its_installation(hub: GitHub, body: object, status: int, why: str) -> None:
    """Unknown repositories, permissions that are not held and malformed bodies make no token."""
    answer = ask(hub, "POST", TOKENS, bearer(app_token()), body)
    assert answer[0] == status
    assert why in answer[1]["message"]
    assert hub.tokens == {}


def test_installations_that_are_none(hub: GitHub) -> None:
    """One that does not exist, and one that is suspended."""
    assert ask(hub, "POST", "/app/installations/9/access_tokens", bearer(app_token()), {})[0] == 404
    assert ask(hub, "POST", "/app/installations/78/access_tokens", bearer(app_token()), {})[0] == 403


def test_what_is_not_asked_for_narrowly_is_wide(hub: GitHub) -> None:
    """Without lists a token is for all that the installation holds, and says so."""
    status, made = ask(hub, "POST", TOKENS, bearer(app_token()), {"repositories": []})
    assert (status, made["repository_selection"], made["permissions"]) == (201, "all", HELD)
    assert "repositories" not in made
    assert ask(hub, "GET", "/repos/acme/docs", bearer(made["token"]))[0] == 200


def test_a_token_is_held_to_its_repository_and_permissions(hub: GitHub) -> None:
    """Another repository does not exist for it; another permission is refused; as Basic it is nothing to the API."""
    token = make(hub, repositories=["app"], permissions={"contents": "read"})
    assert ask(hub, "GET", CONTENTS, bearer(token))[0] == 200
    assert ask(hub, "GET", "/repos/acme/app", bearer(token))[0] == 200
    assert ask(hub, "GET", "/repos/acme/docs/contents/README.md", bearer(token))[0] == 404
    assert ask(hub, "GET", "/repos/acme/app/issues", bearer(token))[0] == 403
    assert ask(hub, "PUT", "/repos/acme/app/contents/docs/page.md", bearer(token), {})[0] == 403
    assert ask(hub, "GET", CONTENTS, basic(token))[0] == 401
    assert ask(hub, "GET", CONTENTS)[0] == 401
    assert ask(hub, "GET", CONTENTS, bearer(app_token()))[0] == 401


def test_git_takes_basic_alone(hub: GitHub) -> None:
    """The token under GitHub's name for it; reading does not push, and another repository is not found."""
    reader = make(hub, repositories=["app"], permissions={"contents": "read"})
    fetch, push = (f"/acme/app.git/info/refs?service=git-{name}-pack" for name in ("upload", "receive"))
    assert ask(hub, "GET", fetch, basic(reader), host="github.com")[0] == 200
    assert ask(hub, "GET", push, basic(reader), host="github.com")[0] == 403
    assert ask(hub, "GET", fetch, bearer(reader), host="github.com")[0] == 401
    assert ask(hub, "GET", fetch, basic(reader, "me"), host="github.com")[0] == 401
    assert ask(hub, "GET", fetch, host="github.com")[0] == 401
    other = make(hub, repositories=["docs"])
    assert ask(hub, "GET", fetch, basic(other), host="github.com")[0] == 404


def test_a_revoked_token_is_void(hub: GitHub) -> None:
    """Everywhere, and revoking it again is refused; an app's own token revokes nothing."""
    token = make(hub, repositories=["app"])
    assert ask(hub, "DELETE", "/installation/token", bearer(app_token()))[0] == 401
    assert ask(hub, "DELETE", "/installation/token", bearer(token))[0] == 204
    assert ask(hub, "GET", CONTENTS, bearer(token))[0] == 401
    assert ask(hub, "GET", "/acme/app.git/info/refs?service=git-upload-pack", basic(token), host="github.com")[0] == 401
    assert ask(hub, "DELETE", "/installation/token", bearer(token))[0] == 401
    assert hub.living() == []
