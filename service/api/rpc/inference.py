"""`inference.GRPCInferenceService`: what each of its methods answers."""

from service.api.openinference.lifecycle import load, unload
from service.api.rpc import describe
from service.api.rpc.caller import Caller
from service.api.rpc.departure import Departure
from service.api.rpc.infer import read, write
from service.api.rpc.models import find, is_ready
from service.api.rpc.proto.inference_pb2 import (
    ModelConfigRequest,
    ModelConfigResponse,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ModelStatisticsRequest,
    ModelStatisticsResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryModelLoadRequest,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from service.errors import Unavailable
from service.inference import Inference, TensorAnswer
from service.repository.keeper import Keeper


class InferenceService:
    """The methods of one message and one answer."""

    def __init__(
        self, inference: Inference, keeper: Keeper, most_rows: int, departure: Departure
    ) -> None:
        self.inference = inference
        self.keeper = keeper
        self.repository = inference.repository
        self.most_rows = most_rows
        self.departure = departure

    async def server_live(self, _: ServerLiveRequest, __: Caller) -> ServerLiveResponse:
        """Whether the process answers."""
        return ServerLiveResponse(live=True)

    async def server_ready(self, _: ServerReadyRequest, __: Caller) -> ServerReadyResponse:
        """Whether models are served; no longer from SIGTERM on."""
        return ServerReadyResponse(ready=bool(self.repository.live) and self._stays)

    async def model_ready(self, request: ModelReadyRequest, _: Caller) -> ModelReadyResponse:
        """Whether this model is served; an unknown one is not."""
        ready = is_ready(self.repository, request.name, request.version)
        return ModelReadyResponse(ready=ready and self._stays)

    async def server_metadata(self, _: ServerMetadataRequest, __: Caller) -> ServerMetadataResponse:
        """Name, version and extensions of the server."""
        return describe.server()

    async def model_metadata(
        self, request: ModelMetadataRequest, _: Caller
    ) -> ModelMetadataResponse:
        """The tensors of a model."""
        return describe.model(find(self.repository, request.name, request.version).metadata)

    async def model_config(self, request: ModelConfigRequest, _: Caller) -> ModelConfigResponse:
        """The configuration of a model, in Triton's form."""
        found = find(self.repository, request.name, request.version)
        return ModelConfigResponse(config=describe.config(found, self.most_rows))

    async def model_statistics(
        self, request: ModelStatisticsRequest, _: Caller
    ) -> ModelStatisticsResponse:
        """How many requests a model, or without a name all of them, answered, and how fast."""
        if request.name:
            found = [find(self.repository, request.name, request.version)]
        else:
            found = [model for _, model in sorted(self.repository.live.items())]
        return describe.statistics([model.metadata for model in found])

    async def repository_index(
        self, request: RepositoryIndexRequest, _: Caller
    ) -> RepositoryIndexResponse:
        """Every version that is warm, and every one that was refused."""
        return describe.index(self.repository, ready=request.ready)

    async def load(
        self, request: RepositoryModelLoadRequest, _: Caller
    ) -> RepositoryModelLoadResponse:
        """Let a model answer, with what its folder holds now."""
        await load(self.keeper, request.model_name)
        return RepositoryModelLoadResponse()

    async def unload(
        self, request: RepositoryModelUnloadRequest, _: Caller
    ) -> RepositoryModelUnloadResponse:
        """Let a model answer no longer."""
        await unload(self.keeper, request.model_name)
        return RepositoryModelUnloadResponse()

    async def model_infer(self, request: ModelInferRequest, caller: Caller) -> ModelInferResponse:
        """`infer` once, for who comes before the service closes; the trailers say where time went.

        Raises:
            Unavailable: it does; another instance may answer.
        """
        if self.departure.closing.is_set():
            raise Unavailable("the service is shutting down; ask again")
        return write(await self.infer(request, caller), request)

    async def infer(self, request: ModelInferRequest, caller: Caller) -> TensorAnswer:
        """Tensors in, tensors out."""
        found = find(self.repository, request.model_name, request.model_version, _key(request))
        model = found.metadata
        inquiry = read(request, model.version, model.signature, caller.context.time_remaining())
        answer = await self.inference.infer(inquiry, found)
        caller.answered_by(answer.model, answer.version, answer.timing)
        return answer

    @property
    def _stays(self) -> bool:
        return self.departure.drain.ready


def _key(request: ModelInferRequest) -> bytes | None:
    """The first tensor: the same question meets the same version."""
    if request.raw_input_contents:
        return request.raw_input_contents[0]
    return request.inputs[0].SerializeToString() if request.inputs else None
