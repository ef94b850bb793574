"""TimeGPT's words for models, frequencies and intervals, and what they are here."""

import re
from collections.abc import Iterable

from service.api.model_name import read_model
from service.contract.forecast import ForecastMetadata, ForecastSignature
from service.contract.frequency import Frequency, InvalidFrequency
from service.errors import NotFound, Unservable
from service.repository.live import LiveModel, Repository

Forecasting = LiveModel[ForecastMetadata]

_TIMEGPT = re.compile(r"timegpt(-[a-z0-9.-]{1,40})?|azureai")
_POLARS = re.compile(r"([0-9]{0,6})(mo|m|d|w|q|y)")
_PANDAS = {"mo": "MS", "m": "min", "d": "D", "w": "W", "q": "QS", "y": "YS"}


def find_model(
    repository: Repository, text: str, freq: str, key: bytes | None = None
) -> Forecasting:
    """The model of a name, or the only one of a frequency where the name is one of TimeGPT's own.

    Args:
        key: for the canary, see `Repository.get`.

    Raises:
        Malformed: not a name.
        NotFound: no such model, or none of this frequency.
        Unservable: another frequency than the model's, or several models of it.
    """
    name, version = (text, None) if _TIMEGPT.fullmatch(text) else read_model(text)
    asked = read_freq(freq)
    if name in repository.lineups or not _TIMEGPT.fullmatch(text):
        return _agree_freq(repository.get_for(ForecastMetadata, name, version, key), freq, asked)
    models = repository.all_for(ForecastMetadata)
    served = {name: _frequency(model) for name, model in models.items()}
    names = [name for name, trained in served.items() if trained == asked] or [
        name for name, trained in served.items() if _same_step(freq, asked, trained)
    ]
    if not names:
        known = ", ".join(f"{name} ({step.alias})" for name, step in served.items()) or "none"
        raise NotFound(f"no model of freq {freq!r} is served here; served: {known}", "model")
    if len(names) > 1:
        message = f"{text!r} could be any model of freq {freq!r}: {', '.join(names)}; name one"
        raise Unservable(message, "model")
    return repository.get_for(ForecastMetadata, names[0], None, key)


def read_freq(text: str) -> Frequency:
    """A pandas alias, or one of polars, which the client passes on as it is.

    Raises:
        Unservable: neither.
    """
    polars = _POLARS.fullmatch(text)
    try:
        return Frequency.parse(polars[1] + _PANDAS[polars[2]] if polars else text)
    except InvalidFrequency as error:
        raise Unservable(str(error), "freq") from error


def read_levels(
    levels: Iterable[int | float], name: str, signature: ForecastSignature
) -> dict[str, tuple[float, float]]:
    """Intervals in percent -> the lower and upper quantile level of each; twice the same is once.

    Args:
        name: of the model, for messages.

    Raises:
        Unservable: the model lacks one of the two.
    """
    known = {round(200 * level - 100, 6) + 0.0: level for level in signature.quantile_levels}
    pairs: dict[str, tuple[float, float]] = {}
    for at, level in enumerate(levels):
        lower, upper = known.get(-level), known.get(level)
        if lower is None or upper is None or level < 0:
            has = ", ".join(f"{one:g}" for one in sorted(known) if one >= 0 and -one in known)
            message = f"level {level} is not one of model {name!r}, which has {has}"
            raise Unservable(message, f"level[{at}]")
        pairs[f"{level:g}"] = lower, upper
    return pairs


def _agree_freq(model: Forecasting, freq: str, asked: Frequency) -> Forecasting:
    if not _same_step(freq, asked, _frequency(model)):
        raise Unservable(
            f"freq is {freq!r}, model {model.metadata.name!r} was trained on "
            f"{model.metadata.signature.freq!r}; resample the series or use another model",
            "freq",
        )
    return model


def _same_step(text: str, asked: Frequency, trained: Frequency) -> bool:
    """Polars has one word, 1mo, for starts and ends of months; its client makes it 1MS."""
    if asked == trained:
        return True
    polars = text[:1].isdigit() and asked.unit == "MS" and trained.unit == "ME"
    return polars and asked.count == trained.count


def _frequency(model: Forecasting) -> Frequency:
    return Frequency.parse(model.metadata.signature.freq)
