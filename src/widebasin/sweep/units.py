"""Times and sizes in words."""

import math

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def bytes_in_words(count: float) -> str:
    """``3.5 MiB``."""
    power = min(len(UNITS) - 1, int(math.log2(max(count, 1)) // 10))
    scaled = count / 1024**power
    return f"{scaled:.0f} {UNITS[power]}" if scaled >= 100 else f"{scaled:.3g} {UNITS[power]}"


def duration(seconds: float) -> str:
    """``1m05s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
