"""The standard health check: of the server under the empty name, of a model under its own."""

from service.api.rpc.call import parse
from service.api.rpc.caller import Caller, Context
from service.api.rpc.departure import Departure
from service.api.rpc.gate import Gate
from service.api.rpc.proto.health_pb2 import HealthCheckRequest, HealthCheckResponse
from service.errors import NotFound, Unavailable
from service.repository.live import Repository

Response = HealthCheckResponse
SERVICE = "inference.GRPCInferenceService"
_SERVER = ("", SERVICE)


class Health:
    """`grpc.health.v1.Health` over a repository."""

    def __init__(self, repository: Repository, departure: Departure, gate: Gate) -> None:
        self.repository = repository
        self.departure = departure
        self.gate = gate

    async def check(self, request: HealthCheckRequest, caller: Caller) -> HealthCheckResponse:
        """The health of a name.

        Raises:
            NotFound: no model has this name.
            Unauthenticated, Forbidden: a model is asked about without a key for it.
        """
        self._admit(request.service, caller.context)
        status = self._status(request.service)
        if status == Response.SERVICE_UNKNOWN:
            raise NotFound(f"no model or service has the name {request.service!r}", "service")
        return Response(status=status)

    async def watch(self, caller: Caller) -> None:
        """Say the health of a name, and again when it changes: that is, when the service leaves.

        Raises:
            Unavailable: the service has left.
            Unauthenticated, Forbidden: as `check`.
        """
        context = caller.context
        name = parse(HealthCheckRequest, await context.read()).service
        self._admit(name, context)
        said = self._status(name)
        await context.write(Response(status=said).SerializeToString())
        await self.departure.announced()
        if self._status(name) != said:
            await context.write(Response(status=self._status(name)).SerializeToString())
        await self.departure.closing.wait()
        raise Unavailable("the service has left")

    def _admit(self, name: str, context: Context) -> None:
        """Everyone may know how the server is, but not which models there are."""
        if name not in _SERVER:
            self.gate.admit(context, "infer")

    def _status(self, name: str) -> HealthCheckResponse.ServingStatus:
        if name in _SERVER:
            healthy = bool(self.repository.live)
        elif name in self.repository.live or name in self.repository.refused:
            healthy = name in self.repository.live
        else:
            return Response.SERVICE_UNKNOWN
        serving = healthy and self.departure.drain.ready
        return Response.SERVING if serving else Response.NOT_SERVING
