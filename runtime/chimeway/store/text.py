"""Text from strangers, made such that a row can hold it."""


def storable(text: str) -> str:
    """Return a text without what PostgreSQL's UTF-8 cannot hold: lone surrogates, NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")


def fault_note(error: BaseException) -> str:
    """Return what went wrong, as a note beside a reason."""
    return storable(f"{type(error).__name__}: {error}")
