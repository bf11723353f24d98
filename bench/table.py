"""What was measured, beside what was wanted. Nothing fails: a number is judged by whoever reads it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. `is_met` is None where there is no target, only something to compare with."""

    what: str
    target: str
    measured: str
    is_met: bool | None = None

    @property
    def verdict(self) -> str:
        """The last column."""
        return "" if self.is_met is None else "met" if self.is_met else "NOT MET"


def render(rows: list[Row]) -> str:
    """Return the rows as a table that reads well in a terminal and in a README."""
    cells = [("what", "target", "measured", "verdict"), *((r.what, r.target, r.measured, r.verdict) for r in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
