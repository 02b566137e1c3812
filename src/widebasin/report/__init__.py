"""Reports: figures, tables and the page. Numbers in, words and pictures out.

``report.wording`` says how networks are written of; figures are drawn in ``report.figures`` (gains) and
``report.mechanism_figures`` (curvature, rates, functions), and look as ``report.drawing`` says.
"""
