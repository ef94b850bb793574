"""What a caller asks of a language model, in any dialect."""

import msgspec

from service.contract.aliases import Which


class Manner(msgspec.Struct, frozen=True, gc=False):
    """How a token is chosen from the logits of all."""

    temperature: float = 1.0  # 0: always the most likely one
    top_k: int | None = None  # among so many of the most likely; None: all
    top_p: float | None = None  # among the fewest that have this probability together; None: all


class TextInquiry(msgspec.Struct, frozen=True, gc=False):
    """A text to be continued."""

    model: str
    version: Which  # None: the one that is live, or its canary
    prompt: str
    length: int  # tokens to write
    manner: Manner = Manner()
    seed: int | None = None  # None: the service takes one and says which
    timeout_s: float | None = None  # from now; None: the service's default
