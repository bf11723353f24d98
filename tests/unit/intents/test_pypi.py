"""What requests to Python package indexes mean."""

import hashlib

import pytest

from proxy.intents import pypi
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView
from proxy.model.reason import Reason

SPOKEN = frozenset({"pypi"})
FORM: Headers = (("content-type", "multipart/form-data; boundary=b0undary"),)
UPLOAD = "upload.pypi.org"
OWN = "index.example"
WHEEL = b"PK not really a wheel"
DIGEST = hashlib.sha256(WHEEL).hexdigest()


def ask(
    line: str,
    host: str = "pypi.org",
    headers: Headers = (),
    body: BodyPrefix | None = None,
    spoken: frozenset[str] = SPOKEN,
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path[?query]`."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    view = RequestView(
        method=method,
        scheme="https",
        authority=Authority(host, 443),
        path=path,
        query=query if mark else None,
        headers=headers,
        body=body,
    )
    return pypi.decode(view, spoken)


def read(line: str, host: str = "pypi.org", spoken: frozenset[str] = SPOKEN) -> Intent:
    answer = ask(line, host, spoken=spoken)
    assert isinstance(answer, Intent)
    return answer


def form(
    *fields: tuple[str, str], filename: str | None = "acme_lib-1.2.3-py3-none-any.whl", after: bytes = b""
) -> bytes:
    """What twine sends: the fields, then the file."""
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields]
    if filename is not None:
        head = f'Content-Disposition: form-data; name="content"; filename="{filename}"\r\n'
        parts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + WHEEL)
    return b"".join(b"--b0undary\r\n" + each + b"\r\n" for each in parts) + after + b"--b0undary--\r\n"


FIELDS = (
    (":action", "file_upload"),
    ("protocol_version", "1"),
    ("name", "Acme.Lib"),
    ("version", "1.2.3"),
    ("classifiers", "A"),
    ("classifiers", "B"),
    ("filetype", "bdist_wheel"),
    ("sha256_digest", DIGEST.upper()),
)


def without(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple(field for field in FIELDS if field[0] not in names)


def upload(
    body: bytes, host: str = UPLOAD, path: str = "/legacy/", headers: Headers = FORM
) -> Intent | BodyWanted | None:
    return ask(f"POST {path}", host, headers, BodyPrefix(data=body, is_whole=True))


@pytest.mark.parametrize(
    "line, host, where, facts",
    [
        ("/simple/requests/", "pypi.org", "requests", {"what": "metadata"}),
        ("/simple/requests", "test.pypi.org", "requests", {"what": "metadata"}),
        ("/simple/Typing_Extensions/", "pypi.org", "typing-extensions", {"what": "metadata"}),
        ("/simple/zope.interface/", "pypi.org", "zope-interface", {"what": "metadata"}),
        ("/pypi/requests/json", "pypi.org", "requests", {"what": "metadata"}),
        ("/pypi/requests/2.32.0/json", "pypi.org", "requests", {"what": "metadata", "version": "2.32.0"}),
        (
            "/packages/ab/cd/ef/typing_extensions-4.1-py3-none-any.whl",
            "files.pythonhosted.org",
            "typing-extensions",
            {"what": "artifact", "file": "typing_extensions-4.1-py3-none-any.whl", "version": "4.1"},
        ),
        (
            "/packages/ab/cd/ef/a-1-py3-none-any.whl.metadata",
            "files.pythonhosted.org",
            "a",
            {"what": "artifact", "file": "a-1-py3-none-any.whl.metadata", "version": "1"},
        ),
        (
            "/packages/source/m/my-lib/my-lib-1.0.tar.gz",
            "files.pythonhosted.org",
            "my-lib",
            {"what": "artifact", "file": "my-lib-1.0.tar.gz", "version": "1.0"},
        ),
        (
            "/packages/ab/cd/ef/a-1%2Bcpu-py3-none-any.whl",
            "files.pythonhosted.org",
            "a",
            {"what": "artifact", "file": "a-1+cpu-py3-none-any.whl", "version": "1+cpu"},
        ),
    ],
)
def test_installs(line: str, host: str, where: str, facts: dict[str, str]) -> None:
    """Metadata and files are reads of the package by its normal name, with a version where one is named."""
    for method in ("GET", "HEAD"):
        intent = read(f"{method} {line}", host, frozenset())
        assert (intent.name, intent.effect, intent.exact) == ("pypi install", EffectClass.READ, True)
        assert (intent.resource.type, intent.resource.id) == ("pypi-package", f"{host}/{where}")
        assert intent.facts == facts


@pytest.mark.parametrize("file", ["setup-1.0.exe", "nohyphen.zip", "a-b.tar.gz", "a--1.0.tar.gz"])
def test_a_file_of_no_certain_package(file: str) -> None:
    """A file whose name does not tell the package is a read of any, and not exact."""
    intent = read(f"GET /packages/ab/cd/ef/{file}", "files.pythonhosted.org")

    assert (intent.action, intent.exact, intent.resource.id) == ("install", False, "files.pythonhosted.org/*")


@pytest.mark.parametrize(
    "line, action, effect",
    [
        ("GET /simple/", "search", EffectClass.LIST),
        ("GET /search/?q=x", "search", EffectClass.LIST),
        ("GET /_/oidc/audience", "ping", EffectClass.READ),
        ("POST /_/oidc/mint-token", "token.exchange", EffectClass.CREDENTIAL),
        ("POST /_/oidc/github/mint-token", "token.exchange", EffectClass.CREDENTIAL),
        ("POST /account/login/", "login", EffectClass.CREDENTIAL),
        ("POST /manage/project/x/delete_project/", "unknown", EffectClass.UNKNOWN),
        ("POST /pypi", "unknown", EffectClass.UNKNOWN),
        ("GET /_/oidc/mint-token", "unknown", EffectClass.UNKNOWN),
        ("DELETE /simple/requests/", "unknown", EffectClass.UNKNOWN),
        ("PUT /packages/ab/cd/ef/a-1.tar.gz", "unknown", EffectClass.UNKNOWN),
        ("GET /", "unknown", EffectClass.UNKNOWN),
    ],
)
def test_the_index_itself(line: str, action: str, effect: EffectClass) -> None:
    """What concerns no package is of the registry; what is in no table has an unknown effect."""
    intent = read(line, spoken=frozenset())

    assert (intent.action, intent.effect, intent.exact) == (action, effect, action != "unknown")
    assert (intent.resource.type, intent.resource.id) == ("pypi-registry", "pypi.org")


def test_provenance_is_an_audit() -> None:
    """PEP 740's attestations are read to check a file."""
    intent = read("GET /integrity/Acme_Lib/1.0/acme_lib-1.0.tar.gz/provenance")

    assert (intent.action, intent.resource.id, intent.facts) == ("audit", "pypi.org/acme-lib", {"version": "1.0"})


@pytest.mark.parametrize(
    "path, where",
    [
        ("/simple/requests/", "/requests"),
        ("/repository/pypi/simple/Requests/", "/repository/pypi/requests"),
        ("/root/pypi/+simple/requests/", "/root/pypi/requests"),
        ("/repository/pypi/packages/requests/2.0/requests-2.0.tar.gz", "/repository/pypi/requests"),
        ("/api/pypi/repo/packages/packages/aa/bb/requests-2.0.tar.gz", "/api/pypi/repo/requests"),
        ("/api/v4/projects/1/packages/pypi/files/abc/requests-2.0.tar.gz", "/api/v4/projects/1/packages/pypi/requests"),
        ("/pypi/requests/json", "/requests"),
        ("/x/pypi/requests/2.0/json", "/x/requests"),
        ("/x/pypi/pypi/json", "/x/pypi"),
        ("/x/pypi/pypi/1.0/json", "/x/pypi"),
    ],
)
def test_an_index_below_a_path(path: str, where: str) -> None:
    """On a host whose rules speak pypi, the path above the index is part of the resource."""
    intent = read(f"GET {path}", OWN)

    assert (intent.action, intent.resource.id) == ("install", f"{OWN}{where}")


def test_an_index_below_a_path_is_listed() -> None:
    """The list of all packages is of the registry."""
    intent = read("GET /repository/pypi/simple/", OWN)

    assert (intent.action, intent.resource.type, intent.resource.id) == (
        "search",
        "pypi-registry",
        f"{OWN}/repository/pypi",
    )


@pytest.mark.parametrize(
    "line",
    [
        "GET /",
        "GET /anything/else",
        "GET /files/readme.txt",
        "GET /src/archive.tar.gz",
        "GET /a.whl",
        "GET /x/json",
        "GET /a/b/c/json",
        "PUT /simple/requests/",
        "DELETE /simple/requests/",
        "POST /legacy/",
    ],
)
def test_elsewhere_only_an_index_is_read(line: str) -> None:
    """What is not plainly an index is left to other decoders."""
    assert ask(line, OWN) is None


def test_other_hosts_are_not_read() -> None:
    """Without a rule that speaks pypi no other host is an index."""
    assert ask("GET /simple/requests/", "pypi.org.example.com", spoken=frozenset({"npm"})) is None


def test_an_upload_to_warehouse_is_read_to_the_file() -> None:
    """The form is asked for up to the file's headers, and the digest it names is a fact: Warehouse checks it."""
    body = form(*FIELDS)
    wanted = ask("POST /legacy/", UPLOAD, FORM)

    assert isinstance(wanted, BodyWanted)
    assert wanted.limit == 1024 * 1024
    assert wanted.enough is not None
    needed = body.index(WHEEL)
    assert not wanted.enough(body[: needed - 1])
    assert wanted.enough(body[:needed])
    intent = ask("POST /legacy/", UPLOAD, FORM, BodyPrefix(data=body[:needed], is_whole=False))
    assert isinstance(intent, Intent)
    assert (intent.name, intent.effect, intent.exact) == ("pypi publish", EffectClass.PUBLISH, True)
    assert intent.resource.id == f"{UPLOAD}/acme-lib"
    assert intent.facts == {
        "version": "1.2.3",
        "file": "acme_lib-1.2.3-py3-none-any.whl",
        "filetype": "bdist_wheel",
        "sha256": DIGEST,
    }


@pytest.mark.parametrize("path", ["/repository/pypi/", "/repository/pypi/legacy/", "/repository/pypi/upload/"])
def test_an_upload_elsewhere_is_read_whole(path: str) -> None:
    """Another index may take the last of two fields, so all of the form is seen, and the digest is the file's own."""
    wanted = ask(f"POST {path}", OWN, FORM)
    assert isinstance(wanted, BodyWanted)
    assert (wanted.limit, wanted.enough) == (32 * 1024 * 1024, None)

    intent = upload(form(*without("sha256_digest", "filetype", "protocol_version")), OWN, path)
    assert isinstance(intent, Intent)
    assert intent.resource.id == f"{OWN}/repository/pypi/acme-lib"
    assert intent.facts == {"version": "1.2.3", "file": "acme_lib-1.2.3-py3-none-any.whl", "sha256": DIGEST}


def test_a_field_behind_the_file_is_seen_elsewhere() -> None:
    """A second name behind the file is refused where an index may take it."""
    second = b'--b0undary\r\nContent-Disposition: form-data; name="name"\r\n\r\nevil\r\n'
    with pytest.raises(IntentError):
        upload(form(*FIELDS, after=second), OWN)


def test_a_form_of_another_ecosystem_is_left_alone() -> None:
    """A form without `:action` is not an index's."""
    assert upload(form(("chart", "x")), OWN, "/api/charts") is None


@pytest.mark.parametrize(
    "filename",
    [
        "acme_lib-1.2.3-py3-none-any.whl",
        "Acme.Lib-1.2.3-1-py3-none-any.whl",
        "acme_lib-1.2.3.tar.gz",
        "acme-lib-1.2.3.zip",
        "acme.lib-1.2.3-py3.12.egg",
    ],
)
def test_file_names_of_the_package(filename: str) -> None:
    """Every spelling of the package's name before the version is its own."""
    fields = (*without("sha256_digest"),)
    intent = upload(form(*fields, filename=filename))

    assert isinstance(intent, Intent)
    assert intent.facts["file"] == filename
    assert "sha256" not in intent.facts


@pytest.mark.parametrize(
    "filename",
    [
        "evil-1.2.3.tar.gz",
        "acme_lib_evil-1.2.3.tar.gz",
        "acme_lib-2.0.tar.gz",
        "acme_lib-1.2.3.4.tar.gz",
        "acme_lib-1.2.3-evil-9.tar.gz",
        "acme_lib-evil-1.2.3.tar.gz",
        "acme_lib-1.2-py3-none-any.whl",
        "acme_lib.tar.gz",
        "acme_lib-1.2.3.whl.metadata",
        "acme_lib-1.2.3.exe",
        "acme_lib-1.2.3",
        "../acme_lib-1.2.3.tar.gz",
        "x/acme_lib-1.2.3.tar.gz",
        "acme_lib-1.2.3.tar.gz\x00.zip",
        "\u0430cme_lib-1.2.3.tar.gz",
    ],
)
def test_file_names_of_something_else_are_refused(filename: str) -> None:
    """An index that goes by the file's name must not publish another package or version than the form names."""
    with pytest.raises(IntentError):
        upload(form(*FIELDS, filename=filename))


@pytest.mark.parametrize(
    "fields",
    [
        without(":action"),
        (*without(":action"), (":action", "remove_pkg")),
        (*without(":action"), (":action", "submit")),
        (*FIELDS, (":action", "remove_pkg")),
        without("name"),
        (*FIELDS, ("name", "evil")),
        (*FIELDS, ("name", "Acme.Lib")),
        (*without("name"), ("name", "acme-lib-")),
        (*without("name"), ("name", "acme/lib")),
        (*without("name"), ("name", "acme lib")),
        (*without("name"), ("name", "\u0430cme")),
        (*without("name"), ("name", "a" * 129)),
        without("version"),
        (*FIELDS, ("version", "9")),
        (*without("version"), ("version", "1.2.3-1")),
        (*without("version"), ("version", "latest")),
        (*without("protocol_version"), ("protocol_version", "2")),
        (*without("filetype"), ("filetype", "bdist wheel")),
        (*without("sha256_digest"), ("sha256_digest", "abc")),
    ],
)
@pytest.mark.parametrize("host", [UPLOAD])
def test_hostile_fields_are_refused(fields: tuple[tuple[str, str], ...], host: str) -> None:
    """A doubled, missing or misspelled field is denied before the file is sent on."""
    with pytest.raises(IntentError):
        upload(form(*fields), host)


@pytest.mark.parametrize(
    "body",
    [
        form(*FIELDS, filename=None),
        form(*FIELDS, filename=None).replace(b'name="classifiers"', b'name="content"', 1),
        form(filename="acme_lib-1.2.3.tar.gz"),
        form(*FIELDS).replace(b'name="name"', b'name="name"; filename="n"'),
        form(*FIELDS).replace(b'name="name"', b'name="name "'),
        b"name=acme-lib&version=1.2.3",
        b"",
    ],
)
@pytest.mark.parametrize("host", [UPLOAD, "test.pypi.org"])
def test_hostile_forms_are_refused(body: bytes, host: str) -> None:
    """A file before its fields, a field sent as a file or a body that is no form is denied."""
    with pytest.raises(IntentError):
        upload(body, host)


def test_two_files_are_refused_elsewhere() -> None:
    """A whole form has one file."""
    second = b'--b0undary\r\nContent-Disposition: form-data; name="content"; filename="x"\r\n\r\nevil\r\n'
    with pytest.raises(IntentError):
        upload(form(*FIELDS, after=second), OWN)


def test_metadata_past_the_limit_is_denied_by_name_of_the_limit() -> None:
    """A form whose file does not begin within the limit is denied for its length."""
    body = form(*FIELDS)[:200]
    with pytest.raises(IntentError) as caught:
        ask("POST /legacy/", UPLOAD, FORM, BodyPrefix(data=body, is_whole=False))
    assert caught.value.reason is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize(
    "line, headers",
    [
        ("POST /legacy/?:action=submit", FORM),
        ("POST /legacy/?x", FORM),
        ("POST /legacy/", (("content-type", "application/x-www-form-urlencoded"),)),
        ("POST /legacy/", ()),
        ("POST /legacy/", (*FORM, ("x-http-method-override", "PUT"))),
        ("GET /simple/-requests/", ()),
        ("GET /simple/requests%20/", ()),
        ("GET /simple/%D1%80equests/", ()),
        ("GET /simple/..%2Fx/", ()),
        ("GET /simple/%FF/", ()),
        ("GET /pypi/requests/latest/json", ()),
        ("GET /packages", ()),
        ("GET /packages/ab/cd/ef/-1.0.zip", ()),
        ("GET /packages/ab/cd/ef/readme.txt", ()),
    ],
)
def test_hostile_requests_are_refused(line: str, headers: Headers) -> None:
    """A name outside the grammar, or an upload that could be read twice, is denied."""
    with pytest.raises(IntentError):
        ask(line, headers=headers)
