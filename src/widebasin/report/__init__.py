"""Reports: figures, tables and pages from tables of numbers.

``report.wording`` has the words for networks; figures are drawn in ``report.figures`` (gains) and
``report.mechanism_figures`` (curvature, rates, functions), in the style of ``report.drawing``.
"""
