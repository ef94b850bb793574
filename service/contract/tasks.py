"""Every task there is: metadata.json is read by the class of its own."""

from typing import Literal

from pydantic import BaseModel

from service.contract.forecast import ForecastMetadata
from service.contract.language import LanguageMetadata
from service.contract.metadata import Metadata
from service.contract.regression import RegressionMetadata

_METADATA: dict[str, type[Metadata]] = {
    "forecast": ForecastMetadata,
    "regression": RegressionMetadata,
    "language": LanguageMetadata,
}


class _Document(BaseModel):
    task: Literal["forecast", "regression", "language"]


def parse(document: bytes) -> Metadata:
    """metadata.json of any task.

    Raises:
        pydantic.ValidationError: another task, or not what this task's class says.
    """
    return _METADATA[_Document.model_validate_json(document).task].model_validate_json(document)
