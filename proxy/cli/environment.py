"""What a job must export. One list for every shell; facts about each tool stand in docs/clients.md.

Two kinds of CA variable: most REPLACE a tool's trust store, so they point at the bundle of public roots plus our CA;
Node's and Deno's ADD to it, so the CA alone is enough.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.connectors.placeholders import AWS_KEY, AWS_SECRET

_PROXY = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "YARN_HTTP_PROXY", "YARN_HTTPS_PROXY")
_BUNDLE = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "npm_config_cafile",
    "YARN_HTTPS_CA_FILE_PATH",
    "COMPOSER_CAFILE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "HTTPLIB2_CA_CERTS",
)
_CA_ALONE = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")
_NO_PROXY = "localhost,127.0.0.1,::1,agent.buildkite.com,agent-edge.buildkite.com"


def job_environment(proxy_url: str, certs: Path) -> dict[str, str]:
    """Return the variables, by name, for a job that reaches the proxy at `proxy_url`."""
    variables = dict.fromkeys(_PROXY, proxy_url)
    variables |= dict.fromkeys(_BUNDLE, str(certs / "bundle.pem"))
    variables |= dict.fromkeys(_CA_ALONE, str(certs / "ca.pem"))
    variables |= {
        "NO_PROXY": _NO_PROXY,
        "no_proxy": _NO_PROXY,
        "NODE_USE_ENV_PROXY": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "AWS_ACCESS_KEY_ID": AWS_KEY,
        "AWS_SECRET_ACCESS_KEY": AWS_SECRET.reveal(),
        "AWS_EC2_METADATA_DISABLED": "true",
        "JOBGATE": "1",
    }
    return variables


def _shell(variables: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _fish(variables: Mapping[str, str]) -> str:
    def quote(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    return "".join(f"set -gx {name} {quote(value)}\n" for name, value in variables.items())


def _assignments(variables: Mapping[str, str]) -> str:
    """Write `NAME=value` lines, as GITHUB_ENV, GitLab dotenv reports and Docker's --env-file take them."""
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def _json(variables: Mapping[str, str]) -> str:
    return json.dumps(dict(variables), indent=2) + "\n"


FORMATS: dict[str, Callable[[Mapping[str, str]], str]] = {
    "sh": _shell,
    "fish": _fish,
    "dotenv": _assignments,
    "json": _json,
}
