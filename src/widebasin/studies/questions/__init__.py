"""What studies ask: one file per question, with its grid and what it needs. Loading these loads no library of numbers.

Every file here declares a ``STUDY``; its answer is in the file of the same name in ``studies.answers``, which is loaded
when it is asked for.
"""
