"""The protocol that tutorials on recurrent networks teach with the airline passengers.

The usual text takes an LSTM; here is a GRU of the same size in its place. All else is as usually
told: the last 12 months held out, min-max scaling to [-1, 1] by the others, every run of 12 months
and the one that follows as an example, 150 passes over them in their order and one at a time, Adam,
the squared error; then 12 forecasts, each made of the 12 months before it, forecasts among them.

Known weaknesses, kept because they are the protocol: the scale is that of one training series, one
series is learnt by heart without anything to judge when to stop, so that another seed ends
elsewhere, errors add up along the horizon, and there are no quantiles.
"""

from dataclasses import dataclass

from service.contract.forecast import ForecastSignature


@dataclass(frozen=True)
class Protocol:
    """Its numbers."""

    window: int = 12  # steps that the next one is forecast from
    horizon: int = 12  # steps held out, and rolled forward to
    hidden: int = 100  # units; a multiple of 4, or the sum over them has other bits in a batch
    epochs: int = 150  # passes over all windows
    learning_rate: float = 1e-3  # Adam

    def signature(self, freq: str, seasonality: int) -> ForecastSignature:
        """What a client must know of such a model: point forecasts, as the median alone."""
        return ForecastSignature(
            freq=freq,
            seasonality=seasonality,
            context_length=self.window,
            minimum_context=self.window,
            horizon=self.horizon,
            quantile_levels=(0.5,),
        )
