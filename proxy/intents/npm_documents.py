"""The JSON documents npm sends about a package: publish, deprecate, owners, stars, and the version a tag is set to.

All are `PUT /NAME`, and only the body tells them apart (libnpmpublish; npm's deprecate, owner and star commands). What
a registry does with one depends on what it already has, so a document that replaces the whole package is read as
everything it may do: verdaccio removes the versions that a document with `/-rev/` or `deprecated` leaves out.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.intents.packages import UPLOAD_LIMIT, Ecosystem, check_text
from proxy.intents.reading import media_type, member, read_body, read_json, read_object
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, Intent, RequestView

DOCUMENT_LIMIT: Final = UPLOAD_LIMIT
"""The longest document read: a tarball of some 24 MB, since base64 takes a third more. A longer one is denied."""
_TAG_LIMIT: Final = 4096
_OWNERS: Final = 64

VERSION: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,255}")
"""A version or a tag as it stands in a path: semver's characters, and those of old tags."""
_SEMVER: Final = re.compile(
    r"(?=.{1,256}\Z)(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
)
_ENVELOPE: Final = frozenset({"_id", "_rev", "name"})


def read_version(view: RequestView) -> str | BodyWanted:
    """Return the version that a tag is set to: the body is one JSON string. Raises IntentError."""
    body = read_body(view, _TAG_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    version = read_json(body)
    if not isinstance(version, str):
        raise IntentError("a tag is set to a version, as one JSON string")
    return check_text(version, _SEMVER, "a version")


def decode_document(view: RequestView, npm: Ecosystem, where: str, name: str, route: str) -> Intent | BodyWanted:
    """Read a document about the package `name` with the id `where`. Raises IntentError.

    `route` is `publish` (PUT /NAME), `revision` (PUT /NAME/-rev/REV) or `stage` (POST /-/stage/package/NAME).
    """
    if media_type(view) != "application/json":
        raise IntentError("a package document must say that it is application/json")
    body = read_body(view, DOCUMENT_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    document = read_object(body)
    for key in ("_id", "name"):
        if member(document, key) not in {None, name}:
            raise IntentError("the document names another package than the path")
    if member(document, "_deleted") is not None:
        raise IntentError("the document asks for its own deletion")
    reading = _Reading(npm, where, name, document)
    if reading.take("_attachments"):
        return reading.publish(route)
    if route == "stage":
        raise IntentError("a staged document has no tarball")
    return reading.change(route)


class _Reading:
    """One document being read, with what every part of the answer needs."""

    __slots__ = ("_document", "_name", "_npm", "_where")

    def __init__(self, npm: Ecosystem, where: str, name: str, document: Mapping[str, Any]) -> None:
        self._npm, self._where, self._name, self._document = npm, where, name, document

    def take(self, key: str) -> Mapping[str, Any]:
        """Return an object among the members, empty when absent. Raises IntentError for anything else."""
        value = member(self._document, key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise IntentError(f"{key} is not an object")
        return value

    def publish(self, route: str) -> Intent:
        """Read a document with a tarball. Exactly one version, and nothing tagged that is not it."""
        versions = self.take("versions")
        if len(versions) != 1:
            raise IntentError("a document with a tarball must have exactly one version")
        [(version, manifest)] = versions.items()
        check_text(version, _SEMVER, "a version")
        if not isinstance(manifest, dict):
            raise IntentError("the version is not an object")
        if member(self._document, "name") is None or member(manifest, "name") != self._name:
            raise IntentError("the version does not bear the package's name")
        if member(manifest, "version") != version:
            raise IntentError("the version does not bear its own number")
        tags = self.take("dist-tags")
        if any(tagged != version for tagged in tags.values()):
            raise IntentError("a tag is set to another version than the one published")
        facts = {"version": version, "sha512": self._hash_tarball(version), **_read_access(self._document)}
        if tags:
            facts["tags"] = ",".join(sorted(check_text(tag, VERSION, "a tag") for tag in tags))
        action = "stage.publish" if route == "stage" else "publish"
        return self._npm.intent(action, self._where, facts, also=self._beside(manifest, route))

    def _beside(self, manifest: Mapping[str, Any], route: str) -> tuple[Intent, ...]:
        """Return what a publish may do besides."""
        also = self._owners()
        if self.take("users"):
            also += (self._npm.intent("star", self._where),)
        if route == "revision" or "deprecated" in manifest:
            # verdaccio takes either for a change of the whole package, and removes the versions that are not in it.
            also += (self._npm.intent("unpublish", self._where, exact=False),)
        return also

    def _hash_tarball(self, version: str) -> str:
        """Return the SHA-512 of the one tarball, as the registry will store it. A `.sigstore` bundle may stand by."""
        plain = self._name.rpartition("/")[2]
        stems = {f"{self._name}-{version}", f"{plain}-{version}"}
        tarballs: list[Any] = []
        for file, attachment in self.take("_attachments").items():
            stem, dot, suffix = file.rpartition(".")
            if stem not in stems or not dot or suffix not in {"tgz", "sigstore"}:
                raise IntentError("an attachment is no tarball or signature of the version")
            if suffix == "tgz":
                tarballs.append(attachment)
        if len(tarballs) != 1:
            raise IntentError("a document must have exactly one tarball")
        content = member(tarballs[0], "data") if isinstance(tarballs[0], dict) else None
        if not isinstance(content, str):
            raise IntentError("the tarball has no data")
        try:
            return hashlib.sha512(base64.b64decode(content, validate=True)).hexdigest()
        except (binascii.Error, ValueError):
            raise IntentError("the tarball is not base64") from None

    def change(self, route: str) -> Intent:
        """Read a document without a tarball."""
        present = {key for key, value in self._document.items() if value is not None} - _ENVELOPE
        if present == {"maintainers"}:
            return self._owners()[0]
        if present == {"users"}:
            self.take("users")
            return self._npm.intent("star", self._where)
        if "versions" not in present:
            raise IntentError("the document is none of those that npm sends")
        versions = self.take("versions")
        also = (self._npm.intent("tag.set", self._where, exact=False), *self._owners(exact=False))
        deprecated = sorted(
            version for version, manifest in versions.items() if isinstance(manifest, dict) and "deprecated" in manifest
        )
        unpublish = self._npm.intent("unpublish", self._where, exact=False)
        if route == "revision" or not deprecated:
            return self._npm.intent("unpublish", self._where, exact=False, also=also)
        facts = {"deprecated": ",".join(deprecated)[:256]}
        return self._npm.intent("deprecate", self._where, facts, exact=False, also=(unpublish, *also))

    def _owners(self, *, exact: bool = True) -> tuple[Intent, ...]:
        """Return the setting of owners, by name, if the document has any. Raises IntentError for a broken list."""
        owners = member(self._document, "maintainers")
        if owners is None:
            return ()
        if not isinstance(owners, list) or not 0 < len(owners) <= _OWNERS:
            raise IntentError("the maintainers are no list, or too many")
        names = [member(owner, "name") if isinstance(owner, dict) else None for owner in owners]
        if not all(isinstance(name, str) for name in names):
            raise IntentError("a maintainer has no name")
        facts = {"owners": ",".join(str(name)[:64] for name in names)}
        return (self._npm.intent("owner.set", self._where, facts, exact=exact),)


def _read_access(document: Mapping[str, Any]) -> dict[str, str]:
    access = member(document, "access")
    if access is None:
        return {}
    if access not in {"public", "restricted", "private"}:
        raise IntentError("the access is neither public nor restricted")
    return {"access": access}
