"""One stream of inference requests: answered in their order, while later ones already run.

An error belongs to its request and is told in the stream, which goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable

from service.api.rpc.call import counted, parse
from service.api.rpc.caller import Caller
from service.api.rpc.departure import Departure
from service.api.rpc.errors import Status
from service.api.rpc.gate import Gate
from service.api.rpc.infer import write
from service.api.rpc.parameters import wants_last
from service.api.rpc.proto.inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from service.errors import Unavailable
from service.house import House
from service.inference import TensorAnswer

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
AHEAD = 64  # requests of one stream that are read and not answered; then its client has to wait

Infer = Callable[[ModelInferRequest, Caller], Awaitable[TensorAnswer]]
Answer = asyncio.Task[ModelStreamInferResponse]


class Conversation:
    """The stream of one client."""

    def __init__(
        self, infer: Infer, caller: Caller, departure: Departure, gate: Gate, house: House
    ) -> None:
        self._infer = infer
        self._caller = caller
        self._context = caller.context
        self._house = house
        self._departure = departure
        self._gate = gate
        self._room = asyncio.Semaphore(AHEAD)
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue()  # None: the last was read

    async def hold(self) -> None:
        """Answer until the client has no more to ask.

        Raises:
            Unavailable: the service leaves; everything that was read is answered.
        """
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(self._listen(group))
            leaving = group.create_task(self._leave(listener))
            while (answer := await self._answers.get()) is not None:
                await self._context.write((await answer).SerializeToString())
                self._room.release()
            leaving.cancel()
        if self._departure.closing.is_set():
            raise Unavailable("the service has left; open another stream")

    async def _listen(self, group: asyncio.TaskGroup) -> None:
        try:
            while await self._room.acquire():
                body = await self._context.read()
                if not isinstance(body, bytes):  # the end of the stream
                    break
                self._answers.put_nowait(group.create_task(self._answer(body)))
        finally:
            self._answers.put_nowait(None)

    async def _leave(self, listener: asyncio.Task[None]) -> None:
        await self._departure.closing.wait()
        listener.cancel()

    async def _answer(self, body: bytes) -> ModelStreamInferResponse:
        request = ModelInferRequest()  # nameless where the bytes are no message

        async def infer() -> ModelInferResponse:
            nonlocal request
            self._gate.admit(self._context, "infer")  # the key may have been revoked since
            request = parse(ModelInferRequest, body)
            response = write(await self._infer(request, caller), request)
            if wants_last(request.parameters):
                response.parameters["triton_final_response"].bool_param = True
            return response

        caller = Caller(METHOD, self._context, self._house, stream=self._caller)
        answer = await counted(caller, infer())
        if not isinstance(answer, Status):
            return ModelStreamInferResponse(infer_response=answer)
        return ModelStreamInferResponse(
            error_message=answer.details,
            infer_response=ModelInferResponse(model_name=request.model_name, id=request.id),
        )
