"""The answers of the studies: tables, findings and figures from the tables of a results folder.

Every file has ``answer(spec, tables, options)``, and ``instruments(spec, options)`` if its study measures networks.
"""
