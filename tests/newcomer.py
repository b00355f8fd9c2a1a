"""What a newcomer has: files of the names that the documents use. And what makes them quick."""

import functools
import gzip
import json
import pathlib
import shutil

import gemmi
import jax
import jax.numpy as jnp
import mdtraj
import numpy as np

from tempo_jax import transitions
from tempo_jax.dynamics import state as state_lib
from tempo_jax.output import trajectory_files
from tempo_jax.store import frames as frames_lib
from tempo_jax.store import store as store_lib
from tempo_jax.training import loop
from tests import peptides
from tests.cli import commands
from tests.store import synthetic
from tests.training import examples

SPACING_PS = 10.0


def molecule(num_residues):
  """Topology of a peptide, its helix [atoms, 3] in nm."""
  topology = mdtraj.Topology()
  chain = topology.add_chain('A')
  for k in range(num_residues):
    residue = topology.add_residue(peptides.SEQUENCE[k % len(peptides.SEQUENCE)], chain)
    for atom in peptides.ATOMS:
      topology.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
  return topology, peptides.helix(num_residues).reshape(-1, 3) / 10.0


def motion(rng, num_residues, num_frames, spacing_ps=SPACING_PS):
  topology, helix = molecule(num_residues)
  xyz = helix + 0.006 * rng.normal(size=(num_frames, *helix.shape))
  xyz = xyz.astype(np.float32)
  return mdtraj.Trajectory(xyz, topology, time=spacing_ps * np.arange(1, num_frames + 1))


def write_files():
  """Structures, and MD of one of them, into the working directory."""
  rng = np.random.default_rng(20251122)
  motion(rng, 12, 1).save('1abc.pdb')
  gemmi.read_structure('1abc.pdb').make_mmcif_document().write_file('2xyz.cif')
  with open('2xyz.cif', 'rb') as plain, gzip.open('2xyz.cif.gz', 'wb') as packed:
    shutil.copyfileobj(plain, packed)
  motion(rng, 10, 1).save('start.pdb')
  for name in ('R1.xtc', 'R2.xtc'):
    motion(rng, 10, 160).save(name)
  motion(rng, 10, 3, spacing_ps=200.0).save('coarse.xtc')
  for name in ('a.pdb', 'b.pdb'):
    motion(rng, 10, 1).save(name)
  motion(rng, 10, 2).save('a_to_b.pdb')
  # As data_prep.simulate names them.
  folder = pathlib.Path('md/hp35')
  folder.mkdir(parents=True)
  shutil.copy('start.pdb', folder / 'hp35.pdb')
  shutil.copy('R1.xtc', folder / 'hp35_R1.xtc')
  (folder / 'hp35_R1.json').write_text(json.dumps({'temperature_K': 300.0}))
  # Frames 0.1 ns apart.
  positions = 10.0 * motion(rng, 10, 160).xyz.reshape(160, 10, 5, 3)[:, :, :4]
  with store_lib.StoreWriter('my_slower_store') as writer:
    entry = synthetic.entry(length=10, dt_ns=0.1)
    chi = examples.chi(entry.residue_type, len(positions))
    writer.add(entry, frames_lib.Frames(positions, chi))


@functools.cache
def untrained(config, init_params=transitions.init_params):
  """Parameters of a network's shapes, all zero."""
  shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def wander(config, level):
  """Stands in for `transitions.make_step`: no network, each frame is a little off the last."""

  def step(params, window, protein, sigma, temperature_K, rng):
    same = state_lib.start_window(window.states[-1], config.window).states
    states = state_lib.perturb(same, 0.02, level, protein, rng)
    return window.followed_by(states)

  return step


def stand_still(state, level, batch, rng):
  """Stands in for a step of training."""
  return state, {'loss': np.float32(1.0), 'error': np.float32(1.0)}


def evaluate(params, level, batch, rng):
  """Stands in for a step of validation."""
  return {'loss': np.float32(1.0)}


def train(config, workdir):
  """As `tempo-jax train`, but for the steps."""
  return loop.train(config, workdir, loop.Parts(lambda *_: stand_still, lambda *_: evaluate))


class Vibration(commands.Shaken):
  """Stands in for `stream.Stream`: all atoms vibrate about the start."""

  def __iter__(self):
    for job in self._jobs:
      start = trajectory_files.start_atoms(self._proteins[job.protein], self._atoms)
      rng = np.random.default_rng(job.replica)
      noise = rng.normal(scale=0.05, size=(self._num_frames, *start.shape))
      yield job, jnp.asarray(start + noise, jnp.float32), 0


def vibrate(
  self, proteins, num_frames, num_replicas, rng, temperature_K, *sizes, done=(), atoms=None
):
  jobs = [job for job in sizes[-1] if job not in done]
  return Vibration(proteins, num_frames, jobs, 0, self.atoms(atoms))
