"""Requests and replies as values: secrets stay out of sight, and what is sent twice is not guessed at."""

import json

import pytest

from proxy.control.messages import Refusal, Reply, Request, denial_reply, fold_headers
from proxy.engine.seam import Denial
from proxy.model.reason import EXPLANATIONS, Reason


def request(authorization: str) -> Request:
    return Request(
        method="GET", path="/", headers={"authorization": authorization}, body=b"planted", peer="p", local=False
    )


@pytest.mark.parametrize(
    "authorization,expected",
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer", None),
        ("Bearer  ", None),
        ("Basic abc", None),
        ("", None),
        ("abc", None),
    ],
)
def test_bearer_is_read_as_such_alone(authorization: str, expected: str | None) -> None:
    """Another scheme, or none, carries no secret."""
    found = request(authorization).bearer

    assert (found.reveal() if found is not None else None) == expected


def test_neither_requests_nor_replies_show_what_they_carry() -> None:
    """Headers and bodies hold tokens and secrets; their reprs do not."""
    shown = repr(request("Bearer planted")) + repr(Reply(status=201, body=b"planted"))

    assert "planted" not in shown


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.ALLOWED])
def test_every_denial_has_an_answer_that_is_no_proxys(reason: Reason) -> None:
    """407 belongs to proxies: the control API says 401, and everything else as explained."""
    reply = denial_reply(Denial(reason=reason, flow_id="f-1", detail="d" if reason is Reason.INTERNAL else ""))

    stated = json.loads(reply.body)
    wanted = EXPLANATIONS[reason].status
    assert reply.status == (401 if wanted == 407 else wanted)
    assert (stated["error"], stated["flow"]) == (reason.value, "f-1")
    assert ("detail" in stated) is (reason is Reason.INTERNAL)


@pytest.mark.parametrize("name", [b"Host", b"authorization", b"Content-Type", b"CONTENT-LENGTH", b"origin"])
def test_fields_that_decide_are_given_once(name: bytes) -> None:
    """Of two such fields nobody may choose the one they like."""
    with pytest.raises(Refusal, match="twice"):
        fold_headers([(name, b"a"), (name.lower(), b"a")])
    assert fold_headers([(b"X", b"1"), (b"x", b"2")]) == {"x": "2"}
