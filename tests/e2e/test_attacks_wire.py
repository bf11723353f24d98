"""A hostile job against a running sidecar, byte by byte: the authorities, names and protocols of the threat table.

Every row is one connection. Nothing of it may reach an upstream but the safe form that the row states, the refusal is
answered with its reason and stands in the trail under the number the job was told, and the next request is served.
"""

from collections.abc import Iterator

import pytest

from proxy.model.reason import Reason
from tests.fakes.attack_stage import Attack, AttackStage, find_harm, find_traces

ORIGIN = "origin.test:443"


@pytest.fixture(scope="module")
def stage() -> Iterator[AttackStage]:
    """One sidecar for all rows: what one attack leaves behind is what the next one meets."""
    made = AttackStage()
    made.start()
    yield made
    made.stop()


def inner(target: str = "/x", host: str = "origin.test", *lines: str, method: str = "GET") -> bytes:
    """A request as it is said inside a tunnel; `lines` are further fields."""
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


def outer(target: str, host: str = "plain.test", *lines: str, method: str = "GET") -> bytes:
    """A request to the proxy itself, its password included."""
    return inner(target, host, *lines, method=method).replace(b"\r\n\r\n", b"\r\n<password>\r\n")


def inside(name: str, words: bytes, reason: Reason) -> Attack:
    """A request in a tunnel to an allowed host, refused before anything is dialled."""
    return Attack(name=name, to=ORIGIN, words=words, reason=reason)


FRONTED = [
    Attack(name=f"A01-{name}", to=ORIGIN, sni=sni, reason=Reason.AUTHORITY_MISMATCH, answers=False)
    for name, sni in (
        ("sni-of-a-denied-host", "denied.test"),
        ("sni-of-another-allowed-host", "other.test"),
        ("sni-of-a-host-below", "a.origin.test"),
        ("sni-that-ends-alike", "evilorigin.test"),
        ("sni-that-begins-alike", "origin.test.denied.test"),
        ("sni-missing", None),
    )
]
INNER_HOSTS = [
    inside(f"A02-{name}", inner(host=host), reason)
    for name, host, reason in (
        ("host-denied", "denied.test", Reason.AUTHORITY_MISMATCH),
        ("host-also-allowed", "other.test", Reason.AUTHORITY_MISMATCH),
        ("host-of-another-port", "origin.test:8443", Reason.AUTHORITY_MISMATCH),
        ("host-of-the-plain-port", "origin.test:80", Reason.AUTHORITY_MISMATCH),
        ("host-of-a-padded-port", "origin.test:0443", Reason.AUTHORITY_INVALID),
        ("host-with-an-empty-port", "origin.test:", Reason.AUTHORITY_INVALID),
        ("host-with-userinfo", "origin.test@denied.test", Reason.AUTHORITY_INVALID),
        ("host-list", "origin.test, denied.test", Reason.AUTHORITY_INVALID),
        ("host-with-a-space", "origin.test denied.test", Reason.AUTHORITY_INVALID),
        ("host-with-a-path", "origin.test/../denied.test", Reason.AUTHORITY_INVALID),
        ("host-with-a-nul", "origin.test\0.denied.test", Reason.REQUEST_MALFORMED),
        ("host-empty", "", Reason.AUTHORITY_INVALID),
    )
] + [
    inside("A02-host-missing", b"GET /x HTTP/1.1\r\nX: y\r\n\r\n", Reason.REQUEST_MALFORMED),
    inside("A02-pseudo-header", inner("/x", "origin.test", ":authority: denied.test"), Reason.REQUEST_MALFORMED),
]
INNER_TARGETS = [
    inside(f"A03-{name}", inner(target, method=method), reason)
    for name, target, method, reason in (
        ("absolute-form-denied", "https://denied.test/x", "GET", Reason.AUTHORITY_MISMATCH),
        ("absolute-form-same-host", "https://origin.test/x", "GET", Reason.AUTHORITY_MISMATCH),
        ("absolute-form-plain", "http://origin.test/x", "GET", Reason.AUTHORITY_MISMATCH),
        ("absolute-form-upper-case", "HTTPS://DENIED.TEST/x", "GET", Reason.AUTHORITY_MISMATCH),
        ("authority-form", "denied.test:443", "GET", Reason.REQUEST_MALFORMED),
        ("asterisk-form", "*", "OPTIONS", Reason.AUTHORITY_MISMATCH),
        ("network-path", "//denied.test/x", "GET", Reason.PATH_NOT_NORMAL),
        ("network-path-backslash", "/\\denied.test/x", "GET", Reason.PATH_NOT_NORMAL),
        ("target-with-userinfo", "/@denied.test:443/../x", "GET", Reason.PATH_NOT_NORMAL),
        ("connect", "denied.test:443", "CONNECT", Reason.PROTOCOL_REFUSED),
    )
]
OUTER_TARGETS = [
    Attack(name=f"A04-{name}", words=outer(target, host), reason=reason)
    for name, target, host, reason in (
        ("host-denied", "http://plain.test/x", "denied.test", Reason.AUTHORITY_MISMATCH),
        ("host-of-another-port", "http://plain.test/x", "plain.test:8080", Reason.AUTHORITY_MISMATCH),
        ("host-of-the-tls-port", "http://plain.test/x", "plain.test:443", Reason.AUTHORITY_MISMATCH),
        ("target-denied", "http://denied.test/x", "plain.test", Reason.AUTHORITY_MISMATCH),
        ("both-denied", "http://denied.test/x", "denied.test", Reason.NO_RULE),
        ("another-port", "http://plain.test:443/x", "plain.test:443", Reason.NO_RULE),
        ("plain-to-a-tls-host", "http://origin.test/x", "origin.test", Reason.NO_RULE),
        ("https-without-connect", "https://origin.test/x", "origin.test", Reason.PROTOCOL_REFUSED),
        ("ftp", "ftp://plain.test/x", "plain.test", Reason.PROTOCOL_REFUSED),
        ("file", "file:///etc/passwd", "plain.test", Reason.PROTOCOL_REFUSED),
        ("no-host", "http:///x", "plain.test", Reason.AUTHORITY_INVALID),
        ("origin-form", "/x", "plain.test", Reason.AUTHORITY_INVALID),
        ("userinfo", "http://plain.test@denied.test/x", "plain.test", Reason.AUTHORITY_INVALID),
        ("userinfo-of-the-allowed-host", "http://denied.test@plain.test/x", "plain.test", Reason.AUTHORITY_INVALID),
        ("backslash", "http://denied.test\\.plain.test/x", "plain.test", Reason.REQUEST_MALFORMED),
        ("fragment", "http://plain.test#.denied.test/x", "plain.test", Reason.REQUEST_MALFORMED),
        ("padded-port", "http://plain.test:0080/x", "plain.test", Reason.AUTHORITY_INVALID),
        ("port-too-large", "http://plain.test:65616/x", "plain.test", Reason.AUTHORITY_INVALID),
    )
] + [
    Attack(
        name="A04-loud-spelling-is-written-anew",
        words=outer("HTTP://PLAIN.TEST.:80/x?a=B", "Plain.Test"),
        passes=b"GET /x?a=B HTTP/1.1\r\nhost: plain.test\r\n\r\n",
    ),
    Attack(
        name="A04-nothing-of-the-proxy-passes",
        words=outer("http://plain.test/x", "plain.test", "X-Forwarded-Host: denied.test", "X-Host: denied.test"),
        passes=b"GET /x HTTP/1.1\r\nhost: plain.test\r\n\r\n",
    ),
]
TWO_HOSTS = [
    inside(f"A05-{name}", inner("/x", "origin.test", line), reason)
    for name, line, reason in (
        ("same-twice", "Host: origin.test", Reason.AUTHORITY_MISMATCH),
        ("second-denied", "Host: denied.test", Reason.AUTHORITY_MISMATCH),
        ("second-in-lower-case", "host: denied.test", Reason.AUTHORITY_MISMATCH),
        ("second-with-a-space", "Host : denied.test", Reason.REQUEST_MALFORMED),
        ("second-with-a-tab", "Host\t: denied.test", Reason.REQUEST_MALFORMED),
        ("second-folded", "X: y\r\n Host: denied.test", Reason.REQUEST_MALFORMED),
        ("second-after-a-bare-return", "X: y\rHost: denied.test", Reason.REQUEST_MALFORMED),
        ("second-after-a-bare-newline", "X: y\nHost: denied.test", Reason.REQUEST_MALFORMED),
        ("second-with-a-nul", "Host\0: denied.test", Reason.REQUEST_MALFORMED),
    )
] + [
    Attack(name=f"A05-connect-{name}", words=words.encode(), reason=reason)
    for name, words, reason in (
        (
            "host-denied",
            "CONNECT origin.test:443 HTTP/1.1\r\nHost: denied.test:443\r\n<password>\r\n",
            Reason.AUTHORITY_MISMATCH,
        ),
        (
            "host-of-another-port",
            "CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:80\r\n<password>\r\n",
            Reason.AUTHORITY_MISMATCH,
        ),
        (
            "two-hosts",
            "CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test\r\nHost: denied.test\r\n<password>\r\n",
            Reason.AUTHORITY_MISMATCH,
        ),
        ("no-host", "CONNECT origin.test:443 HTTP/1.1\r\n<password>\r\n", Reason.REQUEST_MALFORMED),
        (
            "a-url",
            "CONNECT https://origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n<password>\r\n",
            Reason.AUTHORITY_INVALID,
        ),
        (
            "early-bytes",
            f"CONNECT {ORIGIN} HTTP/1.1\r\nHost: {ORIGIN}\r\n<password>\r\nGET /x HTTP/1.1\r\n",
            Reason.PROTOCOL_REFUSED,
        ),
    )
]


@pytest.mark.parametrize(
    "attack",
    [pytest.param(row, id=row.name) for row in (*FRONTED, *INNER_HOSTS, *INNER_TARGETS, *OUTER_TARGETS, *TWO_HOSTS)],
)
def test_no_two_places_in_one_request(stage: AttackStage, attack: Attack) -> None:
    """CONNECT target, SNI, Host and request target name one place, or nothing leaves (A01..A05)."""
    assert find_harm(stage, attack) == []


SPELLED = (
    [
        Attack(name=f"A11-{name}", to=to, reason=reason)
        for name, to, reason in (
            ("two-trailing-dots", "origin.test..:443", Reason.AUTHORITY_INVALID),
            ("leading-dot", ".origin.test:443", Reason.AUTHORITY_INVALID),
            ("empty-label", "origin..test:443", Reason.AUTHORITY_INVALID),
            ("percent-encoded-dot", "origin%2etest:443", Reason.AUTHORITY_INVALID),
            ("percent-encoded-nul", "origin.test%00.denied.test:443", Reason.AUTHORITY_INVALID),
            ("full-width-letters", "\uff4f\uff52\uff49\uff47\uff49\uff4e.test:443", Reason.REQUEST_MALFORMED),
            ("full-width-stop", "origin\uff0etest:443", Reason.REQUEST_MALFORMED),
            ("ideographic-stop", "origin\u3002test:443", Reason.REQUEST_MALFORMED),
            ("soft-hyphen", "ori\u00adgin.test:443", Reason.REQUEST_MALFORMED),
            ("zero-width-joiner", "ori\u200dgin.test:443", Reason.REQUEST_MALFORMED),
            ("cyrillic-letter", "\u043erigin.test:443", Reason.REQUEST_MALFORMED),
            ("look-alike-a-label", "xn--rigin-9ye.test:443", Reason.NO_RULE),
            ("label-of-64", f"{'a' * 64}.wild.test:443", Reason.AUTHORITY_INVALID),
            ("name-of-254", f"{'a.' * 123}wild.test:443", Reason.AUTHORITY_INVALID),
            ("underscore-host", "_origin.test:443", Reason.NO_RULE),
        )
    ]
    + [
        inside(f"A11-host-field-{name}", inner(host=host), Reason.AUTHORITY_INVALID)
        for name, host in (
            ("latin-1", "or\u00edgin.test"),
            ("full-width-stop", "origin\uff0etest".encode().decode("latin-1")),
            ("percent-encoded-dot", "origin%2etest"),
            ("two-trailing-dots", "origin.test.."),
        )
    ]
    + [
        Attack(
            name="A11-case-and-trailing-dot-are-one-name",
            to="ORIGIN.test.:443",
            sni="origin.test",
            words=inner(host="oRIGIN.tEST."),
            passes=b"GET /x HTTP/1.1\r\nhost: origin.test\r\n\r\n",
        ),
    ]
)
MATCHED = [
    Attack(name=f"A12-{name}", to=to, reason=Reason.NO_RULE)
    for name, to in (
        ("ends-alike", "evilorigin.test:443"),
        ("begins-alike", "origin.test.denied.test:443"),
        ("host-below", "x.origin.test:443"),
        ("host-above", "test:443"),
        ("star-is-one-label", "a.b.wild.test:443"),
        ("star-is-not-none", "wild.test:443"),
        ("star-keeps-the-dot", "evilwild.test:443"),
        ("star-is-a-suffix", "a.wild.test.denied.test:443"),
        ("a-dot-is-no-wildcard", "origin-test:443"),
        ("another-port", "origin.test:8443"),
    )
] + [
    Attack(name="A12-star-itself", to="*.wild.test:443", reason=Reason.AUTHORITY_INVALID),
    Attack(
        name="A12-one-label-is-what-the-star-means",
        to="a.wild.test:443",
        words=inner(host="a.wild.test"),
        passes=b"GET /x HTTP/1.1\r\nhost: a.wild.test\r\n\r\n",
    ),
]
MAGIC = [
    Attack(name=f"A23-{name}", to=to, words=words, reason=reason)
    for name, to, words, reason in (
        ("connect-to-mitm-it", "mitm.it:443", b"", Reason.NO_RULE),
        ("mitm-it", None, outer("http://mitm.it/", "mitm.it"), Reason.NO_RULE),
        ("mitm-it-as-host", None, outer("http://plain.test/cert/pem", "mitm.it"), Reason.AUTHORITY_MISMATCH),
        ("mitm-it-inside", ORIGIN, inner(host="mitm.it"), Reason.AUTHORITY_MISMATCH),
        ("own-metrics", None, outer("/metrics", "127.0.0.1"), Reason.AUTHORITY_INVALID),
        ("own-sessions", None, outer("/v1/sessions", "localhost", method="POST"), Reason.AUTHORITY_INVALID),
        ("own-health", None, outer("http://localhost/readyz", "localhost"), Reason.NO_RULE),
        ("own-name", None, outer("http://jobgate/metrics", "jobgate"), Reason.NO_RULE),
    )
] + [
    Attack(
        name="A23-revocation-list-path-is-a-path",
        words=outer("http://plain.test/mitmproxy-1.crl"),
        passes=b"GET /mitmproxy-1.crl HTTP/1.1\r\nhost: plain.test\r\n\r\n",
    ),
]


@pytest.mark.parametrize("attack", [pytest.param(row, id=row.name) for row in (*SPELLED, *MATCHED, *MAGIC)])
def test_a_name_is_what_a_rule_says_and_nothing_like_it(stage: AttackStage, attack: Attack) -> None:
    """One spelling of a name, label by label, and no name that the proxy itself serves (A11, A12, A23, T19)."""
    assert find_harm(stage, attack) == []


def test_the_attacks_leave_nothing_behind(stage: AttackStage) -> None:
    """After them all the trail verifies, every exchange in it has an end, and no secret can be read anywhere."""
    assert find_traces(stage) == []
