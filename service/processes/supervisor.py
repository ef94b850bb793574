"""The parent of several workers: lets connections in, spreads them, replaces who dies.

The parent accepts and passes each connection on, in turn: sockets shared by workers leave to the
kernel who gets how many, which is uneven when few clients keep their connections open (figures in
docs/processes.md). It also knows who is alive, so that nobody waits for a worker that is not.
"""

import asyncio
import logging
import signal
import socket
from collections import deque

import uvloop

from service.processes.child import SLOW_S, Child
from service.settings import Settings

BACKLOG = 2048  # connections that wait in the kernel while no worker can take one
BURST = 64  # connections accepted before anything else is looked at
SLACK = 4  # connections by which workers may differ in turn
UNEVEN_S = 0.25  # that they must differ by more before the least busy one is preferred
REST_S = 1.0
PING_S = 5.0
PATIENCE_S = 60.0  # a worker that says nothing for so long is replaced
LONGEST_DELAY_S = 30.0  # between two tries to replace a worker that does not start
FAREWELL_S = 10.0  # on top of the documented time for leaving, before a worker is killed

log = logging.getLogger("gatecast")


class Supervisor:
    """Runs the workers of the settings until SIGTERM."""

    def __init__(self, settings: Settings, listening: socket.socket) -> None:
        self._settings = settings
        self._listening = listening
        self._children: list[Child] = []
        self._waiting: deque[socket.socket] = deque()  # accepted, and taken by no worker yet
        self._number = 0
        self._uneven_since: float | None = None
        self._failures = 0  # replacements in a row that did not start
        self._accepting = self._announced = self._leaving = self._failed = False
        self._soon = False  # it leaves when the lead is over

    def run(self) -> bool:
        """Serve; whether it came to an end in peace and not because a worker could not start."""
        uvloop.run(self._run())
        return not self._failed

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        for leave in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(leave, self._asked_to_leave, leave)
        for _ in range(self._settings.worker_count()):
            self._start_one()
        self._loop.call_later(PING_S, self._look_after_all)
        await self._ended.wait()
        for connection in self._waiting:
            connection.close()

    def _start_one(self) -> None:
        if self._leaving:
            return
        child = Child(self._settings)
        self._children.append(child)
        self._loop.add_reader(child.channel, self._heard, child)
        self._loop.add_reader(child.process.sentinel, self._gone, child)

    def _heard(self, child: Child) -> None:
        was_ready, was_leaving = child.ready, child.leaving
        if not child.read():
            self._loop.remove_reader(child.channel)
        if child.ready and not was_ready:
            self._failures = 0
            self._announce()
            if self._soon:
                child.announce()
        if child.leaving and not was_leaving:  # somebody else asked it to
            log.info("worker %s leaves and is replaced", child.process.pid)
            self._start_one()
        self._pass_on()

    def _gone(self, child: Child) -> None:
        self._loop.remove_reader(child.process.sentinel)
        self._loop.remove_reader(child.channel)
        was_ready, was_leaving = child.ready, child.leaving
        self._waiting.extend(child.bury())
        self._children.remove(child)
        if not self._leaving and not was_leaving:
            self._replace(child, was_ready)
        self._pass_on()

    def _replace(self, child: Child, was_ready: bool) -> None:
        code = child.process.exitcode
        log.error("worker %s ended with %s", child.process.pid, code)
        if not self._announced:
            log.error("it ended before the service was up, so others would too: stopping")
            self._failed = True
            self._leave()
            return
        self._failures += not was_ready
        delay_s = 0.0 if was_ready else min(2.0 ** (self._failures - 1), LONGEST_DELAY_S)
        self._loop.call_later(delay_s, self._start_one)

    def _announce(self) -> None:
        """Once all workers are ready, open the door and say where it is."""
        if self._announced or self._leaving or not all(child.ready for child in self._children):
            return
        try:
            self._listening.listen(BACKLOG)
        except OSError as error:  # somebody else was faster
            log.error("%s", error)
            self._failed = True
            self._leave()
            return
        self._announced = True
        host, port = self._listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if self._settings.tls_certificate is None else "https"
        log.info("%s workers running on %s://%s:%s", len(self._children), scheme, shown, port)

    def _pass_on(self) -> None:
        """Those accepted before go first, then the door is opened; on leaving, it is closed."""
        while self._waiting and (child := self._choose()):
            self._give(child, self._waiting.popleft())
        open_door = self._announced and not self._leaving and self._choose() is not None
        if open_door and not self._accepting:
            self._loop.add_reader(self._listening, self._accept)
        elif self._accepting and not open_door:
            self._loop.remove_reader(self._listening)
        self._accepting = open_door
        if self._leaving:
            self._end_if_done()

    def _accept(self) -> None:
        for _ in range(BURST):
            child = self._choose()
            if child is None:
                self._pass_on()
                return
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):  # none is left, or it hung up
                return
            except OSError as error:
                self._rest(error)
                return
            self._give(child, connection)

    def _rest(self, error: OSError) -> None:
        """Too many open files, most likely: whoever waits would wake us again and again."""
        log.warning("no connection can be accepted for %s s: %s", REST_S, error)
        self._loop.remove_reader(self._listening)
        self._accepting = False
        self._loop.call_later(REST_S, self._pass_on)

    def _choose(self) -> Child | None:
        """In turn; a worker that does not answer comes last.

        Turns alone would leave a new worker idle for long, and counts alone mislead: when many
        clients leave together, one worker says so a moment before the other, and the next clients
        would all be its own. So counts decide where they have differed for a while.
        """
        able = [child for child in self._children if child.takes]
        if not able:
            return None
        able = [child for child in able if child.silent_s < SLOW_S] or able
        if self._is_uneven(able):
            most = min(child.connections for child in able) + SLACK
            able = [child for child in able if child.connections <= most]
        return min(able, key=lambda child: child.given)

    def _is_uneven(self, able: list[Child]) -> bool:
        counts = [child.connections for child in able]
        if max(counts) - min(counts) <= SLACK:
            self._uneven_since = None
            return False
        now = self._loop.time()
        self._uneven_since = self._uneven_since or now
        return now - self._uneven_since > UNEVEN_S

    def _give(self, child: Child, connection: socket.socket) -> None:
        self._number += 1
        child.give(connection, self._number)

    def _look_after_all(self) -> None:
        for child in self._children:
            if child.silent_s > PATIENCE_S and not child.leaving:
                log.error("worker %s does not answer and is killed", child.process.pid)
                child.process.kill()
            child.ping()
        self._loop.call_later(PING_S, self._look_after_all)

    def _asked_to_leave(self, said: signal.Signals) -> None:
        if not self._leaving and not self._soon:
            log.info("leaving; a second signal cuts off what is in progress")
            self._leave_soon(self._settings.drain_lead_s if said == signal.SIGTERM else 0.0)
            return
        log.info("leaving now")
        self._leave()
        for child in self._children:
            child.hurry()
        self._loop.call_later(FAREWELL_S, self._kill)

    def _leave_soon(self, lead_s: float) -> None:
        """Say so to those who ask for readiness; they and all others are served meanwhile."""
        if not lead_s or not self._announced:
            self._leave()
            return
        self._soon = True
        for child in self._children:
            if child.ready:
                child.announce()
        self._loop.call_later(lead_s, self._leave)

    def _leave(self) -> None:
        """Let in who stands at the door, close it, and ask every worker to leave; once."""
        if self._leaving:
            return
        self._leaving = True
        patience_s = self._settings.shutdown_timeout_s + self._settings.drain_grace_s + FAREWELL_S
        self._loop.call_later(patience_s, self._kill)
        while self._announced:
            try:
                self._waiting.append(self._listening.accept()[0])
            except OSError:
                break
        self._pass_on()
        self._listening.close()

    def _end_if_done(self) -> None:
        if not self._waiting or not any(child.ready for child in self._children):
            for child in self._children:
                child.leave()
        if not self._children:
            self._ended.set()

    def _kill(self) -> None:
        for child in self._children:
            log.error("worker %s has not left in time and is killed", child.process.pid)
            child.process.kill()
