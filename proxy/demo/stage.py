"""The whole stage: every server, the map that puts their real names on loopback ports, and settings for a sidecar."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from proxy.demo import aws, git, issuer
from proxy.demo.internet import Internet
from proxy.demo.sidecar import Sidecar
from proxy.demo.tls import StageRoot

AUDIENCE: Final = "https://jobgate.acme.example"
ELSEWHERE: Final = "paste.example.net"
_RULES: Final = Path(__file__).parent / "rules" / "storefront.yaml"


class Stage:
    """All servers of the demo in one folder. `start` and `stop` may be called once each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = StageRoot(_private(folder / "tls"))
        self.push_token = f"demo-push-{secrets.token_hex(16)}"
        self.issuer = issuer.Issuer(self.root.server_side("issuer", (issuer.HOST, "127.0.0.1")))
        self.aws = aws.AwsServer(self.root, self.issuer)
        self.git = git.GitServer(folder / "git", self.root.server_side("git", (git.HOST,)), self.push_token)
        self.internet = Internet(self.root.server_side("internet", (ELSEWHERE,)))

    def start(self) -> None:
        """Start everything. Raises DemoPartError when a part is missing."""
        self.issuer.start()
        self.aws.launch()
        self.git.add_repository()
        self.git.start()
        self.internet.start()
        self.aws.wait_ready()

    def stop(self) -> None:
        """Stop everything, the slow one last."""
        for part in (self.issuer, self.git, self.internet, self.aws):
            part.stop()

    def connect_to(self) -> dict[str, str]:
        """Return real name -> loopback port. The internet is in it: a leak would arrive there and be counted."""
        places = {
            issuer.HOST: self.issuer.site.place,
            git.HOST: self.git.site.place,
            ELSEWHERE: self.internet.site.place,
            **dict.fromkeys(aws.HOSTS, self.aws.place),
        }
        return {f"{host}:443": place for host, place in places.items()}

    def settings(self, rules: Path, **more: Any) -> dict[str, Any]:
        """Return settings for a sidecar that believes this stage's issuer, for the organization `acme`."""
        return {
            "rules": [str(rules)],
            "issuers": [{"provider": "buildkite", "audience": AUDIENCE, "bound": {"organization_slug": "acme"}}],
            "upstream": {
                "trust": str(self.root.certificate),
                "connect_to": self.connect_to(),
                "allow_addresses": ["127.0.0.0/8"],
            },
            **more,
        }

    def write_rules(self) -> Path:
        """Write the demo's rules, with the place of the push token filled in; return the file."""
        token = _private(self.folder / "operator") / "push-token"
        token.touch(mode=0o600)
        token.write_text(self.push_token)
        rules = self.folder / "rules" / "storefront.yaml"
        rules.parent.mkdir(exist_ok=True)
        rules.write_text(_RULES.read_text().replace("PUSH_TOKEN_FILE", str(token)))
        return rules

    def make_sidecar(self, **settings: Any) -> Sidecar:
        """Return a sidecar for this stage, not started."""
        return Sidecar(self.folder / "sidecar", self.settings(self.write_rules(), **settings))

    def tokens(self, job: issuer.BuildJob, audiences: tuple[str, ...] = (aws.AUDIENCE,)) -> Mapping[str, str]:
        """Return what the agent of `job` gets for the proxy's audience and the others."""
        return {name: self.issuer.mint(job, issuer.TokenWish(audience=name)) for name in (AUDIENCE, *audiences)}


def _private(folder: Path) -> Path:
    folder.mkdir(parents=True, mode=0o700)
    return folder
