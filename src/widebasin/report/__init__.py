"""Reports: statistics, figures, tables and the page. Numbers in, words and pictures out.

``report.statistics`` is the one place for statistics, ``report.figures`` the one for drawing.
"""

BASELINE = "sgd"
"""The method over which gains are measured."""
