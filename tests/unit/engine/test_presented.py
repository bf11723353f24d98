"""What comes beside a token is checked before it is believed or passed on."""

import pytest

from proxy.engine.presented import check_declared, is_trace
from proxy.model.errors import IntentError

TRACE = f"00-{'ab' * 16}-{'cd' * 8}-01"


def test_a_declaration_is_checked() -> None:
    """It has one spelling; what is no intent is told by what is wrong with it."""
    assert check_declared(["npm  install *"]) == check_declared(["npm install *"])
    with pytest.raises(IntentError, match="is no protocol that is read"):
        check_declared(["nmp install *"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRACE.upper(),
        TRACE.replace("00-", "01-", 1),
        TRACE[:-1],
        f"{TRACE}-x",
        f"00-{'0' * 32}-{'cd' * 8}-01",
        f"00-{'ab' * 16}-{'0' * 16}-01",
        f"{TRACE}\n",
    ],
)
def test_what_is_no_traceparent_is_none(text: str) -> None:
    """Version 00, lower-case hex, neither id all zeros (W3C Trace Context)."""
    assert is_trace(TRACE)
    assert not is_trace(text)
