"""Secrets cannot be shown by accident."""

import pickle
import traceback
from dataclasses import asdict, fields, replace

import pytest

from proxy.model.grant import REDACTED, Credential, Edits, Secret
from proxy.model.intent import Headers

PLANTED = "planted-canary-9f8e7d"


def test_no_rendering_shows_a_secret() -> None:
    """repr, str, format and f-strings of a secret, and of what holds it, show a fixed word."""
    secret = Secret(PLANTED)
    credential = Credential(connector="x", secrets={"token": secret}, facts={}, fingerprint="f", expires_at=None)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>40}", "%s" % secret, repr(credential), repr([secret])]  # noqa: UP031 - one more way

    assert all(PLANTED not in text for text in shown)
    assert shown[0] == REDACTED
    assert PLANTED not in repr(Edits(put=(("authorization", secret),), watch=(secret,)))


def test_reveal_is_the_only_way_out() -> None:
    """Only reveal gives the text."""
    assert Secret(PLANTED).reveal() == PLANTED


def test_not_pickled_compared_or_hashed() -> None:
    """What would copy or leak a secret through timing is an error."""
    secret = Secret(PLANTED)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        _ = secret == Secret(PLANTED)
    with pytest.raises(TypeError):
        hash(secret)


def test_tracebacks_stay_clean() -> None:
    """An exception raised while holding a secret does not print it."""
    secret = Secret(PLANTED)
    try:
        raise ValueError(f"bad {secret}")
    except ValueError as error:
        text = "".join(traceback.format_exception(error))

    assert PLANTED not in text


def test_edits_are_plain_values() -> None:
    """Edits can be replaced field by field and default to no change."""
    assert replace(Edits(), query="a=b").query == "a=b"
    assert Edits().remove == frozenset()
    assert "put" in asdict(Edits())


def test_edits_are_joined_by_more_to_remove_and_a_reader() -> None:
    """Nothing else about them changes."""

    def reader(status: int, coding: str | None, fields: Headers) -> None:
        """Read nothing."""

    edits = Edits(remove=frozenset({"a"}), put=(("a", "x"),), query="q", watch=(Secret("s"),), rewriter=list)  # type: ignore[arg-type]
    joined = edits.joined(frozenset({"b"}), reader)
    assert joined.remove == {"a", "b"}
    for each in fields(Edits):
        if each.name not in {"remove", "reader"}:
            assert getattr(joined, each.name) is getattr(edits, each.name)
    assert joined.reader is reader
    assert edits.joined(frozenset({"a"}), reader).remove is edits.remove
