"""What is counted of versions: which answers, which was refused, how far a shadow is from it."""

from bisect import bisect_left
from collections.abc import Mapping

from service.telemetry.exposition import DIFFERENCES
from service.telemetry.tally import Over, tally

_STATE = Over.LIVING | Over.LARGEST  # what workers agree on, but for the seconds of a change


def observe_lineup(
    model: str, before: Mapping[str, int], after: Mapping[str, int], canary_share: float
) -> None:
    """Say which version every alias of a model means now in this worker.

    Args:
        before: what they meant.
        canary_share: percent.
    """
    for value, roles in ((0.0, before), (1.0, after)):
        for alias, version in roles.items():
            key = ("gatecast_model_info", model, str(version), alias)
            tally.cells(key, over=_STATE)[0] = value
    tally.cells(("gatecast_canary_share", model), over=_STATE)[0] = canary_share


def observe_swap(model: str) -> None:
    """Count a change of the version that answers."""
    tally.cells(("gatecast_swaps_total", model))[0] += 1.0


def observe_refused_version(model: str, reason: str) -> None:
    """Count a version that was not let in; see `InvalidArtifact` for the reasons."""
    tally.cells(("gatecast_refused_versions_total", model, reason))[0] += 1.0


def observe_shadow(model: str, version: int, outcome: str, difference: float = 0.0) -> None:
    """Count a comparison.

    Args:
        version: the shadow's.
        outcome: compared, dropped or failed.
        difference: of the answers, in units of scale; only of what was compared.
    """
    tally.cells(("gatecast_shadow_total", model, str(version), outcome))[0] += 1.0
    if outcome == "compared":
        key = ("gatecast_shadow_difference", model, str(version))
        cells = tally.cells(key, len(DIFFERENCES) + 2)
        cells[bisect_left(DIFFERENCES, difference)] += 1.0
        cells[-1] += difference
