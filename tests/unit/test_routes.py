"""The routes file: what it may say, and what is said of what it may not, with line and remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.audit.routing import TRAIL, Group
from proxy.config.audit import SealSettings
from proxy.config.routes import Surroundings, load_routes
from proxy.config.sinks import HttpSink, S3Sink, SinkSettings
from proxy.model.errors import RuleFileError

SINKS: dict[str, SinkSettings] = {
    "central": HttpSink(kind="http", url="https://x.example"),
    "copy": S3Sink(kind="s3", bucket="acme-audit", region="eu-west-1"),
}
ONE = {"id": "one", "why": "because", "to": "central"}
REST = {"id": "rest", "why": "because", "to": ["copy"]}
SEAL = SealSettings.model_validate({"classes": {"a": {"recipients": ["age1x"]}}, "clear": ["host"]})


def around(*, seal: SealSettings | None = None, has_logs: bool = False) -> Surroundings:
    return Surroundings(sinks=SINKS, seal=seal, has_logs=has_logs)


def write(folder: Path, *routes: dict[str, Any]) -> Path:
    path = folder / "routes.yaml"
    path.write_text(json.dumps({"routes": routes}, indent=1))
    return path


def problems(folder: Path, *routes: dict[str, Any], given: Surroundings | None = None) -> list[str]:
    with pytest.raises(RuleFileError) as error:
        load_routes(write(folder, *routes), given or around())
    return [str(problem) for problem in error.value.problems]


def test_routes_say_what_goes_where(tmp_path: Path) -> None:
    """A single word may stand for a list; by default everything of the trail goes."""
    where = {"pipeline": "web", "effect": ["deny"], "tags": {"data": "pii"}}
    chosen = {**ONE, "of": ["records", "logs"], "kinds": "flow.*", "where": where, "form": "ocsf"}
    first, second = load_routes(write(tmp_path, chosen, REST), around(has_logs=True))
    assert (first.id, first.to, first.form) == ("one", ("central",), "ocsf")
    assert first.of == {Group.RECORDS, Group.LOGS}
    assert first.where == {"pipeline": ("web",), "effect": ("deny",)}
    assert first.tags == {"data": ("pii",)}
    assert second.of == TRAIL
    assert second.takes_all


@pytest.mark.parametrize(
    "route, said",
    [
        ({**ONE, "to": "centrl"}, "there is no sink `centrl`"),
        ({**ONE, "to": []}, "the route leads nowhere"),
        ({**ONE, "form": "ocfs"}, "there is no form `ocfs`"),
        ({**ONE, "kinds": ["flows.*"]}, "no kind of record is `flows.*`"),
        ({**ONE, "of": ["logs"]}, "there are no logs"),
        ({**ONE, "of": ["record"]}, "record"),
        ({**ONE, "where": {"hots": "x"}}, "unknown key `hots`"),
        ({"id": "one", "to": "central"}, "`why` is missing"),
        ({**ONE, "id": "rest"}, "there are two routes `rest`"),
        ({**ONE, "to": ["central", "copy"], "form": "ocsf"}, "a sink of kind `s3` has a form of its own"),
    ],
)
def test_what_a_route_cannot_mean_is_an_error(tmp_path: Path, route: dict[str, Any], said: str) -> None:
    """With file, line and column, and what to write instead."""
    (first, *_) = [each for each in problems(tmp_path, route, REST) if said in each] or [""]
    assert first.startswith(f"{tmp_path}/routes.yaml:"), problems(tmp_path, route, REST)


def test_two_forms_for_one_sink_are_an_error(tmp_path: Path) -> None:
    """A sink gets a record once, so in one form."""
    other = {**ONE, "id": "two", "form": "ocsf"}
    assert "cannot get `ocsf`" in problems(tmp_path, ONE, other, REST)[0]


def test_a_sink_without_a_route_is_an_error(tmp_path: Path) -> None:
    """Somebody expects something there."""
    assert "no route leads to the sink `copy`" in problems(tmp_path, ONE)[0]


def test_what_is_sealed_cannot_be_asked_for(tmp_path: Path) -> None:
    """Records are sealed before they are shipped: a route may ask for what stays clear, and for tags."""
    clear = {**ONE, "where": {"effect": "deny", "host": "x", "rule": "r", "tags": {"a": "b"}}}
    assert load_routes(write(tmp_path, clear, REST), around(seal=SEAL))
    said = problems(tmp_path, {**ONE, "where": {"pipeline": "web"}}, REST, given=around(seal=SEAL))
    assert "`pipeline` is sealed: no route can see it" in said[0]
    with_job = SEAL.model_copy(update={"clear": ("job",)})
    assert load_routes(write(tmp_path, {**ONE, "where": {"pipeline": "web"}}, REST), around(seal=with_job))


@pytest.mark.parametrize("text", ["", "[]", "routes: 7", "other: []"])
def test_a_file_of_another_shape_is_an_error(tmp_path: Path, text: str) -> None:
    """Nothing is guessed."""
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    with pytest.raises(RuleFileError):
        load_routes(path, around())
    with pytest.raises(RuleFileError, match="cannot be read"):
        load_routes(tmp_path / "missing.yaml", around())
