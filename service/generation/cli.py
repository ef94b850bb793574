"""`gatecast generate`: a text on the command line, with what the service needs and no more."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.repository.option import ModelsFolder

if TYPE_CHECKING:
    from service.contract.language import LanguageMetadata
    from service.repository.live import LiveModel

_MOST_TOKENS = 10**6  # of a prompt and its text: an hour


@click.command()
@click.argument("model")
@click.option("--prompt", required=True, help="The text to continue.")
@click.option("--length", default=200, show_default=True, help="Tokens to write.")
@click.option(
    "--temperature",
    default=1.0,
    show_default=True,
    help="Below 1 likely tokens become likelier; 0 takes always the most likely one.",
)
@click.option("--top-k", type=int, help="Choose among so many of the most likely tokens.")
@click.option("--top-p", type=float, help="Choose among the fewest with this probability together.")
@click.option("--seed", type=int, help="Repeats a text; without one, each is another.")
@click.option("--models", type=ModelsFolder(), default=Path("models"), help="Folder of models.")
def generate(
    model: str,
    prompt: str,
    length: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    models: Path,
) -> None:
    """Continue a text with MODEL (name, name@version or name@alias), printed while it is written.

    The service writes the same text for the same seed.
    """
    from service.errors import ServiceError
    from service.generation.agreement import agree
    from service.generation.alone import write
    from service.generation.generator import between
    from service.generation.inquiry import Manner, TextInquiry

    try:
        live = _open(models, model)
        signature = live.metadata.signature
        manner = Manner(temperature, top_k, top_p)
        inquiry = TextInquiry(live.metadata.name, None, prompt, length, manner, seed)
        plan = agree(inquiry, signature, _MOST_TOKENS)
        click.echo(prompt, nl=False)
        for code in write(live, plan):
            click.echo(between(signature) + signature.decode([code]), nl=False)
            sys.stdout.flush()
    except ServiceError as error:
        raise click.ClickException(error.message) from None
    click.echo()
    if seed is None:
        click.echo(f"--seed {plan.seed} repeats it", err=True)


def _open(models: Path, asked: str) -> "LiveModel[LanguageMetadata]":
    from service.contract import layout
    from service.contract.artifact import InvalidArtifact
    from service.contract.language import LanguageMetadata
    from service.repository.live import narrow, open_version

    try:
        name, version = layout.find(models, asked)
        opened = open_version(models, name, version, "cpu")
    except (layout.NoVersion, InvalidArtifact) as error:
        raise click.ClickException(str(error)) from None
    return narrow(opened, LanguageMetadata)


COMMANDS = [generate]
