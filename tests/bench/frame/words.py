"""Numbers as people read them: three digits that count, and a unit. Pure."""


def number(value: float) -> str:
    """Return a number with three digits that count, and commas at the thousands."""
    size = abs(value)
    if size >= 999.5 or value == 0:
        return f"{value:,.0f}"
    digits = next((digits for digits in range(1, 8) if size * 10**digits >= 99.95), 8)
    places = digits if size < 99.95 else 0
    return f"{value:.{places}f}" if not float(value).is_integer() else f"{value:.0f}"


def with_unit(value: float, unit: str) -> str:
    """Return a number and its unit; `x` and `%` stand close."""
    if unit == "x":
        return f"{number(value)}x"
    return f"{number(value)} {unit}".rstrip()


def sure(share: float) -> str:
    """Return how sure an interval is."""
    return f"{100 * share:.1f} %"
