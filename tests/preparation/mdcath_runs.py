"""Runs of data_prep.mdcath, and what they should come to, by h5py and scipy."""

import contextlib
import dataclasses
import io
import itertools
import pathlib
import sys

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from tempo_jax.preparation.mdcath import domain_file, mdcath
from tempo_jax.protein import protein
from tempo_jax.store import store
from tests.preparation import synthetic_mdcath

REPOSITORY = pathlib.Path(__file__).parents[2]
# mdtraj superposes in float32: exact in shape, and nearly so in where it stands. Å.
TOLERANCE = 3e-3


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a run returned, printed and wrote."""

  code: int
  out: list[str]
  errors: list[str]
  store: store.Store | None

  def entry(self, name, replica=1):
    return self.store.entry(f'{name}/T320/R{replica}')

  def about(self, name):
    return '\n'.join(line for line in self.out if line.startswith(name))


def run(raw_dir, store_path, num_workers=1, overwrite=False, **kwargs) -> Outcome:
  ours = ('domains', 'preset', 'seed', 'download', 'mirror', 'block_frames')
  others = {key: kwargs.pop(key) for key in ours if key in kwargs}
  selection = domain_file.Selection(**kwargs)
  out, errors = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
    code = mdcath.prepare(
      raw_dir, store_path, selection, num_workers=num_workers, overwrite=overwrite, **others
    )
  said = [line for line in errors.getvalue().splitlines() if line.startswith('error: ')]
  there = (store_path / 'manifest.json').exists()
  opened = store.Store(store_path) if there else None
  return Outcome(code, out.getvalue().splitlines(), said, opened)


def by_hand(file, group='320/1', num_residues=None, num_frames=None):
  """[F, L, 4, 3] float64 Å: the backbone, superposed on the native CA atoms."""
  with h5py.File(file) as h5:
    (domain,) = h5.values()
    lines = [line for line in domain['pdbProteinAtoms'].asstr()[()].splitlines() if 'ATOM' in line]
    keys = list(zip(domain['chain'].asstr()[()], domain['resid'][()], strict=True))
    coords = domain[group]['coords'][:num_frames].astype(np.float64)
  names = [line[12:16].strip() for line in lines]
  native = np.array([[float(line[i : i + 8]) for i in (30, 38, 46)] for line in lines])
  rows = []
  for _, atoms in itertools.groupby(range(len(keys)), lambda i: keys[i]):
    of = {names[i]: i for i in atoms}
    rows.append([of['N'], of['CA'], of['C'], of.get('O', of.get('OT1'))])
  rows = np.array(rows[:num_residues])
  target = native[rows[:, 1]]
  frames = []
  for frame in coords[:, rows]:
    ca = frame[:, 1]
    rotation, _ = Rotation.align_vectors(target - target.mean(0), ca - ca.mean(0))
    frames.append((frame - ca.mean(0)) @ rotation.as_matrix().T + target.mean(0))
  return np.array(frames)


def sequence(file):
  """One letter per residue, by its number."""
  letters = {'HSD': 'H', **protein.ONE_LETTER}
  with h5py.File(file) as h5:
    (domain,) = h5.values()
    _, first = np.unique(domain['resid'][()], return_index=True)
    return ''.join(letters[domain['resname'].asstr()[i]] for i in first)


def file_of(path, name):
  return path / f'mdcath_dataset_{name}.h5'


def command(raw_dir, store_path, *flags):
  return [
    *(sys.executable, '-m', 'data_prep.mdcath'),
    *(f'--raw_dir={raw_dir}', f'--store={store_path}', *flags),
  ]


class Small:
  """A domain that is easily changed."""

  name = '1abcA00'

  def __init__(self, path, num_residues=12, frames=(20, 20, 20)):
    path.mkdir()
    rng = np.random.default_rng(7)
    self.path, self.file = path, file_of(path, self.name)
    self.atoms = synthetic_mdcath.build(num_residues, rng)
    numbers = {(320, replica): count for replica, count in enumerate(frames)}
    synthetic_mdcath.write_domain(self.file, self.name, self.atoms, numbers, rng)

  @contextlib.contextmanager
  def edit(self):
    with h5py.File(self.file, 'r+') as h5:
      yield h5[self.name]

  def replace(self, key, data):
    with self.edit() as domain:
      del domain[key]
      domain[key] = data
