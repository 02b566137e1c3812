"""Axes for dropout rates, which a grid may vary within one program."""

from widebasin.axis import Axis


def dropout(*rates: float) -> Axis:
    """Axis of the rate at which features are dropped in training, with these default values."""
    return _rate("dropout", rates, "Rate at which hidden features are dropped in training.")


def word_dropout(*rates: float) -> Axis:
    """Axis of the rate at which training words are replaced by the unknown word, with these default values."""
    return _rate("word_dropout", rates, "Rate at which words are replaced by the unknown word in training.")


def _rate(name: str, rates: tuple[float, ...], sentence: str) -> Axis:
    return Axis(
        name=name,
        flag=name,
        kind=float,
        wanted="a number from 0 to below 1",
        holds=lambda rate: 0 <= rate < 1,
        default=rates,
        phrase=f"{name.replace('_', ' ')} {{}}",
        help=sentence,
    )
