"""What must be true once the steps have run: who saw what, where secrets are not, and that the trail proves itself."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.verify import Report
from proxy.demo.stage import Stage
from proxy.model.errors import AuditError
from proxy.model.placeholder import find_placeholders
from proxy.sources.trail import read_keys, verify_trail


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One thing that must hold, with the figure that shows it."""

    name: str
    says: str
    holds: bool


def check_servers(stage: Stage) -> list[Promise]:
    """Ask the servers what reached them."""
    signed = [call for call in stage.aws.calls() if call.access_key]
    temporary = [call for call in signed if call.access_key.startswith("ASIA")]
    placeholders = [call for call in signed if any(find_placeholders(call.access_key))]
    pushes = [access for access in stage.git.accesses if access.service == "git-receive-pack"]
    accepted = [access for access in pushes if access.status == 200]
    is_unchanged = stage.git.head_of_main() == stage.git.first_commit
    return [
        Promise(
            name="aws",
            says=f"{len(temporary)} of {len(signed)} calls signed with a short-lived key; the job's placeholder: "
            f"{len(placeholders)} times",
            holds=bool(signed) and len(temporary) == len(signed),
        ),
        Promise(
            name="git",
            says=f"{len(accepted)} of {len(pushes)} push requests carried the token; main is "
            + ("as it was" if is_unchanged else "REWRITTEN"),
            holds=bool(pushes) and len(accepted) == len(pushes) and is_unchanged,
        ),
        Promise(
            name="internet",
            says=f"{stage.internet.visits} connections",
            holds=stage.internet.visits == 0,
        ),
    ]


def check_secrets(secrets: Iterable[str], places: dict[str, str]) -> Promise:
    """Look for secrets in everything a job could see or somebody could read later."""
    found = sorted(name for name, text in places.items() if any(secret in text for secret in secrets))
    says = f"searched {len(places)} outputs, environments and files: " + (", ".join(found) if found else "0 found")
    return Promise(name="secrets", says=says, holds=not found)


def check_trail(audit: Path, scratch: Path) -> list[Promise]:
    """Verify the trail, then a copy in which one denial was made to look allowed."""
    report = _verify(audit)
    copy = scratch / "tampered"
    shutil.copytree(audit, copy)
    changed = _tamper(copy)
    tampered = _verify(copy)
    finding = tampered.findings[0] if tampered is not None and tampered.findings else None
    noticed = f"noticed at {finding.file}:{finding.line}" if finding is not None else "NOT NOTICED"
    intact = report is not None and report.is_intact
    covered = f"{report.records} records, chained and signed" if report is not None else "cannot be read"
    return [
        Promise(name="trail", says=("intact: " if intact else "NOT INTACT: ") + covered, holds=intact),
        Promise(
            name="tampering",
            says=f"one denial changed to `allow` in a copy: {noticed}",
            holds=changed and finding is not None,
        ),
    ]


def _verify(audit: Path) -> Report | None:
    try:
        return verify_trail(audit, read_keys(sorted(audit.glob("key-*.pub"))))
    except AuditError:
        return None


def _tamper(copy: Path) -> bool:
    for segment in sorted(copy.glob("trail-*.jsonl")):
        text = segment.read_bytes()
        changed = text.replace(b'"effect":"deny"', b'"effect":"allow"', 1)
        if changed != text:
            segment.chmod(0o600)
            segment.write_bytes(changed)
            return True
    return False
