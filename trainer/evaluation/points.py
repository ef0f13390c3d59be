"""Percentage points as a person reads them."""


def pp(value: float) -> str:
    """One decimal, two where one would hide the sign; with a true minus sign and never −0.0."""
    digits = 1 if abs(100 * value) >= 0.05 else 2
    rounded = round(100 * value, digits) + 0.0
    return f"{rounded:.{digits if rounded else 1}f}".replace("-", "−")
