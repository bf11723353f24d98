"""Every reason can be explained."""

import re

from proxy.model.reason import EXPLANATIONS, Reason, explain_reason


def test_every_reason_has_an_explanation() -> None:
    """No slug is without a status, a sentence and, when it refuses, a remedy."""
    assert set(EXPLANATIONS) == set(Reason)
    for reason in Reason:
        explanation = explain_reason(reason)
        assert explanation.sentence.endswith(".")
        assert 200 <= explanation.status < 600
        assert (reason in {Reason.ALLOWED, Reason.OBSERVED}) is (explanation.status < 400)


def test_slugs_are_slugs() -> None:
    """Slugs are lower-case words joined by hyphens, and no two are the same."""
    assert all(re.fullmatch(r"[a-z]+(?:-[a-z]+)*", reason.value) for reason in Reason)
    assert len({reason.value for reason in Reason}) == len(Reason)
