"""Amounts of value: integers in the smallest unit, each with its unit, never a float.

Two units never meet in one sum; asking for it is a bug, so it raises.
"""

from dataclasses import dataclass


class UnitsDiffer(ValueError):
    """Two amounts of different units were about to be added or compared."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(left, right)
        self.left = left
        self.right = right


@dataclass(frozen=True, slots=True, kw_only=True, order=False)
class Points:
    """A whole number of points of one kind, for example `PT:consumption`."""

    amount: int
    unit: str

    def __add__(self, other: "Points") -> "Points":
        """The sum. Raises: UnitsDiffer."""
        return Points(amount=self.amount + self._same_unit(other), unit=self.unit)

    def __sub__(self, other: "Points") -> "Points":
        """The difference, which may be negative. Raises: UnitsDiffer."""
        return Points(amount=self.amount - self._same_unit(other), unit=self.unit)

    def covers(self, other: "Points") -> bool:
        """True when this amount is at least the other. Raises: UnitsDiffer."""
        return self.amount >= self._same_unit(other)

    def _same_unit(self, other: "Points") -> int:
        if self.unit != other.unit:
            raise UnitsDiffer(self.unit, other.unit)
        return other.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """Minor units of one ISO 4217 currency: `Money(minor=1050, currency="EUR")` is ten euros fifty."""

    minor: int
    currency: str
