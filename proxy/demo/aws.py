"""AWS by moto, with signatures and IAM policies checked, in a process of its own; reached under AWS's real host names.

`python -m proxy.demo.aws` reads its settings as one JSON line and serves until its stdin closes, so it never outlives
who started it. moto believes any web identity token; ours are verified here, against the issuer's published keys. moto
ignores session policies; the test suite's strict STS honours them.
"""

import importlib.util
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final
from xml.sax.saxutils import escape

import jwt

from proxy.demo.issuer import Issuer
from proxy.demo.tls import StageRoot
from proxy.model.errors import JobgateError

REGION: Final = "eu-west-1"
ACCOUNT: Final = "123456789012"
BUCKETS: Final = ("demo-releases", "demo-payroll")
ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/storefront-release"
AUDIENCE: Final = "sts.amazonaws.com"
STS: Final = f"sts.{REGION}.amazonaws.com"
S3: Final = f"s3.{REGION}.amazonaws.com"
SERVICES: Final = (
    *("dynamodb", "sqs", "secretsmanager", "sns", "ssm", "kms", "logs", "events", "kinesis", "lambda", "api.ecr"),
    *("cloudformation", "states", "ec2"),
)
"""What stands before the region in the names of the hosts that answer here, besides S3 and STS."""
HOSTS: Final = (
    STS,
    S3,
    *(f"{name}.{S3}" for name in BUCKETS),
    *(f"{name}.{REGION}.amazonaws.com" for name in SERVICES),
)
MISSING: Final = "the demo's AWS needs moto: install it with `pip install 'jobgate[demo]'`"
# The role can do more than any rule of the demo lets a job do: what is denied is denied by jobgate.
_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": f"{service.removeprefix('api.')}:*", "Resource": "*"}
        for service in ("s3", *SERVICES)
    ],
}
_TRUST: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/agent.buildkite.com"},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {"agent.buildkite.com:aud": "sts.amazonaws.com"}},
        }
    ],
}
_REFUSAL: Final = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    "<Code>InvalidIdentityToken</Code><Message>{}</Message></Error><RequestId>demo</RequestId></ErrorResponse>"
)


class DemoPartError(JobgateError):
    """A part the demo needs is not on this machine, or did not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsCall:
    """One request as AWS saw it: by which access key, and what came of it."""

    method: str
    host: str
    path: str
    access_key: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What the process is told: its certificate, where to log calls, and whose tokens STS accepts."""

    certificate: str
    key: str
    log: str
    trust: str
    issuer: str
    jwks_url: str


class AwsServer:
    """A running moto. `calls` reads what it saw."""

    def __init__(self, root: StageRoot, issuer: Issuer) -> None:
        self._root = root
        self._issuer = issuer
        self._log = root.folder / "aws.jsonl"
        self._running: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def place(self) -> str:
        """`127.0.0.1:PORT`, for a `connect_to` map."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start moto and wait until it serves. Raises DemoPartError when it is missing or fails."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start moto without waiting: it takes a few seconds to import."""
        if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
            raise DemoPartError(MISSING)
        certificate, key = self._root.issue("aws", (*HOSTS, f"*.{S3}", "127.0.0.1"))
        wanted = ServerSettings(
            certificate=str(certificate),
            key=str(key),
            log=str(self._log),
            trust=str(self._root.certificate),
            issuer=self._issuer.url,
            jwks_url=f"https://{self._issuer.site.place}/.well-known/jwks",
        )
        with (self._root.folder / "aws.stderr").open("w") as errors:
            self._running = subprocess.Popen(
                [sys.executable, "-m", "proxy.demo.aws"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        if self._running.stdin is not None:
            self._running.stdin.write(json.dumps(asdict(wanted)) + "\n")
            self._running.stdin.flush()

    def wait_ready(self) -> None:
        """Wait for the line that says where it listens."""
        running = self._running
        if running is None or running.stdout is None:
            raise DemoPartError("the demo's AWS was not launched")
        line = running.stdout.readline()
        if not line:
            raise DemoPartError(f"the demo's AWS did not start:\n{(self._root.folder / 'aws.stderr').read_text()}")
        self.port = int(json.loads(line)["port"])

    def stop(self) -> None:
        """End moto and wait for it."""
        if self._running is None:
            return
        if self._running.stdin is not None:
            self._running.stdin.close()
        self._running.terminate()
        self._running.wait()
        if self._running.stdout is not None:
            self._running.stdout.close()

    def calls(self) -> list[AwsCall]:
        """Return every request seen so far."""
        if not self._log.exists():
            return []
        return [AwsCall(**json.loads(line)) for line in self._log.read_text().splitlines()]


Start = Callable[..., Any]
Wsgi = Callable[[dict[str, Any], Start], Iterable[bytes]]


def _watched(application: Wsgi, log: IO[str]) -> Wsgi:
    """Write one line per request: never a header's value but the access key id, which is public."""
    lock = threading.Lock()

    def watch(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        def noted(status: str, *rest: Any) -> Any:
            authorization = environ.get("HTTP_AUTHORIZATION", "")
            line = {
                "method": environ["REQUEST_METHOD"],
                "host": environ.get("HTTP_HOST", ""),
                "path": environ["PATH_INFO"],
                "access_key": authorization.partition("Credential=")[2].partition("/")[0],
                "status": int(status.split(maxsplit=1)[0]),
            }
            with lock:
                log.write(json.dumps(line) + "\n")
                log.flush()
            return start(status, *rest)

        return application(environ, noted)

    return watch


def _furnish(application: Wsgi) -> None:
    """Make buckets and the role while moto still believes everybody, then switch authentication on."""
    from werkzeug.test import Client  # noqa: PLC0415 - moto is an extra

    client = Client(application)
    wanted: list[Any] = []
    location = (
        f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
    )
    for bucket in BUCKETS:
        scope = {"Authorization": f"AWS4-HMAC-SHA256 Credential=x/20260101/{REGION}/s3/aws4_request, "}
        base = f"https://{bucket}.{S3}"
        wanted.append(client.put("/", base_url=base, headers=scope, data=location.encode()))
    scope = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/iam/aws4_request, "}
    name = ROLE.rpartition("/")[2]
    role = {"Action": "CreateRole", "RoleName": name, "AssumeRolePolicyDocument": json.dumps(_TRUST)}
    policy = {"Action": "PutRolePolicy", "RoleName": name, "PolicyName": "all", "PolicyDocument": json.dumps(_POLICY)}
    for form in (role, policy):
        body = {**form, "Version": "2010-05-08"}
        wanted.append(client.post("/", base_url="https://iam.amazonaws.com", headers=scope, data=body))
    wanted.append(client.post("/moto-api/reset-auth", data=b"0"))
    for answer in wanted:
        if answer.status_code >= 300:
            raise DemoPartError(f"moto answered {answer.status_code}: {answer.get_data(as_text=True)[:500]}")


def _verify_web_identities(settings: ServerSettings) -> None:
    """Let STS believe a web identity token only if the issuer signed it, for AWS, and it has not expired.

    With authentication on, moto also asks for a signature that AssumeRoleWithWebIdentity never has.
    """
    from moto.sts.responses import TokenResponse  # noqa: PLC0415 - an extra
    from werkzeug.exceptions import BadRequest  # noqa: PLC0415 - an extra

    keys = jwt.PyJWKClient(settings.jwks_url, ssl_context=ssl.create_default_context(cafile=settings.trust))
    signed: Any = TokenResponse._authenticate_and_authorize_normal_action  # noqa: SLF001 - no public place to say it

    def authenticate(self: Any, resource: str = "*") -> None:
        if self._get_action() != "AssumeRoleWithWebIdentity":
            signed(self, resource)
            return
        token = str(self._get_param("WebIdentityToken"))
        try:
            key = keys.get_signing_key_from_jwt(token)
            jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=settings.issuer)
        except jwt.PyJWTError as error:
            raise BadRequest(_REFUSAL.format(escape(str(error)))) from None

    setattr(TokenResponse, signed.__name__, authenticate)


def serve(settings: ServerSettings) -> None:
    """Serve until stdin closes."""
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - an extra
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415 - an extra

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(settings.certificate, settings.key)
    application: Any = DomainDispatcherApplication(create_backend_app)
    _furnish(application)
    _verify_web_identities(settings)
    with Path(settings.log).open("a") as lines:
        served: Any = make_server(
            "127.0.0.1",
            0,
            _watched(application, lines),
            threaded=True,
            ssl_context=tls,
            request_handler=MotoRequestHandler,
        )
        sys.stdout.write(json.dumps({"port": served.server_port}) + "\n")
        sys.stdout.flush()
        threading.Thread(target=served.serve_forever, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    serve(ServerSettings(**json.loads(sys.stdin.readline())))
