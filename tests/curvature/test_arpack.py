"""A spectrum as networks have it, in float32 and too large for a dense matrix: scipy's ARPACK is the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

from curvature.problems import mean_loss
from widebasin import curvature
from widebasin.models import MLP, count_parameters

EXAMPLES, STEPS, LEARNING_RATE = 256, 150, 0.1
