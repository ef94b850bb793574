"""The most usual requests read and answered in C, where a compiler was at hand at installation."""

from importlib.util import find_spec

BUILT = find_spec("service.express._express") is not None
