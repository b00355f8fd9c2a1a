"""Generative protein dynamics at several time scales: TEMPO (arXiv 2511.05510) in JAX.

model = tempo_jax.load_model('default')
protein = tempo_jax.load_protein('1abc.pdb')
trajectory = model.sample(protein, num_frames=400, rng=jax.random.key(0))
trajectory.save('1abc.xtc')
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from tempo_jax.compilation import miscompilation
from tempo_jax.errors import InputError
from tempo_jax.version import __version__

miscompilation.avoid()

# pdoc lists only what is in the module already, and asks no `__getattr__`.
if TYPE_CHECKING or 'pdoc' in sys.modules:
  from tempo_jax.models.model import Model, load_model
  from tempo_jax.protein.protein import Protein, ProteinArrays
  from tempo_jax.protein.structure_file import load_protein
  from tempo_jax.samplers.coarse_to_fine import make_sampler
  from tempo_jax.samplers.upsample import make_upsampler
  from tempo_jax.trajectory.trajectory import Trajectory

__all__ = [
  'InputError',
  'Model',
  'Protein',
  'ProteinArrays',
  'Trajectory',
  '__version__',
  'load_model',
  'load_protein',
  'make_sampler',
  'make_upsampler',
]

# Imported when first asked for: importing jax takes a second, and `tempo-jax --help` needs none.
_MODULES = {
  'Model': 'models.model',
  'Protein': 'protein.protein',
  'ProteinArrays': 'protein.protein',
  'Trajectory': 'trajectory.trajectory',
  'load_model': 'models.model',
  'load_protein': 'protein.structure_file',
  'make_sampler': 'samplers.coarse_to_fine',
  'make_upsampler': 'samplers.upsample',
}


def __getattr__(name: str) -> Any:
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(f'tempo_jax.{_MODULES[name]}'), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
