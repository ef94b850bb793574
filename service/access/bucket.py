"""How many requests a key may make: a bucket of tokens that fills at a steady rate."""


class Bucket:
    """Full at first; `burst` requests at once, then `rate` in a second. Seconds are the caller's.

    It belongs to one worker, which is all it costs: a subtraction. A key whose connections are
    spread over n workers has n buckets, so it may make up to n times as many requests.
    """

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> float:
        """Take a token; seconds until there is one where there is none now, else 0."""
        filled = self._tokens + (now - self._at) * self.rate
        self._tokens = min(filled, float(self.burst))
        self._at = now
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self.rate
        self._tokens -= 1.0
        return 0.0
