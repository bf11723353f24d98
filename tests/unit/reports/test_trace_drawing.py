"""Pictures hold what the trace has, and no text of a job's is markup in them."""

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from proxy.reports.trace_drawing import diagram, draw
from proxy.reports.tracing import Trace, read_target, trace
from tests.fakes.reported import Trail, sample

SVG = "{http://www.w3.org/2000/svg}"


def found(trail: Trail, text: str, depth: int = 1) -> Trace:
    return trace(lambda: iter(trail.records), read_target(text), depth)


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(svg).iter(f"{SVG}text")]


def test_commits_jobs_and_artifacts_are_drawn() -> None:
    """From left to right; what was published and fetched as arrows that say so."""
    svg = draw(found(sample(), "job-build"))
    said = texts(svg)
    assert {"commit 9f2c1d7e5ab0", "web#7 build", "web#8 deploy", "left-pad", "image"} <= set(said)
    assert said.count("published") == 2
    assert said.count("fetched") == 1
    boxes = {text: float(rect.get("x", "")) for rect, text in _boxes(svg)}
    assert boxes["commit 9f2c1d7e5ab0"] < boxes["web#7 build"] < boxes["left-pad"] < boxes["web#8 deploy"]


def test_the_same_as_mermaid() -> None:
    """A flowchart of the same arrows; each thing once."""
    chart = diagram(found(sample(), "job-build"))
    assert chart.startswith("flowchart LR\n")
    assert chart.count("left-pad") == 1
    assert re.search(r"n\d+ -- published --> n\d+\(", chart)
    assert re.search(r"n\d+ -- fetched --> n\d+", chart)


def test_an_empty_trace_is_a_picture_too() -> None:
    """Nothing found: an empty one."""
    nothing = found(Trail(), "job-x")
    assert ET.fromstring(draw(nothing)).tag == f"{SVG}svg"
    assert diagram(nothing) == "flowchart LR\n"


def test_a_job_that_fetched_what_it_published_is_drawn() -> None:
    """An arrow back to the left goes from side to side; without a commit there is no box for one."""
    trail = Trail()
    trail.job("a", commit=None, repository="r", branch="b").opens().publishes("f1").fetches("f2")
    trail.job("b", commit=None).opens().fetches("f3")
    picture = found(trail, "job-a")
    assert "published" in texts(draw(picture))
    assert "flowchart LR\n    n0[" in diagram(picture)
    assert "commit" not in diagram(picture)


def test_where_it_came_from_is_said_at_the_commit() -> None:
    """Repository and branch, as far as they are known."""
    trail = Trail()
    trail.job("a", repository="acme/web", branch="main").opens().publishes("f1").mints("c")
    said = texts(draw(found(trail, "job-a")))
    assert {"acme/web", "main", "1 credentials"} <= set(said)


@given(st.text(max_size=90))
def test_text_of_a_job_is_only_text(text: str) -> None:
    """Whatever a pipeline, a package or a branch is called: well-formed, no element of its making, nothing loaded."""
    trail = Trail()
    trail.job("a", pipeline=text, branch=text, commit=text or None).opens().publishes("f1", name=text).closes()
    picture = found(trail, "job-a")
    root = ET.fromstring(draw(picture))
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
        "svg",
        "defs",
        "marker",
        "path",
        "g",
        "rect",
        "text",
    }
    for line in diagram(picture).splitlines()[1:]:
        assert line.startswith("    n")
        assert line.count('"') in (2, 4, 0)


def _boxes(svg: str) -> list[tuple[ET.Element, str]]:
    groups = ET.fromstring(svg).findall(f"{SVG}g")
    return [(group[0], group[1].text or "") for group in groups]
