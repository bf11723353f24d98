"""Includes, extends and references: one document of several, as GitLab makes it."""

from typing import Any

from proxy.pipelines.gitlab_merging import MAX_REFERENCES, Merged, Resolver, deep_merge, include_all


def test_mappings_merge_and_the_rest_is_replaced() -> None:
    assert deep_merge({"a": {"x": 1, "y": [1]}, "b": 1}, {"a": {"y": [2]}, "b": {"z": 1}}) == {
        "a": {"x": 1, "y": [2]},
        "b": {"z": 1},
    }


def included(document: dict[str, Any], **others: object) -> tuple[Merged, list[str]]:
    faults: list[str] = []
    known = {f"ci/{name}.yml": found for name, found in others.items()}
    merged = include_all(
        document, "main.yml", known, lambda file, path, message, _hint: faults.append(f"{file} {path} {message}")
    )
    return merged, faults


def test_what_includes_lies_above_what_is_included() -> None:
    """And what is included later above what is included first; nothing twice."""
    merged, faults = included(
        {"include": ["/ci/one.yml", {"local": "ci/two.yml"}], "a": {"x": 0}},
        one={"include": "ci/two.yml", "a": {"x": 1, "y": 1}},
        two={"include": {"local": "ci/one.yml"}, "a": {"y": 2, "z": 2}, "b": {}},
    )
    assert (merged.values, faults) == ({"a": {"x": 0, "y": 1, "z": 2}, "b": {}}, [])
    assert merged.homes == {"a": "main.yml", "b": "ci/two.yml"}
    assert merged.used == {"ci/one.yml", "ci/two.yml"}


def test_what_is_elsewhere_is_named() -> None:
    merged, faults = included(
        {
            "include": [
                "https://a.test/x.yml",
                {"template": "Auto.yml"},
                {"component": "c@1", "inputs": {"x": 1}},
                {"project": "a/b", "file": "/x.yml"},
            ]
        }
    )
    assert faults == []
    assert merged.unseen == {
        "https://a.test/x.yml",
        "template: Auto.yml",
        "component: c@1",
        "project: a/b, file: /x.yml",
    }


def test_files_that_are_missing_or_no_mappings_are_told() -> None:
    assert included({"include": "ci/x.yml"})[1] == ["main.yml ('include',) `ci/x.yml` is included and was not given"]
    assert included({"include": ["ci/x.yml"]})[1] == [
        "main.yml ('include', 0) `ci/x.yml` is included and was not given"
    ]
    assert included({"include": "ci/x.yml"}, x=[1])[1] == ["ci/x.yml () a CI file is a mapping"]


def resolved(document: dict[str, Any], name: str) -> tuple[Any, list[str]]:
    faults: list[str] = []
    merged = Merged(document, dict.fromkeys(document, "main.yml"))
    resolver = Resolver(merged, lambda file, path, message, _hint: faults.append(f"{file} {path} {message}"))
    found = resolver.job(name) if isinstance(document[name], dict) else resolver.value(name)
    return found, faults


def test_jobs_extend_jobs() -> None:
    document = {
        ".a": {"script": ["a"], "variables": {"A": 1, "B": 1}},
        ".b": {"extends": ".a", "variables": {"B": 2}},
        "job": {"extends": [".a", ".b"], "variables": {"C": 3}},
        "odd": {"extends": "text"},
        "text": "x",
    }
    assert resolved(document, "job") == ({"script": ["a"], "variables": {"A": 1, "B": 2, "C": 3}}, [])
    assert resolved(document, "odd") == ({}, [])


def test_jobs_refer_to_parts() -> None:
    document = {
        "texts": ["x", {"!reference": [".a", "script"]}],
        ".a": {"script": ["a", "b"], "env": {"K": "v"}, "deep": {"!reference": [".b", "env"]}},
        ".b": {"extends": ".a"},
        "job": {
            "script": [{"!reference": [".b", "script"]}, "c"],
            "variables": {"!reference": [".a", "env"]},
            "one": [{"!reference": [".a", "env", "K"]}],
            "deep": {"!reference": [".a", "deep"]},
            "top": {"!reference": ["texts"]},
        },
    }
    assert resolved(document, "job") == (
        {
            "script": ["a", "b", "c"],
            "variables": {"K": "v"},
            "one": ["v"],
            "deep": {"K": "v"},
            "top": ["x", "a", "b"],
        },
        [],
    )
    assert resolved(document, "texts") == (["x", "a", "b"], [])


def test_what_goes_round_is_told() -> None:
    assert resolved({"a": {"extends": "b"}, "b": {"extends": "a"}}, "a")[1] == [
        "main.yml ('a', 'extends') `a` extends itself"
    ]
    deep: dict[str, Any] = {f"a{n}": {"extends": f"a{n + 1}"} for n in range(14)}
    deep["a14"] = {}
    assert resolved(deep, "a0")[1] == ["main.yml ('a0', 'extends') jobs extend one another more than 11 deep"]
    assert resolved({"build": {}, "a": {"extends": "biuld"}}, "a")[1] == [
        "main.yml ('a', 'extends') there is no `biuld` to extend"
    ]
    loop = {"a": {"script": [{"!reference": ["a", "script"]}]}}
    assert resolved(loop, "a")[1] == ["main.yml ('a', 'script') references that go round, or make it too large"]
    assert MAX_REFERENCES == 10
    for path in (["b"], ["a", "x"], "a.x", ["a", "script", "x"], [["a"]]):
        found, faults = resolved({"a": {"script": ["x"], "y": {"!reference": path}}}, "a")
        assert (found["y"], len(faults)) == (None, 1)
    wide = {"!reference": ["b", "x"]}
    bomb = {"b": {"x": [{"!reference": ["c", "x"]}] * 50}, "c": {"x": [1] * 5000}, "a": {"y": [wide] * 50}}
    assert len(resolved(bomb, "a")[1]) == 1
