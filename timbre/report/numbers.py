"""Numbers as people read them."""

from __future__ import annotations


def minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def amount(value: float, unit: str) -> str:
    return f"{value:,.{decimals(value, unit)}f} {unit}" if unit else f"{value:,.0f}"


def decimals(value: float, unit: str) -> int:
    """Minutes of a small voice change by hundredths."""
    return 2 if unit == "min" and value < 10 else 1


def rate(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


def signed(value: float, decimals: int = 1) -> str:
    return f"{value:+,.{decimals}f}".replace("-", "−")


def clock(seconds: float) -> str:
    return f"{int(seconds + 0.5) // 60}:{int(seconds + 0.5) % 60:02d}"


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}%"
