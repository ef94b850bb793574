"""What is counted of recorded forecasts and actuals, and the measures of each version."""

from collections import Counter
from collections.abc import Iterable, Mapping

from service.telemetry.tally import Over, tally

_STATE = Over.LIVING | Over.LARGEST  # what workers agree on, but for the seconds of a change


def observe_recorded(versions: Iterable[tuple[str, int]]) -> None:
    """Count forecasts of a series that were written, by model and version."""
    for (model, version), count in Counter(versions).items():
        tally.cells(("gatecast_quality_recorded_total", model, str(version)))[0] += count


def observe_lost(reason: str, count: int) -> None:
    """Count forecasts of a series that are not recorded: full, failed, unwritable or shutdown."""
    tally.cells(("gatecast_quality_lost_total", reason))[0] += count


def observe_actuals(posted: int, met: int) -> None:
    """Count actuals that were written, and the steps of forecasts that they meet."""
    tally.cells(("gatecast_actuals_total",))[0] += posted
    tally.cells(("gatecast_actuals_met_total",))[0] += met


def observe_database(down: bool) -> None:
    """Say whether this worker cannot reach the database."""
    tally.cells(("gatecast_quality_down",), over=_STATE)[0] = float(down)


def observe_scores(model: str, version: int, measures: Mapping[str, float]) -> None:
    """Say the recent measures of a version; NaN where one is undefined."""
    for name, value in measures.items():
        family, _, width = name.partition(" ")
        of = (f"gatecast_quality_{family}", model, str(version), *([width] if width else []))
        tally.cells(of, over=_STATE)[0] = value


def observe_rollback(model: str, outcome: str) -> None:
    """Count an automatic rollback: done or failed."""
    tally.cells(("gatecast_quality_rollbacks_total", model, outcome))[0] += 1.0
