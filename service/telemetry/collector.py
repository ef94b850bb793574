"""Whether traces can be sent as they are asked for, before the service starts."""

import importlib.util
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

PROTOCOL = "http/protobuf"

_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SAMPLERS = ("always_on", "always_off", "traceidratio")


class TracesUnavailable(RuntimeError):
    """Traces are asked for and cannot be made; the message names what is missing."""


def check_traces(environment: Mapping[str, str] = os.environ) -> None:
    """Look for the libraries, and at the variables that they would pass over in silence.

    Raises:
        TracesUnavailable: an installation or a variable must be changed.
    """
    for name in _NEEDED:
        if not _is_there(name):
            package = ".".join(name.split(".")[:2])
            raise TracesUnavailable(f"{package} is not installed; install 'gatecast[otel]'")
    for name in _PROTOCOLS:
        if (found := environment.get(name, PROTOCOL)) != PROTOCOL:
            raise TracesUnavailable(f"{name} is {found!r}, only {PROTOCOL} is spoken; unset it")
    for name in _ENDPOINTS:
        found = environment.get(name) or "http://localhost:4318"
        if urlsplit(found).scheme not in ("http", "https") or not urlsplit(found).netloc:
            raise TracesUnavailable(f"{name} is {found!r}, expected http://host:4318 or https://")
    known = [*_SAMPLERS, *(f"parentbased_{name}" for name in _SAMPLERS)]
    found = environment.get("OTEL_TRACES_SAMPLER", known[0]).strip().lower()
    if found not in known:
        names = ", ".join(known)
        raise TracesUnavailable(f"OTEL_TRACES_SAMPLER is {found!r}, expected one of {names}")

    share = environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
    if "ratio" in found and not _is_share(share):
        raise TracesUnavailable(
            f"OTEL_TRACES_SAMPLER_ARG is {share!r}, expected a share of requests, 0 to 1"
        )


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor what it lies in
        return False
