"""What was looked at together: facts, and what looks wrong with a remedy for each."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Trouble:
    """Something that looks wrong."""

    what: str
    remedy: str


@dataclass
class Area:
    """One part of the report."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)

    def complain(self, what: str, remedy: str) -> None:
        """Something looks wrong."""
        self.troubles.append(Trouble(what, remedy))
