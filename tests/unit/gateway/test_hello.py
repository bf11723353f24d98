"""Real ClientHellos are read, whatever made them; anything that could be read in two ways is refused."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.hello import MAX_HELLO, Hello, read_hello
from proxy.model.errors import ProtocolError
from proxy.model.reason import Reason

NAME = "origin.test"


def vector(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width) + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2) + vector(2, content)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def hello_body(extensions: bytes | None, tail: bytes = b"") -> bytes:
    start = b"\x03\x03" + bytes(32) + vector(1, bytes(32)) + vector(2, b"\x13\x01\x13\x02") + vector(1, b"\x00")
    return start + (vector(2, extensions) if extensions is not None else b"") + tail


def handshake(body: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + vector(3, body)


def records(message: bytes, size: int = 16384) -> bytes:
    """The message in records of at most `size` bytes each."""
    pieces = (message[at : at + size] for at in range(0, len(message), size))
    return b"".join(b"\x16\x03\x01" + vector(2, piece) for piece in pieces)


def python_hello(
    name: str | None = NAME, *, change: Callable[[ssl.SSLContext], object] = lambda context: None
) -> bytes:
    """What Python's own TLS sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    context.verify_mode = ssl.CERT_NONE if name is None else ssl.CERT_REQUIRED
    change(context)
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def only(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], object]:
    def change(context: ssl.SSLContext) -> None:
        context.minimum_version = context.maximum_version = version

    return change


def program_hello(command: Callable[[int], list[str]]) -> bytes:
    """What a real program sends first to a listener that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        port = listener.getsockname()[1]
        child = subprocess.Popen(
            command(port), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(20)
                received = b""
                while read_hello(received) is None:
                    piece = accepted.recv(65536)
                    assert piece, "the program closed before its hello was whole"
                    received += piece
                return received
        finally:
            child.kill()
            child.wait()


def refusal(buffer: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        read_hello(buffer)
    assert caught.value.reason is Reason.PROTOCOL_REFUSED
    return str(caught.value)


def assert_whole_only(buffer: bytes) -> Hello:
    """Every true prefix asks for more, and the whole is a hello."""
    assert [at for at in range(len(buffer)) if read_hello(buffer[:at]) is not None] == []
    hello = read_hello(buffer)
    assert hello is not None
    return hello


@pytest.mark.parametrize(
    "sent, expected",
    [
        (python_hello(), Hello(server_name=NAME, alpn=(), encrypted=False)),
        (python_hello(None), Hello(server_name=None, alpn=(), encrypted=False)),
        (python_hello("UPPER.Test"), Hello(server_name="UPPER.Test", alpn=(), encrypted=False)),
        (
            python_hello(change=lambda context: context.set_alpn_protocols(["h2", "http/1.1"])),
            Hello(server_name=NAME, alpn=("h2", "http/1.1"), encrypted=False),
        ),
        (python_hello(change=only(ssl.TLSVersion.TLSv1_2)), Hello(server_name=NAME, alpn=(), encrypted=False)),
        (python_hello(change=only(ssl.TLSVersion.TLSv1_3)), Hello(server_name=NAME, alpn=(), encrypted=False)),
        (python_hello("a" * 63 + ".test"), Hello(server_name="a" * 63 + ".test", alpn=(), encrypted=False)),
    ],
    ids=["plain", "no name", "upper case", "alpn", "tls 1.2", "tls 1.3", "long"],
)
def test_pythons_own_hello_is_read(sent: bytes, expected: Hello) -> None:
    """OpenSSL's hellos are read as they are, and no prefix of one is mistaken for a hello or an error."""
    assert assert_whole_only(sent) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 100])
def test_a_hello_in_many_records_is_joined(size: int) -> None:
    """A hello may be cut into records anywhere (RFC 8446 5.1)."""
    message = handshake(hello_body(server_name(b"origin.test") + extension(16, vector(2, vector(1, b"http/1.1")))))
    expected = Hello(server_name=NAME, alpn=("http/1.1",), encrypted=False)
    assert assert_whole_only(records(message, size)) == expected


@pytest.mark.parametrize(
    "program, words",
    [
        ("curl", ["-sk", "--noproxy", "*", "--connect-to", "origin.test:443:127.0.0.1:{port}", "https://origin.test/"]),
        (
            "node",
            [
                "-e",
                "require('tls').connect({port:{port},host:'127.0.0.1',servername:'origin.test'}).on('error',()=>{})",
            ],
        ),
        ("openssl", ["s_client", "-connect", "127.0.0.1:{port}", "-servername", "origin.test"]),
    ],
)
def test_real_programs_hellos_are_read(program: str, words: list[str]) -> None:
    """curl, Node and openssl name the host that they were asked for."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"MISSING PART: {program} is not installed")
    sent = program_hello(lambda port: [path, *(word.replace("{port}", str(port)) for word in words)])
    hello = assert_whole_only(sent)
    assert hello.server_name == NAME
    assert not hello.encrypted


def test_an_encrypted_hello_is_noted() -> None:
    """Encrypted Client Hello hides a second name: the reader says so."""
    hello = read_hello(records(handshake(hello_body(server_name(b"origin.test") + extension(0xFE0D, b"\x00")))))
    assert hello == Hello(server_name=NAME, alpn=(), encrypted=True)


def test_a_hello_without_extensions_names_nobody() -> None:
    """TLS 1.2 hellos may end before the extensions (RFC 5246 7.4.1.2)."""
    assert read_hello(records(handshake(hello_body(None)))) == Hello(server_name=None, alpn=(), encrypted=False)


@pytest.mark.parametrize(
    "records_after", [b"\x17\x03\x03\x00\x05early", b"\x14\x03\x03\x00\x01\x01"], ids=["early data", "change cipher"]
)
def test_what_follows_in_other_records_is_left_alone(records_after: bytes) -> None:
    """Early data may stand behind a hello; it is not read."""
    hello = read_hello(records(handshake(hello_body(server_name(b"origin.test")))) + records_after)
    assert hello is not None
    assert hello.server_name == NAME


TWO_MESSAGES = handshake(hello_body(server_name(b"origin.test"))) + handshake(hello_body(server_name(b"other.test")))
REFUSED: dict[str, bytes] = {
    "HTTP": b"GET / HTTP/1.1\r\n",
    "SSH": b"SSH-2.0-OpenSSH",
    "one wrong byte": b"\x15",
    "SSL 2": b"\x80\x2e\x01\x00\x02",
    "an impossible version": b"\x16\x02\x00\x00\x10",
    "an empty record": b"\x16\x03\x01\x00\x00",
    "an oversized record": b"\x16\x03\x01\x40\x01",
    "another message first": records(handshake(b"", kind=0)),
    "an alert between": records(handshake(hello_body(None)))[:30]
    and b"\x16\x03\x01\x00\x02\x01\x00\x15\x03\x01\x00\x02",
    "a huge hello": b"\x16\x03\x01\x40\x00\x01" + (MAX_HELLO + 1).to_bytes(3),
    "an endless row of records": b"\x16\x03\x01\x00\x01\x01"
    + b"\x16\x03\x01\x00\x01\x00" * 2
    + b"\x16\x03\x01"
    + b"\x00" * 2,
    "an extension twice": records(handshake(hello_body(extension(10, b"") + extension(10, b"")))),
    "server_name twice": records(handshake(hello_body(server_name(b"a.test") + server_name(b"b.test")))),
    "two names": records(handshake(hello_body(server_name(b"a.test", b"b.test")))),
    "an empty name": records(handshake(hello_body(server_name(b"")))),
    "no name in the list": records(handshake(hello_body(extension(0, vector(2, b""))))),
    "an empty server_name": records(handshake(hello_body(extension(0, b"")))),
    "a name of another type": records(handshake(hello_body(server_name(b"a.test", kind=1)))),
    "bytes after the name list": records(
        handshake(hello_body(extension(0, vector(2, b"\0" + vector(2, b"a")) + b"x")))
    ),
    "a name that is not ASCII": records(handshake(hello_body(server_name("ä.test".encode())))),
    "bytes after the extensions": records(handshake(hello_body(server_name(b"a.test"), tail=b"x"))),
    "extensions cut short": records(handshake(hello_body(b"\x00\x00\x00\x09abc"))),
    "a body cut short": records(handshake(b"\x03\x03" + bytes(10))),
    "a second message in the record": records(TWO_MESSAGES),
    "a second message across records": records(TWO_MESSAGES, 100),
}


@pytest.mark.parametrize("buffer", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_plain_hello_is_refused(buffer: bytes) -> None:
    """Other protocols, doubled names, broken lengths and stowaways are refused, not guessed at."""
    assert refusal(buffer)


@pytest.mark.parametrize("at", range(1, len(records(TWO_MESSAGES))))
def test_a_stowaway_is_refused_however_it_arrives(at: int) -> None:
    """No prefix of a record with two messages is taken for a lone hello."""
    try:
        assert read_hello(records(TWO_MESSAGES)[:at]) is None
    except ProtocolError:
        assert at >= 9


def outcome(buffer: bytes) -> Hello | str | None:
    try:
        return read_hello(buffer)
    except ProtocolError as error:
        return str(error)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_answer_or_a_refusal(buffer: bytes) -> None:
    """Nothing but ProtocolError ever comes out."""
    outcome(buffer)
    outcome(b"\x16\x03\x01" + buffer)
    outcome(records(handshake(buffer)) if buffer else b"")
    outcome(records(handshake(hello_body(buffer))))


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4))
def test_a_damaged_hello_gives_an_answer_or_a_refusal(damage: Iterable[tuple[int, int]]) -> None:
    """Flipped bytes in a real hello never crash the reader."""
    sent = bytearray(WHOLE)
    for at, value in damage:
        sent[at] = value
    outcome(bytes(sent))


WHOLE = python_hello()
