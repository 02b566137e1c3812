"""The questions of the studies: one file each, with its grid and requirements. Importing them loads no numeric library.

Every file here declares a ``STUDY``; its answer is in the file of the same name in ``studies.answers``, which is loaded
on demand.
"""
