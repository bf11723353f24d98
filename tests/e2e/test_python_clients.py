"""Python's own clients through a real sidecar, configured by nothing but the exported environment."""

import hashlib
from pathlib import Path

import pytest

from tests.fakes.origin import made_bytes
from tests.fakes.sidecar import Job

_BODY = made_bytes(1_000_000)
_REQUESTS = """
import requests, sys
with requests.Session() as session:
    for url in sys.argv[1:]:
        sent = session.put(url + "/digest/python", data=bytes(range(256)) * 256 * 16)
        sent = session.put(url + "/digest/python", data=open("body", "rb"))
        print(sent.status_code, sent.json()["sha256"])
        print(sum(map(len, session.get(url + "/bytes/1000000", stream=True).iter_content(10000))))
"""
_URLLIB = """
import json, sys, urllib.request
for url in sys.argv[1:]:
    request = urllib.request.Request(url + "/digest/python", data=open("body", "rb").read(), method="PUT")
    with urllib.request.urlopen(request) as answer:
        print(answer.status, json.load(answer)["sha256"])
    with urllib.request.urlopen(url + "/bytes/1000000") as answer:
        print(len(answer.read()))
"""
_HTTPX = """
import httpx2, sys
with httpx2.Client() as client:
    for url in sys.argv[1:]:
        sent = client.put(url + "/digest/python", content=open("body", "rb").read())
        print(sent.status_code, sent.json()["sha256"])
        print(len(client.get(url + "/bytes/1000000").content))
"""
_DENIED = """
import requests
answer = requests.get("http://denied.test/x")
print(answer.status_code, answer.json()["reason"])
try:
    requests.get("https://denied.test/x")
except requests.exceptions.ProxyError as error:
    print("403" in str(error))
"""


@pytest.mark.parametrize("script", [_REQUESTS, _URLLIB, _HTTPX], ids=["requests", "urllib", "httpx2"])
def test_client(job: Job, script: str) -> None:
    """A megabyte goes up and down unchanged, over plain HTTP and over TLS."""
    (job.folder / "body").write_bytes(_BODY)
    said = job.python(script, "http://plain.test", "https://origin.test").splitlines()
    assert said == [f"200 {hashlib.sha256(_BODY).hexdigest()}", "1000000"] * 2


def test_requests_is_told_why_not(job: Job) -> None:
    """A denial is a status with a reason over plain HTTP, and a proxy error over TLS."""
    assert job.python(_DENIED).splitlines() == ["403 no-rule", "True"]
    assert job.world.internet.visits == 0


def test_the_exported_environment_is_complete(job: Job) -> None:
    """Every variable that names a file names one that is there and holds our CA."""
    files = {value for value in job.environment.values() if value.endswith(".pem")}
    ours = (job.world.sidecar.certs / "ca.pem").read_text()
    assert len(files) == 2
    assert all(ours.strip() in Path(file).read_text() for file in files)
    assert job.session is not None
    secret = job.session.secret
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "YARN_HTTP_PROXY", "YARN_HTTPS_PROXY"}
    endpoints = {"AWS_CONTAINER_AUTHORIZATION_TOKEN", "IDENTITY_HEADER"}
    assert {name for name, value in job.environment.items() if secret in value} == proxies | endpoints
