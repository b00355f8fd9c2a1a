import warnings

import mdtraj
import numpy as np
import pytest

with warnings.catch_warnings():
  warnings.simplefilter('ignore', DeprecationWarning)  # of SWIG, on Python 3.12
  pytest.importorskip('openmm', reason="needs the extra 'simulate'")

from openmm import app
from scipy.spatial import transform

from tempo_jax.relaxation import rings
from tests.relaxation import short

_RINGS = {
  'PHE': ('CG', 'CD1', 'CE1', 'CZ', 'CE2', 'CD2'),
  'HIS': ('CG', 'ND1', 'CE1', 'NE2', 'CD2'),
  'PRO': ('N', 'CA', 'CB', 'CG', 'CD'),
}
_RADIUS = 0.14


def ring_and_bond(kind):
  """A ring alone, and the bond CD-CE of a lysine."""
  topology = app.Topology()
  chain = topology.addChain('A')
  first, second = (topology.addResidue(name, chain, number) for name, number in
                   ((kind, '1'), ('LYS', '2')))  # fmt: skip
  for name in _RINGS[kind]:
    topology.addAtom(name, app.element.get_by_symbol(name[0]), first)
  ends = [topology.addAtom(name, app.element.carbon, second) for name in ('CD', 'CE')]
  topology.addBond(*ends)
  atoms = list(topology.atoms())[:-2]
  for here, there in zip(atoms, [*atoms[1:], atoms[0]], strict=True):
    topology.addBond(here, there)
  return topology


def corners(kind):
  angle = 2.0 * np.pi * np.arange(len(_RINGS[kind])) / len(_RINGS[kind])
  return _RADIUS * np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=-1)


@pytest.mark.parametrize('kind', _RINGS)
def test_bonds_in_any_place(kind, np_rng):
  """Against half planes: the crossing lies on the inner side of every edge."""
  found = rings.Rings(ring_and_bond(kind))
  ring, pierced = corners(kind), []
  for _ in range(300):
    start = np_rng.uniform(-0.12, 0.12, 3)
    direction = np_rng.normal(size=3)
    end = start + 0.153 * direction / np.linalg.norm(direction)
    share = start[2] / (start[2] - end[2])
    point = start + share * (end - start)
    edges = np.roll(ring, -1, axis=0) - ring
    inside = np.all(np.cross(edges, point - ring)[:, 2] > 0.0)
    expected = bool(inside and 0.0 <= share <= 1.0)
    turn = transform.Rotation.random(rng=np_rng)
    positions = turn.apply(np.concatenate([ring, [start, end]])) + np_rng.normal(size=3)
    pierced.append(expected)
    assert (len(found.pierced(positions)) == 1) == expected
  assert 30 < sum(pierced) < 200


def test_message():
  positions = np.concatenate([corners('PHE'), [[0.03, 0.01, -0.07], [0.01, 0.02, 0.08]]])
  (piercing,) = rings.Rings(ring_and_bond('PHE')).pierced(positions)
  assert piercing.text == 'A:2 LYS CD-CE through the ring of A:1 PHE'
  assert (piercing.ring, piercing.bond) == (tuple(range(6)), (6, 7))


def test_a_puckered_ring():
  """A fan from the centre, not one plane."""
  ring = corners('PRO')
  ring[3, 2] += 0.06
  crossing = np.concatenate([ring, [ring[3] * 0.7 + [0, 0, 0.09], ring[3] * 0.7 - [0, 0, 0.06]]])
  found = rings.Rings(ring_and_bond('PRO'))
  assert len(found.pierced(crossing)) == 1
  crossing[-2:, 2] += 0.08  # Above the flap, and still through the plane of the others.
  assert found.pierced(crossing) == []


def test_md_pierces_no_ring():
  traj = mdtraj.load(str(short.FOLDER / 'cln025_R1.xtc'), top=str(short.FOLDER / 'cln025.pdb'))
  found = rings.Rings(traj.topology.to_openmm())
  assert len(found._rings) == 6  # 3 TYR, TRP, which has two, and PRO
  assert not [text for frame in traj.xyz[::8] for text in found.pierced(frame)]
