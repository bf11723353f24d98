"""What an earlier run left is read right, mended only where it is torn, and otherwise left alone."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.audit.canonical import encode
from proxy.audit.chain import BEGINNING, Head, link
from proxy.audit.checkpoint import Signer
from proxy.audit.naming import segment_name
from proxy.model.errors import AuditError
from proxy.model.record import AuditRecord, Fact, Kind
from proxy.sinks.keys import make_signer
from proxy.sinks.recovery import Left, recover

AT = datetime(2026, 1, 2, tzinfo=UTC)
SIGNER: Signer = make_signer("jobgate/test")


class Writer:
    """Writes segments by hand, whatever they hold."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.head: Head = BEGINNING
        self.path = directory / segment_name(0)

    def begin(self) -> "Writer":
        self.path = self.directory / segment_name(self.head.size)
        self.path.write_bytes(b"")
        return self

    def write(self, kind: Kind, **facts: Fact) -> "Writer":
        line, self.head = link(self.head, encode(AuditRecord(kind=kind, at=AT, facts=facts)))
        return self.raw(line)

    def raw(self, line: bytes) -> "Writer":
        with self.path.open("ab") as file:
            file.write(line)
        return self

    def sign(self, head: Head) -> "Writer":
        with (self.directory / "checkpoints").open("a") as file:
            file.write(SIGNER.sign(head, AT).signed + "\n")
        return self

    def allow(self, flow: str) -> "Writer":
        return self.write(Kind.DECISION, flow=flow, effect="allow")


def test_nothing_left_is_a_beginning(tmp_path: Path) -> None:
    """An empty directory is a new trail."""
    assert recover(tmp_path) == Left()


def test_open_flows_are_those_of_the_last_run(tmp_path: Path) -> None:
    """What an earlier start closed is not closed again; segments in between are read too."""
    writer = Writer(tmp_path).begin().write(Kind.TRAIL_OPENED).allow("old")
    writer.begin().write(Kind.TRAIL_OPENED).allow("one").begin().allow("two").begin().write(Kind.OUTCOME, flow="one")
    left = recover(tmp_path)
    assert left.open_flows == ("two",)
    assert (left.head, left.name, left.torn) == (writer.head, writer.path.name, 0)
    assert left.kept == writer.path.stat().st_size


def test_a_segment_begun_and_never_used_is_out_of_the_way(tmp_path: Path) -> None:
    """An empty one goes; one with half a record is kept under another name."""
    writer = Writer(tmp_path).begin().write(Kind.TRAIL_OPENED)
    name, head = writer.path.name, writer.head
    writer.begin()
    assert recover(tmp_path).name == name
    writer.begin().raw(b'{"v":1,"seq":1')
    left = recover(tmp_path)
    assert (left.name, left.head) == (name, head)
    (torn,) = tmp_path.glob("torn-*")
    assert torn.read_bytes() == b'{"v":1,"seq":1'
    assert not writer.path.exists()


def test_what_a_failed_batch_left_in_an_earlier_segment_does_not_count(tmp_path: Path) -> None:
    """Lines numbered like those of the next segment are passed over, a torn one among them."""
    writer = Writer(tmp_path).begin().write(Kind.TRAIL_OPENED).allow("kept")
    failed, _ = link(
        writer.head, encode(AuditRecord(kind=Kind.DECISION, at=AT, facts={"flow": "x", "effect": "allow"}))
    )
    writer.raw(failed).raw(failed[:10])
    writer.begin().write(Kind.TRAIL_REPAIRED)
    left = recover(tmp_path)
    assert left.open_flows == ("kept",)
    assert left.head == writer.head


def lose_a_record(writer: Writer) -> None:
    writer.sign(Head(99, "0" * 64))


def tear_in_the_middle(writer: Writer) -> None:
    writer.path.write_bytes(writer.path.read_bytes()[:-5])
    writer.begin().write(Kind.CONNECTION)


def lose_a_record_and_tear(writer: Writer) -> None:
    writer.sign(Head(99, "0" * 64)).raw(b'{"v":1,"se')


def replace_a_record(writer: Writer) -> None:
    writer.path.write_bytes(writer.path.read_bytes().replace(b'"flow":"f1"', b'"flow":"f2"'))
    writer.write(Kind.CONNECTION)


def add_rubbish(writer: Writer) -> None:
    writer.raw(b"rubbish\n")


@pytest.mark.parametrize(
    "damage", [lose_a_record, lose_a_record_and_tear, tear_in_the_middle, replace_a_record, add_rubbish]
)
def test_evidence_is_not_written_on(tmp_path: Path, damage: Callable[[Writer], None]) -> None:
    """Anything but a torn end stops the start, says what to do, and changes no byte of a segment."""
    writer = Writer(tmp_path).begin().write(Kind.TRAIL_OPENED).allow("f1").write(Kind.CONNECTION)
    writer.sign(writer.head)
    damage(writer)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(AuditError, match="jobgate audit verify"):
        recover(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_torn_checkpoint_is_cut_off(tmp_path: Path) -> None:
    """The next checkpoint must not be glued to half a one."""
    writer = Writer(tmp_path).begin().write(Kind.TRAIL_OPENED)
    writer.sign(writer.head)
    whole = (tmp_path / "checkpoints").read_bytes()
    (tmp_path / "checkpoints").write_bytes(whole + whole[:70])
    recover(tmp_path)
    assert (tmp_path / "checkpoints").read_bytes() == whole
