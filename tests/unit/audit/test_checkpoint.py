"""Signed heads: only the key signs, only the text signed is believed."""

import base64
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proxy.audit.chain import Head
from proxy.audit.checkpoint import NoteAt, Notes, Signer, open_note, read_key_id, read_verifier, split_notes
from proxy.model.errors import AuditError

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HEAD = Head(7, sha256(b"x").hexdigest())


def signer(seed: int = 1, origin: str = "jobgate/test") -> Signer:
    return Signer(origin, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


NOTE = signer().sign(HEAD, AT).signed


def test_a_checkpoint_opens_with_its_key() -> None:
    """What was signed comes back, field by field."""
    made = signer().sign(HEAD, AT)
    assert open_note(made.signed, signer().verifier) == made
    assert (made.origin, made.size, made.head, made.at) == ("jobgate/test", 7, HEAD.digest, AT)


def test_the_note_is_what_the_specification_says() -> None:
    """Body, empty line, signature over the body; the key id is a digest of name and key (C2SP signed-note)."""
    body, _, last = NOTE.partition("\n\n")
    assert body.split("\n") == [
        "jobgate/test",
        "7",
        base64.b64encode(bytes.fromhex(HEAD.digest)).decode(),
        "at 2026-01-02T03:04:05.000000Z",
    ]
    dash, name, encoded = last.removesuffix("\n").split(" ")
    signature = base64.b64decode(encoded)
    public = signer().key.public_key()
    assert (dash, name) == ("—", "jobgate/test")
    assert signature[:4] == sha256(b"jobgate/test\n\x01" + public.public_bytes_raw()).digest()[:4] == read_key_id(NOTE)
    public.verify(signature[4:], f"{body}\n".encode())


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("\n7\n", "\n8\n", "does not verify"),
        ("\n7\n", "\n07\n", "not a checkpoint"),
        ("05.000000Z", "06.000000Z", "does not verify"),
        ("jobgate/test\n", "jobgate/other\n", "another trail"),
        ("— jobgate/test", "— jobgate/other", "another trail"),
        ("jobgate/test", "jobgate/other", "another trail"),
        ("\n\n", "\n", "not a checkpoint"),
        ("jobgate/test\n", "jobgate/test\n\n", "not a checkpoint"),
    ],
)
def test_an_altered_checkpoint_is_refused(old: str, new: str, message: str) -> None:
    """A change to any line of a note is an error that says what is wrong."""
    with pytest.raises(AuditError, match=message):
        open_note(NOTE.replace(old, new), signer().verifier)


def test_another_key_is_refused() -> None:
    """A note by another key, or one that only claims our key's id, is not believed."""
    theirs = signer(2).sign(HEAD, AT).signed
    with pytest.raises(AuditError, match="another key"):
        open_note(theirs, signer().verifier)
    ours, forged = NOTE.split(" ")[-1], base64.b64decode(theirs.split(" ")[-1])
    forged = base64.b64decode(ours)[:4] + forged[4:]
    with pytest.raises(AuditError, match="does not verify"):
        open_note(NOTE.replace(ours, base64.b64encode(forged).decode() + "\n"), signer().verifier)


@pytest.mark.parametrize("origin", ["", "a b", "a\nb", "a+b", "é", "a" * 201])
def test_an_origin_that_could_break_the_format_is_refused(origin: str) -> None:
    """An origin is a plain word: it stands on a line of its own and in key names."""
    with pytest.raises(AuditError, match="origin"):
        signer(origin=origin)


def test_a_key_file_reads_back() -> None:
    """The first line of a key file is the whole key; PEM follows for openssl."""
    text = signer().verifier.to_file()
    assert read_verifier(text) == signer().verifier
    assert "-----BEGIN PUBLIC KEY-----" in text


@pytest.mark.parametrize(
    "line",
    [
        "",
        "jobgate/test",
        "jobgate/test+00000000+AAAA",
        signer().verifier.name.replace("jobgate/test", "jobgate/best"),
        signer().verifier.name.replace("jobgate/test", "job gate"),
        signer().verifier.name.replace("+A", "+B"),
        signer().verifier.name[:-4],
        signer().verifier.name + "*",
    ],
)
def test_a_broken_key_file_is_refused(line: str) -> None:
    """A key whose parts do not belong together is no key."""
    with pytest.raises(AuditError, match="not a checkpoint key"):
        read_verifier(line)


def test_a_signer_does_not_print_its_key() -> None:
    """Its repr names the origin only."""
    assert repr(signer()) == "Signer('jobgate/test')"


TWO = f"{NOTE}\n{NOTE}\n"


def test_a_file_of_notes_is_taken_apart() -> None:
    """Each note is found, with its line."""
    assert split_notes(TWO.encode()) == Notes((NoteAt(1, NOTE), NoteAt(8, NOTE)), (), 0)
    assert split_notes(b"") == Notes((), (), 0)


@pytest.mark.parametrize("cut", range(1, len(f"{NOTE}\n".encode())))
def test_a_note_cut_anywhere_is_torn(cut: int) -> None:
    """However little of the last note a crash left, those before it stand and the rest is counted as torn."""
    whole = f"{NOTE}\n".encode()
    found = split_notes(whole + whole[:cut])
    assert [note.line for note in found.whole] == [1]
    assert found.broken == ()
    assert found.torn == cut


@pytest.mark.parametrize(
    "raw, whole, broken",
    [
        (f"rubbish\n{TWO}", [2, 9], (1,)),
        (f"{NOTE}\nrubbish here\n\n{NOTE}\n", [1, 10], (8,)),
        (TWO.replace("\n7\n", "\nseven\n", 1), [8], (1,)),
        (f"{NOTE}\n{NOTE}\x0b", [1], (8,)),
        (f"{NOTE}{NOTE}\n", [7], (1,)),
        (f"{NOTE}\nrubbish here\n\n", [1], (8,)),
    ],
)
def test_what_is_no_note_is_named_by_its_line(raw: str, whole: list[int], broken: tuple[int, ...]) -> None:
    """Anything between notes, or an altered note, is reported, and reading goes on after it."""
    found = split_notes(raw.encode())
    assert [note.line for note in found.whole] == whole
    assert found.broken == broken


def test_every_flipped_bit_of_a_checkpoint_is_noticed() -> None:
    """No bit of a note can change and leave it a checkpoint that this key signed (G23)."""
    raw = f"{NOTE}\n".encode()
    for at in range(len(raw)):
        for bit in range(8):
            altered = bytearray(raw)
            altered[at] ^= 1 << bit
            found = split_notes(bytes(altered))
            assert found.broken or not opens(found.whole[0].text), (at, bit)


def opens(text: str) -> bool:
    try:
        open_note(text, signer().verifier)
    except AuditError:
        return False
    return True
