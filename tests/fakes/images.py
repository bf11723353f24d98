"""Images to push, and waiting for a registry that is there to take them."""

import hashlib
import json
import socket
import time
from pathlib import Path


def until_it_listens(port: int) -> None:
    """Return once somebody takes connections on a loopback port."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the registry does not listen")


def make_image(folder: Path, content: bytes) -> str:
    """Write an OCI layout of one layer; return its manifest's digest."""

    def blob(text: bytes) -> dict[str, object]:
        name = hashlib.sha256(text).hexdigest()
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (folder / "blobs" / "sha256" / name).write_bytes(text)
        return {"digest": f"sha256:{name}", "size": len(text)}

    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", **blob(content)}
    settings = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(json.dumps(settings).encode())}
    kind = "application/vnd.oci.image.manifest.v1+json"
    text = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]})
    manifest = {"mediaType": kind, **blob(text.encode())}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(manifest["digest"])
