"""What the server, a model and its past say of themselves, as the JSON of the protocol.

The forms are those that Triton's clients and tools read, down to members that are always zero here.
"""

import json
from importlib.metadata import version
from typing import Any

from service.api.openinference.datatypes import DATATYPES
from service.api.openinference.values import described
from service.contract.metadata import Metadata, TensorSpec
from service.repository.live import AnyModel, Repository
from service.telemetry.statistics import ModelStatistics, Spent

EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
)
PLATFORM = "onnxruntime_onnx"

Json = dict[str, Any]

_NOTHING = {"count": 0, "ns": 0}


def server() -> Json:
    """Name, version and extensions: only what is implemented."""
    return {"name": "gatecast", "version": version("gatecast"), "extensions": EXTENSIONS}


def model(metadata: Metadata) -> Json:
    """Tensors of a model, with all their axes; -1 is any size."""
    return {
        "name": metadata.name,
        "versions": [str(metadata.version)],
        "platform": PLATFORM,
        "inputs": [_tensor(_column(spec)) for spec in metadata.inputs],
        "outputs": [_tensor(spec) for spec in metadata.outputs],
    }


def config(live: AnyModel, most_rows: int) -> Json:
    """The model's configuration as a Triton server would have it; `dims` are without the batch.

    Args:
        most_rows: that one request may hold.
    """
    metadata = live.metadata
    kind = "KIND_GPU" if live.runtime.provider == "cuda" else "KIND_CPU"
    return {
        "name": metadata.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [metadata.version]}},
        "max_batch_size": most_rows,
        "input": [_input(spec) for spec in metadata.inputs],
        "output": [_configured(spec) for spec in metadata.outputs],
        "instance_group": [{"name": metadata.name, "kind": kind, "count": 1}],
        "default_model_filename": "model.onnx",
        "dynamic_batching": {},
        "parameters": _parameters(metadata),
    }


def statistics(found: list[ModelStatistics]) -> Json:
    """The statistics of models since the service started."""
    return {"model_stats": [_model_statistics(one) for one in found]}


def index(repository: Repository, *, ready: bool) -> list[Json]:
    """Every version that is warm or refused, by name and version.

    Args:
        ready: leave out those that were refused.
    """
    found: dict[tuple[str, int], Json] = {
        (name, number): {"state": "READY", "reason": ""}
        for name, lineup in repository.lineups.items()
        for number in lineup.warm()
    }
    for name, refused in repository.refused.items():
        for number, reason in refused.items():
            if not ready and (name, number) not in found:
                found[name, number] = {"state": "UNAVAILABLE", "reason": reason}
    return [
        {"name": name, **({"version": str(number)} if number else {}), **state}
        for (name, number), state in sorted(found.items(), key=lambda entry: entry[0])
    ]


def _tensor(spec: TensorSpec) -> Json:
    tensor = described(spec)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def _column(spec: TensorSpec) -> TensorSpec:
    """One number of each row as Triton names it: its tools cannot send a tensor of rows alone."""
    if len(spec.shape) > 1:
        return spec
    return spec.model_copy(update={"shape": (*spec.shape, 1)})


def _input(spec: TensorSpec) -> Json:
    configured = _configured(_column(spec))
    return configured if len(spec.shape) > 1 else configured | {"reshape": {"shape": []}}


def _configured(spec: TensorSpec) -> Json:
    data_type = f"TYPE_{DATATYPES[spec.dtype]}"
    return {"name": spec.name, "data_type": data_type, "dims": described(spec).shape[1:]}


def _parameters(metadata: Metadata) -> Json:
    """What the tensors mean, where Triton has room for words of a model's own, which are texts."""
    signature = metadata.signature.model_dump(mode="json")
    return {
        name: {"string_value": value if isinstance(value, str) else json.dumps(value)}
        for name, value in signature.items()
    }


def _model_statistics(one: ModelStatistics) -> Json:
    spent = {
        "success": one.success,
        "fail": one.fail,
        "queue": one.queue,
        "compute_input": one.compute_input,
        "compute_infer": one.compute_infer,
        "compute_output": one.compute_output,
    }
    return {
        "name": one.name,
        "version": str(one.version),
        "last_inference": one.last_inference_ms,
        "inference_count": one.inference_count,
        "execution_count": one.execution_count,
        "inference_stats": {
            **{name: _spent(value) for name, value in spent.items()},
            "cache_hit": _NOTHING,
            "cache_miss": _NOTHING,
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": batch.batch_size,
                "compute_input": _spent(batch.compute_input),
                "compute_infer": _spent(batch.compute_infer),
                "compute_output": _spent(batch.compute_output),
            }
            for batch in one.batches
        ],
        "memory_usage": [],
    }


def _spent(one: Spent) -> Json:
    return {"count": one.count, "ns": one.ns}
