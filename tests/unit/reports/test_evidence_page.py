"""The page holds what the pack has, loads nothing, and no text of a job's is markup in it."""

from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.reports.evidence_page import chart_bars, chart_days, render

PACK: dict[str, Any] = {
    "window": {"from": "2026-01-01", "to": "2026-02-01"},
    "verification": {"intact": True, "records": 7, "findings": []},
    "days": {"2026-01-02": {"allow": 3, "deny": 1}, "2026-01-03": {"allow": 1}},
    "reasons": {"no-rule": 1},
    "lifetimes": {},
    "denied": [{"flow": "f1", "reason": "no-rule", "rules": ["a", "b"]}, {"flow": "f2", "who": None}],
    "flows": {"allow": 4},
    "operators": [],
    "interrupted": 3,
}
CRITERIA = [{"id": "CC6.1", "title": "Access", "shows": "this", "shows_not": "that", "parts": ["flows"]}]


class Elements(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_of_the_pack_is_on_the_page() -> None:
    """Counts, lists, charts, criteria; with a policy that lets it load nothing."""
    page = render(PACK, CRITERIA)
    seen = Elements(page)
    for text in ("CC6.1 Access", "f1", "a, b", "allow", "none", "intact", "at most 4", "3"):
        assert text in seen.text
    assert "default-src 'none'" in page
    assert not seen.tags & {"script", "link", "img", "iframe", "object", "form"}
    assert not seen.attributes & {"src", "href", "onload", "onclick"}


def test_a_trail_that_is_not_intact_is_said_first() -> None:
    """Before anything else, with what was found."""
    broken = {**PACK, "verification": {"intact": False, "records": 7, "findings": ["trail-0:3: altered"]}}
    text = Elements(render(broken, CRITERIA)).text
    assert text.index("NOT INTACT") < text.index("Criteria")
    assert "trail-0:3: altered" in text


def test_charts_of_nothing() -> None:
    """Said in a word."""
    assert chart_days({}) == "<p>none</p>"
    assert chart_bars({}) == "<p>none</p>"
    assert "<rect" in chart_bars({"a": 0})


@given(st.text(max_size=60))
def test_text_of_a_job_is_only_text(text: str) -> None:
    """Whatever a rule, a host or a reason is called: the same elements, and no control characters."""
    pack = {**PACK, "reasons": {text: 2}, "days": {text: {"deny": 1}}, "denied": [{text: {text: text}, "x": (text,)}]}
    page = render(pack, CRITERIA)
    assert Elements(page).tags == Elements(render(PACK, CRITERIA)).tags
    assert all(each.isprintable() or each == "\n" for each in page)
