"""A sealed trail: strangers verify it, its class's recipients read it, and nobody else, the sidecar neither."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyrage
import pytest

from tests.fakes.open_aws import KEYS, REGION, OpenAws, environment
from tests.fakes.sidecar import OPEN, World, rule, wait_until

RESTRICTED = rule("restricted", "secret.test", tags={"classification": "restricted"})


def jobgate(*arguments: str | Path, code: int = 0, more: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", *map(str, arguments)],
        env={**os.environ, **(more or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def shown(trail: Path, *identities: Path | str) -> list[dict[str, Any]]:
    options = [word for each in identities for word in ("--identity", each)]
    return [json.loads(line) for line in jobgate("audit", "show", trail, "--json", *options).splitlines()]


def decisions(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {record["rules"][0]: record for record in records if record["kind"] == "flow.decision"}


@pytest.fixture
def identities(tmp_path: Path) -> dict[str, Path]:
    """One age identity for each class, in files as age-keygen writes them."""
    made = {}
    for name in ("internal", "restricted", "stranger"):
        made[name] = tmp_path / f"{name}.key"
        identity = pyrage.x25519.Identity.generate()
        made[name].write_text(f"# public key: {identity.to_public()}\n{identity}\n")
    return made


def recipient(path: Path) -> str:
    return path.read_text().splitlines()[0].removeprefix("# public key: ")


@pytest.fixture
def world(identities: dict[str, Path]) -> Iterator[World]:
    """A sidecar that seals all it writes, in two classes."""
    classes = {name: {"recipients": [recipient(identities[name])]} for name in ("internal", "restricted")}
    seal = {"classes": classes, "default": "internal"}
    settings = {"audit": {"seal": seal, "job_tags": ["pipeline"], "tags": {"site": "test"}}}
    made = World(rules=[OPEN, RESTRICTED], settings=settings)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_only_a_classs_recipients_read_it(world: World, identities: dict[str, Path]) -> None:
    """The trail verifies without any identity; each identity opens its class, two open both, a stranger's nothing."""
    job = world.open()
    job.curl("https://origin.test/public-name")
    job.curl("https://secret.test/hidden-name")
    wait_until(lambda: len(world.records("flow.outcome")) == 2)
    world.sidecar.stop(timeout=10)
    trail = world.sidecar.audit

    raw = b"".join(path.read_bytes() for path in trail.glob("trail-*.jsonl"))
    for private in (b"public-name", b"hidden-name", b"origin.test", b"organization_id"):
        assert private not in raw
    assert "intact" in jobgate("audit", "verify", trail)

    assert all("sealed" in each for each in decisions(shown(trail, identities["stranger"])).values())
    some = decisions(shown(trail, identities["internal"]))
    assert some["open"]["path"] == "/public-name"
    assert "path" not in some["restricted"]
    both = shown(trail, identities["internal"], identities["restricted"])
    assert decisions(both)["restricted"]["path"] == "/hidden-name"
    assert not [each for each in both if "sealed" in each]
    assert [each["tags"] for each in both if each["kind"] == "flow.outcome"] == [
        {"site": "test", "pipeline": "storefront"},
        {"site": "test", "pipeline": "storefront", "classification": "restricted"},
    ]


def test_questions_over_half_a_trail_are_not_answered(world: World, identities: dict[str, Path]) -> None:
    """`replay` says which class it cannot open, and works with its identity."""
    world.open().curl("https://origin.test/a")
    wait_until(lambda: len(world.records("flow.outcome")) == 1)
    world.sidecar.stop(timeout=10)
    rules = ("--rules", world.rule_file.parent)
    said = jobgate("replay", world.sidecar.audit, *rules, code=3)
    assert "is sealed for class 'internal'" in said
    assert "--identity" in said
    jobgate("replay", world.sidecar.audit, *rules, "--identity", identities["internal"])
    said = jobgate("audit", "show", world.sidecar.audit, "--identity", "nowhere", code=2)
    assert "nowhere is no file" in said


def test_a_crash_in_a_sealed_trail_is_mended(world: World, identities: dict[str, Path]) -> None:
    """The next start needs no key: it closes what was open, makes new keys, and the whole still reads."""
    job = world.open()
    job.curl("https://origin.test/before")
    world.sidecar.kill()
    world.sidecar.start()
    world.open().curl("https://origin.test/after")
    wait_until(lambda: len(world.records("flow.outcome")) == 2)
    world.sidecar.stop(timeout=10)

    assert "intact" in jobgate("audit", "verify", world.sidecar.audit)
    opened = shown(world.sidecar.audit, identities["internal"])
    assert [each["path"] for each in opened if each["kind"] == "flow.decision"] == ["/before", "/after"]
    assert len([each for each in opened if each["kind"] == "key.sealed"]) == 4


def test_what_was_altered_inside_is_found_and_said(world: World, identities: dict[str, Path], tmp_path: Path) -> None:
    """One bit of ciphertext: `verify` finds it by the chain, `show` by the seal."""
    world.open().curl("https://origin.test/a")
    wait_until(lambda: len(world.records("flow.outcome")) == 1)
    world.sidecar.stop(timeout=10)
    copy = tmp_path / "copy"
    shutil.copytree(world.sidecar.audit, copy)
    (segment,) = copy.glob("trail-*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if b"flow.decision" in line)
    lines[at] = lines[at][:-20] + (b"A" if lines[at][-20:-19] != b"A" else b"B") + lines[at][-19:]
    segment.write_bytes(b"".join(lines))

    assert "altered" in jobgate("audit", "verify", copy, code=1)
    assert "does not open" in jobgate("audit", "show", copy, "--identity", identities["internal"], code=3)


@pytest.mark.parametrize(
    "given, said",
    [
        ({"classes": {"a": {"recipients": ["age1nonsense"]}}}, "is no age recipient"),
        ({"classes": {"a": {}}}, "give exactly one of `recipients` and `kms`"),
        ({"classes": {}}, "audit.seal.classes"),
        ({"classes": {"a": {"recipients": ["x"]}}, "default": "b"}, "which is not one of the classes"),
    ],
)
def test_a_seal_that_cannot_be_made_stops_the_start(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    """Nothing runs unsealed because a setting was wrong."""
    config = tmp_path / "jobgate.yaml"
    config.write_text(json.dumps({"rules": [], "audit": {"directory": str(tmp_path / "audit"), "seal": given}}))
    assert said in jobgate("exec", "--config", config, "--", "true", code=2)


def test_a_class_may_be_a_kms_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """GenerateDataKey seals; whoever KMS lets Decrypt opens; without it, or with the key gone, nothing is read."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    world = World()
    aws = OpenAws(world.root, (f"kms.{REGION}.amazonaws.com",))
    aws.start()
    try:
        arn = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
        world.settings = {
            "audit": {"seal": {"classes": {"all": {"kms": {"key_id": arn, "region": REGION}}}, "default": "all"}}
        }
        world.places = aws.places
        world.start()
        world.open().curl("https://origin.test/a")
        wait_until(lambda: len(world.records("flow.outcome")) == 1)
        world.sidecar.stop(timeout=10)
        trail = world.sidecar.audit

        assert decisions(shown(trail))["open"]["sealed"]["class"] == "all"
        reader = environment(aws, world.root.certificate)
        opened = jobgate("audit", "show", trail, "--json", "--identity", "kms", more=reader)
        assert decisions([json.loads(line) for line in opened.splitlines()])["open"]["path"] == "/a"
    finally:
        aws.stop()
        world.stop()
