"""Keeps clear of a version of the compiler that computes wrong numbers."""

import importlib.metadata
import os
import sys
import warnings

_FLAG = '--xla_cpu_experimental_ynn_fusion_type'


def avoid() -> None:
  """Switches the fusions off that jaxlib 0.10.2 gets wrong on CPUs (jax-ml/jax#39103).

  With them the bundled model takes four times as long, too. `import tempo_jax` calls this: XLA
  reads the flag once, when JAX first looks for devices. Whoever set the flag keeps it.

  Warns:
    RuntimeWarning: JAX has looked for devices already, and computes on a CPU.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  # XLA aborts on flags that it does not know: this version only.
  if importlib.metadata.version('jaxlib') != '0.10.2' or _FLAG in flags:
    return
  if _computes_on_cpu():
    warnings.warn(
      'JAX was used before tempo_jax was imported: with jaxlib 0.10.2 sums can be wrong, and'
      f' sampling takes four times as long. Import tempo_jax first, or set XLA_FLAGS={_FLAG}=',
      RuntimeWarning,
      stacklevel=3,
    )
  else:
    os.environ['XLA_FLAGS'] = f'{flags} {_FLAG}='.strip()


def _computes_on_cpu() -> bool:
  """Whether JAX has looked for devices, and found none but the CPU."""
  if 'jax' not in sys.modules:
    return False
  import jax
  from jax._src import xla_bridge  # Nothing public tells; of this one version, which has it.

  return xla_bridge.backends_are_initialized() and jax.default_backend() == 'cpu'
