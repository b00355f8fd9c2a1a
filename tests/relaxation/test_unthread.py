"""Bonds that pass through rings come out, and everything else stays as it is."""

import warnings

import numpy as np
import pytest
from scipy.spatial import distance, transform

with warnings.catch_warnings():
  warnings.simplefilter('ignore', DeprecationWarning)  # of SWIG, on Python 3.12
  pytest.importorskip('openmm', reason="needs the extra 'simulate'")
  pytest.importorskip('pdbfixer', reason="needs the extra 'simulate'")

import openmm

from tempo_jax.geometry import side_chains
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tempo_jax.relaxation import relax, rings, unthread
from tests import peptides

_RINGS = {'PHE': 'CG CD1 CE1 CZ CE2 CD2', 'PRO': 'N CA CB CG CD', 'TRP': 'CG CD1 NE1 CE2 CD2'}


def tripeptide(name):
  """Names of atoms and [A, 3] Å of GLY-name-GLY, an extended side chain."""
  names = 'GLY', name, 'GLY'
  types = np.array([protein_lib.RESIDUE_TYPES.index(x) for x in names])
  backbone = peptides.helix(3, -120.0, 140.0)[:, :4].astype(np.float32)
  atoms = side_chains.heavy_atoms(backbone, np.full((3, 4), np.pi - 0.1, np.float32), types)
  there = side_chain_atoms.atom_mask(types)
  labels = [(i, x, atom) for i, x in enumerate(names) for atom in
            side_chain_atoms.ATOM_NAMES[types[i]]]  # fmt: skip
  return labels, np.asarray(atoms, np.float64)[there]


def threaded(path, kind, bond):
  """Two peptides, a bond of the lysine of one through the ring of the other."""
  labels, xyz = tripeptide(kind)
  ring = np.array([xyz[labels.index((1, kind, atom))] for atom in _RINGS[kind].split()])
  centre = ring.mean(axis=0)
  axis = np.linalg.svd(ring - centre)[2][2]
  others, moved = tripeptide('LYS')
  ends = [moved[others.index((1, 'LYS', atom))] for atom in bond]
  direction = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
  middle = centre + np.array([0.1, 0.2, 0.1])
  # Turned about that bond so that the peptides are as far apart as they can be.
  choices = []
  for sign in (-1.0, 1.0):
    turn, _ = transform.Rotation.align_vectors([sign * axis], [direction])
    for angle in np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False):
      turned = transform.Rotation.from_rotvec(angle * axis) * turn
      choices.append(turned.apply(moved - np.mean(ends, axis=0)) + middle)
  backbones = [
    np.array([atom in ('N', 'CA', 'C', 'O') for *_, atom in x]) for x in (labels, others)
  ]
  moved = max(
    choices, key=lambda places: distance.cdist(xyz[backbones[0]], places[backbones[1]]).min()
  )
  lines = []
  for chain, names, places in (('A', labels, xyz), ('B', others, moved)):
    lines += [
      peptides.line(atom, residue, chain, i + 1, place)
      for (i, residue, atom), place in zip(names, places, strict=True)
    ]
    lines.append('TER\n')
  path.write_text(''.join(lines) + 'END\n')
  return path


def test_a_bond_goes_aside_and_not_along(np_rng):
  """At right angles to the axis, until it is clear of the ring; the ring is fixed here."""
  angle = 2.0 * np.pi * np.arange(6) / 6
  ring = 0.14 * np.stack([np.cos(angle), np.sin(angle), np.zeros(6)], axis=-1)
  ends = np.array([[0.03, 0.0, -0.03], [0.03, 0.0, 0.12]])
  turn, shift = transform.Rotation.random(rng=np_rng), np_rng.normal(size=3)
  positions = turn.apply(np.concatenate([ring, ends])) + shift
  system = openmm.System()
  for mass in (*[0.0] * 6, 12.0, 12.0):
    system.addParticle(mass)
  piercing = rings.Piercing(tuple(range(6)), (6, 7), '')
  moved = turn.inv().apply(unthread.pull_out(system, set(), {}, positions, [piercing]) - shift)
  np.testing.assert_allclose(moved[:6], ring, atol=1e-4)
  assert moved[6:, 0].min() > 0.31  # Nothing else holds it back.
  np.testing.assert_allclose(moved[6:, 1:], ends[:, 1:], atol=1e-4)
  assert system.getNumForces() == 0


@pytest.fixture
def repeatable():
  """The same forces to the last bit every time: so near, atoms go another way for less."""
  platform = openmm.Platform.getPlatformByName('CPU')
  values = {'Threads': '1', 'DeterministicForces': 'true'}
  before = {name: platform.getPropertyDefaultValue(name) for name in values}
  for name, value in values.items():
    platform.setPropertyDefaultValue(name, value)
  yield
  for name, value in before.items():
    platform.setPropertyDefaultValue(name, value)


@pytest.mark.usefixtures('repeatable')
@pytest.mark.parametrize(
  ('kind', 'bond'), [('PHE', ('CE', 'NZ')), ('PRO', ('CD', 'CE')), ('TRP', ('CG', 'CD'))]
)
def test_a_lysine_in_a_ring(tmp_path, monkeypatch, kind, bond):
  file = threaded(tmp_path / 'x.pdb', kind, bond)
  how = {'frames': [0], 'platform': 'CPU', 'num_threads': 1}
  (row,) = relax.relax(file, file, tmp_path / 'out', **how)
  assert row.pierced_rings_before >= 1
  assert (row.problem, row.pierced_rings, row.flips) == ('', 0, 0)
  assert row.ca_max_A < 0.5
  if kind == 'PHE':  # Without help it stays there, and that is said.
    monkeypatch.setattr(unthread, 'pull_out', lambda *args: args[3])
    (row,) = relax.relax(file, file, tmp_path / 'other', **how)
    assert row.pierced_rings == 1
    assert 'B:2 LYS CE-NZ through the ring of A:2 PHE' in row.problem
    assert not list((tmp_path / 'other').glob('frame*'))
