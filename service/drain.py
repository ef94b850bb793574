"""Leaving without losing a request: what happens between SIGTERM and the end of the process.

First it is said to whoever asks whether the service is ready, while everything else goes on as long
as `drain_lead_s` says: a balancer needs that time to send its callers elsewhere. Then uvicorn stops
listening, lets requests in progress finish and closes idle connections at once. A request that a
client has just written to such a connection would be lost, so ours stay open for a grace period:
what arrives is answered, and told to close. Whoever has no answer when the time is over is told so;
uvicorn does that for tasks, and `held` are those without one.
"""

from typing import Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Held(Protocol):
    """A request that waits for the rest of its body."""

    def cut_off(self) -> None:
        """Tell the caller that the service leaves before the answer."""


class Drain:
    """Whether a worker is leaving; shared by its connections and its application."""

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self.announced = False  # to those who ask for readiness, and to nobody else
        self.begun = False  # no new connections, and open ones are told to close
        self.held: set[Held] = set()

    @property
    def ready(self) -> bool:
        """Whether others may still be sent here."""
        return not (self.announced or self.begun)

    def cut_off(self) -> None:
        """The time is over."""
        for one in list(self.held):
            one.cut_off()


class DrainingProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a grace period for idle connections."""

    def shutdown(self) -> None:
        """Called by uvicorn once for every open connection when the service is to stop."""
        drain: Drain | None = self.app_state.get("drain")
        if drain is None:
            super().shutdown()
            return
        drain.begun = True
        self._unset_keepalive_if_required()
        self.loop.call_later(drain.grace_s, self._close_if_idle)

    def _close_if_idle(self) -> None:
        super().shutdown()
