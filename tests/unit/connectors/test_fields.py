"""A secret in a header: only in fields that carry one, and watched for in every spelling that it is sent in."""

from base64 import b64encode
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.connectors.fields import FieldModel, place
from proxy.model.grant import Secret

PLANTED = "planted-0123456789"
PAIR = b64encode(f"deploy:{PLANTED}".encode()).decode()


@pytest.mark.parametrize(
    "given, name, value, watched",
    [
        ({}, "authorization", f"Bearer {PLANTED}", [PLANTED]),
        ({"name": "X-Api-Key", "scheme": "raw"}, "x-api-key", PLANTED, [PLANTED]),
        ({"scheme": "basic"}, "authorization", f"Basic {PAIR}", [PLANTED, PAIR]),
    ],
)
def test_a_secret_is_placed_and_watched(given: dict[str, Any], name: str, value: str, watched: list[str]) -> None:
    """The job's own field goes, the secret takes its place, and each text that holds it must not come back."""
    edits = place(FieldModel.model_validate(given), "deploy", Secret(PLANTED))
    ((field, put),) = edits.put
    assert isinstance(put, Secret)
    assert (set(edits.remove), field, put.reveal()) == ({name}, name, value)
    assert [each.reveal() for each in edits.watch] == watched


@pytest.mark.parametrize("name", ["Host", "content-length", "TE", "Proxy-Authorization", "a b", "", "x" * 65, "x:y"])
def test_a_field_that_frames_the_message_carries_no_secret(name: str) -> None:
    """Nor does one that is no field's name."""
    with pytest.raises(ValidationError):
        FieldModel.model_validate({"name": name})
