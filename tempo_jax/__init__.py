"""Generative protein dynamics at several time scales: TEMPO (arXiv 2511.05510) in JAX.

model = tempo_jax.load_model('default')
protein = tempo_jax.load_protein('1abc.pdb')
trajectory = model.sample(protein, num_frames=400, rng=jax.random.key(0))
trajectory.save('1abc.xtc')
"""

from tempo_jax.errors import InputError
from tempo_jax.models.model import Model, load_model
from tempo_jax.protein.protein import Protein, ProteinArrays, load_protein
from tempo_jax.samplers.coarse_to_fine import make_sampler
from tempo_jax.samplers.upsample import make_upsampler
from tempo_jax.trajectory.trajectory import Trajectory
from tempo_jax.version import __version__

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
