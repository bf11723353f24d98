"""Keys for age recipients, and a trail that is sealed with them: each segment opens by itself, also across new keys."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest

from proxy.app.sealing import turn_key
from proxy.audit.encoding import Encoding
from proxy.audit.sealing import Sealer, SealPlan
from proxy.model.errors import AuditError, ConfigError
from proxy.model.record import AuditRecord, Kind
from proxy.sinks.age import make_age_key
from proxy.sinks.file import FileTrail, TrailSettings
from proxy.sinks.keys import make_signer
from proxy.sources.trail import find_segments, read_keys, read_lines, verify_trail
from proxy.sources.unsealing import Unsealer

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@rust"


def make_identity(folder: Path) -> tuple[Path, str]:
    identity = pyrage.x25519.Identity.generate()
    file = folder / "identity"
    file.write_text(f"{identity}\n")
    return file, str(identity.to_public())


async def test_each_segment_opens_by_itself(tmp_path: Path) -> None:
    """Small segments, a new key in the middle: any one of them, alone, has the keys of all it holds."""
    file, recipient = make_identity(tmp_path)
    encoding = Encoding(sealer=Sealer(SealPlan(tag="c", default="all"), [make_age_key("all", [recipient])]))
    settings = TrailSettings(directory=tmp_path / "audit", reserve=0, segment_bytes=4096)
    trail = await FileTrail.open(settings, make_signer("jobgate/test"), lambda: AT, encoding=encoding)
    for number in range(60):
        if number % 7 == 0:
            turn_key(encoding, trail, make_age_key("all", [recipient]), AT)
        await trail.append(AuditRecord(kind=Kind.CONNECTION, at=AT, facts={"name": f"n{number}"}))
    await trail.close()

    segments = find_segments(tmp_path / "audit")
    assert len(segments) > 5
    found: list[Any] = []
    for segment in segments:
        unsealer = Unsealer([file])
        found += [record["name"] for line in read_lines(segment.path) if "name" in (record := unsealer.read(line))]
        assert unsealer.left == 0
    assert found == [f"n{number}" for number in range(60)]
    keys = read_keys(sorted((tmp_path / "audit").glob("key-*.pub")))
    assert verify_trail(tmp_path / "audit", keys).is_intact


@pytest.mark.parametrize("text", ["age1", "AGE-SECRET-KEY-1", "ssh-rsa nonsense", ""])
def test_a_recipient_that_is_none_is_an_error(text: str) -> None:
    """It names the setting, so that nothing is sealed for nobody."""
    with pytest.raises(ConfigError, match=r"audit.seal.classes.all.recipients: .* is no age recipient"):
        make_age_key("all", [text])


def test_a_wrapped_key_is_one_text_of_a_record(tmp_path: Path) -> None:
    """An SSH key is a recipient too; so many that the wrapped key would be cut are refused."""
    assert make_age_key("all", [SSH, make_identity(tmp_path)[1]]).recipients[0] == SSH
    with pytest.raises(ConfigError, match="too many, or too large"):
        make_age_key("all", [SSH] * 16)


@pytest.mark.parametrize("text", ["", "# nothing\n", "age1notasecret\n", "-----BEGIN nothing\n", "\xff"])
def test_an_identity_file_without_one_is_an_error(tmp_path: Path, text: str) -> None:
    """It is named, and what is in it is not shown."""
    file = tmp_path / "identity"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(AuditError, match=r"identity holds no age identity") as error:
        Unsealer([file])
    assert "notasecret" not in str(error.value)
    with pytest.raises(AuditError, match="cannot be read"):
        Unsealer([tmp_path / "missing"])
