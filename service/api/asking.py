"""A question that the engine answers without a task: who asks it is called back with a reply."""

from collections.abc import Callable

from service.api.asked import Asked
from service.api.dialect import Express, Route
from service.api.exchange import Exchange
from service.api.front import abandon
from service.api.responses import Reply, answer_error, answer_unexpected
from service.errors import ServiceError
from service.inference import Ending, Underway


def ask(
    express: Express,
    body: bytes,
    route: Route,
    exchange: Exchange,
    deliver: Callable[[Reply | None], None],
) -> None:
    """Ask, and deliver what comes of it, now or later; nothing to a caller who has gone.

    None is delivered, at once, where the handler is to look at the body.
    """
    reply = None
    try:
        asked = express(exchange, body)
        if asked is not None:
            _Asking(asked, route, exchange, deliver)
            return
    except ServiceError as error:
        reply = answer_error(error, route.errors, exchange.marks)
    except Exception as error:
        reply = answer_unexpected(error, route.errors, exchange.marks)
    deliver(reply)


class _Asking:
    """One question until its answer."""

    __slots__ = ("_asked", "_deliver", "_exchange", "_route", "_underway")

    def __init__(
        self, asked: Asked, route: Route, exchange: Exchange, deliver: Callable[[Reply], None]
    ) -> None:
        self._asked, self._route, self._exchange, self._deliver = asked, route, exchange, deliver
        of = (exchange.house.inference, asked.model, asked.parts, asked.timeout_s)
        self._underway = Underway(*of, self._told)
        exchange.hangup.stop = self._stop

    def _stop(self) -> None:
        """The caller has gone."""
        self._underway.withdraw()
        abandon(self._route, self._exchange)

    def _told(self, ending: Ending) -> None:
        self._exchange.hangup.stop = None
        self._deliver(self._reply(ending))

    def _reply(self, ending: Ending) -> Reply:
        asked, exchange, errors = self._asked, self._exchange, self._route.errors
        if isinstance(ending, ServiceError):
            return answer_error(ending, errors, exchange.marks)
        if isinstance(ending, Exception):
            return answer_unexpected(ending, errors, exchange.marks)
        answer, timing = ending
        try:
            body, metadata = asked.write(answer), asked.model.metadata
            headers = exchange.answered_by(metadata.name, metadata.version, timing)
            return Reply(body, headers=headers)
        except Exception as error:
            return answer_unexpected(error, errors, exchange.marks)
