"""Prints benchmark results the same way everywhere: a title, columns, and beside each row what it must reach."""

from dataclasses import dataclass

MISSED = "MISSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured thing. `bar` is what it must reach, empty where it is only there to compare with; `missed` when it
    did not."""

    cells: tuple[str, ...]
    bar: str = ""
    missed: bool = False

    @property
    def verdict(self) -> str:
        """The bar, and whether it was missed."""
        return f"{self.bar}  {MISSED}" if self.missed else self.bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One benchmark's results; `notes` say what was missing or on what they were taken."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Text with aligned columns: the first to the left, figures to the right, the bar last."""
        if not self.rows:
            return "\n".join([self.title, *self.notes])
        lines = [(*self.headers, "bar"), *((*row.cells, row.verdict) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        head, *body = (_aligned(line, widths) for line in lines)
        rule = "  ".join("-" * width for width in widths)
        return "\n".join([self.title, "", head, rule, *body, *self.notes])


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    """One line of the table."""
    first, *figures, bar = zip(cells, widths, strict=True)
    middle = [cell.rjust(width) for cell, width in figures]
    return "  ".join([first[0].ljust(first[1]), *middle, bar[0].ljust(bar[1])]).rstrip()
