"""The error tree: what can go wrong with a request, its status and its stable type.

    ServiceError                500  internal
      Malformed                 400  malformed        not the documented request
      Unauthenticated           401  unauthenticated  no key, or none that is good
      Forbidden                 403  forbidden        a key that is not for this
      NotFound                  404  not_found        no such model, version or route
      WrongMethod               405  wrong_method     this route, but another method
      TooSlow                   408  too_slow         the request did not come in the time for it
      Conflict                  409  conflict         what models are and serve does not allow it
      TooLarge                  413  too_large        more bytes, series or steps than allowed
      UnsupportedMedia          415  unsupported_media  a content type or encoding not spoken here
      Unservable                422  unservable       understood, but this model cannot answer it
      Overloaded                429  overloaded       the queue is full; try again later
      RateLimited               429  rate_limited     this key has asked too often; others may
      InferenceFailed           500  inference_failed the runtime could not run the rows
      Unavailable               503  unavailable      not ready, or shutting down
      DeadlineExceeded          504  deadline         no answer within the time the caller gave

Each dialect has one function that turns them into a response; routes contain no try.
"""

from collections.abc import Sequence


class ServiceError(Exception):
    """An error that a client sees: a status, a stable type, a message and perhaps a field."""

    status = 500
    error_type = "internal"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class Malformed(ServiceError):
    """Not the documented request: not JSON, a wrong type, a missing or unknown field."""

    status = 400
    error_type = "malformed"


class Unauthenticated(ServiceError):
    """No key where one is needed, or none that is good."""

    status = 401
    error_type = "unauthenticated"


class Forbidden(ServiceError):
    """A good key, but not for this; the message names the scope that it has not."""

    status = 403
    error_type = "forbidden"


class NotFound(ServiceError):
    """No such model, version or route."""

    status = 404
    error_type = "not_found"


class WrongMethod(ServiceError):
    """A route that exists, asked with a method that it has not."""

    status = 405
    error_type = "wrong_method"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = allowed


class TooSlow(ServiceError):
    """The head or the body of the request did not come in the time that it has."""

    status = 408
    error_type = "too_slow"


class Conflict(ServiceError):
    """A change of models or aliases that their state does not allow."""

    status = 409
    error_type = "conflict"


class TooLarge(ServiceError):
    """More bytes, series or steps than one request may carry."""

    status = 413
    error_type = "too_large"


class UnsupportedMedia(ServiceError):
    """A content type or a content encoding that is not spoken here."""

    status = 415
    error_type = "unsupported_media"


class Unservable(ServiceError):
    """A well-formed request that this model cannot answer."""

    status = 422
    error_type = "unservable"


class Overloaded(ServiceError):
    """No room in the queue or in time. `retry_after` is an estimate in seconds, at least 1."""

    status = 429
    error_type = "overloaded"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(ServiceError):
    """One key has asked too often. `retry_after` is in seconds, at least 1."""

    status = 429
    error_type = "rate_limited"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InferenceFailed(ServiceError):
    """The runtime could not run the rows, or answered with something that is not a forecast."""

    error_type = "inference_failed"


class Unavailable(ServiceError):
    """Not ready, or shutting down: another instance may answer.

    `retry_after` is in seconds, where it is known.
    """

    status = 503
    error_type = "unavailable"

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(ServiceError):
    """No answer within the time that the caller, or the service's default, gave."""

    status = 504
    error_type = "deadline"
