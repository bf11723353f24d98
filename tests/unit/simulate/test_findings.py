from proxy.simulate.findings import Finding, Level, worst


def test_the_worst_level_counts() -> None:
    def found(*levels: Level) -> list[Finding]:
        return [Finding(id="x", level=level, message="") for level in levels]

    assert worst([]) is None
    assert worst(found(Level.NOTE)) is Level.NOTE
    assert worst(found(Level.NOTE, Level.ERROR, Level.WARNING)) is Level.ERROR
