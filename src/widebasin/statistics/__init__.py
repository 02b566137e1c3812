"""Statistics of tables of results: what judges a network, paired gains, intervals, trends, the choice of the radius.

This package itself loads nothing but ``Metric``, so that training can name metrics without loading pandas.
"""

from widebasin.statistics.metric import ACCURACY, LOSS, Metric

__all__ = ["ACCURACY", "LOSS", "Metric"]
