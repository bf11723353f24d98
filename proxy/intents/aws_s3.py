"""What a request to S3 does: the special table, and everything a header adds to it.

The key is decoded once, as S3 does; a `+` in it is refused, for S3 reads it as a space and others do not. A query key
that S3 may know and we do not is refused too: it could name another operation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from proxy.intents.aws_hosts import S3Place
from proxy.intents.aws_roles import pass_roles
from proxy.intents.aws_s3_table import OPERATIONS, PARAMETERS, SUBRESOURCES, S3Operation
from proxy.intents.aws_xml import read_xml
from proxy.intents.reading import decode_component, media_type, parse_pairs, read_body
from proxy.model.errors import IntentError
from proxy.model.intent import BodyWanted, EffectClass, Intent, RequestView, Resource

BODY_LIMIT: Final = 2 * 1024 * 1024
"""As long as S3 lets a list of keys to delete be."""
MAX_DELETED: Final = 1000
_PREFIXES: Final = {"object-lambda": "s3-object-lambda", "outpost": "s3-outposts"}
_EXPRESS: Final = frozenset(
    {"CreateBucket", "CreateSession", "DeleteBucket", "ListAllMyDirectoryBuckets"}
    | {f"{verb}{what}" for verb in ("Get", "Put") for what in ("EncryptionConfiguration", "LifecycleConfiguration")}
    | {f"{verb}{what}" for verb in ("Get", "Put") for what in ("InventoryConfiguration", "MetricsConfiguration")}
    | {f"{verb}BucketPolicy" for verb in ("Get", "Put", "Delete")}
)
"""Actions of directory buckets. What is done with their objects is allowed by CreateSession, once for all."""
_COMBINED: Final = {
    ("object", "PUT", "uploadId"): "partNumber",
    ("object", "GET", "annotation"): "annotationName",
} | {("bucket", "GET", name): "id" for name in ("analytics", "intelligent-tiering", "inventory", "metrics")}
_COPIES: Final = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
_CREATES: Final = frozenset({"PutObject", "CreateMultipartUpload"})
_BODIES: Final = frozenset(
    {"CreateBucket", "CreateBucketMetadataConfiguration", "PutBucketNotificationConfiguration", "PutBucketReplication"}
    | {"RestoreObject", "UpdateBucketMetadataAnnotationTableConfiguration"}
)
"""Operations whose XML says more than the head: a role, tags, or where a restored selection is written."""
_ROLES: Final = frozenset({"role", "invocationrole"})
_KMS_KEY: Final = "x-amz-server-side-encryption-aws-kms-key-id"
_BUCKET: Final = frozenset({"CreateBucket"})
_ADDS: Final = (
    (_CREATES, "x-amz-acl", ("PutObjectAcl",)),
    (_CREATES, "x-amz-grant-", ("PutObjectAcl",)),
    (_CREATES, "x-amz-tagging", ("PutObjectTagging",)),
    (_CREATES, "x-amz-object-lock-legal-hold", ("PutObjectLegalHold",)),
    (_CREATES, "x-amz-object-lock-mode", ("PutObjectRetention",)),
    (_CREATES, "x-amz-object-lock-retain-until-date", ("PutObjectRetention",)),
    (_CREATES, "x-amz-object-lock-event-", ("PutObjectRetention", "PutObjectLegalHold")),
    (_BUCKET, "x-amz-acl", ("PutBucketAcl",)),
    (_BUCKET, "x-amz-grant-", ("PutBucketAcl",)),
    (_BUCKET, "x-amz-bucket-object-lock-enabled", ("PutBucketObjectLockConfiguration", "PutBucketVersioning")),
    (_BUCKET, "x-amz-object-ownership", ("PutBucketOwnershipControls",)),
    (
        frozenset({"DeleteObject", "DeleteObjects", "PutObjectRetention"}),
        "x-amz-bypass-governance-retention",
        ("BypassGovernanceRetention",),
    ),
)
"""Operations, the field (or what it begins with), and the actions it adds. Fields that say `false` add nothing."""
_ADDED: Final = {action: EffectClass.ADMIN for _, _, actions in _ADDS for action in actions} | {
    "PutObjectTagging": EffectClass.WRITE
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where a request goes: the place its host names, and what the signature or the host says besides."""

    place: S3Place
    partition: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One request, taken apart. `signals` are S3's fields, whether headers or, in a signed URL, parameters."""

    bucket: Bucket
    name: str
    key: str
    query: Mapping[str, str]
    signals: Mapping[str, str]
    operation: S3Operation
    facts: Mapping[str, str]

    @property
    def arn(self) -> str:
        return _arn(self.bucket, self.name, self.key)

    def does(self, action: str, effect: EffectClass, arn: str | None = None) -> Intent:
        place = self.bucket.place
        arn = self.arn if arn is None else arn
        is_express = place.kind == "express"
        prefix = "s3express" if is_express and action in _EXPRESS else _PREFIXES.get(place.kind, "s3")
        return Intent(
            protocol="aws",
            action=f"{prefix}:{action}",
            resource=Resource(type="aws" if arn == "*" else "arn", id=arn),
            effect=effect,
            exact=not is_express or action in _EXPRESS,
            facts=self.facts,
        )


def decode_s3(view: RequestView, bucket: Bucket) -> Intent | BodyWanted:
    """Say what a request to S3 does. Raises IntentError."""
    if bucket.place.kind == "object-lambda" and (view.method, view.path) == ("POST", "/WriteGetObjectResponse"):
        return _answer_for_function(bucket)
    name, key = _split(view.path, bucket.place)
    query = _read_query(view)
    level = "object" if key else "bucket" if name else "service"
    operation = _find(view, level, query)
    signals = _read_signals(view, query)
    if bucket.place.kind == "express" and level == "service":
        operation = replace(operation, name="ListDirectoryBuckets", action="ListAllMyDirectoryBuckets")
    called = _COPIES.get(operation.name, operation.name) if "x-amz-copy-source" in signals else operation.name
    facts = {"operation": called, "service": "s3", "region": bucket.region} | _extra_facts(view, query)
    asked = _Asked(
        bucket=bucket,
        name=name,
        key=key,
        query=query,
        signals=signals,
        operation=operation,
        facts=facts,
    )
    if operation.name == "DeleteObjects":
        return _delete_many(view, asked)
    if operation.name == "PostObject":
        return _form(asked)
    if operation.name in _BODIES and view.body_length != 0:
        body = read_body(view, BODY_LIMIT)
        return body if isinstance(body, BodyWanted) else _combine(asked, _from_body(body, asked))
    return _combine(asked, [])


def _split(path: str, place: S3Place) -> tuple[str, str]:
    """Return bucket and key; the bucket stands in the host, or is the path's first segment."""
    if "+" in path:
        raise IntentError("S3 reads `+` in a path as a space; write it as %2B")
    rest = decode_component(path[1:]) if "%" in path else path[1:]
    if place.name is not None:
        return place.name, rest
    raw, _, _ = path[1:].partition("/")
    if "%" in raw:
        raise IntentError("the bucket's name is percent-encoded")
    return raw, rest[len(raw) + 1 :]


def _read_query(view: RequestView) -> dict[str, str]:
    pairs = parse_pairs(view.query or "")
    found = dict(pairs)
    if len(found) != len(pairs) or len({name.lower() for name in found}) != len(found):
        raise IntentError("a parameter of the query was sent twice")
    for name in found:
        if name not in SUBRESOURCES and name not in PARAMETERS and not name.lower().startswith("x-"):
            raise IntentError(f"S3 may know a query parameter {name!r}; jobgate does not")
    return found


def _read_signals(view: RequestView, query: Mapping[str, str]) -> dict[str, str]:
    """Return S3's own fields by name. A signed URL may carry them as parameters; not both ways at once."""
    pairs = [(name, value) for name, value in view.headers if name.startswith("x-amz-")]
    pairs += [(name.lower(), value) for name, value in query.items() if name.lower().startswith("x-amz-")]
    found = dict(pairs)
    if len(found) != len(pairs):
        raise IntentError("one of S3's fields was sent twice")
    return found


def _find(view: RequestView, level: str, query: Mapping[str, str]) -> S3Operation:
    named = sorted(name for name in query if name in SUBRESOURCES)
    if len(named) > 1:
        raise IntentError(f"the query names several operations: {', '.join(named)}")
    if level == "bucket" and view.method == "POST" and not named and media_type(view) == "multipart/form-data":
        return S3Operation(name="PostObject", action="PutObject", effect=EffectClass.WRITE, versioned="PutObject")
    sub = named[0] if named else "-"
    if (second := _COMBINED.get((level, view.method, sub))) in query:
        sub = f"{sub}+{second}"
    operation = OPERATIONS.get((level, view.method, sub))
    if operation is None or (sub == "-" and view.method == "PUT" and "partNumber" in query):
        raise IntentError(f"S3 has no operation {view.method} on a {level} with this query")
    if operation.name == "ListObjectsV2" and query["list-type"] != "2":
        raise IntentError("S3 knows no such list-type")
    return operation


def _extra_facts(view: RequestView, query: Mapping[str, str]) -> dict[str, str]:
    """Return what is worth a record: never a signature, a token or a customer's key."""
    found = {name: query[name] for name in ("prefix", "versionId", "uploadId") if name in query}
    digest, key = view.header("x-amz-content-sha256") or "", view.header(_KMS_KEY)
    if len(digest) == 64:
        found["sha256"] = digest
    return found if key is None else found | {"kms_key": key}


def _arn(bucket: Bucket, name: str, key: str) -> str:
    """Return the ARN of a bucket, an access point, or an object in one. What is not known is `*`."""
    place, partition, region = bucket.place, bucket.partition, bucket.region or "*"
    if not name and place.kind in {"bucket", "express"}:
        return "*"
    account = place.account or "*"
    below = f"/{key}" if key else ""
    point = f"accesspoint/{name}" + (f"/object/{key}" if key else "")
    known = {
        "bucket": f"arn:{partition}:s3:::{name}{below}",
        "express": f"arn:{partition}:s3express:{region}:*:bucket/{name}{below}",
        "point": f"arn:{partition}:s3:{region}:{account}:{point}",
        "object-lambda": f"arn:{partition}:s3-object-lambda:{region}:{account}:{point}",
        "mrap": f"arn:{partition}:s3::*:{point}",
        "outpost": f"arn:{partition}:s3-outposts:{region}:*:{name}{below}",
    }
    return known[place.kind]


def _combine(asked: _Asked, also: list[Intent]) -> Intent:
    """Return the operation's own intent, with everything its fields add."""
    operation = asked.operation
    action = operation.versioned if asked.query.get("versionId") else operation.action
    if operation.name == "GetObjectAttributes":
        also.append(asked.does("GetObjectVersion" if asked.query.get("versionId") else "GetObject", EffectClass.READ))
    also += _from_fields(asked)
    return _join([asked.does(action, operation.effect), *also])


def _join(found: list[Intent]) -> Intent:
    """Return the first intent with all others that differ, each once."""
    first, *rest = {(each.action, each.resource): each for each in found}.values()
    return replace(first, also=tuple(rest))


def _from_fields(asked: _Asked) -> Iterable[Intent]:
    """Yield what S3's header fields do besides. Source: the User Guide's table of required permissions."""
    for field, effect in (("x-amz-copy-source", EffectClass.READ), ("x-amz-rename-source", EffectClass.DELETE)):
        if field in asked.signals:
            yield _source(asked, field, effect)
    for field, value in asked.signals.items():
        if value.strip().lower() not in {"", "false"}:
            for operations, start, actions in _ADDS:
                if asked.operation.name in operations and (field == start or (start[-1] == "-" and start in field)):
                    yield from (asked.does(action, _ADDED[action]) for action in actions)


def _source(asked: _Asked, field: str, effect: EffectClass) -> Intent:
    """Return what is done with the source of a copy or a rename. Raises IntentError for one that means nothing here."""
    text = asked.signals[field]
    allowed = {"RenameObject"} if field == "x-amz-rename-source" else _COPIES
    if asked.operation.name not in allowed or "+" in text:
        raise IntentError(f"{field} cannot be read here")
    path, _, query = text.removeprefix("/").partition("?")
    version = query.removeprefix("versionId=") if query else ""
    if query and (version == query or "&" in query):
        raise IntentError(f"{field} has a query that names no version")
    decoded = decode_component(path)
    bucket, _, key = decoded.partition("/")
    if field == "x-amz-rename-source":  # within one directory bucket
        return asked.does("DeleteObject", effect, _arn(asked.bucket, asked.name, decoded))
    action = "GetObjectVersion" if version else "GetObject"
    if decoded.startswith("arn:"):
        return asked.does(action, effect, decoded)
    if not bucket or not key:
        raise IntentError(f"{field} names no object")
    return asked.does(action, effect, f"arn:{asked.bucket.partition}:s3:::{bucket}/{key}")


def _from_body(body: bytes, asked: _Asked) -> list[Intent]:
    """Return what the XML adds: roles passed, tags on a new bucket."""
    if not body:
        return []
    found: list[Intent] = []
    roles: list[tuple[str, str]] = []
    for element in read_xml(body).walk():
        name = element.name.lower()
        if name in _ROLES:
            roles.append((name, element.text.strip()))
        if name == "outputlocation":
            raise IntentError("a restore that writes its selection elsewhere is not read")
        if name == "tags" and asked.operation.name == "CreateBucket":
            found.append(asked.does("PutBucketTagging", EffectClass.WRITE))
    return [*found, *pass_roles(roles, asked.bucket.partition)]


def _delete_many(view: RequestView, asked: _Asked) -> Intent | BodyWanted:
    """Return one delete for each key of the list. Keys stand in the XML as they are: nothing is decoded."""
    body = read_body(view, BODY_LIMIT)
    if isinstance(body, BodyWanted):
        return body
    root = read_xml(body).only("Object", "Quiet")
    objects = root.all("Object")
    if root.name != "Delete" or not 0 < len(objects) <= MAX_DELETED:
        raise IntentError(f"a list of keys to delete has 1 to {MAX_DELETED} of them")
    found: list[Intent] = []
    for each in objects:
        each.only("Key", "VersionId", "ETag", "LastModifiedTime", "Size")
        key, version = each.one("Key"), each.one("VersionId")
        if key is None or not key.text or key.children:
            raise IntentError("an object to delete has no key")
        operation = asked.operation
        action = operation.versioned if version is not None and version.text else operation.action
        found.append(asked.does(action, operation.effect, _arn(asked.bucket, asked.name, key.text)))
    return _join([*found, *_from_fields(asked)])


def _form(asked: _Asked) -> Intent:
    """Return what a browser's form may do; its fields, the key among them, are not read."""
    anywhere = _arn(asked.bucket, asked.name, "*")
    actions = (
        ("PutObject", EffectClass.WRITE),
        ("PutObjectAcl", EffectClass.ADMIN),
        ("PutObjectTagging", EffectClass.WRITE),
    )
    return _join([asked.does(action, effect, anywhere) for action, effect in actions])


def _answer_for_function(bucket: Bucket) -> Intent:
    """Return what a function of Object Lambda does when it answers."""
    name = "WriteGetObjectResponse"
    return Intent(
        protocol="aws",
        action=f"s3-object-lambda:{name}",
        resource=Resource(type="aws", id="*"),
        effect=EffectClass.WRITE,
        exact=True,
        facts={"operation": name, "service": "s3", "region": bucket.region},
    )
