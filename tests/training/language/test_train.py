"""From a text to a published version that serves: parity, batch invariance, bits, bad luck."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from service.contract import artifact
from service.contract.language import LanguageMetadata, LanguageSignature
from service.runtime import Runtime
from tests.training.language.texts import NETWORK, QUICK, corpus
from training.gru import Convention
from training.language import cases, network
from training.language.config import NetworkConfig
from training.language.train import train
from training.parity import ParityFailed

SHAPES = {
    "plain": replace(NETWORK, hidden=256),
    "reset before": replace(NETWORK, hidden=33, layers=3, convention=Convention.RESET_BEFORE),
    "embedding": replace(NETWORK, embedding=5, dropout=0.2, layers=2, hidden=64),
    "words": replace(NETWORK, unit="word", embedding=8, hidden=50),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=SHAPES)
def published(request: pytest.FixtureRequest, models: Path) -> artifact.Artifact:
    """A version of each shape, trained for one epoch."""
    config: NetworkConfig = SHAPES[request.param]
    text = corpus(config.unit)
    folder = train(
        text,
        replace(config, vocabulary=text.vocabulary),
        replace(QUICK, epochs=1, rows=2, learning_rate=0.003),
        request.param.replace(" ", "-"),
        models,
        say=lambda _: None,
    )
    return artifact.read(folder)


@pytest.fixture(scope="module")
def runtime(published: artifact.Artifact) -> Runtime:
    return Runtime(published)


def test_a_version_says_what_it_is(published: artifact.Artifact) -> None:
    metadata = published.metadata
    assert isinstance(metadata, LanguageMetadata)
    text = corpus(metadata.signature.unit)
    assert metadata.signature.vocabulary == text.vocabulary
    assert metadata.evaluation.held_out_tokens == len(text.held_out)
    assert metadata.evaluation.perplexity.keys() == {"GRU", "unigram", "bigram", "5-gram"}
    assert metadata.training.observations == len(text.training)
    assert metadata.training.data_fingerprint == text.fingerprint
    assert metadata.training.network["hidden"] == metadata.signature.hidden
    assert {path.name for path in (published.folder / artifact.REPORT).iterdir()} == {
        "loss.png",
        "perplexity.png",
    }


def test_parity_is_proven_on_every_family(published: artifact.Artifact) -> None:
    parity = published.metadata.parity["cpu"]
    assert [case.name for case in parity.cases] == [
        "first tokens",
        "random states",
        "states at ends",
        "training text",
    ]
    assert parity.share <= 1


def test_a_row_gets_the_same_bits_alone_and_at_any_place_of_any_batch(runtime: Runtime) -> None:
    signature = runtime.metadata.signature
    assert isinstance(signature, LanguageSignature)
    random = np.random.default_rng(0)
    tokens = random.integers(len(signature.vocabulary), size=33)
    states = random.uniform(-1, 1, (33, signature.layers, signature.hidden)).astype(np.float32)
    alone = np.concatenate([runtime.run(tokens[[at]], states[[at]]) for at in range(33)])
    for rows in range(2, 34):
        for shift in range(rows):
            order = (np.arange(rows) + shift) % 33
            assert np.array_equal(runtime.run(tokens[order], states[order]), alone[order])


def test_a_text_read_step_by_step_has_the_perplexity_of_the_metadata(
    runtime: Runtime,
) -> None:
    metadata = runtime.metadata
    assert isinstance(metadata, LanguageMetadata)
    signature = metadata.signature
    codes = corpus(signature.unit).held_out
    state = signature.blank(1, 1)[1]
    nats = []
    for token, following in pairwise(codes):
        answer = signature.split(runtime.run(np.array([token]), state))
        logits, state = answer["logits"][0].astype(np.float64), answer["next_state"]
        nats.append(np.log(np.exp(logits).sum()) - logits[following])
    expected = metadata.evaluation.perplexity["GRU"].held_out
    assert np.exp(np.mean(nats)) == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_publishes_the_same_files(tmp_path: Path) -> None:
    text = corpus()
    config = replace(NETWORK, vocabulary=text.vocabulary, dropout=0.1)
    folders = []
    for at in range(2):
        torch.manual_seed(at)  # what was drawn before has no effect
        folders.append(train(text, config, QUICK, "same", tmp_path, say=lambda _: None))
    assert [folder.name for folder in folders] == ["1", "2"]
    for name in ("model.onnx", "golden.npz", "report/loss.png", "report/perplexity.png"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name


def test_a_network_that_is_served_otherwise_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = corpus()
    config = replace(NETWORK, vocabulary=text.vocabulary)
    right = cases.torch_answer

    def wrong(*arguments: object) -> object:
        answer, scale = right(*arguments)  # type: ignore[arg-type]
        return answer + np.float32(1e-3), scale

    monkeypatch.setattr(cases, "torch_answer", wrong)
    with pytest.raises((ParityFailed, artifact.InvalidArtifact)):
        train(text, config, QUICK, "wrong", tmp_path, say=lambda _: None)
    assert [path.name for path in (tmp_path / "wrong").iterdir()] == []


def test_the_unit_of_a_row_is_its_largest_logit_but_not_less_than_that_of_a_state() -> None:
    text = corpus()
    model = network.LanguageModel(replace(NETWORK, vocabulary=text.vocabulary))
    rows = cases.families(model, text.training)["first tokens"]
    with torch.no_grad():
        model.out.bias[0] = 0.5
        small = cases.torch_answer(model, rows)[1]
        model.out.bias[0] = -7.0
        answers, large = cases.torch_answer(model, rows)
    assert (small == 1).all()
    np.testing.assert_array_equal(large, np.abs(answers[:, 0]))
