"""Settings from file, environment and command line: precedence, places, and a clear word for every bad value."""

import json
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from proxy.config import (
    ENVIRONMENT,
    Settings,
    connect_map,
    control_place,
    load_settings,
    trusted_issuers,
)
from proxy.config.sections import parse_listener
from proxy.model.authority import Authority
from proxy.model.errors import ConfigError, ProtocolError
from proxy.model.identity import TrustedIssuer

ISSUERS = [{"provider": "buildkite", "audience": "a"}]


def write(folder: Path, settings: Mapping[str, Any] | str) -> Path:
    file = folder / "jobgate.yaml"
    file.write_text(settings if isinstance(settings, str) else json.dumps(settings, indent=1))
    return file


def load(
    folder: Path,
    settings: Mapping[str, Any] | str,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, object] | None = None,
) -> Settings:
    return load_settings(write(folder, settings), environ or {}, arguments or {})


def refusal(
    folder: Path,
    settings: Mapping[str, Any] | str,
    environ: Mapping[str, str] | None = None,
    arguments: Mapping[str, object] | None = None,
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, settings, environ, arguments)
    return str(caught.value)


def value_of(settings: object, path: str) -> object:
    for name in path.split("."):
        settings = settings[int(name)] if isinstance(settings, tuple) else getattr(settings, name)
    return settings


# setting, as a file holds it, as it is read; FOLDER stands for the file's own folder.
VALUES: list[tuple[str, Any, object]] = [
    ("listen", "0.0.0.0:3128", Authority("0.0.0.0", 3128)),
    ("listen", "[::1]:0", Authority("::1", 0)),
    ("control", "run/c.sock", "FOLDER/run/c.sock"),
    ("control", "/run/c.sock", "/run/c.sock"),
    ("control", "127.0.0.1:9000", "127.0.0.1:9000"),
    ("rules", ["a", "/b"], (Path("FOLDER/a"), Path("/b"))),
    ("certs", "public", Path("FOLDER/public")),
    ("ca", {"certificate": "ca.pem", "key": "/k"}, ...),
    ("audit.directory", "trail", Path("FOLDER/trail")),
    ("audit.durability", "write", "write"),
    ("audit.segment_bytes", 4096, 4096),
    ("audit.segment_age", "10m", timedelta(minutes=10)),
    ("audit.checkpoint_key", "key", Path("FOLDER/key")),
    ("audit.stdout", True, True),
    ("upstream.trust", "roots.pem", Path("FOLDER/roots.pem")),
    ("upstream.connect_to", {"a.test:443": "127.0.0.1:1"}, {"a.test:443": "127.0.0.1:1"}),
    ("upstream.allow_addresses", ["10.0.0.0/8", "::1/128"], (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
    ("upstream.allow_addresses", "10.0.0.0/8", (ip_network("10.0.0.0/8"),)),
    ("session.ceiling", "1h", timedelta(hours=1)),
    ("session.maximum", 5, 5),
    ("session.operator_token", "t", Path("FOLDER/t")),
    ("limits.connections", 7, 7),
    ("limits.drain", "5s", timedelta(seconds=5)),
    ("limits.decision", "5s", timedelta(seconds=5)),
    ("limits.idle", "5s", timedelta(seconds=5)),
    ("limits.head", "5s", timedelta(seconds=5)),
    ("limits.connect", "5s", timedelta(seconds=5)),
    ("limits.signed_body", 0, 0),
]


def nested(path: str, value: object) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def placed(expected: object, folder: Path) -> object:
    if isinstance(expected, str):
        return expected.replace("FOLDER", str(folder))
    if isinstance(expected, Path):
        return Path(str(expected).replace("FOLDER", str(folder)))
    return tuple(placed(each, folder) for each in expected) if isinstance(expected, tuple) else expected


@pytest.mark.parametrize("path, written, expected", VALUES)
def test_every_setting_is_read_from_a_file(tmp_path: Path, path: str, written: object, expected: object) -> None:
    """And relative paths are relative to the file, not to where the command was started."""
    found = value_of(load(tmp_path, nested(path, written)), path)
    if expected is not ...:
        assert found == placed(expected, tmp_path)


def test_identity_and_issuers_are_read_from_a_file(tmp_path: Path) -> None:
    """Every token's file is anchored, the job's own and those for connectors."""
    others = [{"file": "sts"}, {"command": ["print", "token"]}]
    found = load(tmp_path, {"issuers": ISSUERS, "identity": {"file": "token", "others": others}})
    assert found.identity is not None
    assert found.identity.file == tmp_path / "token"
    assert [each.file for each in found.identity.others] == [tmp_path / "sts", None]
    assert found.identity.others[1].command == ("print", "token")


def test_without_anything_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, no variable, no argument; an empty file is the same."""
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {}, {}) == Settings()
    assert load(tmp_path, "") == Settings().model_copy()
    assert Settings().listen == Authority("127.0.0.1", 8080)


ENVIRONMENT_VALUES: dict[str, tuple[str, str, object]] = {
    "JOBGATE_LISTEN": ("127.0.0.1:1", "listen", Authority("127.0.0.1", 1)),
    "JOBGATE_CONTROL": ("c.sock", "control", "c.sock"),
    "JOBGATE_RULES": ("a:b", "rules", (Path("a"), Path("b"))),
    "JOBGATE_MODE": ("observe", "mode", "observe"),
    "JOBGATE_CERTS": ("c", "certs", Path("c")),
    "JOBGATE_AUDIT": ("t", "audit.directory", Path("t")),
}


def test_the_table_of_variables_is_whole() -> None:
    """No variable without its row."""
    assert set(ENVIRONMENT_VALUES) == set(ENVIRONMENT)


@pytest.mark.parametrize("variable", ENVIRONMENT_VALUES)
def test_variables_win_over_the_file_and_arguments_over_variables(tmp_path: Path, variable: str) -> None:
    """Precedence: command line, environment, file, default. Other settings of the same section stay."""
    written, path, expected = ENVIRONMENT_VALUES[variable]
    in_file: dict[str, Any] = {
        "listen": "127.0.0.1:9",
        "control": "f",
        "rules": ["f"],
        "certs": "f",
        "audit": {"directory": "f", "stdout": True},
    }
    found = load(tmp_path, in_file, {variable: written})
    assert value_of(found, path) == expected
    assert found.audit.stdout
    argument: object = {"rules": ["z"], "listen": "127.0.0.1:7", "mode": "enforce"}.get(path, "z")
    final = value_of(load(tmp_path, in_file, {variable: written}, {path: argument}), path)
    assert str(final) in {"127.0.0.1:7", "enforce", "z", str((Path("z"),))}
    assert value_of(load(tmp_path, in_file, {variable: written}, {path: None}), path) == expected


def test_a_section_with_nothing_in_it_takes_a_variable(tmp_path: Path) -> None:
    """`audit:` alone in the file does not stand in the way."""
    assert load(tmp_path, "audit:\n", {"JOBGATE_AUDIT": "t"}).audit.directory == Path("t")


def test_the_file_is_found_by_variable_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, then JOBGATE_CONFIG, then ./jobgate.yaml."""
    (tmp_path / "named").mkdir()
    write(tmp_path, {"listen": "127.0.0.1:1"})
    named = write(tmp_path / "named", {"listen": "127.0.0.1:2"})
    other = tmp_path / "other.yaml"
    other.write_text('{"listen": "127.0.0.1:3"}')
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, {}, {}).listen.port == 1
    assert load_settings(None, {"JOBGATE_CONFIG": str(named)}, {}).listen.port == 2
    assert load_settings(other, {"JOBGATE_CONFIG": str(named)}, {}).listen.port == 3


BAD: list[tuple[str, str, str]] = [
    ("listen: 8080", "1: listen:", ""),
    ("listen: localhost", "1: listen:", "host:port"),
    ("listen: 127.0.0.1:99999", "1: listen:", "host:port"),
    ("\nlisten: 0x7f.1:80", "2: listen:", "host:port"),
    ("control: [a]", "1: control:", "string"),
    ("certs: 5", "1: certs:", "path"),
    ("rules: rules.yaml", "1: rules:", "tuple"),
    ("surprise: 1", "1: surprise:", "no such setting"),
    ("audit:\n  surprise: 1", "2: audit.surprise:", "no such setting"),
    ("audit:\n  durability: maybe", "2: audit.durability:", "'fsync' or 'write'"),
    ("audit:\n  segment_bytes: 1", "2: audit.segment_bytes:", "4096"),
    ("audit:\n  segment_age: soon", "2: audit.segment_age:", "a number and a unit"),
    ("audit: 5", "1: audit:", ""),
    ("ca:\n  certificate: a", "ca.key:", "required"),
    ("upstream:\n  allow_addresses: [10.0.0.1/8]", "2: upstream.allow_addresses.0", "network"),
    ("upstream:\n  allow_addresses: [everything]", "2: upstream.allow_addresses.0", "network"),
    ("upstream:\n  connect_to: [a]", "2: upstream.connect_to", "dictionary"),
    ("session:\n  maximum: 0", "2: session.maximum:", "greater than or equal to 1"),
    ("limits:\n  connections: 0", "2: limits.connections:", "greater than or equal to 1"),
    ("issuers:\n - provider: x", "2: issuers.0.audience:", "required"),
    ("issuers:\n - provider: x\n   audience: ''", "3: issuers.0.audience:", "at least 1"),
    ("issuers:\n - provider: x\n   audience: a\n   surprise: 1", "4: issuers.0.surprise:", "no such setting"),
    ("identity:\n  file: a", "settings:", "needs at least one entry under `issuers`"),
    ("identity:\n  file: a\n  command: [b]\n", "2: identity:", "exactly one of `file` and `command`"),
    ("- a list", "", "a mapping of names to values"),
    ("a: 1\na: 2", ":2:", ""),
    ("a: [1", "", ""),
]


@pytest.mark.parametrize("text, where, said", BAD)
def test_a_bad_value_is_named_with_its_line(tmp_path: Path, text: str, where: str, said: str) -> None:
    """File, line, setting, what is wrong with it, and where to read on."""
    message = refusal(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'jobgate.yaml'}:")
    assert where in message
    assert said in message


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """Nobody starts a program five times to find five faults."""
    message = refusal(tmp_path, "listen: x\ncerts: 5\nsurprise: 1\n")
    assert [line.split(": ")[1] for line in message.splitlines()] == ["listen", "certs", "surprise"]


def test_a_bad_variable_or_argument_is_named_as_such(tmp_path: Path) -> None:
    """No line of a file is blamed for what stands in the environment or on the command line."""
    good = {"listen": "127.0.0.1:1"}
    assert refusal(tmp_path, good, {"JOBGATE_LISTEN": "x"}).startswith("JOBGATE_LISTEN: listen: ")
    assert refusal(tmp_path, good, {}, {"listen": "x"}).startswith("command line: listen: ")
    assert refusal(tmp_path, good, {}, {"upstream.allow_addresses": ["x"]}).startswith("command line: upstream.")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A named file must be there; the remedy is said."""
    for place in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=r"cannot be read: .*--config"):
            load_settings(place, {}, {})


@pytest.mark.parametrize(
    "text, expected",
    [
        ("127.0.0.1:0", Authority("127.0.0.1", 0)),
        ("[::]:8080", Authority("::", 8080)),
        ("Localhost:1", Authority("localhost", 1)),
        ("127.0.0.1", None),
        ("127.0.0.1:", None),
        (":8080", None),
        ("a b:1", None),
        ("127.0.0.1:00", None),
        ("[::1:0", None),
    ],
)
def test_listeners(text: str, expected: Authority | None) -> None:
    """An authority with its port, or port 0 for any free one."""
    if expected is None:
        with pytest.raises(ProtocolError):
            parse_listener(text)
    else:
        assert parse_listener(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a/b.sock", Path("a/b.sock")),
        ("unix:/run/x.sock", Path("/run/x.sock")),
        ("x.sock", Path("x.sock")),
        ("127.0.0.1:9000", Authority("127.0.0.1", 9000)),
        ("[::1]:0", Authority("::1", 0)),
        ("a b:9000", None),
        ("127.0.0.1:99999", None),
    ],
)
def test_control_places(text: str, expected: Authority | Path | None) -> None:
    """A socket's path, or host and port."""
    if expected is None:
        with pytest.raises(ConfigError, match=r"write 127\.0\.0\.1:PORT or the path"):
            control_place(text)
    else:
        assert control_place(text) == expected


@pytest.mark.parametrize(
    "written, expected",
    [
        ({"A.test:443": "127.0.0.1:1"}, {"a.test:443": Authority("127.0.0.1", 1)}),
        ({"*.a.test:443": "[::1]:1"}, {"*.a.test:443": Authority("::1", 1)}),
        ({"[::1]:443": "b.test:2"}, {"[::1]:443": Authority("b.test", 2)}),
        ({"a.test": "127.0.0.1:1"}, None),
        ({"a.test:443": "127.0.0.1"}, None),
        ({"a.*.test:443": "127.0.0.1:1"}, None),
        ({"https://a.test:443": "127.0.0.1:1"}, None),
    ],
)
def test_redirections(tmp_path: Path, written: dict[str, str], expected: dict[str, Authority] | None) -> None:
    """Canonical names with ports on both sides; a wildcard only in front."""
    settings = load(tmp_path, {"upstream": {"connect_to": written}})
    if expected is None:
        with pytest.raises(ConfigError, match=r"upstream\.connect_to: .*write `host:port: address:port`"):
            connect_map(settings)
    else:
        assert connect_map(settings) == expected


def test_issuers_take_their_providers_defaults(tmp_path: Path) -> None:
    """What is written wins; what is not comes from the provider; a provider without an issuer needs one."""
    default = TrustedIssuer(provider="known", issuer="https://known.test", audience="", bound={}, algorithms=("ES256",))
    written = [
        {"provider": "known", "audience": "a"},
        {"provider": "known", "audience": "b", "issuer": "https://own.test", "algorithms": ["RS256"], "leeway": "5s"},
        {"provider": "own", "audience": "c", "issuer": "https://other.test"},
    ]
    first, second, third = trusted_issuers(load(tmp_path, {"issuers": written}), {"known": default})
    assert (first.issuer, first.algorithms) == ("https://known.test", ("ES256",))
    assert (second.issuer, second.algorithms, second.leeway) == ("https://own.test", ("RS256",), timedelta(seconds=5))
    assert (third.issuer, third.algorithms) == ("https://other.test", ("RS256",))
    with pytest.raises(ConfigError, match="provider `own` needs `issuer"):
        trusted_issuers(load(tmp_path, {"issuers": [{"provider": "own", "audience": "c"}]}), {})
