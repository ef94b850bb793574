"""What a message asks for beside its tensors: how long it may take, and what nobody here offers."""

from collections.abc import Mapping

from service.api.openinference.outputs import NO_CLASSES
from service.api.openinference.parameters import unsupported
from service.api.responses import short
from service.api.rpc.proto.inference_pb2 import InferParameter
from service.errors import Malformed

Parameters = Mapping[str, InferParameter]

_DAY_S = 86_400.0
_WANTS_LAST = "triton_enable_empty_final_response"  # said by Triton's clients, also as false


def timeout_s(parameters: Parameters, remaining_s: float | None) -> float | None:
    """Seconds from now: the nearer of the call's deadline and of `timeout`, in microseconds.

    Every parameter of the request is looked at on the way.

    Raises:
        Malformed: `timeout` is not a whole number, or a parameter is not supported.
    """
    longest = _DAY_S if remaining_s is None else min(remaining_s, _DAY_S)
    for name, given in parameters.items():
        if name != _WANTS_LAST and _value(given) and (remedy := unsupported(name)):
            raise Malformed(f"parameter {short(name)!r} is not supported: {remedy}", "parameters")
    microseconds = _value(parameters["timeout"]) if "timeout" in parameters else 0
    if type(microseconds) is not int or microseconds < 0:
        came = short(repr(microseconds))
        message = f"parameter 'timeout' is {came}, expected whole microseconds"
        raise Malformed(message, "parameters")
    if microseconds == 0:  # the protocol's word for none
        return None if remaining_s is None else longest
    return min(microseconds / 1e6, longest)


def wants_last(parameters: Parameters) -> bool:
    """Whether the last answer of a stream to a request is to say that it is; here the only one."""
    return _WANTS_LAST in parameters and _value(parameters[_WANTS_LAST]) is True


def agree_options(parameters: Parameters, label: str) -> None:
    """Check the options of one input or output.

    Raises:
        Malformed: it asks for something that this service does not do.
    """
    if "shared_memory_region" in parameters:
        raise Malformed(f"{label}: shared memory is not supported; send the data in the message")
    if "classification" in parameters:
        raise Malformed(f"{label}: {NO_CLASSES}")


def _value(given: InferParameter) -> bool | int | float | str | None:
    kind = given.WhichOneof("parameter_choice")
    return None if kind is None else getattr(given, kind)
