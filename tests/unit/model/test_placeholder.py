"""A job's placeholders are its own, look like what they stand for, and tell nothing of its password."""

import pytest

from proxy.model.placeholder import HOMES, PUBLIC, Found, derive_placeholders, find_placeholders, is_at_home

PASSWORD = "a-long-random-password"


def test_they_are_derived_as_documented() -> None:
    """A hook in another language computes the same: SHA-256 of a label and the password."""
    made = derive_placeholders(PASSWORD)
    # printf 'jobgate placeholder mark:a-long-random-password' | sha256sum, and the same with `aws`
    assert made.aws_key == "JOBGATE3FBEDFED1AB1F"
    assert made.aws_secret.reveal() == "a5668cff5affbd7f0b43557232ad6db533fb9c1d"


def test_no_two_passwords_share_them() -> None:
    """Neither mark nor secret, and neither shows the password."""
    made = [derive_placeholders(f"{PASSWORD}{number}") for number in range(100)]
    assert len({each.mark for each in made} | {PUBLIC.mark}) == 101
    assert len({each.aws_secret.reveal() for each in made} | {PUBLIC.aws_secret.reveal()}) == 101
    assert PASSWORD not in repr(made)
    assert "[redacted]" in repr(made[0])


@pytest.mark.parametrize("form", [("", 0), ("ghs_", 40), ("npm_", 40), ("cio", 35), ("hvs.", 95), ("glpat-", 26)])
def test_a_token_looks_like_its_vendors(form: tuple[str, int]) -> None:
    """It begins and is as long as theirs, and is found again in any text."""
    made = derive_placeholders(PASSWORD)
    text = made.token(*form)
    assert text.startswith(form[0])
    assert len(text) == max(form[1], len(form[0]) + 20)
    assert list(find_placeholders(f"Bearer {text}, x")) == [Found(form[0], made.mark)]
    assert len(made.aws_key) == 20


@pytest.mark.parametrize(
    "text", ["", "JOBGATE", "JOBGATE0123456789AB", "JOBGATE0123456789ABCDE", "jobgate0123456789abc"]
)
def test_what_is_none_is_not_found(text: str) -> None:
    """Too short, too long, in small letters."""
    assert list(find_placeholders(text)) == []


def test_every_placeholder_of_a_text_is_found() -> None:
    """One behind the other."""
    found = list(find_placeholders(f"{PUBLIC.token('npm_', 40)} {derive_placeholders(PASSWORD).aws_key}"))
    assert [each.prefix for each in found] == ["npm_", ""]


@pytest.mark.parametrize("prefix, hosts", HOMES.items())
def test_a_home_is_a_domain_and_what_is_below_it(prefix: str, hosts: tuple[str, ...]) -> None:
    """Nothing that merely ends the same way."""
    for host in hosts:
        assert is_at_home(prefix, host)
        assert is_at_home(prefix, f"a.{host}")
        assert not is_at_home(prefix, f"evil{host}")
        assert not is_at_home("jobgate-", host)
