"""Changes to rule files as text: what is changed is changed, everything else stays as it was written."""

from collections.abc import Callable

import pytest
import yaml

from proxy.sources.patching import PatchError, add_rule, remove_rule, set_list

FILE = """\
# yaml-language-server: $schema=./jobgate.schema.json
#
# Ours.
rules:
  # The first one.
  - id: first # its name
    why: a test
    to: [a.test, b.test] # two hosts
    path:
      - /a/** # all of a
      # the second
      - /b
    tags: {data: x}

  # The second one.
  # It has two lines of comment.
  - id: second
    why: >
      a longer
      reason
    to: c.test

  -
    id: third
    why: a test
    to:
    - d.test
    intent:
    - npm install **
# the end
"""


def rules_of(text: str) -> list[dict[str, object]]:
    loaded: list[dict[str, object]] = yaml.safe_load(text)["rules"]
    return loaded


def comments(text: str) -> list[str]:
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]


def test_a_rule_is_added_at_the_end() -> None:
    rule = {
        "id": "new",
        "why": "it's new: really",
        "job": {"pipeline": "shop", "branch": ["main", "release/*"], "build_number": 7},
        "to": "e.test",
        "path": ["/a,b", "/c"],
        "intent": ["npm install registry.npmjs.org/@acme/*", "npm read *"],
        "credential": {"aws": {"role": "arn:aws:iam::1:role/r", "actions": ["s3:Get*"], "duration": "15m"}},
    }
    changed = add_rule(FILE, rule)
    assert rules_of(changed) == [*rules_of(FILE), rule]
    assert comments(changed) == comments(FILE)
    assert changed.endswith("# the end\n")
    assert rules_of(add_rule("", rule)) == [rule]
    assert rules_of(add_rule(add_rule("", rule), {**rule, "id": "newer"}))[1]["id"] == "newer"


def test_a_rule_is_removed_with_what_is_said_of_it() -> None:
    """The comments right above it go with it; everything else stays, byte for byte."""
    changed = remove_rule(FILE, "second")
    assert [rule["id"] for rule in rules_of(changed)] == ["first", "third"]
    assert "two lines of comment" not in changed
    start, end = FILE.index("  # The second one."), FILE.index("  -\n    id: third")
    assert changed == FILE[:start] + FILE[end:]
    last = remove_rule(FILE, "third")
    assert [rule["id"] for rule in rules_of(last)] == ["first", "second"]
    assert last.endswith("# the end\n")
    assert rules_of(remove_rule(FILE, "first"))[0]["id"] == "second"


def test_entries_of_a_list_come_and_go() -> None:
    """Line by line where it is written so, comments of the others kept; in one line where it is written so."""
    changed = set_list(FILE, "first", "path", ("/a/**", "/c"))
    assert rules_of(changed)[0]["path"] == ["/a/**", "/c"]
    assert "- /a/** # all of a\n      # the second\n      - /c\n" in changed.replace('"', "")
    flow = set_list(FILE, "first", "to", ("a.test",))
    assert "    to: a.test # two hosts\n" in flow
    more = set_list(FILE, "second", "to", ("c.test", "*.c.test"))
    assert rules_of(more)[1]["to"] == ["c.test", "*.c.test"]
    third = set_list(FILE, "third", "intent", ("npm install **", "npm read **"))
    assert rules_of(third)[2]["intent"] == ["npm install **", "npm read **"]
    assert third.endswith("# the end\n")
    for text in (changed, flow, more, third):
        assert len(rules_of(text)) == 3


ONE_LINE = "rules: [{id: a, why: a test, to: a.test}, {id: b, why: a test, to: b.test}]\n"
INNER = """\
rules:
  - id: a
    why: a test
    to: [
      a.test, # one
      b.test,
    ]
  - id: b
    why: x y
    to: b.test
"""


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda: remove_rule(FILE, "fourth"), "no rule here is called `fourth`"),
        (lambda: set_list(FILE, "first", "intent", ("x",)), "has no `intent`"),
        (lambda: remove_rule("rules:\n  - id: a\n    to: x\n", "a"), "the only rule of its file"),
        (lambda: remove_rule(ONE_LINE, "a"), "in one line"),
        (lambda: add_rule(ONE_LINE, {"id": "c"}), "in one line"),
        (lambda: add_rule("other: 1\n", {"id": "c"}), "has no rules"),
        (lambda: add_rule("# nothing\n", {"id": "c"}), "has no rules"),
        (lambda: set_list(INNER, "a", "to", ("a.test",)), "with comments in it"),
    ],
)
def test_what_would_lose_something_is_refused(change: Callable[[], str], message: str) -> None:
    with pytest.raises(PatchError, match=message):
        change()


def test_a_list_over_several_lines_becomes_one() -> None:
    text = INNER.replace(" # one", "")
    assert rules_of(set_list(text, "a", "to", ("a.test",)))[0]["to"] == "a.test"
    assert rules_of(set_list(text, "a", "to", ("a.test", "c.test")))[0]["to"] == ["a.test", "c.test"]
