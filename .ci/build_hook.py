"""Compile the pure half of the path while a wheel is built: `HATCH_BUILD_HOOKS_ENABLE=1 python -m hatchling build`.

The same source, typed as it is, by mypyc (https://mypyc.readthedocs.io): a sixth more flows a second. Only what does
no I/O and awaits nothing is compiled; what fails, times out or is cancelled stays with the interpreter. Without the
variable, and in an editable install, nothing is compiled, and everything works as well, slower.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES: Final = (
    "audit/canonical.py",
    "audit/chain.py",
    "audit/encoding.py",
    "audit/tagging.py",
    "engine/builds.py",
    "engine/decide.py",
    "engine/hygiene.py",
    "engine/leads.py",
    "engine/misuse.py",
    "engine/records.py",
    "engine/repeats.py",
    "engine/seam.py",
    "gateway/echo.py",
    "gateway/framing.py",
    "gateway/heads.py",
    "gateway/paths.py",
    "gateway/rewriting.py",
    "intents/fallback.py",
    "intents/git.py",
    "intents/leads.py",
    "intents/registry.py",
    "model/authority.py",
    "model/decision.py",
    "model/grant.py",
    "model/intent.py",
    "model/record.py",
    "policy/compile.py",
    "policy/declaring.py",
    "policy/evaluate.py",
    "policy/intents.py",
    "policy/rule.py",
    "policy/targets.py",
)
"""What a flow spends its time in, of `proxy/`."""


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules beside their source, which tracebacks still show."""

    PLUGIN_NAME = "custom"
    _scratch: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what was made into the wheel."""
        if version == "editable":
            return
        self._scratch = Path(tempfile.mkdtemp(prefix="jobgate-build-"))
        built = _compile(Path(self.root), self._scratch)
        build_data["force_include"] |= {str(path): str(path.relative_to(built)) for path in built.rglob("*.so")}
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatch's
        """Leave nothing behind."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch)


def _compile(root: Path, scratch: Path) -> Path:
    """Return the folder of compiled modules. Raises what the compilers raise; SystemExit for an error of types."""
    from mypyc.build import mypycify  # noqa: PLC0415 - not there in a build that does not compile
    from setuptools import Distribution  # noqa: PLC0415
    from setuptools.command.build_ext import build_ext  # noqa: PLC0415

    paths = [str(root / "proxy" / name) for name in MODULES]
    extensions = mypycify(paths, opt_level="3", debug_level="0", target_dir=str(scratch / "c"))
    command = build_ext(Distribution({"name": "jobgate", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(scratch / "lib"), str(scratch / "o")
    command.ensure_finalized()
    command.run()
    return scratch / "lib"
