"""Secrets come from a file, a command or AWS, as one line of visible ASCII; nothing of them shows in an error."""

import asyncio
import json
import os
import ssl
import sys
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.connectors import secret_sources
from proxy.connectors.parts import ConnectorParts
from proxy.connectors.secret_sources import SecretSource, read_pem, read_secret
from proxy.demo.tls import StageRoot
from proxy.model.authority import Authority
from proxy.model.errors import CredentialError
from proxy.outbound import Outbound
from tests.fakes.aws_verifier import IssuedKey
from tests.fakes.clock import FixedClock
from tests.fakes.sts import StrictSts

PLANTED = "planted-0123456789-secret"
LIMIT = 64 * 1024
NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
NOWHERE = ConnectorParts(caller=Outbound(ssl.create_default_context()), clock=FixedClock(NOW))


def source(**given: Any) -> SecretSource:
    return SecretSource.model_validate(given)


async def text_of(parts: ConnectorParts | None = None, **given: Any) -> str:
    return (await read_secret(source(**given), parts or NOWHERE)).reveal()


async def refusal(parts: ConnectorParts | None = None, **given: Any) -> str:
    with pytest.raises(CredentialError) as caught:
        await read_secret(source(**given), parts or NOWHERE)
    assert PLANTED not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def write(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def python(script: str) -> list[str]:
    return [sys.executable, "-IS", "-c", script]


@pytest.mark.parametrize(
    "content, expected",
    [
        (PLANTED.encode(), PLANTED),
        (PLANTED.encode() + b"\n", PLANTED),
        (PLANTED.encode() + b"\r\n", PLANTED),
        (b"two words", "two words"),
        (b"x" * LIMIT, "x" * LIMIT),
    ],
)
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
async def test_a_file_is_read(tmp_path: Path, content: bytes, expected: str, mode: int) -> None:
    """The line without its end, from a file that the world cannot read."""
    assert await text_of(file=write(tmp_path / "secret", content, mode)) == expected


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o777])
async def test_a_file_that_everybody_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    """The message says what to run."""
    said = await refusal(file=write(tmp_path / "secret", PLANTED.encode(), mode))
    assert f"chmod o= {tmp_path / 'secret'}" in said


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "gives nothing"),
        (b"\n\n", "gives nothing"),
        (PLANTED.encode() + b"\nsecond", "more than one line"),
        (PLANTED.encode() + b"\rX", "more than one line"),
        (PLANTED.encode() + b"\0", "more than one line"),
        (PLANTED.encode() + b"\t.", "more than one line"),
        (PLANTED.encode() + "ä".encode(), "more than one line"),
        (PLANTED.encode() + b"\xff", "more than one line"),
        (b"x" * (LIMIT + 1), f"more than {LIMIT} bytes"),
    ],
)
async def test_what_is_no_line_of_visible_ascii_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    """It would not survive as a header, or would split one; the same holds for a command's output."""
    path = write(tmp_path / "secret", content)
    assert why in await refusal(file=path)
    assert why in await refusal(command=["cat", path])


async def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    """Missing files, folders, and pipes that nobody writes to end at once, with no descriptor left behind."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    before = open_descriptors()
    assert "No such file" in await refusal(file=str(tmp_path / "none"))
    assert "directory" in await refusal(file=str(tmp_path / "folder"))
    assert "gives nothing" in await refusal(file=str(tmp_path / "pipe"))
    assert open_descriptors() == before


@pytest.mark.parametrize(
    "script",
    [
        f"print('{PLANTED}')",
        "import sys,time\nfor c in '" + PLANTED + "':\n sys.stdout.write(c); sys.stdout.flush(); time.sleep(0.001)",
        f"import sys; sys.stderr.write('noise'); print('{PLANTED}')",
        f"import sys; assert sys.stdin.read() == ''; print('{PLANTED}')",
    ],
    ids=["at once", "in pieces", "with noise", "reading stdin"],
)
async def test_a_command_is_read_to_its_end(script: str) -> None:
    """All that it prints on stdout counts, however it comes; stderr and stdin do not."""
    assert await text_of(command=python(script)) == PLANTED


@pytest.mark.parametrize("code", [1, 3, 255])
async def test_a_command_that_fails_gives_nothing(code: int) -> None:
    """Its exit code decides, whatever it printed."""
    said = await refusal(command=python(f"print('{PLANTED}'); raise SystemExit({code})"))
    assert said.endswith(f"exit code {code}")


async def test_a_command_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    """Missing and not executable programs are told apart."""
    assert "No such file" in await refusal(command=["/nonexistent/program", PLANTED])
    assert "Permission" in await refusal(command=[write(tmp_path / "plain", b"#!/bin/sh\n")])


async def test_a_command_that_takes_too_long_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not outlive its time."""
    monkeypatch.setattr(secret_sources, "_COMMAND_TIME", 0.5)
    place = tmp_path / "pid"
    script = f"import os,time; open({str(place)!r},'w').write(str(os.getpid())); time.sleep(60)"
    assert "took longer" in await refusal(command=python(script))
    with pytest.raises(ProcessLookupError):
        os.kill(int(place.read_text()), 0)


async def test_a_command_without_end_is_cut() -> None:
    """What prints more than a secret can be is killed, not read on."""
    said = await refusal(command=python("import sys\nwhile True: sys.stdout.write('x' * 65536)"))
    assert f"more than {LIMIT} bytes" in said


async def test_a_cancelled_command_is_killed(tmp_path: Path) -> None:
    """Nobody waits any more, so nothing runs any more."""
    place = tmp_path / "pid"
    script = f"import os,time; open({str(place)!r},'w').write(str(os.getpid())+' '); time.sleep(60)"
    reading = asyncio.ensure_future(read_secret(source(command=python(script)), NOWHERE))
    while not (place.exists() and place.read_text().endswith(" ")):  # noqa: ASYNC110 - another process's file
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    with pytest.raises(ProcessLookupError):
        os.kill(int(place.read_text()), 0)


async def test_a_command_sees_only_what_it_needs_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH, HOME and the like; no token that the sidecar holds."""
    monkeypatch.setenv("PLANTED_TOKEN", PLANTED)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PLANTED)
    monkeypatch.setenv("LANG", "C.UTF-8")
    names = set((await text_of(command=python("import os; print(','.join(os.environ))"))).split(","))
    assert {"PATH", "LANG"} <= names <= {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "USER"}


async def test_arguments_are_not_read_by_a_shell() -> None:
    """What a shell would expand stays as it is written."""
    script = "import sys; print(sys.argv[1])"
    assert await text_of(command=[*python(script), "$(id);`id`|$HOME"]) == "$(id);`id`|$HOME"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"file": "/a", "command": ["b"]},
        {"file": ""},
        {"command": []},
        {"environment": "X"},
        {"file": "/a", "aws_secret": {"id": "x", "region": "r"}},
        {"aws_secret": {"id": "", "region": "r"}},
        {"aws_secret": {"id": "x"}},
    ],
)
def test_a_source_is_exactly_one_place(given: dict[str, Any]) -> None:
    """None, two, empty ones, and the environment are refused when the rule is read."""
    with pytest.raises(ValidationError):
        source(**given)


HOSTS = ("secretsmanager.eu-west-1.amazonaws.com", "ssm.eu-west-1.amazonaws.com")


class Aws:
    """An AWS that verifies who asks, and the parts that reach it under its real names."""

    def __init__(self, folder: Path) -> None:
        self.clock = FixedClock(NOW)
        self.strict = StrictSts(FixedClock(NOW))
        self.strict.verifier.keys["AKIAOWN"] = IssuedKey(
            secret="own/secret", token=None, principal="arn:aws:iam::1:user/x"
        )
        self.folder = folder

    @property
    def parts(self) -> ConnectorParts:
        place = Authority("127.0.0.1", self.strict.port)
        trust = ssl.create_default_context(cafile=str(self.folder / "stage-root.pem"))
        return ConnectorParts(caller=Outbound(trust, {f"{host}:443": place for host in HOSTS}), clock=self.clock)


@pytest.fixture
async def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Aws]:
    """An AWS on loopback that the sidecar's own role may ask."""
    own = {"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own/secret", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    made = Aws(tmp_path)
    async with made.strict.serving(StageRoot(tmp_path).server_side("aws", HOSTS)):
        yield made


async def test_aws_secrets_and_parameters_are_read(aws: Aws) -> None:
    """Whole secrets, one key of a JSON secret, and decrypted parameters."""
    aws.strict.held |= {
        "plain": (200, {"SecretString": PLANTED}),
        "mapping": (200, {"SecretString": json.dumps({"token": PLANTED})}),
        "/ci/token": (200, {"Parameter": {"Value": PLANTED}}),
    }
    assert await text_of(aws.parts, aws_secret={"id": "plain", "region": "eu-west-1"}) == PLANTED
    assert await text_of(aws.parts, aws_secret={"id": "mapping", "region": "eu-west-1", "key": "token"}) == PLANTED
    assert await text_of(aws.parts, aws_parameter={"name": "/ci/token", "region": "eu-west-1"}) == PLANTED


@pytest.mark.parametrize(
    "answer, key, why",
    [
        (
            (400, {"__type": "AccessDeniedException", "message": PLANTED}),
            None,
            "AWS secretsmanager: AccessDeniedException",
        ),
        ((200, {"SecretString": "{}"}), "token", "no JSON object with that key"),
        ((200, {"SecretString": PLANTED}), "token", "no JSON object with that key"),
        ((200, {"SecretString": json.dumps([PLANTED])}), "token", "no JSON object with that key"),
        ((200, {"SecretString": json.dumps({"token": {"a": PLANTED}})}), "token", "is no text"),
        ((200, {"SecretString": json.dumps({"token": None})}), "token", "is no text"),
        ((200, {"SecretBinary": ""}), None, "gives nothing"),
    ],
)
async def test_what_aws_refuses_or_garbles_is_refused(
    aws: Aws, answer: tuple[int, dict[str, Any]], key: str | None, why: str
) -> None:
    """The code is named; message and content are not."""
    aws.strict.held["s"] = answer
    assert why in await refusal(aws.parts, aws_secret={"id": "s", "region": "eu-west-1", "key": key})


async def test_an_aws_that_cannot_be_reached_is_named(aws: Aws) -> None:
    """The host and the kind of failure, nothing else."""
    aws.strict.port = 9
    said = await refusal(aws.parts, aws_parameter={"name": "/x", "region": "eu-west-1"})
    assert said == "AWS ssm: ssm.eu-west-1.amazonaws.com cannot be reached: ConnectionRefusedError"


@pytest.mark.parametrize("ahead", [timedelta(minutes=20), timedelta(hours=-3)])
async def test_a_clock_that_is_off_is_learned_from_the_answer(aws: Aws, ahead: timedelta) -> None:
    """AWS refuses the first call for its time; the second is signed by AWS's own clock."""
    aws.strict.held["s"] = (200, {"SecretString": PLANTED})
    aws.clock.advance(-ahead)
    assert await text_of(aws.parts, aws_secret={"id": "s", "region": "eu-west-1"}) == PLANTED
    aws.clock.advance(timedelta(days=-2))
    said = await refusal(aws.parts, aws_secret={"id": "s", "region": "eu-west-1"})
    assert said.startswith("AWS secretsmanager: ")


async def test_wrong_keys_are_refused(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """What AWS answers in another form than JSON is told by its status."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "AWS ssm: status 403" in await refusal(aws.parts, aws_parameter={"name": "/x", "region": "eu-west-1"})


def block(*lines: str, kind: str = "PRIVATE KEY") -> str:
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])


KEY = block("cGxhbnRlZC0wMTIzNDU2Nzg5LXNlY3JldA==")


@pytest.mark.parametrize("content", [KEY, KEY.rstrip(), KEY.replace("\n", "\r\n"), f"\n\n{KEY}\n\n"])
async def test_a_private_key_has_many_lines(tmp_path: Path, content: str) -> None:
    """One PEM block, whatever its line ends, from a file or a command alike."""
    place = write(tmp_path / "key", content.encode())
    assert (await read_pem(source(file=place), NOWHERE)).reveal() == KEY
    assert (await read_pem(source(command=["cat", place]), NOWHERE)).reveal() == KEY


NO_KEYS = [
    pytest.param(PLANTED, id="one-line"),
    pytest.param(KEY + KEY, id="two-keys"),
    pytest.param(f"{PLANTED}\n{KEY}", id="words-before"),
    pytest.param(f"{KEY}{PLANTED}", id="words-after"),
    pytest.param(block(PLANTED, kind="CERTIFICATE"), id="certificate"),
    pytest.param(block(PLANTED, kind="PUBLIC KEY"), id="public-key"),
    pytest.param(block(), id="nothing-inside"),
    pytest.param(block("a\x00b"), id="control-character"),
    pytest.param(block("\u00e9"), id="no-ascii"),
    pytest.param(KEY.replace("END PRIVATE", "END RSA PRIVATE"), id="another-end"),
]


@pytest.mark.parametrize("content", NO_KEYS)
async def test_what_is_not_one_private_key_is_refused(tmp_path: Path, content: str) -> None:
    """The source is named, nothing of its content."""
    place = write(tmp_path / "key", content.encode())
    with pytest.raises(CredentialError, match="something else than one private key in PEM") as caught:
        await read_pem(source(file=place), NOWHERE)
    assert PLANTED not in str(caught.value)
    assert place in str(caught.value)


async def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    """As every secret is."""
    with pytest.raises(CredentialError, match="chmod o="):
        await read_pem(source(file=write(tmp_path / "key", KEY.encode(), 0o644)), NOWHERE)
