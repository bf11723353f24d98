"""A small trail for reports: one job publishes, another fetches, a third does something else."""

from typing import Any

HEX = "ab" * 32
DIGEST = f"sha256:{HEX}"
COMMIT = "9f2c1d7e5ab04c3f8a6be21d90c4f7735e8b1a02"


class Trail:
    """Records in the trail's form, numbered."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def add(self, kind: str, **facts: Any) -> "Trail":
        number = len(self.records)
        at = f"2026-01-02T03:{number // 60:02d}:{number % 60:02d}.000000Z"
        self.records.append({"v": 1, "seq": number, "prev": "0" * 64, "at": at, "kind": kind, **facts})
        return self

    def job(self, name: str, **facts: Any) -> "Job":
        labels = {"pipeline": "web", "build_number": 7, "step": name, "commit": COMMIT, "job_id": f"job-{name}"}
        return Job(self, {**labels, **facts}, f"s-{name}")


class Job:
    """One job's records."""

    def __init__(self, trail: Trail, facts: dict[str, Any], session: str) -> None:
        self.trail = trail
        self.facts = {name: value for name, value in facts.items() if value is not None}
        self.session = session

    def opens(self) -> "Job":
        self.trail.add("session.opened", session=self.session, job=self.facts, issuer="https://ci.example")
        return self

    def closes(self, **facts: Any) -> "Job":
        self.trail.add("session.closed", session=self.session, job=self.facts, why="closed", **facts)
        return self

    def mints(self, credential: str) -> "Job":
        facts = {"connector": "aws", "credential": credential, "expires_at": "2026-01-02T04:00:00.000000Z"}
        self.trail.add("credential.minted", session=self.session, job=self.facts, **facts)
        return self

    def flows(self, flow: str, outcome: dict[str, Any] | None = None, *, effect: str = "allow", **facts: Any) -> "Job":
        given = {"method": "GET", "scheme": "https", "host": "registry.example", "port": 443, "path": f"/{flow}"}
        reason = "allowed" if effect == "allow" else "no-rule"
        rules = ["r1"] if effect == "allow" else []
        who = {"session": self.session, "job": self.facts, "revision": "rev"}
        whole = {"flow": flow, "effect": effect, "reason": reason, "rules": rules, **who, **given, **facts}
        self.trail.add("flow.decision", **whole)
        if effect == "allow":
            self.trail.add("flow.outcome", flow=flow, **{"reason": "allowed", "status": 200, **(outcome or {})})
        return self

    def publishes(self, flow: str, digest: str = HEX, name: str = "left-pad") -> "Job":
        intent = {"protocol": "npm", "class": "write", "resource": name, "method": "PUT", "host": "registry.example"}
        return self.flows(flow, {"sent_sha256": digest}, **intent)

    def fetches(self, flow: str, digest: str = HEX, name: str = "left-pad") -> "Job":
        return self.flows(flow, {"received_sha256": digest}, protocol="npm", resource=name, **{"class": "read"})


def sample() -> Trail:
    """Build publishes, deploy fetches it and publishes an image, other does neither."""
    trail = Trail()
    trail.add("event.received", event="job.started", job_id="job-build")
    build, deploy = trail.job("build").opens(), trail.job("deploy", commit="1234567" + "0" * 33, build_number=8)
    trail.job("other", commit="f" * 40, build_number=9).opens().flows("fx").closes()
    build.mints("c1").mints("c2").publishes("f1").flows("f2", effect="deny")
    build.closes(dropped=[{"credential": "c1", "fate": "revoked"}, "odd"])
    trail.add("event.received", event="job.finished", state="passed", job_id="job-build")
    deploy.opens().fetches("f3").publishes("f4", "cd" * 32, "image").closes()
    return trail
