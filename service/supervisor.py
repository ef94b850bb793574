"""The parent of several workers: starts them, replaces a dead one, lets nobody in on leaving."""

from uvicorn.supervisors import Multiprocess


class Supervisor(Multiprocess):
    """uvicorn's supervisor, except that the address is free as soon as the workers leave it.

    uvicorn's own keeps its listening socket until the last worker has drained: a client who comes
    meanwhile would be let in by the kernel and wait for an answer that nobody is going to give.
    """

    def terminate_all(self) -> None:
        """Ask every worker to leave, and stop listening."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()
