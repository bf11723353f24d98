"""Imports point downwards, and the pure half of the package stays pure. This test is the drawing in ARCHITECTURE.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "proxy"

# package -> the packages it may import. Read top to bottom: that is the architecture.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "model": set(),
    "identity": {"model"},
    "intents": {"model"},
    "policy": {"model"},
    "audit": {"model"},
    "engine": {"model", "identity", "intents", "policy", "audit"},
    "pipelines": {"model", "policy"},
    "simulate": {"model", "intents", "policy", "engine", "pipelines"},
    "reports": {"model"},
    "outbound": {"model"},
    "connectors": {"model", "outbound"},
    "sinks": {"model", "audit", "outbound"},
    "sources": {"model", "identity", "policy", "audit", "outbound"},
    "gateway": {"model", "engine"},
    "control": {"model", "engine", "outbound"},
    "config": {"model", "policy", "audit", "sources"},
    "system": {"model"},
    "own_identity": {"model", "engine", "config"},
    "app": {"*"},
    "demo": {"*"},
    "cli": {"*"},
    "__main__": {"*"},
}
PURE = {"model", "identity", "intents", "policy", "audit", "engine", "pipelines", "simulate", "reports"}
IMPURE_MODULES = {
    "asyncio", "socket", "os", "subprocess", "random", "secrets", "time", "logging", "threading", "uvloop", "httpx2",
    "mitmproxy", "boto3", "botocore", "urllib.request", "http.client", "tempfile", "shutil",
}  # fmt: skip
# One home per dependency: library -> where it may be imported.
HOMES: dict[str, tuple[str, ...]] = {
    "uvloop": ("gateway/", "app/", "cli/", "demo/"),
    "httptools": ("gateway/",),
    "mitmproxy": ("gateway/tls.py", "gateway/mitm/"),
    "yaml": ("sources/yaml.py", "sources/patching.py"),
    "jwt": ("identity/", "demo/"),
    "cel_expr_python": ("policy/conditions.py",),
    "pydantic": ("policy/", "simulate/", "connectors/", "config/"),
    "mcp": ("cli/mcp.py",),
    "prometheus_client": ("control/metrics.py",),
    "click": ("cli/",),
    "rich": ("cli/",),
    "botocore": ("connectors/", "sources/unsealing.py", "sources/objects.py"),
    "pyrage": ("sinks/", "sources/unsealing.py"),
    "nats": ("sinks/nats.py",),
    "google": ("sinks/", "control/"),
    "ahocorasick_rs": ("engine/exposure.py",),
    "opentelemetry": ("sinks/", "control/"),
    "duckdb": ("cli/query.py",),
    "h11": ("control/", "outbound.py"),
    "orjson": ("audit/canonical.py", "audit/chain.py", "audit/sealing.py"),
}


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def home_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def violations(path: Path) -> Iterator[str]:
    home = home_of(path)
    allowed = MAY_IMPORT.get(home)
    if allowed is None:
        yield f"{path}: {home} is not in the drawing"
        return
    relative = path.relative_to(PACKAGE).as_posix()
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "proxy" and len(parts) > 1:
            target = parts[1]
            if target not in {home, "__version__"} and "*" not in allowed and target not in allowed:
                yield f"{path}: {home} may not import proxy.{target}"
        if home in PURE and (module in IMPURE_MODULES or parts[0] in IMPURE_MODULES):
            yield f"{path}: pure, but imports {module}"
        homes = HOMES.get(parts[0])
        if homes is not None and not relative.startswith(homes):
            yield f"{path}: {parts[0]} belongs to {', '.join(homes)}"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_drawing(path: Path) -> None:
    """Every import points downwards, to a library's one home, and never from the pure half to the outside world."""
    assert list(violations(path)) == []


def test_the_test_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upward import, an impure module and a library away from home are each noticed."""
    bad = tmp_path / "model" / "bad.py"
    bad.parent.mkdir()
    bad.write_text("import os\nimport httptools\nfrom proxy.gateway import front\nfrom proxy import engine\n")
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)

    found = list(violations(bad))

    assert len([line for line in found if "may not import" in line]) >= 2
    assert any("pure, but imports os" in line for line in found)
    assert any("httptools belongs to" in line for line in found)


def test_no_file_or_function_outgrows_its_budget() -> None:
    """Files stay under 500 lines and functions under 60: past that, something wants a name of its own."""
    over = [f"{path}: {n} lines" for path in python_files() if (n := path.read_text().count("\n")) > 500]
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > 60:
                    over.append(f"{path}:{node.lineno} {node.name}: {length} lines")
    assert over == []
