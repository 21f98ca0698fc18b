"""Values: small records that nobody changes, and that are made a dozen at a time for each decision.

Python's frozen dataclass guards each field when it is made, too, at five times the cost. So here who guards
them is the type checker, which sees every line of ours; equality and hash are those of a frozen one.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[_T]) -> type[_T]:
    """Make a class one of values: a dataclass whose fields are not to be assigned to."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
