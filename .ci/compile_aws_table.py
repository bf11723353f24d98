#!/usr/bin/env python3
# ruff: noqa: T201 -- a script of the build: no package, and it tells what it did
"""Compile botocore's service models into proxy/intents/aws_table.bin. Run after an update of botocore; no network.

    python .ci/compile_aws_table.py            write the table
    python .ci/compile_aws_table.py --check    exit 1 when the committed table says anything else

Sources: botocore's models and endpoint rules (Apache-2.0); the list of IAM actions that cfn-lint carries (MIT-0), which
is AWS's own Service Authorization Reference; aws_effects.toml, by hand. The layout is in proxy/intents/aws_table.py.
"""

import fnmatch
import gzip
import json
import re
import sys
import tomllib
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import botocore

type Model = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "proxy/intents/aws_table.bin"
MODELS = Path(botocore.__file__).parent / "data"
ACTIONS = Path(str(getattr(find_spec("cfnlint"), "origin", ""))).parent / "data/AdditionalSpecs/Policies.json"
MAGIC = b"jobgate aws 1\n"
RULES: dict[str, Any] = tomllib.loads((ROOT / ".ci/aws_effects.toml").read_text())
RESOURCES: dict[str, str] = tomllib.loads((ROOT / ".ci/aws_resources.toml").read_text())
KNOWN: dict[str, set[str]] = {name: set(each["Actions"]) for name, each in json.loads(ACTIONS.read_text()).items()}
LETTERS = {"credential": "c", "admin": "a", "execute": "x", "publish": "p", "delete": "d", "write": "w"} | {
    "read": "r",
    "list": "l",
}
_WORD = re.compile(r"[A-Z][a-z0-9]*|[A-Z]+(?![a-z])")
_ROLE = re.compile(r"(?:roles?|role_?arns?)(?:update|override)?$")
_PROFILES = (
    "IamInstanceProfileSpecification",
    "IamInstanceProfileSpecificationRequest",
    "ScheduledInstancesIamInstanceProfile",
)
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}")
_NOT_SERVICE = frozenset({"", "global", "us-gov", "dualstack", "{}"})
used: set[str] = set()


@cache
def read_json(path: Path) -> Any:
    """Return a model file, packed or plain."""
    packed = path.with_name(f"{path.name}.gz")
    return json.loads(gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes())


def read_models() -> dict[str, list[Model]]:
    """Return every version of every service's model, the newest first."""
    found: dict[str, list[Model]] = {}
    for folder in sorted(each for each in MODELS.iterdir() if each.is_dir()):
        files = sorted(folder.glob("*/service-2.json*"), reverse=True)
        if files:
            found[folder.name] = [read_json(each.with_name("service-2.json")) for each in files]
    return found


def signing_name(model: Model) -> str:
    """Return what a signature for this service names it."""
    metadata = model["metadata"]
    return str(metadata.get("signingName", metadata["endpointPrefix"]))


def glob(patterns: list[str], name: str) -> bool:
    """Whether a pattern of aws_effects.toml matches; remembers which ever did."""
    hits = [each for each in patterns if fnmatch.fnmatchcase(name, each)]
    used.update(hits)
    return bool(hits)


def leaves(model: Model, shape_name: str, seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, Model]]:
    """Yield every string or blob below a shape: its names on the wire, and its shape."""
    if shape_name in seen:
        return
    shape, seen = model["shapes"][shape_name], seen | {shape_name}
    members: list[tuple[str, Model]] = list(shape.get("members", {}).items())
    if shape["type"] in {"list", "map"}:
        inner = shape["member"] if shape["type"] == "list" else shape["value"]
        if model["shapes"][inner["shape"]]["type"] == "structure":
            yield from leaves(model, inner["shape"], seen)
        return
    for name, member in members:
        target = model["shapes"][member["shape"]]
        while target["type"] in {"list", "map"}:
            inner = target["member"] if target["type"] == "list" else target["value"]
            if model["shapes"][inner["shape"]]["type"] in {"structure", "list", "map"}:
                break
            target = model["shapes"][inner["shape"]]
        if target["type"] in {"string", "blob"}:
            for spelling in {name, member.get("locationName", name), member.get("queryName", name)}:
                yield spelling, target
        else:
            yield from leaves(model, member["shape"], seen)


def is_secret(model: Model, operation: Model, name: str) -> bool:
    """Whether the answer itself holds a secret."""
    secrets = RULES["secrets"]
    if "output" not in operation or glob(secrets["masked"], name):
        return False
    for member, shape in leaves(model, operation["output"]["shape"]):
        low = member.lower()
        if low in secrets["names"] or (shape.get("sensitive") and low in secrets["sensitive"]):
            return True
    return False


def effect_of(model: Model, operation: Model, name: str) -> str:
    """Return what an operation does; `write` where nothing tells."""
    verbs, bare = RULES["verbs"], name.partition(":")[2]
    words = _WORD.findall(bare)
    starts = {"".join(words[:1]), "".join(words[:2])}
    is_list = not starts.isdisjoint(verbs["list"])
    is_read = is_list or not starts.isdisjoint(verbs["read"])
    if operation.get("readonly") and not starts.isdisjoint(verbs["trusted"]):
        is_read = True
    for group in RULES["effects"]:
        if (not is_read or not group.get("unless_read")) and glob(group["patterns"], name):
            return str(group["effect"])
    if is_read:
        return "credential" if is_secret(model, operation, name) else "list" if is_list else "read"
    return "write" if starts.isdisjoint(verbs["delete"]) else "delete"


def role_members(model: Model, operation: Model, name: str) -> list[str]:
    """Return the lower-case names of input members that hand an IAM role, or an instance profile, to a service."""
    roles = RULES["roles"]
    if "input" not in operation or (glob(roles["not_passed"], name) and not glob(roles["passed"], name)):
        return []
    if name == "iam:AddRoleToInstanceProfile":
        return ["rolename"]
    found = {member.lower() for member, shape in leaves(model, operation["input"]["shape"]) if "enum" not in shape}
    matching = {each for each in found if _ROLE.search(each) is not None}
    profiles = {each for each in found if each.endswith("instanceprofile")}
    if _has_profile(model, operation["input"]["shape"]):
        profiles.add("iaminstanceprofile")
    return sorted((matching - set(roles["never"])) | profiles)


def _has_profile(model: Model, shape_name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether EC2's IamInstanceProfile structure is somewhere below a shape."""
    if shape_name in seen:
        return False
    if shape_name.endswith(_PROFILES):
        return True
    shape = model["shapes"][shape_name]
    inner = [each["shape"] for each in shape.get("members", {}).values()]
    inner += [shape[key]["shape"] for key in ("member", "value") if key in shape]
    return any(_has_profile(model, each, seen | {shape_name}) for each in inner)


def bind_resources(service: str, name: str, model: Model, operation: Model) -> list[list[str]]:
    """Return the lines of aws_resources.toml for an operation: those for its resource, then those for what it adds.

    A line becomes `LOCATION WIRE-NAME FORMAT...`; locations are `uri`, `querystring`, `header` and `body`.
    """
    shape = model["shapes"][operation["input"]["shape"]] if "input" in operation else {}
    members = shape.get("members", {})
    found = []
    for key in ("first", "more"):
        lines = []
        for line in RESOURCES[key].strip().split("\n"):
            owner, operations, member, *rest = line.split(" ")
            if owner == service and member in members and fnmatch.fnmatchcase(name, operations):
                used.add(line)
                place = members[member].get("location", "body")
                lines.append(" ".join((place, wire_name(model, member, members[member]), *rest)))
        found.append(lines)
    return found


def wire_name(model: Model, name: str, member: Model) -> str:
    """Return what a member is called in a request."""
    plain = str(member.get("locationName", name))
    if model["metadata"]["protocol"] == "ec2":
        return str(member.get("queryName", plain[0].upper() + plain[1:]))
    target = model["shapes"][member["shape"]]
    if model["metadata"]["protocol"] == "query" and target.get("flattened"):
        return str(target["member"].get("locationName", plain))
    return plain


def compile_service(name: str, models: list[Model]) -> dict[str, Any]:
    """Return what the decoder must know of one service, all versions of its API together."""
    newest = models[0]["metadata"]
    prefix = RULES["prefixes"].get(name, signing_name(models[0]).lower())
    renamed: Mapping[str, str] = RULES["actions"].get(name, {})
    operations: dict[str, str] = {}
    roles: dict[str, list[str]] = {}
    routes: dict[str, list[str]] = {}
    resources: dict[str, list[list[str]]] = {}
    for model in models:
        for operation_name, operation in model["operations"].items():
            full = f"{prefix}:{operation_name}"
            effect = effect_of(model, operation, full)
            action = renamed.get(operation_name, full)
            service, _, verb = action.partition(":")
            known = verb.lower() in KNOWN.get(service, ())
            text = LETTERS[effect] + ("" if known else "?") + ("" if action == full else action)
            operations.setdefault(operation_name, text)
            bound = bind_resources(name, operation_name, model, operation)
            if any(bound):
                resources.setdefault(operation_name, bound)
            if effect not in {"read", "list"} and (passed := role_members(model, operation, full)):
                roles.setdefault(operation_name, passed)
            if model["metadata"]["protocol"].startswith("rest-"):
                route = f"{operation['http']['method']} {operation['http']['requestUri']}"
                routes.setdefault(route, [])
                if operation_name not in routes[route]:
                    routes[route].append(operation_name)
    return {
        "prefix": prefix,
        "protocols": sorted({each for model in models for each in protocols_of(model)}),
        "target": newest.get("targetPrefix", ""),
        "operations": operations,
        "roles": roles,
        "resources": resources,
        "routes": [f"{route} {' '.join(names)}" for route, names in sorted(routes.items())],
    }


def protocols_of(model: Model) -> list[str]:
    """Return the protocols a service answers."""
    metadata = model["metadata"]
    return [str(each) for each in metadata.get("protocols", [metadata["protocol"]])]


def rule_texts(value: object, name: str) -> Iterator[str]:
    """Yield every text of a name in an endpoint rule set: `url` templates, or the `signingName`s they go with."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == name and isinstance(inner, str):
                yield inner
            else:
                yield from rule_texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from rule_texts(inner, name)


def read_rules(service: str) -> Iterator[Any]:
    """Yield the endpoint rule sets of a service."""
    for found in sorted((MODELS / service).glob("*/endpoint-rule-set-1.json*")):
        yield read_json(found.with_name("endpoint-rule-set-1.json"))


def stem_of(host: str, suffixes: list[str]) -> str | None:
    """Return the labels of a host name that stand for the service: no region, suffix, customer's label or `fips`."""
    host = re.sub(r"\{[^}]*[dD]nsSuffix\}", "amazonaws.com", host)
    host = re.sub(r"\{OperationType\}", "data", host)
    host = re.sub(r"\{[^}]*\}", "{}", host)
    suffix = next((each for each in suffixes if host.endswith(f".{each}")), None)
    if suffix is None or "/" in host:
        return None
    kept = []
    for label in host.removesuffix(f".{suffix}").split("."):
        plain = label.removesuffix("-fips")
        if plain not in _NOT_SERVICE and plain != "fips" and "{}" not in plain and not _REGION.fullmatch(plain):
            kept.append(plain)
    return ".".join(kept) or None


def host_names(name: str, model: Model) -> Iterator[str]:
    """Yield the host names, or their templates, under which botocore looks for a service."""
    prefix = model["metadata"]["endpointPrefix"]
    for start in {each.get("endpoint", {}).get("hostPrefix", "") for each in model["operations"].values()}:
        yield f"{start}{prefix}.amazonaws.com"
    for rules in read_rules(name):
        yield from (url.removeprefix("https://") for url in rule_texts(rules, "url"))
    for partition in read_json(MODELS / "endpoints.json")["partitions"]:
        for endpoint in partition["services"].get(prefix, {}).get("endpoints", {}).values():
            yield endpoint.get("hostname", "")


def compile_hosts(models: dict[str, list[Model]], suffixes: list[str]) -> dict[str, list[str]]:
    """Return which services answer under a host's stem."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in models.keys() - {"s3", "s3control"}:  # their names hold buckets and accounts: aws_hosts.py reads them
        for host in host_names(name, models[name][0]):
            stem = stem_of(host, suffixes)
            if stem is not None:
                found[stem].add(name)
            if stem == "data-kinesis":
                found["control-kinesis"].add(name)
    found["queue"].add("sqs")  # its first name, still served: AWS General Reference, SQS endpoints
    return {stem: sorted(names) for stem, names in sorted(found.items())}


def compile_table() -> bytes:
    """Return the whole file: magic, length and bytes of the packed head, then one packed text per service."""
    models = read_models()
    partitions = read_json(MODELS / "partitions.json")["partitions"]
    suffixes = sorted({each["outputs"][key] for each in partitions for key in ("dnsSuffix", "dualStackDnsSuffix")})
    suffixes.sort(key=len, reverse=True)
    signing: dict[str, set[str]] = defaultdict(set)
    targets: dict[str, set[str]] = defaultdict(set)
    blobs, places, offset = [], {}, 0
    for name, versions in models.items():
        service = compile_service(name, versions)
        for signed in {signing_name(model) for model in versions}:
            signing[signed].add(name)
        for rules in read_rules(name):
            for signed in rule_texts(rules, "signingName"):
                signing[signed].add(name)
        if service["target"]:
            targets[service["target"]].add(name)
        blob = pack(service)
        blobs.append(blob)
        places[name] = [offset, len(blob)]
        offset += len(blob)
    head = pack(
        {
            "botocore": version("botocore"),
            "cfn-lint": version("cfn-lint"),
            "places": places,
            "signing": {name: sorted(each) for name, each in sorted(signing.items())},
            "targets": {name: sorted(each) for name, each in sorted(targets.items())},
            "hosts": compile_hosts(models, suffixes),
            "suffixes": suffixes,
        }
    )
    return b"".join((MAGIC, len(head).to_bytes(4), head, *blobs))


def pack(value: object) -> bytes:
    """Return a value as packed JSON."""
    return zlib.compress(json.dumps(value, separators=(",", ":"), sort_keys=True).encode(), 9)


def unpack(table: bytes) -> list[object]:
    """Return everything a table says, however it was packed."""
    start = len(MAGIC) + 4
    size = int.from_bytes(table[len(MAGIC) : start])
    head = json.loads(zlib.decompress(table[start : start + size]))
    body = table[start + size :]
    services = {name: json.loads(zlib.decompress(body[at : at + n])) for name, (at, n) in head["places"].items()}
    return [{key: value for key, value in head.items() if key != "places"}, services]


def unused_patterns() -> list[str]:
    """Return patterns of aws_effects.toml that no operation matches: misspelt, or out of date."""
    groups = [each["patterns"] for each in RULES["effects"]]
    groups += [RULES["roles"]["not_passed"], RULES["roles"]["passed"], RULES["secrets"]["masked"]]
    groups += [RESOURCES[key].strip().split("\n") for key in ("first", "more")]
    return sorted({each for group in groups for each in group} - used)


def main() -> int:
    """Write the table, or compare it."""
    table = compile_table()
    dead = unused_patterns()
    if dead:
        print("lines that match no operation:", *dead, sep="\n", file=sys.stderr)
        return 1
    if sys.argv[1:] == ["--check"]:
        same = unpack(TABLE.read_bytes()) == unpack(table)
        print("the table is what botocore's models say" if same else "the table differs: run this without --check")
        return 0 if same else 1
    TABLE.write_bytes(table)
    print(f"{TABLE.name}: {len(table)} bytes from botocore {version('botocore')}, cfn-lint {version('cfn-lint')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
