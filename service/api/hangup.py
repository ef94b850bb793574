"""The news that a caller hung up, from its connection to whoever works for it."""

from collections.abc import Callable

from starlette.types import Scope

HANGUP = "gatecast.hangup"  # of an ASGI scope's state


class Hangup:
    """Whether the caller has gone, and what is done for it until then."""

    def __init__(self) -> None:
        self.happened = False
        self.stop: Callable[[], object] | None = None  # called when it happens

    def happen(self) -> None:
        """The caller has gone."""
        self.happened = True
        if self.stop is not None:
            self.stop()


def hangup_of(scope: Scope) -> Hangup:
    """That of the connection; behind another server than ours, one that never happens."""
    found: Hangup | None = scope.get("state", {}).get(HANGUP)
    return found or Hangup()
