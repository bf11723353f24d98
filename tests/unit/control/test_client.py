"""What the client makes of answers that are not the API's."""

import pytest

from proxy.control.client import ControlAnswer, ControlError


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"1", b"\xff"])
def test_an_answer_that_is_no_json_object_is_an_error(body: bytes) -> None:
    """Something else listens there, or it broke: the caller hears so."""
    with pytest.raises(ControlError, match="not JSON") as caught:
        ControlAnswer(status=200, body=body).json()
    assert caught.value.slug == "not-json"


def test_an_answer_does_not_show_its_body() -> None:
    """It may hold a session's secret."""
    assert "planted" not in repr(ControlAnswer(status=201, body=b"planted"))
