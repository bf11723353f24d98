"""docs/audit.md says what the code does, and its commands verify a real trail."""

import ast
import asyncio
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy.audit import canonical
from proxy.audit.chain import read_record
from proxy.engine import records, sessions
from proxy.engine.seam import ConnectionEnd, Outcome, Peer
from proxy.model.authority import Authority
from proxy.model.decision import Decision, Declared, Effect
from proxy.model.grant import Credential, Grant
from proxy.model.identity import JobContext, Principal, Session
from proxy.model.intent import EffectClass, Intent, RequestView, Resource
from proxy.model.reason import Reason
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sources.trail import read_lines

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "audit.md").read_text()
KINDS = DOCUMENT.partition("\n## Kinds\n")[2]
SECTIONS = dict(re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", KINDS, re.MULTILINE | re.DOTALL))
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def documented(kind: Kind) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", SECTIONS[f"`{kind}`"], re.MULTILINE))


def test_every_kind_is_documented() -> None:
    """A kind without a section, or a section without a kind, is an error."""
    assert {name for title in SECTIONS for name in re.findall(r"`([a-z.]+)`", title)} == {kind.value for kind in Kind}


def test_the_envelope_and_the_limits_are_documented() -> None:
    """The fields in front, in order, and each limit as it is in the code."""
    table = DOCUMENT.partition("## A record")[2].partition("Limits:")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == canonical.ENVELOPE
    for limit in (canonical.MAX_TEXT, canonical.MAX_ITEMS, canonical.MAX_DEPTH, canonical.MAX_BYTES):
        assert f" {limit} " in DOCUMENT.replace("\n", " ")
    assert f"version of this layout: {canonical.VERSION} " in DOCUMENT


def test_the_labels_of_a_job_are_documented() -> None:
    """The text names exactly the labels that records carry."""
    text = DOCUMENT.partition("issuer stated about the job:")[2].partition("Fields that")[0]
    assert tuple(re.findall(r"`(\w+)`", text)) == records.LABELS


PEER = Peer(connection_id="c1", address="127.0.0.1:5")
SESSION = Session(
    id="s1",
    principal=Principal(provider="generic", issuer="https://issuer.test", subject="sub", token_digest="0" * 64),
    job=JobContext(pipeline="p"),
    opened_at=AT,
    expires_at=AT,
    declared=("npm install *",),
)
VIEW = RequestView(
    method="PUT",
    scheme="https",
    authority=Authority("example.com", 443),
    path="/",
    query="a=b",
    headers=(),
    body_length=1,
)
INTENT = Intent(
    protocol="p",
    action="a",
    resource=Resource(type="t", id="i"),
    effect=EffectClass.WRITE,
    exact=True,
    facts={"x": "y"},
)
INTENT = replace(INTENT, also=(INTENT,), exact=False)
DECISION = Decision(
    effect=Effect.ALLOW,
    reason=Reason.ALLOWED,
    rule_ids=("r",),
    revision="1",
    grant=Grant(connector="aws", scope={}, lifetime=timedelta(1), key="k"),
    tags={"a": "b"},
    declared=Declared.WITHIN,
)
OUTCOME = Outcome(
    reason=Reason.ALLOWED,
    status=200,
    sent_digest="0",
    received_digest="0",
    upstream="192.0.2.1:443",
    milliseconds={"total": 1.0},
    redactions=1,
    detail="d",
)
CREDENTIAL = Credential(connector="aws", secrets={}, facts={}, fingerprint="f", expires_at=None)
END = ConnectionEnd(
    peer=PEER,
    authority=Authority("example.com", 443),
    session_id="s1",
    requests=1,
    bytes_in=1,
    bytes_out=1,
    reason=Reason.ALLOWED,
    detail="d",
)
FULLEST = (
    records.decision_record(
        AT,
        "f",
        {
            **records.who_facts(None, PEER),
            **records.who_facts(SESSION, PEER),
            **records.request_facts(VIEW),
            **records.intent_facts(INTENT),
            "stripped": ["authorization"],
            "approval": "q",
            "events": {"fork": True},
            "detail": "d",
        },
        DECISION,
    ),
    records.refusal_record(AT, "f", records.connect_facts(VIEW.authority), Reason.NO_RULE, "d"),
    records.outcome_record(AT, "f", OUTCOME, "fingerprint", {"code": "AccessDenied"}),
    records.credential_record(AT, SESSION, "k", CREDENTIAL, (("repository", "shop"),)),
    records.connection_record(AT, END),
)


def test_every_field_of_the_path_s_records_is_documented() -> None:
    """Records with every fact they can have carry exactly the documented fields of their kind."""
    found: dict[Kind, set[str]] = {}
    for record in FULLEST:
        found.setdefault(record.kind, set()).update(record.facts)
    assert found == {kind: documented(kind) for kind in found}
    assert len(found) == 4


@pytest.mark.parametrize(
    "kind, function",
    [
        (Kind.SESSION_OPENED, "_opened_record"),
        (Kind.SESSION_REFUSED, "_refuse"),
        (Kind.SESSION_CLOSED, "_closed_record"),
    ],
)
def test_every_field_of_session_records_is_documented(kind: Kind, function: str) -> None:
    """The names put into `facts` where session records are built are the documented ones."""
    tree = ast.parse(Path(sessions.__file__).read_text())
    (built,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    names: set[str] = set()
    for node in ast.walk(built):
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            names |= {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
        elif (
            isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.slice, ast.Constant)
        ):
            names.add(str(node.slice.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "identity_facts":
            names |= {"job", "stated", "claims"}
    assert names == documented(kind)


async def run_trail(directory: Path, run: int) -> None:
    chosen = TrailSettings(directory=directory, segment_bytes=2000, reserve=0)
    trail = await FileTrail.open(chosen, make_signer("jobgate/test"), lambda: AT)
    for n in range(20):
        facts: dict[str, Fact] = {"flow": f"f{run}-{n}", "detail": "é\r\n\x1b[31m \\ % %s"}
        await trail.append(AuditRecord(kind=Kind.OUTCOME, at=AT, facts=facts))
    await trail.close()


def make_trail(directory: Path) -> None:
    """A trail with several segments, a crash's torn line, and a restart that mends it."""
    asyncio.run(run_trail(directory, 0))
    with max(directory.glob("trail-*.jsonl")).open("ab") as file:
        file.write(b'{"v":1,"seq":')
    asyncio.run(run_trail(directory, 1))


def test_every_field_of_the_trail_s_own_records_is_documented(tmp_path: Path) -> None:
    """Records the trail writes by itself carry documented fields only, and together all of `trail.opened`."""
    make_trail(tmp_path)
    found: dict[str, set[str]] = {}
    for line in read_lines(tmp_path):
        record = read_record(line)
        found.setdefault(record["kind"], set()).update(record.keys() - set(canonical.ENVELOPE))
    assert found[Kind.TRAIL_OPENED] == documented(Kind.TRAIL_OPENED)
    assert found[Kind.TRAIL_CLOSED] == documented(Kind.TRAIL_CLOSED)


def documented_commands() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


def run(commands: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("jq", "openssl", "sha256sum", "awk")),
    reason="NOT RUN: jq, openssl, sha256sum or awk is not installed",
)
def test_a_stranger_can_verify_with_the_documented_commands(tmp_path: Path) -> None:
    """The commands of the page accept a real trail, and refuse it once a record or a checkpoint was altered."""
    make_trail(tmp_path)
    chain, signature = documented_commands()
    assert run(chain, tmp_path).returncode == 0
    signed = run(signature, tmp_path)
    assert signed.returncode == 0, signed.stderr
    assert signed.stdout.splitlines()[-1] == "the trail has the signed head"

    segment = min(tmp_path.glob("trail-*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b"f0-3", b"f0-4"))
    broken = run(chain, tmp_path)
    assert broken.returncode != 0
    assert broken.stdout == "broken at 5\n"

    last = max(tmp_path.glob("trail-*.jsonl"))
    last.write_bytes(last.read_bytes().replace(b'"lost":0', b'"lost":9'))
    assert "the trail has the signed head" not in run(signature, tmp_path).stdout
    notes = tmp_path / "checkpoints"
    notes.write_text(notes.read_text().replace("\nat 2026", "\nat 2025"))
    assert run(signature, tmp_path).returncode != 0
