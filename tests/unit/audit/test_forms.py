"""Every form is made of any record, sealed ones too, and shows nothing that the record does not."""

import json
from typing import Any

import pytest

from proxy.audit.forms import FORMS
from proxy.audit.place import Place
from proxy.model.record import Kind

PLACE = Place("agents/one", "d" * 64)
SEALED = {"class": "internal", "key": "k", "data": "AAAA"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("more", [{}, {"flow": "f1", "effect": "deny", "sealed": SEALED}], ids=["bare", "sealed"])
def test_any_record_has_every_form(form: str, kind: Kind, more: dict[str, Any]) -> None:
    """A record of any kind, with next to nothing in it, is a JSON object in every form; what is sealed is carried."""
    record = {"v": 1, "seq": 7, "prev": "p", "at": "2026-01-02T03:04:05.000000Z", "kind": kind.value, **more}
    text = json.dumps(FORMS[form](record, PLACE))
    assert kind.value in text
    assert ("AAAA" in text) is bool(more)


def test_the_record_form_adds_where_it_comes_from() -> None:
    """So that records of many proxies can be told apart."""
    assert FORMS["record"]({"seq": 1}, PLACE) == {"seq": 1, "origin": "agents/one"}
