"""How long a batch of one shape takes: seconds = fixed + row * B, kept current.

A line through what was measured, by least squares in which a run counts half after 30 others. The
first measurements, taken before anybody asks, keep a little weight for ever, so that the line stays
a line when all batches have the same size. A run that took far longer than expected was most likely
held up by something else, and counts as four times the expected.
"""

from dataclasses import dataclass

_KEPT = 0.977  # weight of all that is known, after one more run: 0.977**30 = 1/2
_FOREVER = 0.05  # weight that a first measurement keeps
_MANY = 1 << 30  # rows
_OUTLIER = 4.0  # times the expected


@dataclass(slots=True)
class _Sums:
    """Weighted sums over runs of B rows and t seconds."""

    one: float = 0.0
    b: float = 0.0
    t: float = 0.0
    bb: float = 0.0
    bt: float = 0.0

    def add(self, rows: int, seconds: float, weight: float) -> None:
        """One more run."""
        self.one += weight
        self.b += weight * rows
        self.t += weight * seconds
        self.bb += weight * rows * rows
        self.bt += weight * rows * seconds

    def fade(self) -> None:
        """Let everything count a little less."""
        self.one *= _KEPT
        self.b *= _KEPT
        self.t *= _KEPT
        self.bb *= _KEPT
        self.bt *= _KEPT


class Cost:
    """What batches of one shape cost; written by lanes, read by admission."""

    __slots__ = ("_first", "_first_fixed", "_first_row", "_recent", "fixed", "row")

    def __init__(self) -> None:
        self._first = _Sums()
        self._recent = _Sums()
        self.fixed = self.row = 0.0  # seconds; 0 where nothing was seen yet
        self._first_fixed = self._first_row = 0.0

    def seconds(self, rows: int) -> float:
        """Expected seconds of one batch."""
        return self.fixed + self.row * rows

    def measure(self, rows: int, seconds: float) -> None:
        """A run before anybody asks, undisturbed."""
        self._first.add(rows, seconds, _FOREVER)
        self._recent.add(rows, seconds, 1.0)
        self._fit()
        self._first_fixed, self._first_row = self.fixed, self.row

    def observe(self, rows: int, seconds: float) -> None:
        """A run for callers."""
        expected = self.fixed + self.row * rows
        if expected:
            seconds = min(seconds, _OUTLIER * expected)
        self._recent.fade()
        self._recent.add(rows, seconds, 1.0)
        self._fit()

    def within(self, seconds: float) -> int:
        """How many rows are expected to end within so many seconds; many where nothing is known."""
        if self.row <= 0:
            return _MANY if seconds > self.fixed else 0
        return max(int((seconds - self.fixed) / self.row), 0)

    def fitting(self, seconds: float) -> int:
        """How many rows end within so many seconds on an undisturbed machine.

        0 where that was not measured before anybody asked.
        """
        if self._first_row <= 0:
            return 0
        return max(int((seconds - self._first_fixed) / self._first_row), 0)

    def _fit(self) -> None:
        one, b = self._first.one + self._recent.one, self._first.b + self._recent.b
        t, bb = self._first.t + self._recent.t, self._first.bb + self._recent.bb
        spread = one * bb - b * b
        row = (one * (self._first.bt + self._recent.bt) - b * t) / spread if spread > 1e-9 else 0.0
        # Neither may be negative: the line then goes through the middle of what was seen.
        self.row = min(max(row, 0.0), t / b)
        self.fixed = max((t - self.row * b) / one, 0.0)
