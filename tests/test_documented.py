"""What a stranger may meet is written down: reasons, settings, commands, rule fields; every link leads somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from pydantic import BaseModel

from proxy.cli.environment import job_environment
from proxy.cli.main import COMMANDS, entry
from proxy.config import ENVIRONMENT, Settings
from proxy.connectors.registry import connector_scopes
from proxy.model.reason import Reason, explain_reason
from proxy.policy.intents import PROTOCOLS
from proxy.policy.parse import parse_rules
from proxy.policy.schema import JobText, RuleText
from proxy.sources.yaml import load_yaml

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def setting_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every setting's dotted name, as the table writes it."""
    for name, field in model.model_fields.items():
        inner = [part for part in _models_in(field.annotation) if part.__module__.startswith(Settings.__module__)]
        many = "[]" if "tuple" in str(field.annotation) else ""
        if not inner or name == "others":
            yield f"{prefix}{name}"
        for part in inner:
            if name != "others":
                yield from setting_names(part, f"{prefix}{name}{many}.")


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in (*getattr(annotation, "__args__", ()), getattr(annotation, "__value__", None)):
        if part is not None:
            yield from _models_in(part)


def anchor_of(heading: str) -> str:
    """Return the anchor that a heading gets where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_in_the_readme(reason: Reason) -> None:
    """A denial's slug is found in the README, with the status and sentence that the code gives it."""
    why = explain_reason(reason)
    assert f"| `{reason.value}` | {why.status} | {why.sentence} |" in README


@pytest.mark.parametrize("name", sorted(setting_names(Settings)))
def test_every_setting_is_in_the_readme(name: str) -> None:
    """The settings table names every setting by its full name."""
    assert f"`{name}`" in README


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_is_in_the_guide(protocol: str) -> None:
    """What a rule can say of a request's intent stands in docs/rules.md."""
    assert f"| `{protocol}` |" in (ROOT / "docs" / "rules.md").read_text()


@pytest.mark.parametrize("variable", sorted(ENVIRONMENT))
def test_every_environment_variable_is_in_the_readme(variable: str) -> None:
    """What the environment can set is named beside the setting."""
    assert variable in README


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_is_in_the_readme_and_exists(command: str) -> None:
    """The commands table is the command line's own list."""
    assert f"`jobgate {command}" in README
    assert isinstance(entry.get_command(click.Context(entry), command), click.Command)


@pytest.mark.parametrize("field", [*RuleText.model_fields, *JobText.model_fields])
def test_every_rule_field_is_in_the_readme(field: str) -> None:
    """What can be written into a rule is in the README's table."""
    assert f"`{field}`" in README


@pytest.mark.parametrize("field", list(RuleText.model_fields))
def test_every_rule_field_is_in_the_guide(field: str) -> None:
    """The guide to writing rules speaks of each field of a rule."""
    assert re.search(rf"\b{field}\b", (ROOT / "docs" / "rules.md").read_text())


@pytest.mark.parametrize("variable", sorted(job_environment("http://127.0.0.1:8080", Path("certs"))))
def test_every_exported_variable_is_explained(variable: str) -> None:
    """What a job's environment gets is in the page about clients."""
    assert f"`{variable}`" in (ROOT / "docs" / "clients.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Links between pages name a file that is there, and a heading that is in it."""
    for target in _LINK.findall(page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in {anchor_of(heading) for heading in _HEADING.findall(file.read_text())}, target


def test_the_commands_of_make_exist() -> None:
    """Every `make` target that a page names is one."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word for page in PAGES for word in re.findall(r"`?make ([a-z]+)", page.read_text()) if page.name != "clients.md"
    }
    assert named & {"demo", "test"} == {"demo", "test"}
    assert {word for word in named if re.search(rf"`make {word}|^make {word}", README, re.MULTILINE)} <= targets


def test_the_plugin_options_are_in_the_operators_page() -> None:
    """plugin.yml and the operator's page name the same options."""
    options = yaml.safe_load((ROOT / "plugin.yml").read_text())["configuration"]["properties"]
    page = (ROOT / "docs" / "operating.md").read_text()
    assert all(f"| `{option}` |" in page for option in options)


def test_nothing_is_left_to_fill_in() -> None:
    """No page holds a place that somebody meant to come back to."""
    for page in PAGES:
        assert not re.search(r"<!--|TODO|FIXME|TBD", page.read_text()), page.name


def test_the_settings_walk_sees_lists_and_sections() -> None:
    """The walk over settings finds plain ones, those in sections and those in lists: it cannot pass by finding none."""
    names = set(setting_names(Settings))
    assert {"listen", "audit.directory", "issuers[].audience", "ca.key", "identity.others"} <= names
    assert len(names) > 30


def rule_examples() -> list[tuple[str, str]]:
    """Return every rule file that the README and the first steps show, as page and text."""
    pages = (ROOT / "README.md", ROOT / "docs" / "getting-started.md")
    shown = re.compile(r"^(?:# yaml-language-server[^\n]*\n)?rules:\n  - .*?(?=^```|^EOF)", re.MULTILINE | re.DOTALL)
    return [(page.name, text) for page in pages for text in shown.findall(page.read_text())]


def test_the_examples_are_found() -> None:
    """The pages show rule files, and the search for them finds them."""
    assert len(rule_examples()) >= 5


@pytest.mark.parametrize("page,text", rule_examples())
def test_every_rule_example_loads(page: str, text: str) -> None:
    """A rule file that a stranger copies is one that loads, credentials and conditions included."""
    parsed = parse_rules(load_yaml(text.encode(), page).value, page, connector_scopes())
    assert parsed.rules
    assert not parsed.faults
