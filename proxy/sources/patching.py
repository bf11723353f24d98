"""Changes to rule files as text: everything that is not changed stays as it was written, comments and all."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from proxy.policy.explain import quote_yaml


class PatchError(ValueError):
    """A change that cannot be made in this text without losing something of it."""


def add_rule(text: str, rule: Mapping[str, Any]) -> str:
    """Return the text with one rule more, at the end of its list; an empty text becomes a rule file."""
    if not text.strip():
        return "rules:\n" + "".join(f"{line}\n" for line in _written(rule, "  "))
    items = _items(text)
    last = items[-1]
    if last.flow_style or _sequence(text).flow_style:
        raise PatchError("the list of rules is written in one line; write each rule on its own")
    lines = text.split("\n")
    at = _last_line(last) + 1
    indent = " " * _dash(lines, last)[1]
    return "\n".join([*lines[:at], "", *_written(rule, indent), *lines[at:]])


def remove_rule(text: str, name: str) -> str:
    """Return the text without a rule and the comments that stand right above it. Raises PatchError."""
    items = _items(text)
    node = _find(items, name)
    if len(items) == 1:
        raise PatchError(f"`{name}` is the only rule of its file; delete the file")
    if _sequence(text).flow_style:
        raise PatchError("the list of rules is written in one line; write each rule on its own")
    lines = text.split("\n")
    start, end = _dash(lines, node)[0], _last_line(node) + 1
    while start > 0 and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    if end < len(lines) and not lines[end].strip():
        end += 1
    elif start > 0 and not lines[start - 1].strip():
        start -= 1
    return "\n".join([*lines[:start], *lines[end:]])


def set_list(text: str, name: str, field: str, values: tuple[str, ...]) -> str:
    """Return the text with other entries in one list of a rule. Raises PatchError where comments would be lost."""
    rule = _find(_items(text), name)
    value = next((value for key, value in rule.value if key.value == field), None)
    if value is None:
        raise PatchError(f"`{name}` has no `{field}`")
    if isinstance(value, yaml.SequenceNode) and not value.flow_style:
        return _set_lines(text, value, values)
    start, end = _at(text, value.start_mark), _at(text, value.end_mark)
    if "#" in text[start:end] and "\n" in text[start:end]:
        raise PatchError(f"`{field}` of `{name}` is a list over several lines with comments in it")
    quoted = [_flow(entry) for entry in values]
    return text[:start] + (quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]") + text[end:]


def _set_lines(text: str, node: yaml.SequenceNode, values: tuple[str, ...]) -> str:
    """Change a list of one entry a line: lines of entries that go are cut, new entries come after the last."""
    lines = text.split("\n")
    first = node.value[0]
    column = _dash(lines, first)[1]
    wanted, keep = list(values), set(values)
    cut: set[int] = set()
    for item in node.value:
        start, end = _dash(lines, item)[0], _last_line(item) + 1
        if item.value in keep:
            wanted.remove(item.value)
        else:
            cut.update(range(start, end))
    at = _last_line(node.value[-1]) + 1
    new = [f"{' ' * column}- {quote_yaml(entry)}" for entry in wanted]
    return "\n".join([*(line for index, line in enumerate(lines[:at]) if index not in cut), *new, *lines[at:]])


def _sequence(text: str) -> yaml.SequenceNode:
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "rules" and isinstance(value, yaml.SequenceNode) and value.value:
                return value
    raise PatchError("the file has no rules")


def _items(text: str) -> list[yaml.MappingNode]:
    return [item for item in _sequence(text).value if isinstance(item, yaml.MappingNode)]


def _find(items: list[yaml.MappingNode], name: str) -> yaml.MappingNode:
    for item in items:
        if any(key.value == "id" and value.value == name for key, value in item.value):
            return item
    raise PatchError(f"no rule here is called `{name}`")


def _dash(lines: list[str], node: yaml.Node) -> tuple[int, int]:
    """Return where the `-` of a list's entry stands: line and column, from 0."""
    line = node.start_mark.line
    before = lines[line][: node.start_mark.column]
    while "-" not in before:
        line -= 1
        before = lines[line]
    return line, before.rindex("-") if before.strip() == "-" else len(before) - len(before.lstrip())


def _last_line(node: yaml.Node) -> int:
    """Return the last line that is part of a node: what a parser counts to it after that is white space."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        children = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        return max(map(_last_line, children))
    mark = node.end_mark
    return mark.line if mark.column > 0 else mark.line - 1


def _at(text: str, mark: yaml.Mark) -> int:
    """Return where a mark stands in the text."""
    return sum(len(line) + 1 for line in text.split("\n")[: mark.line]) + mark.column


def _written(rule: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Yield the lines of a rule as an entry of a list."""
    lead = "- "
    for name, value in rule.items():
        yield from _field(name, value, indent + lead, indent + "  ")
        lead = "  "


def _field(name: str, value: object, lead: str, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield f"{lead}{name}:"
        for key, inner in value.items():
            yield from _field(str(key), inner, f"{indent}  ", f"{indent}  ")
    elif isinstance(value, list) and name == "intent":
        yield f"{lead}{name}:"
        yield from (f"{indent}  - {quote_yaml(entry)}" for entry in value)
    elif isinstance(value, list):
        yield f"{lead}{name}: [{', '.join(map(_flow, value))}]"
    else:
        yield f"{lead}{name}: {_flow(value)}"


def _flow(value: object) -> str:
    """Write a value so that it can stand in a list of one line."""
    return quote_yaml(value) if isinstance(value, str) else json.dumps(value)
