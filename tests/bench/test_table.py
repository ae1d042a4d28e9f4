"""How a benchmark table looks."""

from tests.bench.table import Row, Table


def test_columns_are_aligned_and_the_bar_stands_last() -> None:
    table = Table(
        title="Readers",
        headers=("reader", "ms"),
        rows=(Row(cells=("one", "1.5"), bar="<= 2"), Row(cells=("another", "12.5"))),
        notes=("One machine.",),
    )
    assert str(table).splitlines() == [
        "Readers",
        "",
        "reader     ms  bar",
        "-------  ----  ----",
        "one       1.5  <= 2",
        "another  12.5",
        "One machine.",
    ]


def test_a_bar_that_was_missed_is_said() -> None:
    rows = (Row(cells=("one", "3.5"), bar="<= 2", missed=True), Row(cells=("two", "1.5"), bar="<= 2"))
    assert str(Table(title="Readers", headers=("reader", "ms"), rows=rows)).splitlines()[-2:] == [
        "one     3.5  <= 2  MISSED",
        "two     1.5  <= 2",
    ]


def test_a_table_without_rows_says_why() -> None:
    assert (
        str(Table(title="Readers", headers=("reader",), rows=(), notes=("Not measured.",))) == "Readers\nNot measured."
    )
