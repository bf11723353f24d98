"""GitLab's parameters have one value each, wherever they stand."""

import json

import pytest

from proxy.intents import gitlab_parameters
from proxy.intents.rack import read_text
from proxy.model.authority import Authority
from proxy.model.errors import IntentError
from proxy.model.intent import BodyPrefix, BodyWanted, RequestView

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"


def multipart(**fields: str) -> bytes:
    parts = [f'--x\r\ncontent-disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    return ("".join(parts) + "--x--\r\n").encode()


FILE = b'--x\r\ncontent-disposition: form-data; name="branch"; filename="a"\r\n\r\nb\r\n--x--\r\n'


def view(
    body: object = None, media: str = JSON, *, query: str | None = None, method: str = "POST", length: int | None = 0
) -> RequestView:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return RequestView(
        method=method,
        scheme="https",
        authority=Authority("gitlab.com", 443),
        path="/api/v4/x",
        query=query,
        headers=(("content-type", media),) if media else (),
        body_length=length if body is None else len(content) or None,
        body=None if body is None else BodyPrefix(data=content, is_whole=True),
    )


@pytest.mark.parametrize(
    "asked",
    [
        view({"branch": "a", "other": [1]}),
        view(b"branch=a&variables[X]=y", FORM),
        view(b"branch=a", ""),
        view(multipart(branch="a"), MULTIPART),
        view(query="branch=a"),
        view({"other": 1}, query="branch=a&variables[X]=y"),
        view({"branch": None}, query="branch=a"),
        view(b"", query="branch=a"),
        view({"branch": "a"}, method="PUT"),
    ],
)
def test_a_parameter_is_found_where_it_stands(asked: RequestView) -> None:
    """Query, JSON and both kinds of form are read alike."""
    assert gitlab_parameters.read_parameters(asked, "branch", "ref") == {"branch": "a", "ref": None}


@pytest.mark.parametrize("media", [JSON, FORM, MULTIPART])
def test_the_body_is_asked_for(media: str) -> None:
    """Nothing is said of a body that was not seen."""
    asked = view(media=media, length=None)
    assert gitlab_parameters.read_parameters(asked, "branch") == BodyWanted(limit=gitlab_parameters.LIMIT)


@pytest.mark.parametrize(
    "asked",
    [
        view({"branch": "a"}, query="branch=b"),
        view({"branch": "a"}, query="branch[]=b"),
        view({"branch": "a", "Branch": "b"}),
        view(b'{"branch": "a", "branch": "b"}'),
        view(query="branch=a&branch=b"),
        view(query="branch[]=a"),
        view(query="branch[x]=a"),
        view(["branch"]),
        view(b"branch=a&branch=b", FORM),
        view(b"branch=a&branch[]=b", FORM),
        view(b"branch[x]=b", FORM),
        view(b"branch=a", FORM, query="branch=b"),
        view(b"branch=a&_method=PUT", FORM),
        view(b"branch=a", "text/plain"),
        view(b"--x\r\n" + multipart(branch="a"), MULTIPART),
        view(multipart(branch="a").replace(b"--x--\r\n", b"") + multipart(branch="b"), MULTIPART),
        view(multipart(branch="a", _method="PUT"), MULTIPART),
        view(b'{"branch": "a"}', "application/json, text/plain"),
    ],
)
def test_a_parameter_with_two_readings_is_refused(asked: RequestView) -> None:
    """A name in two places, in two spellings, or nested is denied."""
    with pytest.raises(IntentError):
        gitlab_parameters.read_parameters(asked, "branch")


def test_a_file_is_no_name() -> None:
    """A field sent as a file is not the text in it: it is empty, and nothing is named so."""
    fields = gitlab_parameters.read_parameters(view(FILE, MULTIPART), "branch")
    assert not isinstance(fields, BodyWanted)
    assert read_text(fields, "branch") == ""


@pytest.mark.parametrize(
    "asked",
    [
        view({"_method": "DELETE"}),
        view(b"a=_method", FORM),
        view(multipart(a="_method"), MULTIPART),
        view(b"x", "application/octet-stream"),
        view(b"_method=DELETE", FORM, method="PUT"),
        view(method="GET", media=""),
    ],
)
def test_a_plain_body_passes(asked: RequestView) -> None:
    """Only a POST's form can change the method."""
    assert gitlab_parameters.refuse_override(asked) is None


@pytest.mark.parametrize("media", ["", FORM, MULTIPART])
def test_a_form_is_looked_into(media: str) -> None:
    """Whether a form changes the method is not known before it is read."""
    assert gitlab_parameters.refuse_override(view(media=media, length=None)) is not None


@pytest.mark.parametrize(
    "asked",
    [
        view(b"a=b&_method=DELETE", FORM),
        view(b"a=b&%5Fmethod=DELETE", FORM),
        view(b"_method[]=DELETE", FORM),
        view(b"+_method=DELETE", FORM),
        view(b"_method=DELETE", ""),
        view(multipart(_method="DELETE"), MULTIPART),
        view(query="_method=DELETE"),
        view(b"\xff", FORM),
        view(b"{}", method="GET"),
    ],
)
def test_a_method_in_a_form_is_refused(asked: RequestView) -> None:
    """A POST that is something else to Rack is denied."""
    with pytest.raises(IntentError):
        gitlab_parameters.refuse_override(asked)
