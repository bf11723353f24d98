"""An AWS by moto that believes everybody, over TLS, in a thread of this process: for what is kept, not who asks."""

import threading
from pathlib import Path
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import Client

from proxy.demo.tls import StageRoot

REGION = "eu-west-1"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAOWN", "AWS_SECRET_ACCESS_KEY": "own/secret", "AWS_EC2_METADATA_DISABLED": "true"}


class OpenAws:
    """A running moto under the names in `hosts`. Each has its own accounts: moto keeps them by access key."""

    def __init__(self, root: StageRoot, hosts: tuple[str, ...]) -> None:
        self.hosts = hosts
        self._trust = str(root.certificate)
        tls = root.server_side("open-aws", (*hosts, "127.0.0.1"))
        application: Any = DomainDispatcherApplication(create_backend_app)
        reset = Client(application).post("/moto-api/reset")  # its state is this process's
        assert reset.status_code == 200
        self._server: Any = make_server(
            "127.0.0.1", 0, application, threaded=True, ssl_context=tls, request_handler=MotoRequestHandler
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def places(self) -> dict[str, str]:
        """For a `connect_to` map."""
        return {f"{host}:443": f"127.0.0.1:{self._server.server_port}" for host in self.hosts}

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}"

    def client(self, service: str) -> Any:
        """A boto3 client, as whoever looks after the account."""
        make: Any = boto3.client  # untyped
        return make(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            verify=self._trust,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(5)


def environment(aws: OpenAws, trust: Path) -> dict[str, str]:
    """What a command needs to reach it with botocore's own settings."""
    return {**KEYS, "AWS_ENDPOINT_URL": aws.endpoint, "AWS_CA_BUNDLE": str(trust), "AWS_REGION": REGION}
