"""What a job must export. One list for every shell; facts about each tool stand in docs/clients.md.

Two kinds of CA variable: most REPLACE a tool's trust store, so they point at the bundle of public roots plus our CA;
Node's and Deno's ADD to it, so the CA alone is enough.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from proxy.model.placeholder import PUBLIC, Placeholders, derive_placeholders

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
_TOKENS = {
    "GITHUB_TOKEN": ("ghs_", 40),
    "GH_TOKEN": ("ghs_", 40),
    "GITLAB_TOKEN": ("glpat-", 26),
    "NPM_TOKEN": ("npm_", 40),
    "NODE_AUTH_TOKEN": ("npm_", 40),
    "TWINE_PASSWORD": ("pypi-", 0),
    "UV_PUBLISH_TOKEN": ("pypi-", 0),
    "CARGO_REGISTRY_TOKEN": ("cio", 35),
    "GEM_HOST_API_KEY": ("rubygems_", 57),
    "VAULT_TOKEN": ("hvs.", 95),
    "JOBGATE_PLACEHOLDER": ("jobgate-", 0),
}
"""How each vendor's tokens begin, and how long they are; the last is for whatever asks for a password."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_HERE = "localhost,127.0.0.1,::1"
_AGENT_API = "agent.buildkite.com,agent-edge.buildkite.com"


def job_environment(proxy_url: str, certs: Path, *, is_mediated: bool = False) -> dict[str, str]:
    """Return the variables, by name, for a job that reaches the proxy at `proxy_url`.

    Its placeholders are those of the session whose password stands in the URL, else the public ones. `is_mediated`:
    the agent's API is called through the proxy, with a placeholder for the agent's token.
    """
    place, placeholders = urlsplit(proxy_url), _placeholders(proxy_url)
    variables = dict.fromkeys(_PROXY, proxy_url)
    variables |= dict.fromkeys(_BUNDLE, str(certs / "bundle.pem"))
    variables |= dict.fromkeys(_CA_ALONE, str(certs / "ca.pem"))
    variables |= {
        "NO_PROXY": f"{_HERE},{_AGENT_API}",
        "no_proxy": f"{_HERE},{_AGENT_API}",
        "NODE_USE_ENV_PROXY": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "AWS_ACCESS_KEY_ID": placeholders.aws_key,
        "AWS_SECRET_ACCESS_KEY": placeholders.aws_secret.reveal(),
        "AWS_EC2_METADATA_DISABLED": "true",
        "TWINE_USERNAME": "__token__",
        **{name: placeholders.token(*form) for name, form in _TOKENS.items()},
        "JOBGATE": "1",
    }
    if is_mediated:
        variables |= {
            "NO_PROXY": _HERE,
            "no_proxy": _HERE,
            "BUILDKITE_AGENT_ACCESS_TOKEN": placeholders.token("jobgate-"),
        }
    return variables | (_endpoints(place, placeholders) if place.hostname in _LOOPBACK else {})


def _endpoints(place: SplitResult, own: Placeholders) -> dict[str, str]:
    """Return where SDKs that renew credentials ask; AWS's take plain HTTP from a loopback address only."""
    address = place.netloc.rpartition("@")[2]
    if not place.password:
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{address}/jobgate/aws",
            "GCE_METADATA_HOST": address,
            "GCE_METADATA_IP": address,
            "IDENTITY_ENDPOINT": f"http://{address}/jobgate/azure",
            "IDENTITY_HEADER": "jobgate",
        }
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{address}/jobgate/aws",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": unquote(place.password),
        "GCE_METADATA_HOST": f"{address}/jobgate/gcp/{own.mark}",
        "GCE_METADATA_IP": address,
        "IDENTITY_ENDPOINT": f"http://{address}/jobgate/azure",
        "IDENTITY_HEADER": unquote(place.password),
    }


def _placeholders(proxy_url: str) -> Placeholders:
    password = urlsplit(proxy_url).password
    return derive_placeholders(unquote(password)) if password else PUBLIC


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
