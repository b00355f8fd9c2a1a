"""Keeps clear of a version of the compiler that computes wrong numbers."""

import importlib.metadata
import os

_FLAG = '--xla_cpu_experimental_ynn_fusion_type'


def avoid() -> None:
  """Switches the fusions off that jaxlib 0.10.2 gets wrong on CPUs (jax-ml/jax#39103).

  Before JAX looks for devices. Whoever set the flag keeps it.
  """
  flags = os.environ.get('XLA_FLAGS', '')
  # XLA aborts on flags that it does not know: this version only.
  if importlib.metadata.version('jaxlib') == '0.10.2' and _FLAG not in flags:
    os.environ['XLA_FLAGS'] = f'{flags} {_FLAG}='.strip()
