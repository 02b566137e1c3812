"""Reports: statistics, figures, tables and the page. Numbers in, words and pictures out.

``report.statistics`` is the one place for statistics; figures are drawn in ``report.figures`` (gains) and
``report.mechanism_figures`` (curvature, rates, functions), and look as ``report.drawing`` says.
"""

BASELINE = "sgd"
"""The method over which gains are measured."""
