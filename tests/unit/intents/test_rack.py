"""What a Rack application could read another way is refused."""

from dataclasses import replace

import pytest

from proxy.intents import rack
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, RequestView

JSON = ("content-type", "application/json; charset=utf-8")


def view(
    method: str = "POST",
    *headers: tuple[str, str],
    query: str | None = None,
    body: bytes | None = None,
    length: int | None = 0,
) -> RequestView:
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority("ci.example.com", 443),
        path="/x",
        query=query,
        headers=headers,
        body_length=length if body is None else len(body),
        body=None if body is None else BodyPrefix(data=body, is_whole=True),
    )


@pytest.mark.parametrize(
    "asked",
    [
        view("POST", ("x-http-method-override", "DELETE")),
        view("GET", ("x-method-override", "GET")),
        view("POST", ("x-http-method", "PUT")),
        view("GET", query="_method=delete"),
        view("POST", query="a=1&%5Fmethod=delete&_method=put"),
        view("POST", query="_method[x]=put"),
        view("GET", JSON, length=2),
        view("HEAD", length=None),
        view("POST", ("content-type", "application/x-www-form-urlencoded"), length=10),
        view("POST", ("content-type", "Multipart/Form-Data; boundary=a"), length=None),
        view("POST", length=10),
    ],
)
def test_a_second_method_is_refused(asked: RequestView) -> None:
    """A header, a parameter, or a body that Rack reads as a form, never changes what a request does."""
    with pytest.raises(IntentError):
        rack.refuse_override(asked)


@pytest.mark.parametrize(
    "asked",
    [
        view("POST"),
        view("GET", query="the_method=x"),
        view("GET", query="a=_method"),
        view("POST", JSON, length=10),
        view("PUT", length=10),
        view("POST", ("content-type", "text/plain"), length=None),
    ],
)
def test_a_plain_request_passes(asked: RequestView) -> None:
    """What has one method only is read on."""
    rack.refuse_override(asked)


def test_fields_are_read_from_a_json_object() -> None:
    """A member is what the body says, None when it says nothing or there is no body."""
    assert rack.read_fields(view("POST", JSON, body=b'{"a": "x", "b": 2}'), "a", "c") == {"a": "x", "c": None}
    assert rack.read_fields(view("POST", JSON, query="b=1", body=b'{"a": "x"}'), "a") == {"a": "x"}
    assert rack.read_fields(view("POST"), "a") == {"a": None}
    assert rack.read_fields(view("POST", JSON, body=b""), "a") == {"a": None}


def test_an_empty_chunked_body_has_no_fields() -> None:
    """A body whose length was not told may turn out empty."""
    asked = view("POST", JSON, length=None)
    seen = replace(asked, body=BodyPrefix(data=b"", is_whole=True))
    assert rack.read_fields(asked, "a") == BodyWanted(limit=rack.JSON_LIMIT)
    assert rack.read_fields(seen, "a") == {"a": None}


@pytest.mark.parametrize(
    "asked",
    [
        view("POST", JSON, body=b"[]"),
        view("POST", JSON, body=b'{"a": 1, "a": 2}'),
        view("POST", JSON, body=b'{"a": 1, "A": 2}'),
        view("POST", JSON, query="a=1", body=b'{"a": "x"}'),
        view("POST", query="a[]=1"),
        view("POST", ("content-type", "text/json"), body=b'{"a": "x"}'),
        view("PUT", body=b'{"a": "x"}'),
        view("PUT", JSON, ("content-type", "text/plain"), body=b'{"a": "x"}'),
    ],
)
def test_a_field_with_two_readings_is_refused(asked: RequestView) -> None:
    """A body that is not called JSON, a doubled name or a parameter of that name leaves nothing to trust."""
    with pytest.raises(IntentError):
        rack.read_fields(asked, "a")


@pytest.mark.parametrize("value", [1, True, [], ["a"], {}, "a\nb", "a\0", "a\u202eb", "x" * 1025])
def test_only_plain_text_names_something(value: object) -> None:
    """A list, a number or a control character where a name belongs is refused."""
    with pytest.raises(IntentError):
        rack.read_text({"a": value}, "a")


def test_text_and_nothing_are_read() -> None:
    """A text is itself; null is nothing."""
    assert rack.read_text({"a": "b c"}, "a") == "b c"
    assert rack.read_text({"a": None}, "a") is None


@pytest.mark.parametrize(
    "scheme, authority, site",
    [
        ("https", Authority("git.example.com", 443), "git.example.com"),
        ("http", Authority("git.example.com", 80), "git.example.com"),
        ("https", Authority("git.example.com", 8443), "git.example.com:8443"),
        ("https", Authority("::1", 80), "[::1]:80"),
    ],
)
def test_a_site_keeps_an_unusual_port(scheme: str, authority: Authority, site: str) -> None:
    """Two servers on one host are two places."""
    asked = RequestView(method="GET", scheme=scheme, authority=authority, path="/", query=None, headers=())
    assert rack.read_site(asked) == site


FORM = ("content-type", "application/x-www-form-urlencoded")


@pytest.mark.parametrize(
    "asked",
    [
        view("POST", FORM, body=b'{"a": "100% & more"}'),
        view("POST", FORM, body=b'["a"]'),
        view("POST", FORM, body=b""),
        view("POST", body=b'{"a": "the_method"}'),
        view("POST", JSON, length=10),
        view("GET"),
        view("PUT", FORM, length=10),
    ],
)
def test_json_that_is_called_a_form_may_pass(asked: RequestView) -> None:
    """What `curl -d` sends by default is JSON under a wrong name; no form field hides in it."""
    assert rack.refuse_forms(asked, 100) is None


def test_a_form_is_looked_into() -> None:
    """Whether a form hides a method is not known before it is read."""
    asked = view("POST", FORM, length=None)
    assert rack.refuse_forms(asked, 100) == BodyWanted(limit=100)
    assert rack.refuse_forms(replace(asked, body=BodyPrefix(data=b"", is_whole=True)), 100) is None


@pytest.mark.parametrize(
    "asked",
    [
        view("POST", FORM, body=b"_method=DELETE"),
        view("POST", FORM, body=b'{"a": "&_method=DELETE&"}'),
        view("POST", FORM, body=b'{"a": "&%5Fmethod=DELETE&"}'),
        view("POST", FORM, body=b'{"a": ";_%6dethod[]=DELETE;"}'),
        view("POST", FORM, body=b'{"a": "& _method=DELETE"}'),
        view("POST", body=b'{"a": "&_method=DELETE"}'),
        view("POST", FORM, body=b"a=b"),
        view("POST", ("content-type", "multipart/form-data; boundary=x"), body=b"{}"),
        view("POST", FORM, ("x-http-method-override", "DELETE"), body=b"{}"),
        view("GET", FORM, body=b"{}"),
    ],
)
def test_a_method_hidden_in_json_is_found(asked: RequestView) -> None:
    """A text that is JSON and a form at once is read as both."""
    with pytest.raises(IntentError):
        rack.refuse_forms(asked, 100)


def test_a_server_that_ignores_content_types_is_followed() -> None:
    """GitHub reads JSON whatever it is called, and so is it read for GitHub."""
    asked = view("PUT", ("content-type", "text/plain"), body=b'{"a": "x"}')
    assert rack.read_fields(asked, "a", any_type=True) == {"a": "x"}
    with pytest.raises(IntentError):
        rack.read_fields(view("PUT", JSON, body=b'{"a": "x"}'), "a", limit=5)
