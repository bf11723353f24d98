"""Where a centrally held secret comes from: a file, a command, AWS Secrets Manager or SSM. Never the environment.

A secret is one line of visible ASCII. What else a source gives is refused, because it would not survive as a header.
A private key in PEM has many such lines, and is never put into one.
"""

import asyncio
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, model_validator

from proxy.connectors.answers import read_object
from proxy.connectors.aws_own import AwsCall, aws_host, call_as_sidecar
from proxy.connectors.parts import ConnectorParts, ScopeModel
from proxy.model.errors import CredentialError
from proxy.model.grant import Secret
from proxy.outbound import OutboundError

_LIMIT: Final = 64 * 1024
_COMMAND_TIME: Final = 5.0
_CODE: Final = re.compile("[A-Za-z]{1,64}")
# JSON 1.1 operations (AWS API References of Secrets Manager and Systems Manager).
_TARGETS: Final = {"secretsmanager": "secretsmanager.GetSecretValue", "ssm": "AmazonSSM.GetParameter"}
_REGION: Final = r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$"
_PEM: Final = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----\n(?:[!-~][ -~]*\n|\n)+-----END \1-----")
# What a command gets of our environment: enough to run, nothing to steal.
_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER")


class AwsSecret(ScopeModel):
    """A secret in AWS Secrets Manager, read with the sidecar's own role."""

    id: str = Field(min_length=1, description="Name or ARN of the secret.")
    region: str = Field(pattern=_REGION, description="Region of the secret.")
    key: str | None = Field(None, description="Key within a JSON secret.")


class AwsParameter(ScopeModel):
    """A SecureString in AWS SSM Parameter Store, read with the sidecar's own role."""

    name: str = Field(min_length=1, description="Name of the parameter.")
    region: str = Field(pattern=_REGION, description="Region of the parameter.")


class SecretSource(ScopeModel):
    """Exactly one place a secret is read from."""

    file: str | None = Field(
        None, min_length=1, description="A file only the sidecar's user can read.", examples=["/run/secrets/token"]
    )
    command: tuple[str, ...] | None = Field(
        None,
        strict=False,
        min_length=1,
        description="A program and its arguments, run without a shell; it prints the secret within 5 seconds.",
        examples=[["vault", "kv", "get", "-field=token", "secret/ci"]],
    )
    aws_secret: AwsSecret | None = Field(None, description="A secret in AWS Secrets Manager.")
    aws_parameter: AwsParameter | None = Field(None, description="A SecureString in AWS SSM Parameter Store.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in SecretSource.model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of `file`, `command`, `aws_secret` and `aws_parameter`")
        return self


async def read_secret(source: SecretSource, parts: ConnectorParts) -> Secret:
    """Return the secret. Raises CredentialError that names the source, never its content."""
    return _one_line(*await _read(source, parts))


async def read_pem(source: SecretSource, parts: ConnectorParts) -> Secret:
    """Return a secret of many lines: one PEM block (RFC 7468). Raises CredentialError as `read_secret` does."""
    content, where = await _read(source, parts)
    text = _text(content, where).replace("\r\n", "\n").strip("\n")
    if _PEM.fullmatch(text) is None or text.count("-----BEGIN") > 1:
        raise CredentialError(f"{where} gives something else than one private key in PEM")
    return Secret(text + "\n")


async def _read(source: SecretSource, parts: ConnectorParts) -> tuple[bytes, str]:
    """Return what a source gives, and how messages name it."""
    if source.file is not None:
        return await asyncio.to_thread(_read_file, Path(source.file)), f"the file {source.file}"
    if source.command is not None:
        return await _run(source.command), f"the command {source.command[0]}"
    if source.aws_secret is not None:
        return await _read_aws_secret(source.aws_secret, parts), "the AWS secret"
    assert source.aws_parameter is not None  # noqa: S101 - the schema wants exactly one
    return await _read_aws_parameter(source.aws_parameter, parts), "the AWS parameter"


def _read_file(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_now) as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o007:
                raise CredentialError(f"the file {path} can be read by everybody; run `chmod o= {path}`")
            return file.read(_LIMIT + 1) or b""
    except OSError as error:
        raise CredentialError(f"the file {path} cannot be read: {error.strerror}") from None


def _open_now(path: str, mode: int) -> int:
    """Open without waiting: a pipe that nobody writes to is empty, not a thread that never ends."""
    return os.open(path, mode | os.O_NONBLOCK)


async def _run(command: tuple[str, ...]) -> bytes:
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            limit=_LIMIT,
        )
    except OSError as error:
        raise CredentialError(f"the command {command[0]} cannot be run: {error.strerror}") from None
    try:
        async with asyncio.timeout(_COMMAND_TIME):
            assert child.stdout is not None  # noqa: S101 - asked for above
            output = await _read_all(child.stdout)
            code = await child.wait() if len(output) <= _LIMIT else 0
    except TimeoutError:
        raise CredentialError(f"the command {command[0]} took longer than {_COMMAND_TIME:.0f} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if code != 0:
        raise CredentialError(f"the command {command[0]} ended with exit code {code}")
    return output


async def _read_all(stream: asyncio.StreamReader) -> bytes:
    """Read to the end, or a little past the limit: programs write in as many pieces as they like."""
    output = bytearray()
    while len(output) <= _LIMIT and (piece := await stream.read(_LIMIT)):
        output += piece
    return bytes(output)


async def _read_aws_secret(source: AwsSecret, parts: ConnectorParts) -> bytes:
    answer = await _call_aws(parts, "secretsmanager", source.region, {"SecretId": source.id})
    text = answer.get("SecretString")
    if source.key is None:
        return str(text or "").encode()
    try:
        value = json.loads(text or "")[source.key]
    except (ValueError, KeyError, TypeError):
        raise CredentialError("the AWS secret is no JSON object with that key") from None
    if not isinstance(value, str):
        raise CredentialError("the AWS secret's value under that key is no text")
    return value.encode()


async def _read_aws_parameter(source: AwsParameter, parts: ConnectorParts) -> bytes:
    answer = await _call_aws(parts, "ssm", source.region, {"Name": source.name, "WithDecryption": True})
    parameter = answer.get("Parameter")
    return str((isinstance(parameter, dict) and parameter.get("Value")) or "").encode()


async def _call_aws(parts: ConnectorParts, service: str, region: str, asked: dict[str, object]) -> dict[str, Any]:
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": _TARGETS[service]}
    call = AwsCall(
        service=service,
        region=region,
        host=aws_host(service, region),
        headers=headers,
        body=json.dumps(asked).encode(),
    )
    try:
        answer = await call_as_sidecar(parts, call)
    except OutboundError as error:
        raise CredentialError(f"AWS {service}: {error}") from None
    found = read_object(answer.body)
    if answer.status != 200:
        code = str((found or {}).get("__type")).rpartition("#")[2]
        named = code if _CODE.fullmatch(code) and found else f"status {answer.status}"
        raise CredentialError(f"AWS {service}: {named}")
    if found is None:
        raise CredentialError(f"AWS {service}: the answer is no JSON object")
    return found


def _text(content: bytes, where: str) -> str:
    if len(content) > _LIMIT:
        raise CredentialError(f"{where} gives more than {_LIMIT} bytes")
    text = content.decode("ascii", "replace").rstrip("\r\n")
    if not text:
        raise CredentialError(f"{where} gives nothing")
    return text


def _one_line(content: bytes, where: str) -> Secret:
    text = _text(content, where)
    if not text.isprintable() or not text.isascii():
        raise CredentialError(f"{where} gives more than one line of visible ASCII")
    return Secret(text)
