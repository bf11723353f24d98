"""What a job printed may hold anything: nothing prints it by accident."""

from proxy.model.log import JobLog, LogLine


def test_no_line_shows_in_a_repr() -> None:
    """Neither by itself nor inside a log."""
    log = JobLog(source="otlp", job={"job_id": "j-1"}, lines=(LogLine("hush"),))
    assert "hush" not in repr(log)
    assert log.missing is None
