"""What requests of git mean: fetches, pushes ref by ref, archives; whose they are, and what git never sends."""

import gzip

import pytest

from proxy.intents import git
from proxy.intents.git_packets import write_packet
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, EffectClass, Headers, Intent, RequestView

NONE: frozenset[str] = frozenset()
SPOKEN = frozenset({"git"})
A, B = "a" * 40, "b" * 40
READ, WRITE, DELETE, UNKNOWN = EffectClass.READ, EffectClass.WRITE, EffectClass.DELETE, EffectClass.UNKNOWN


def ask(
    line: str,
    body: bytes | None = None,
    host: str = "git.example",
    spoken: frozenset[str] = NONE,
    headers: Headers = (),
) -> Intent | BodyWanted | None:
    """Decode `METHOD /path?query`."""
    method, _, target = line.partition(" ")
    path, mark, query = target.partition("?")
    return git.decode(
        RequestView(
            method=method,
            scheme="https",
            authority=Authority(host, 443),
            path=path,
            query=query if mark else None,
            headers=headers,
            body=None if body is None else BodyPrefix(data=body, is_whole=True),
        ),
        spoken,
    )


def read(line: str, body: bytes | None = None, host: str = "git.example", spoken: frozenset[str] = NONE) -> Intent:
    found = ask(line, body, host, spoken)
    assert isinstance(found, Intent)
    return found


def packets(*lines: str) -> bytes:
    return b"".join(write_packet(line.encode()) for line in lines) + b"0000"


@pytest.mark.parametrize(
    "line, host, action, resource",
    [
        ("GET /acme/app.git/info/refs?service=git-upload-pack", "git.test", "fetch.discover", "git.test/acme/app"),
        ("GET /acme/app/info/refs?service=git-receive-pack", "git.example", "push.discover", "git.example/acme/app"),
        ("HEAD /a/b/c.git/info/refs?service=git-upload-pack", "git.example", "fetch.discover", "git.example/a/b/c"),
        ("GET /Acme/App.git/info/refs?service=git-upload-pack", "github.com", "fetch.discover", "github.com/acme/app"),
        ("GET /A/App.git/info/refs?service=git-upload-pack", "www.github.com", "fetch.discover", "github.com/a/app"),
        ("GET /Acme/App/info/refs?service=git-upload-pack", "git.example", "fetch.discover", "git.example/Acme/App"),
        ("GET /~ada/app/info/refs?service=git-upload-pack", "git.sr.ht", "fetch.discover", "git.sr.ht/~ada/app"),
        ("GET /Acme/App/tar.gz/refs/heads/main", "codeload.github.com", "archive", "github.com/acme/app"),
    ],
)  # fmt: skip
def test_reads(line: str, host: str, action: str, resource: str) -> None:
    """Learning the refs, for whatever, and an archive are reads of the repository."""
    found = read(line, host=host)
    assert (found.name, found.effect, found.exact) == (f"git {action}", READ, True)
    assert (found.resource.type, found.resource.id) == ("git-repository", resource)


def test_an_archive_names_its_ref() -> None:
    """What was downloaded is on the record."""
    assert read("GET /a/b/zip/v1/x", host="codeload.github.com").facts == {"ref": "v1/x"}
    unknown = read("GET /a/b", host="codeload.github.com")
    assert (unknown.action, unknown.effect, unknown.exact) == ("unknown", UNKNOWN, False)
    assert ask("POST /a/b/zip/v1", host="codeload.github.com") is None


@pytest.mark.parametrize(
    "body, facts",
    [
        (packets(f"want {A} side-band-64k\n", f"want {A}\n", f"want {B}\n"), {"wants": f"{A} {B}", "want_count": "2"}),
        (packets("command=ls-refs", "agent=git/2") + b"", {"command": "ls-refs"}),
        (packets("command=fetch", f"want {A}\n"), {"command": "fetch", "wants": A, "want_count": "1"}),
        (packets("command=fetch", "want-ref refs/x"), {"command": "fetch", "wants": "refs/x", "want_count": "1"}),
        (packets(), {}),
        (b"", {}),
        (packets(*(f"want {n:040x}" for n in range(99))), {"want_count": "99"}),
    ],
)  # fmt: skip
def test_a_fetch_is_a_read(body: bytes, facts: dict[str, str]) -> None:
    """Of either protocol; commits that are wanted are told, some by name and all by number."""
    found = read("POST /acme/app.git/git-upload-pack", body)
    assert (found.action, found.effect, found.resource.id) == ("fetch", READ, "git.example/acme/app")
    told = {name: value for name, value in found.facts.items() if name in facts}
    assert told == facts


def test_a_fetch_that_has_said_enough() -> None:
    """A body is read up to its first flush, or to as many packets as anything is told of."""
    wanted = ask("POST /a/b/git-upload-pack")
    assert isinstance(wanted, BodyWanted)
    assert wanted.enough is not None
    assert not wanted.enough(packets(f"want {A}")[:-4])
    assert wanted.enough(packets(f"want {A}"))
    assert wanted.enough(packets(*["have"] * 64)[:-4])


def test_a_push_is_every_ref_it_moves() -> None:
    """The first is the intent, the others stand beside it; options, signature and atomicity are facts."""
    body = packets(f"{A} {B} refs/heads/main\0atomic push-options", f"{A} {'0' * 40} refs/tags/v1") + packets(
        "repo.private=false", "ci.skip", "ci.skip"
    )
    wanted = ask("POST /acme/app.git/git-receive-pack")
    assert isinstance(wanted, BodyWanted)
    assert wanted.enough is not None
    assert wanted.enough(body + b"PACK")

    found = read("POST /acme/app.git/git-receive-pack", body + b"PACK")

    assert [(each.action, each.resource.id, each.effect) for each in (found, *found.also)] == [
        ("push.update", "git.example/acme/app#refs/heads/main", WRITE),
        ("push.delete", "git.example/acme/app#refs/tags/v1", DELETE),
        ("push.option", "git.example/acme/app#option/ci.skip", WRITE),
        ("push.option", "git.example/acme/app#option/repo.private", EffectClass.ADMIN),
    ]
    assert found.facts == {"old": A, "new": B, "atomic": "yes"}


def test_a_probe_moves_nothing() -> None:
    """The four bytes that clients send before a large push are a read."""
    found = read("POST /acme/app.git/git-receive-pack", b"0000")
    assert (found.name, found.effect, found.also) == ("git push.probe", READ, ())


def test_a_packed_body_is_unpacked() -> None:
    """Clients compress what they send; the limit holds for what comes out."""
    body = gzip.compress(packets(f"{A} {B} refs/heads/main\0x"))
    found = ask("POST /a/b/git-receive-pack", body, headers=(("content-encoding", "gzip"),))
    assert isinstance(found, Intent)
    assert found.action == "push.update"


@pytest.mark.parametrize(
    "line, action",
    [
        ("GET /a/b.git/info/refs", "fetch"),
        ("GET /a/b.git/HEAD", "fetch"),
        ("HEAD /a/b/objects/info/packs", "fetch"),
        ("GET /a/b.git/objects/aa/bb", "fetch"),
    ],
)
def test_the_dumb_protocol_is_read_where_rules_say_so(line: str, action: str) -> None:
    """Files of a repository, on a host that rules say speaks git; anywhere else they are files."""
    found = read(line, spoken=SPOKEN)
    assert (found.action, found.resource.id, found.effect) == (action, "git.example/a/b", READ)
    assert ask(line) is None


@pytest.mark.parametrize("line", ["GET /", "GET /a/b", "PUT /a/b/objects/aa/bb", "GET /HEAD", "GET /info/refs?x=y"])
def test_what_is_not_gits_is_left_alone(line: str) -> None:
    """Other paths are other decoders', also where git is spoken."""
    assert ask(line, spoken=SPOKEN) is None


@pytest.mark.parametrize(
    "line, body",
    [
        ("GET /a/b/info/refs?service=git-evil-pack", None),
        ("GET /a/b/info/refs?service=git-upload-pack&service=git-receive-pack", None),
        ("POST /a/b/info/refs?service=git-upload-pack", None),
        ("GET /info/refs?service=git-upload-pack", None),
        ("GET /.git/info/refs?service=git-upload-pack", None),
        ("GET /a%2Fb/c/info/refs?service=git-upload-pack", None),
        ("GET /a%23b/c/info/refs?service=git-upload-pack", None),
        ("GET /a%0Ab/c/info/refs?service=git-upload-pack", None),
        ("GET /a/b/git-receive-pack", None),
        ("PUT /a/b/git-upload-pack", b"0000"),
        ("POST /a/b/git-receive-pack", b""),
        ("POST /a/b/git-receive-pack", b"PACK"),
        ("POST /a/b/git-receive-pack", packets(f"{A} {B} main")),
        ("POST /a/b/git-upload-pack", b"nonsense"),
        ("POST /a/b/git-receive-pack", packets(f"{A} {B} refs/heads/x\0push-options") + packets("a b=c")),
    ],
)
def test_what_git_never_sends_is_refused(line: str, body: bytes | None) -> None:
    """Odd methods, two services, hidden paths and broken packets are denied, not guessed at."""
    with pytest.raises(IntentError):
        ask(line, body)
