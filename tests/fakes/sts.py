"""AWS STS, and an S3 behind it, over TLS: as strict as the documents say, so that what passes here passes there.

It verifies web identities, holds roles to their trust policies, parameters to their limits and signatures to
`aws_verifier`; keys it issues carry their session policy, and S3 enforces it. `instead` holds raw answers to
give first. Source: AWS STS API Reference, AssumeRoleWithWebIdentity and AssumeRole.
"""

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

import jwt

from tests.fakes.aws_chunked import PAYLOAD, TRAILER, Chain, derive
from tests.fakes.aws_verifier import AwsVerifier, IssuedKey, RefusedError, Verified, Wire, check_policy

_XMLNS = "https://sts.amazonaws.com/doc/2011-06-15/"
_BOTH = {"Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds", "Policy"}
_TAG = re.compile(r"Tags\.member\.([1-9][0-9]*)\.(Key|Value)")
_TAG_TEXT = re.compile(r"[\w\s.:/=+@-]*")
_PACKED_LIMIT = 1200
"""Our stand-in for AWS's undocumented packed format: bytes of policy and tags that make 100 percent."""
_S3_ACTIONS = {b"GET": "s3:GetObject", b"HEAD": "s3:GetObject", b"PUT": "s3:PutObject", b"DELETE": "s3:DeleteObject"}


class Clock(Protocol):
    def now(self) -> datetime: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role's trust policy: whose tokens with which claims, or which principals, may assume it."""

    issuer: str | None = None
    audience: str = "sts.amazonaws.com"
    claims: Mapping[str, str] = field(default_factory=dict)
    principals: frozenset[str] = frozenset()
    external_id: str | None = None
    longest: int = 3600


@dataclass(slots=True)
class StrictSts:
    """What it knows, what it was asked, what it stored. `issuers` maps an issuer to its public key."""

    clock: Clock
    verifier: AwsVerifier = field(default_factory=AwsVerifier)
    issuers: dict[str, Any] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    instead: list[bytes] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    held: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    """What Secrets Manager and Parameter Store answer, by the id or name that is asked for."""
    port: int = 0

    @contextlib.asynccontextmanager
    async def serving(self, side: ssl.SSLContext) -> AsyncIterator[None]:
        """Listen on loopback for as long as the block runs."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=side)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).rstrip(b"\r\n").split(b"\r\n")
            pairs = [each.partition(b":") for each in lines]
            headers = tuple((name.lower(), value.strip()) for name, _, value in pairs)
            body = await reader.readexactly(int(dict(headers).get(b"content-length", b"0")))
            method, target, _ = line.split(b" ")
            writer.write(self._respond(Wire(method, target, headers, body)))
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _respond(self, wire: Wire) -> bytes:
        status, body = self.answer(wire)
        if self.instead:
            return self.instead.pop(0)
        head = (
            f"HTTP/1.1 {status} X\r\nDate: {format_datetime(self.clock.now(), usegmt=True)}\r\n"
            f"Content-Type: text/xml\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body

    def answer(self, wire: Wire) -> tuple[int, bytes]:
        """Return the status and body for one request."""
        host = wire.values(b"host")[0].decode()
        try:
            if host.startswith("sts."):
                return 200, self._sts(wire, host).encode()
            if host.startswith(("secretsmanager.", "ssm.")):
                return self._secret(wire, host)
            return 200, self._s3(wire, host)
        except RefusedError as refused:
            text = (
                f'<ErrorResponse xmlns="{_XMLNS}"><Error><Type>Sender</Type><Code>{refused.code}</Code>'
                f"<Message>{escape(str(refused))}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
            )
            return refused.status, text.encode()

    def identify(self, wire: Wire, host: str) -> str:
        """Return the ARN of whoever signed the URL of a GetCallerIdentity. Raises RefusedError."""
        signer = self.verifier.verify_presigned(wire, self.clock.now(), "sts")
        if signer.region != host.split(".")[1]:
            raise RefusedError(403, "SignatureDoesNotMatch", "signed for another region")
        form = dict(parse_qsl(wire.target.partition(b"?")[2].decode()))
        if (form.get("Action"), form.get("Version")) != ("GetCallerIdentity", "2011-06-15"):
            raise RefusedError(400, "InvalidAction", str(form.get("Action")))
        return signer.key.principal

    def _sts(self, wire: Wire, host: str) -> str:
        if wire.method != b"POST" or wire.target != b"/":
            raise RefusedError(404, "InvalidAction", "POST /")
        pairs = parse_qsl(wire.body.decode(), keep_blank_values=True, strict_parsing=True)
        form = dict(pairs)
        self.asked.append(form)
        if len(form) != len(pairs):
            raise RefusedError(400, "ValidationError", "a parameter is repeated")
        if form.get("Version") != "2011-06-15":
            raise RefusedError(400, "InvalidAction", "no such version")
        match form.get("Action"):
            case "AssumeRoleWithWebIdentity":
                if wire.values(b"authorization"):
                    raise RefusedError(403, "IncompleteSignature", "this action is never signed")
                return self._by_web_identity(form)
            case "AssumeRole":
                return self._by_signature(form, self._signed(wire, host))
            case "GetCallerIdentity":
                return f"<R><Arn>{self._signed(wire, host).key.principal}</Arn></R>"
            case _:
                raise RefusedError(400, "InvalidAction", str(form.get("Action")))

    def _secret(self, wire: Wire, host: str) -> tuple[int, bytes]:
        self._signed(wire, host)
        asked = json.loads(wire.body)
        target, names = {
            "ssm": (b"AmazonSSM.GetParameter", {"Name", "WithDecryption"}),
            "secretsmanager": (b"secretsmanager.GetSecretValue", {"SecretId"}),
        }[host.split(".", maxsplit=1)[0]]
        if (wire.method, wire.values(b"x-amz-target"), set(asked)) != (b"POST", [target], names):
            raise RefusedError(400, "SerializationException", "not that operation's shape")
        if wire.values(b"content-type") != [b"application/x-amz-json-1.1"]:
            raise RefusedError(404, "UnknownOperationException", "not JSON 1.1")
        if asked.get("WithDecryption", True) is not True:
            raise RefusedError(400, "ValidationException", "it is a SecureString")
        status, body = self.held[asked.get("SecretId") or asked["Name"]]
        return status, json.dumps(body).encode()

    def _signed(self, wire: Wire, host: str) -> Verified:
        signer = self.verifier.verify(wire, self.clock.now())
        if (signer.service, signer.region) != tuple(host.split(".")[:2]):
            raise RefusedError(403, "SignatureDoesNotMatch", "signed for another service or region")
        return signer

    def _by_web_identity(self, form: dict[str, str]) -> str:
        _only(form, _BOTH | {"WebIdentityToken"})
        role = self._role(form)
        claims = self._claims(form["WebIdentityToken"], role)
        if any(claims.get(name) != value for name, value in role.claims.items()):
            raise RefusedError(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        return self._issue(form, {})

    def _by_signature(self, form: dict[str, str], signer: Verified) -> str:
        tags = _tags(form)
        _only(form, _BOTH | {"ExternalId"} | {name for name in form if _TAG.fullmatch(name)})
        role = self._role(form)
        if signer.key.principal not in role.principals or role.external_id != form.get("ExternalId"):
            raise RefusedError(403, "AccessDenied", "is not authorized to perform: sts:AssumeRole")
        return self._issue(form, tags)

    def _role(self, form: dict[str, str]) -> Role:
        if not 20 <= len(form.get("RoleArn", "")) <= 2048:
            raise RefusedError(400, "ValidationError", "RoleArn")
        if re.fullmatch(r"[\w+=,.@-]{2,64}", form.get("RoleSessionName", ""), re.ASCII) is None:
            raise RefusedError(400, "ValidationError", "RoleSessionName")
        role = self.roles.get(form["RoleArn"])
        if role is None:
            raise RefusedError(403, "AccessDenied", "no such role, or not for you")
        if not form["DurationSeconds"].isdigit() or not 900 <= int(form["DurationSeconds"]) <= min(
            role.longest, 43_200
        ):
            raise RefusedError(
                400, "ValidationError", "DurationSeconds exceeds the MaxSessionDuration set for this role"
            )
        return role

    def _claims(self, token: str, role: Role) -> dict[str, Any]:
        if not 4 <= len(token) <= 20_000:
            raise RefusedError(400, "ValidationError", "WebIdentityToken")
        options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "iss", "aud"]}
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self.issuers[role.issuer or ""], ["RS256"], options, audience=role.audience, issuer=role.issuer
            )
        except (jwt.PyJWTError, KeyError) as error:
            raise RefusedError(400, "InvalidIdentityToken", f"{error} in {token}") from None
        if claims["exp"] <= self.clock.now().timestamp():
            raise RefusedError(400, "ExpiredTokenException", f"Token expired: {token}")
        return claims

    def _issue(self, form: dict[str, str], tags: dict[str, str]) -> str:
        policy, packed = _policy(form, tags)
        number = len(self.verifier.keys)
        expires_at = self.clock.now() + timedelta(seconds=int(form["DurationSeconds"]))
        name = form["RoleArn"].rpartition("/")[2]
        key = IssuedKey(
            secret=f"issued/secret+{number}",
            token=f"issued/token=={number}",
            principal=f"arn:aws:sts::{form['RoleArn'].split(':')[4]}:assumed-role/{name}/{form['RoleSessionName']}",
            expires_at=expires_at,
            policy=policy,
        )
        self.verifier.keys[f"ASIA{number:016d}"] = key
        action = form["Action"]
        return (
            f'<{action}Response xmlns="{_XMLNS}"><{action}Result><Credentials>'
            f"<AccessKeyId>ASIA{number:016d}</AccessKeyId><SecretAccessKey>{key.secret}</SecretAccessKey>"
            f"<SessionToken>{key.token}</SessionToken><Expiration>{expires_at:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
            f"</Credentials><AssumedRoleUser><Arn>{key.principal}</Arn></AssumedRoleUser>"
            f"<PackedPolicySize>{packed}</PackedPolicySize></{action}Result></{action}Response>"
        )

    def _s3(self, wire: Wire, host: str) -> bytes:
        signer = self.verifier.verify(wire, self.clock.now())
        if signer.service != "s3" or f".s3.{signer.region}.amazonaws.com" not in host:
            raise RefusedError(403, "SignatureDoesNotMatch", "signed for another service or region")
        bucket, path = host.partition(".s3.")[0], unquote(wire.target.partition(b"?")[0].decode())
        check_policy(signer.key, _S3_ACTIONS[wire.method], f"arn:aws:s3:::{bucket}{path}")
        if wire.method == b"PUT":
            self.stored[f"{bucket}{path}"] = _read_object(wire, signer)
        return self.stored.get(f"{bucket}{path}", b"") if wire.method == b"GET" else b""


def _read_object(wire: Wire, signer: Verified) -> bytes:
    mode = wire.values(b"x-amz-content-sha256")[0].decode()
    if mode not in {PAYLOAD, TRAILER}:
        return wire.body
    stamp = wire.values(b"x-amz-date")[0].decode()
    key = derive(signer.key.secret, stamp[:8], signer.region, "s3")
    whole = Chain(key=key, stamp=stamp, region=signer.region).decode(
        signer.signature, wire.body, has_trailer=mode == TRAILER
    )
    if str(len(whole)).encode() != wire.values(b"x-amz-decoded-content-length")[0]:
        raise RefusedError(400, "IncompleteBody", "the object is not as long as was said")
    return whole


def _only(form: dict[str, str], known: set[str]) -> None:
    if not form.keys() <= known:
        raise RefusedError(400, "ValidationError", f"unknown parameters: {sorted(form.keys() - known)}")


def _tags(form: dict[str, str]) -> dict[str, str]:
    numbers = sorted({int(match[1]) for name in form if (match := _TAG.fullmatch(name))})
    tags = {form[f"Tags.member.{each}.Key"]: form[f"Tags.member.{each}.Value"] for each in numbers}
    if len({name.lower() for name in tags}) != len(numbers) or len(tags) > 50:
        raise RefusedError(400, "InvalidParameterValue", "Duplicate tag keys, or more than 50")
    for name, value in tags.items():
        is_short = 1 <= len(name) <= 128 and len(value) <= 256
        if not is_short or not _TAG_TEXT.fullmatch(name) or not _TAG_TEXT.fullmatch(value):
            raise RefusedError(400, "ValidationError", f"tag {name}")
    return tags


def _policy(form: dict[str, str], tags: dict[str, str]) -> tuple[dict[str, Any] | None, int]:
    """Return the session policy, and how full the packed limit is."""
    text = form.get("Policy")
    packed = (len(text or "") + sum(len(name) + len(value) for name, value in tags.items())) * 100 // _PACKED_LIMIT
    policy = None
    if text is not None:
        if not 1 <= len(text) <= 2048:
            raise RefusedError(400, "ValidationError", "Policy is longer than 2048")
        try:
            policy = json.loads(text)
            is_sound = policy["Version"] == "2012-10-17" and all(
                each.keys() == {"Effect", "Action", "Resource"} and each["Action"] and each["Resource"]
                for each in policy["Statement"]
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            is_sound = False
        if not is_sound:
            raise RefusedError(400, "MalformedPolicyDocument", "Syntax errors in policy")
    if packed > 100:
        raise RefusedError(400, "PackedPolicyTooLarge", f"{packed} percent")
    return policy, packed
