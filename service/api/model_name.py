"""How a request names a model: name, name@version or name@alias."""

from functools import lru_cache

from service.contract.aliases import Which, is_alias
from service.contract.layout import is_name, is_version
from service.errors import Malformed


@lru_cache(maxsize=256)
def read_model(text: str) -> tuple[str, Which]:
    """name, name@version or name@alias.

    Raises:
        Malformed: anything else.
    """
    name, at, which = text.partition("@")
    if not is_name(name) or (at and not (is_version(which) or is_alias(which))):
        raise Malformed(f"model is {text!r}, expected name, name@version or name@alias", "model")
    if not at:
        return name, None
    return name, int(which) if is_version(which) else which
