"""A simulation as SVG: well formed whatever names hold, each step, way out and order in it once."""

from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import yaml

from proxy.model.identity import JobContext
from proxy.pipelines.expressions import Facts
from proxy.pipelines.reading import read_files
from proxy.simulate.drawing import draw, legal
from proxy.simulate.simulation import Question, simulate
from tests.fakes.policy import a_rule, ruleset_of

SVG = "{http://www.w3.org/2000/svg}"
AWS = {"aws": {"role": "arn:aws:iam::1:role/production"}}


def drawn(text: str, *rules: dict[str, Any], provider: str = "buildkite") -> ET.Element:
    facts = Facts()
    pipeline = read_files(provider, "p.yml", {"p.yml": yaml.safe_load(text)}, facts)
    question = Question(facts=facts, job=JobContext(), now=datetime(2030, 1, 1, tzinfo=UTC))
    return ET.fromstring(draw(simulate(pipeline, ruleset_of(*rules), question)))


def texts(picture: ET.Element) -> list[str]:
    return [str(each.text) for each in picture.iter(f"{SVG}text")]


def test_steps_and_their_ways_out_are_drawn() -> None:
    picture = drawn(
        "[{key: a, command: x, parallelism: 2}, wait, {block: Go}, {key: b, command: x, if: build.source == 'u'},"
        " {key: s, command: x, skip: true}]",
        a_rule(id="p", credential=AWS),
        a_rule(id="q", to="q.test", approval={}, credential={"header": {"file": "x"}}),
    )
    assert texts(picture) == [
        "a x2",
        "command",
        "\N{RIGHTWARDS ARROW} example.com",
        "   aws arn:aws:iam::1:role/production",
        "\N{RIGHTWARDS ARROW} q.test",
        "   header [each request asked]",
        "step-2",
        "wait",
        "Go",
        "block",
        "b",
        "command",
        "\N{RIGHTWARDS ARROW} may: example.com",
        "   aws arn:aws:iam::1:role/production [\N{HORIZONTAL ELLIPSIS}",
        "\N{RIGHTWARDS ARROW} may: q.test",
        "   header [Go, each request asked]",
    ]
    colours = {each.get("fill") for each in picture.iter(f"{SVG}text")}
    assert "#b00020" in colours, "a production credential without a gate"
    assert sum("stroke-dasharray" in each.attrib for each in picture.iter(f"{SVG}rect")) == 1
    edges = [each for each in picture.iter(f"{SVG}path") if "marker-end" in each.attrib]
    assert len(edges) == 3, "a to wait, wait to block, block to b"


def test_names_are_text_and_nothing_else() -> None:
    """Markup stays text, what XML cannot hold is replaced, and what is long is cut with the whole in its title."""
    long = "y" * 100
    picture = drawn(
        f'[{{key: a, command: x, label: "<script>&\\x1b]0;x\\"\'"}}, {{key: {long}, command: x}}]', a_rule()
    )
    assert "<script>&\N{REPLACEMENT CHARACTER}]0;x\"'" in texts(picture)
    assert [each.tag for each in picture.iter() if each.tag.endswith("script")] == []
    (cut,) = [each for each in picture.iter(f"{SVG}text") if str(each.text).startswith("yyy")]
    assert (len(str(cut.text)), cut.findtext(f"{SVG}title")) == (40, long)
    assert (
        legal("a\x00\x9b\ud800é\t") == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}é\t"
    )


def test_many_ways_out_are_counted() -> None:
    picture = drawn("[{key: a, command: x}]", *(a_rule(id=f"r{n}", to=f"r{n}.test") for n in range(15)))
    assert texts(picture)[-1] == "and 3 more"


def test_nothing_is_a_picture_too() -> None:
    assert texts(drawn("[{key: a, command: x, skip: true}]", a_rule())) == []


def test_who_starts_a_job_is_told() -> None:
    picture = drawn("{stages: [x], a: {stage: x, script: x, when: manual}}", a_rule(), provider="gitlab")
    assert "command, by hand" in texts(picture)
