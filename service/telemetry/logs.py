"""The log on standard error: as text for people, or a JSON object on each line for machines.

Everything goes through Python's logging, uvicorn's lines too; python-json-logger writes objects. It
was preferred to structlog because the libraries below us speak to logging and to nothing else.
"""

import logging
import os
import sys
from typing import Any

import click
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.orjson import OrjsonFormatter

from service.settings import Settings

log = logging.getLogger("gatecast")

_FIELDS = {"levelname": "level", "name": "logger", "exc_info": "exception"}
_ONLY_FOR_TERMINALS = "color_message"  # a second text that uvicorn gives to each record


def configure(settings: Settings, *, worker: bool) -> None:
    """Let this process log as the settings say; again, if it did so before.

    Args:
        worker: it answers requests, so its lines name it; those of the parent name no worker.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings, worker=worker))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(settings.log_format == "json")


def formatter(settings: Settings, *, worker: bool) -> logging.Formatter:
    """How a record becomes a line."""
    if settings.log_format == "text":
        return _Text("%(levelname)s %(message)s")
    shape: logging.Formatter = OrjsonFormatter(
        ["levelname", "name", "message"],
        rename_fields=_FIELDS,
        static_fields={"worker": os.getpid()} if worker else {},
        reserved_attrs=[*RESERVED_ATTRS, _ONLY_FOR_TERMINALS],
        timestamp="time",  # RFC 3339, UTC
    )
    return shape


def say(settings: Settings, message: str, /, **fields: Any) -> None:
    """Tell who starts the service something, whatever the log's level; fields are JSON's only."""
    if settings.log_format == "json":
        record = log.makeRecord(log.name, logging.INFO, "", 0, message, (), None, extra=fields)
        logging.getLogger().handle(record)
    else:
        click.echo(message, err=True)


class _Text(logging.Formatter):
    """The level and the message, and the request's id where it is about one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        text = super().formatMessage(record)
        request_id = getattr(record, "request_id", None)
        return text if request_id is None else f"{text} (request {request_id})"
