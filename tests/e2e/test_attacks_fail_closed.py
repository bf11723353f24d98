"""When the trail cannot be written nothing with a credential leaves; and after a crash all ends.

Each test has a sidecar of its own and breaks the directory under its trail, or the process itself, for real.
"""

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.control.client import ControlError
from tests.fakes.attacks import SECRET, AttackStage
from tests.fakes.raw import RawClient, Reply
from tests.fakes.sidecar import World, wait_until
from tests.fakes.tools import skip_loudly

MakeStage = Callable[..., AttackStage]
SMALL = 4096


@pytest.fixture
def make_stage(make_world: Callable[..., World]) -> MakeStage:
    """Makes a stage whose trail begins a new file every few records."""

    def make(directory: Path | None = None) -> AttackStage:
        made = AttackStage(world=make_world(start=False))
        place = {} if directory is None else {"directory": str(directory)}
        made.world.settings["audit"] = {"segment_bytes": SMALL, **place}
        made.start()
        return made

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(place)):
        skip_loudly("a tmpfs cannot be mounted here: a trail that cannot be written is not proved")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=False)


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def verify(stage: AttackStage) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "proxy", "audit", "verify", str(stage.world.sidecar.audit)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def hello(stage: AttackStage, client: RawClient) -> Reply:
    """Ask for something allowed that gets the credential."""
    client.send(stage.request(SECRET, "GET", "/api/hello"))
    return client.reply()


def see_it_closed(stage: AttackStage, client: RawClient) -> None:
    """Ask until it is refused, then see that everything is and nothing outside is touched."""
    answer = wait_until(lambda: found if (found := hello(stage, client)).reason is not None else None)
    assert (answer.status, answer.reason) == (503, "trail-unavailable")
    assert "trail-unavailable" in stage.world.sidecar.api.readiness()
    with stage.untouched():
        for _ in range(3):
            assert hello(stage, client).reason == "trail-unavailable"
        with stage.client() as other:
            assert other.connect(f"{SECRET}:443").reason == "trail-unavailable"
        with pytest.raises(ControlError) as caught:
            stage.open()
        assert caught.value.slug == "trail-unavailable"
    assert stage.leaks(stage.session.secret) == []


def see_it_open(stage: AttackStage, client: RawClient) -> None:
    """See that the same connection, and new ones, are served again without a restart."""
    wait_until(lambda: hello(stage, client).status == 200)
    wait_until(lambda: stage.world.sidecar.api.readiness() == ())
    stage.check_serving()


def see_it_whole(stage: AttackStage) -> None:
    """See that the trail tells of the trouble and is whole after all."""
    assert stage.world.records("trail.repaired")
    assert stage.world.sidecar.stop() == 0
    done = verify(stage)
    assert (done.returncode, done.stdout.partition(":")[0]) == (0, "intact")


def test_a_full_disk_closes_an_open_tunnel(make_stage: MakeStage, small_disk: Path) -> None:
    """Full: the tunnel that was served a moment ago is not; with room again it is (E09)."""
    stage = make_stage(small_disk / "audit")
    with stage.client() as client:
        client.tunnel(SECRET)
        assert hello(stage, client).status == 200
        ballast = small_disk / "ballast"
        with kept_full(ballast):
            wait_until(lambda: hello(stage, client).reason)
            time.sleep(0.2)  # the reserve is spent, and filled
            see_it_closed(stage, client)
        ballast.unlink()
        see_it_open(stage, client)
    see_it_whole(stage)


@contextlib.contextmanager
def kept_full(ballast: Path) -> Iterator[None]:
    """Fill a disk for as long as the block runs, with what a failed write or the reserve gives back too."""
    ended = threading.Event()

    def fill() -> None:
        with ballast.open("ab", buffering=0) as file:
            while not ended.wait(0.005):
                for size in (65_536, 4096, 1):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(b"\0" * size)

    filling = threading.Thread(target=fill)
    filling.start()
    try:
        yield
    finally:
        ended.set()
        filling.join()


def test_a_directory_that_turns_read_only(make_stage: MakeStage, small_disk: Path) -> None:
    """No new file can be begun: closed; writable again: open (E09)."""
    stage = make_stage(small_disk / "audit")
    with stage.client() as client:
        client.tunnel(SECRET)
        assert hello(stage, client).status == 200
        assert mount("--bind", str(small_disk), str(small_disk))
        try:
            assert mount("-o", "remount,bind,ro", str(small_disk))
            see_it_closed(stage, client)
        finally:
            subprocess.run(["umount", "--lazy", str(small_disk)], check=True)
        see_it_open(stage, client)
    see_it_whole(stage)


def test_a_directory_that_is_gone(make_stage: MakeStage) -> None:
    """When the next file cannot be begun because its folder is gone: closed, and found out (E10)."""
    stage = make_stage()
    audit = stage.world.sidecar.audit
    with stage.client() as client:
        client.tunnel(SECRET)
        assert hello(stage, client).status == 200
        audit.rename(audit.with_name("elsewhere"))
        see_it_closed(stage, client)
        audit.mkdir(mode=0o700)
        wait_until(lambda: hello(stage, client).status == 200)
    assert stage.world.sidecar.stop() == 0
    done = verify(stage)
    assert done.returncode == 1
    assert "records before it are missing" in done.stdout


def test_a_trail_file_that_is_deleted_is_missed(make_stage: MakeStage) -> None:
    """Deleting what is being written hides nothing: the chain says how many records are missing (E10)."""
    stage = make_stage()
    stage.check_serving()
    with stage.client() as client:
        client.tunnel(SECRET)
        delete_newest(stage)
        wait_until(lambda: hello(stage, client).status == 200)
    assert newest(stage)
    assert stage.world.sidecar.stop() == 0
    done = verify(stage)
    assert done.returncode == 1
    # Where a slow disk had made the writer begin a second file, it is that one that is gone: a gap, no missing start.
    assert re.search("records before it are missing|begins at record [0-9]+, but .* ends before record", done.stdout)


def test_nothing_is_allowed_on_a_deleted_trail_file(make_stage: MakeStage) -> None:
    """A record in a file without a name is no record: no request is allowed on its word (E09)."""
    stage = make_stage()
    with stage.client() as client:
        client.tunnel(SECRET)
        assert hello(stage, client).status == 200
        delete_newest(stage)
        answer = hello(stage, client)
        assert answer.reason == "trail-unavailable"
        wait_until(lambda: hello(stage, client).status == 200)
    assert newest(stage)


def newest(stage: AttackStage) -> list[Path]:
    return sorted(stage.world.sidecar.audit.glob("*.jsonl"))[-1:]


def delete_newest(stage: AttackStage) -> None:
    newest(stage)[0].unlink()


def test_what_a_crash_left_open_is_closed(make_stage: MakeStage) -> None:
    """kill -9 in the midst of flows with a credential: the next start ends each as interrupted, and serves (E08)."""
    stage = make_stage()
    origin = stage.world.origin
    clients = [stage.client() for _ in range(3)]
    for client in clients:
        client.tunnel(SECRET)
        origin.waiting.clear()
        client.send(stage.request(SECRET, "GET", "/slow"))
        assert origin.waiting.wait(10)
    old = stage.session
    stage.world.sidecar.kill()
    origin.gate.set()
    for client in clients:
        with client:
            client.rest()
    opened = [flow.flow_id for flow in stage.world.flows(path="/slow")]
    assert len(opened) == 3
    stage.world.sidecar.start()
    with stage.untouched(), stage.client(old) as client:
        assert client.connect(f"{SECRET}:443").reason == "session-unknown"
    ended = [each for each in stage.world.records("flow.outcome") if each["flow"] in opened]
    assert sorted(each["flow"] for each in ended) == sorted(opened)
    assert {each["reason"] for each in ended} == {"interrupted"}
    stage.session = stage.open()
    stage.check_serving()
    assert stage.leaks(old.secret, stage.session.secret) == []
    assert stage.world.sidecar.stop() == 0
    assert verify(stage).returncode == 0


def test_crash_after_crash_leaves_every_flow_ended(make_stage: MakeStage) -> None:
    """Killed again and again under load: what reached the service was on record first and has one end (E08)."""
    stage = make_stage()
    for number in range(3):
        askers = [threading.Thread(target=ask_until_cut, args=(stage, number)) for _ in range(4)]
        for asker in askers:
            asker.start()
        wait_until(lambda number=number: len(targets(stage, number)) > 10)  # type: ignore[misc]
        stage.world.sidecar.kill()
        for asker in askers:
            asker.join(20)
        stage.world.sidecar.start()
        stage.session = stage.open()
    assert stage.world.sidecar.stop() == 0
    assert verify(stage).returncode == 0
    records = stage.world.sidecar.records()
    allowed = [each for each in records if each["kind"] == "flow.decision" and each["effect"] == "allow"]
    ended = [each["flow"] for each in records if each["kind"] == "flow.outcome"]
    assert sorted(ended) == sorted(each["flow"] for each in allowed)
    decided = [each["path"] for each in allowed]
    seen = [seen.target for seen in stage.world.origin.seen]
    assert [target for target in set(seen) if seen.count(target) > decided.count(target)] == []


def targets(stage: AttackStage, number: int) -> list[str]:
    return [seen.target for seen in stage.world.origin.seen if seen.target == f"/api/{number}"]


def ask_until_cut(stage: AttackStage, number: int) -> None:
    with contextlib.suppress(OSError, EOFError, AssertionError), stage.client() as client:
        client.tunnel(SECRET)
        while True:
            client.send(stage.request(SECRET, "GET", f"/api/{number}"))
            client.reply()
