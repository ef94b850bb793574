"""The story of a language model: corpus -> network -> fit -> evaluate -> export -> parity.

Read top to bottom; each step is one file of this package or of `training`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from service.contract.language import LanguageEvaluation, LanguageMetadata
from service.contract.metadata import Training
from training.language import cases, report
from training.language.config import FitConfig, NetworkConfig
from training.language.corpus import Corpus
from training.language.evaluate import judge
from training.language.fit import Progress, fit
from training.language.network import LanguageModel
from training.publication import Candidate, libraries, publish


def train(
    corpus: Corpus,
    network_config: NetworkConfig,
    fit_config: FitConfig,
    name: str,
    models: Path,
    *,
    progress: Progress = lambda _share, _loss: None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train, judge and publish one version; returns its folder.

    Args:
        progress: called after every epoch with the share of them that is over, and the loss.
        say: receives the table of perplexities, the verdict and the parity table.

    Raises:
        InvalidText, Diverged, DeviceUnavailable: from the fit.
        ExportFailed, InvalidArtifact, ParityFailed: nothing is published.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fit_config.seed)
        network = LanguageModel(network_config)
    curve = fit(network, corpus, fit_config, progress)
    judged = judge(network, corpus)
    say(judged.table())
    say(judged.verdict())
    candidate = Candidate(
        network=network,
        layers=[network_config.convention] * network_config.layers,
        signature=network_config.signature,
        families=cases.families(network, corpus.training),
        answer=partial(cases.torch_answer, network),
        kind=LanguageMetadata,
        training=Training(
            data_fingerprint=corpus.fingerprint,
            observations=len(corpus.training),
            seed=fit_config.seed,
            steps=curve.steps,
            network=network_config.shape(),
            libraries=libraries(),
        ),
        evaluation=LanguageEvaluation(
            held_out_tokens=judged.held_out_tokens,
            perplexity=judged.perplexity,
            best_baseline=judged.best_baseline,
            beats_baselines=judged.beats_baselines,
        ),
        draw=partial(report.write, curve=curve, judged=judged),
    )
    return publish(candidate, name, models, say)
