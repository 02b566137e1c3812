"""widebasin: sharpness-aware minimization (SAM) under overparameterization.

The rooms, each usable alone: ``widebasin.sam`` (gradients of the perturbed loss), ``widebasin.models``,
``widebasin.data``, ``widebasin.training``, ``widebasin.workloads``, ``widebasin.sweep``, ``widebasin.studies``
and ``widebasin.report``. The command ``widebasin`` drives them. Importing this package loads nothing else.
"""

from importlib.metadata import version

__version__ = version("widebasin")
