"""How many floating-point operations a function asks for, read from its jaxpr.

XLA's own count (`cost_analysis`) takes the body of a loop once, however often it runs, which
counts a rollout of 200 steps as one. Here every equation of the traced program counts

- a matrix product 2 B M N K, a convolution 2 per output element and weight that goes into it;
- arithmetic and elementary functions of floats (+, *, exp, ...) one per element of the result;
- a reduction or a cumulative sum one per element that it reads;
- a loop (`scan`) its body times its length; a call (jit, remat, custom derivatives) what is in it;
  a `cond` its dearest branch; `shard_map` all devices together.

Nothing else counts: integers and random bits, comparisons, selections, moving data, decompositions
of matrices (here of 3 x 3), and kernels that are opaque to JAX. The count is of the program as
written, before XLA removes what is common or unused; it needs no compilation and no device.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

_ELEMENTWISE = frozenset(
  (
    *('abs', 'acos', 'acosh', 'add', 'add_any', 'asin', 'asinh', 'atan', 'atan2', 'atanh', 'cbrt'),
    *('ceil', 'clamp', 'cos', 'cosh', 'digamma', 'div', 'erf', 'erf_inv', 'erfc', 'exp', 'exp2'),
    *('expm1', 'floor', 'integer_pow', 'lgamma', 'log', 'log1p', 'logistic', 'max', 'min', 'mul'),
    *('neg', 'pow', 'rem', 'round', 'rsqrt', 'sign', 'sin', 'sinh', 'sqrt', 'square', 'sub', 'tan'),
    'tanh',
  )
)
_REDUCTIONS = frozenset(
  (
    *('reduce_sum', 'reduce_max', 'reduce_min', 'reduce_prod', 'psum', 'pmax', 'pmin'),
    *('cumsum', 'cumprod', 'cummax', 'cummin', 'cumlogsumexp'),
  )
)
_SCATTERS = frozenset(('scatter-add', 'scatter_add', 'scatter-mul', 'scatter_mul'))


def count(function: Callable[..., Any], *args: Any) -> int:
  """Floating-point operations of one call.

  Args:
    function: what JAX can trace, jitted or not.
    *args: its arguments; arrays may be given as `jax.ShapeDtypeStruct`.

  Raises:
    ValueError: there is a `while` loop in it, whose number of turns is not known beforehand.
  """
  return _of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def _of_jaxpr(jaxpr: core.Jaxpr) -> int:
  return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: core.JaxprEqn) -> int:
  name, params = equation.primitive.name, equation.params
  outputs: list[Any] = [variable.aval for variable in equation.outvars]
  if name == 'dot_general':
    (contracted, _), _ = params['dimension_numbers']
    left = _shape(equation.invars[0])
    return 2 * _size(outputs[0]) * math.prod(left[axis] for axis in contracted)
  if name == 'conv_general_dilated':
    kernel = _shape(equation.invars[1])
    _, inputs, *space = params['dimension_numbers'].rhs_spec
    return 2 * _size(outputs[0]) * math.prod(kernel[axis] for axis in (inputs, *space))
  if name == 'while':
    raise ValueError('a while loop has no number of turns that could be known beforehand')
  if name == 'scan':
    return params['length'] * _of_jaxpr(params['jaxpr'].jaxpr)
  if name == 'cond':
    return max(_of_jaxpr(branch.jaxpr) for branch in params['branches'])
  if name == 'shard_map':
    return params['mesh'].size * _of_jaxpr(params['jaxpr'])
  if name == 'custom_linear_solve':
    # It also holds the product and the transposed solve, for the derivatives.
    return _of_jaxpr(params['jaxprs'].solve.jaxpr)
  if name in _ELEMENTWISE:
    return sum(_size(x) for x in outputs if _is_float(x))
  if name in _REDUCTIONS:
    return sum(_size(x.aval) for x in equation.invars if _is_float(x.aval))
  if name in _SCATTERS:
    updates = equation.invars[2].aval
    return _size(updates) if _is_float(updates) else 0
  return sum(map(_of_jaxpr, _inside(params)))


def _inside(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
  """The jaxprs of a call."""
  for value in params.values():
    if isinstance(value, core.ClosedJaxpr):
      yield value.jaxpr
    elif isinstance(value, core.Jaxpr):
      yield value


def _size(aval: Any) -> int:
  return math.prod(aval.shape)


def _shape(variable: Any) -> tuple[int, ...]:
  return variable.aval.shape


def _is_float(aval: Any) -> bool:
  # Keys of random numbers have a type of their own.
  return hasattr(aval, 'dtype') and jnp.issubdtype(aval.dtype, jnp.inexact)
