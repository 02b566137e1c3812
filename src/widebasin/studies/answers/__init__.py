"""What studies answer: tables, findings and pictures from the tables of a results folder.

Every file has ``answer(spec, tables, options)``, and ``instruments(spec, options)`` if its study measures networks.
"""
