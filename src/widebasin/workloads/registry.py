"""The workloads by name."""

from widebasin.workloads.digits_mlp import DIGITS_MLP
from widebasin.workloads.digits_squared_mlp import DIGITS_SQUARED_MLP
from widebasin.workloads.least_squares import LEAST_SQUARES
from widebasin.workloads.line_mlp import LINE_MLP
from widebasin.workloads.matrix_factorization import MATRIX_FACTORIZATION
from widebasin.workloads.synthetic_mlp import SYNTHETIC_MLP
from widebasin.workloads.workload import Workload

WORKLOADS: dict[str, Workload] = {
    w.name: w for w in (DIGITS_MLP, SYNTHETIC_MLP, DIGITS_SQUARED_MLP, MATRIX_FACTORIZATION, LEAST_SQUARES, LINE_MLP)
}
