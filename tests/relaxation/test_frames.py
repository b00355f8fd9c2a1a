import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.metrics import superposition
from tempo_jax.relaxation import frames as frames_lib
from tempo_jax.trajectory import reader
from tests import peptides
from tests.relaxation import short


def helices(shapes, noise=0.02):
  """One frame for each (phi, psi), turned and moved at random."""
  rng = np.random.default_rng(1)
  xyz = np.array([peptides.helix(6, *shape)[:, :4].reshape(-1, 3) for shape in shapes])
  xyz += noise * rng.normal(size=xyz.shape)
  for frame in xyz:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    frame[:] = frame @ (q * [1.0, 1.0, np.linalg.det(q)]) + rng.normal(size=3)
  topology = mdtraj.Topology()
  chain = topology.add_chain()
  for _ in range(6):
    residue = topology.add_residue('GLY', chain)
    for name in peptides.ATOMS[:4]:
      topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
  return mdtraj.Trajectory(xyz / 10.0, topology, time=20.0 + 5.0 * np.arange(len(xyz)))


@pytest.fixture
def source(tmp_path):
  def source(traj):
    return frames_lib.Source.of(*short.save(tmp_path, traj))

  return source


SHAPES = [(-57.0, -47.0), (-120.0, 130.0), (-75.0, 145.0)]
ORDER = [0, 1, 1, 2, 1, 0, 1, 2, 1, 0]


def test_representatives(source):
  traj = helices([SHAPES[k] for k in ORDER])
  found = frames_lib.representatives(source(traj), 3)
  assert [picked.population for picked in found] == pytest.approx([0.5, 0.3, 0.2])
  assert [ORDER[picked.number] for picked in found] == [1, 0, 2]
  ca = 10.0 * traj.xyz[:, 1::4]
  for picked, kind in zip(found, (1, 0, 2), strict=True):
    members = np.flatnonzero(np.array(ORDER) == kind)
    spread = [np.mean(superposition.rmsd(ca[members], ca[k]) ** 2) for k in members]
    assert np.mean(superposition.rmsd(ca[members], ca[picked.number]) ** 2) == pytest.approx(
      min(spread), rel=1e-3
    )


def test_representatives_are_real_frames_of_a_few(source, monkeypatch):
  traj = helices([SHAPES[k] for k in [*ORDER, *ORDER]])
  monkeypatch.setattr(frames_lib, 'MOST_CLUSTERED', 6)
  monkeypatch.setattr(reader, '_BLOCK_BYTES', 12 * 24 * 3)  # three frames
  found = frames_lib.representatives(source(traj), 2)
  assert all(picked.number % 4 == 0 for picked in found)  # 20 -> 10 -> 5 frames
  kinds = [ORDER[k % 10] for k in range(0, 20, 4)]
  assert kinds == [0, 1, 1, 1, 1]
  assert [picked.population for picked in found] == pytest.approx([0.8, 0.2])
  assert found[1].number == 0


def test_fewer_frames_than_clusters(source):
  found = frames_lib.representatives(source(helices(SHAPES)), 10)
  assert [(picked.number, picked.population) for picked in found] == [
    (k, pytest.approx(1 / 3)) for k in range(3)
  ]


def test_by_number(source):
  found = source(helices(SHAPES * 4))
  assert [p.number for p in frames_lib.by_number(found, [3, -1, 0, 3, -12])] == [3, 11, 0]
  assert {p.population for p in frames_lib.by_number(found, [3])} == {None}
  for wrong in ([12], [0, -13]):
    with pytest.raises(
      InputError, match=rf'--frames={wrong[-1]}: .*piece.xtc has 12 frames: give '
    ):
      frames_lib.by_number(found, wrong)


def test_reading(source, monkeypatch):
  traj = helices(SHAPES * 4)
  found = source(traj)
  assert [f.number for f in found.read([11, 2, 2])] == [2, 11]
  monkeypatch.setattr(reader, '_BLOCK_BYTES', 12 * 24 * 2)  # two frames
  for frame in found.read([11, 4, 5, 0]):
    assert frame.time_ns == pytest.approx(0.02 + 0.005 * frame.number)
    expected = 10.0 * traj.xyz[frame.number]
    np.testing.assert_allclose(frame.atoms, expected, atol=0.006)  # XTC
    np.testing.assert_allclose(frame.backbone.reshape(-1, 3), expected, atol=0.006)
  with pytest.raises(InputError, match='no frame 12: its 12 frames are numbered from 0 on'):
    list(found.read([12]))


def test_without_times(tmp_path):
  topology, file = short.save(tmp_path, helices(SHAPES))
  mdtraj.load(str(file), top=str(topology)).save_dcd(str(tmp_path / 'x.dcd'))
  (frame,) = frames_lib.Source.of(topology, tmp_path / 'x.dcd').read([1])
  assert frame.time_ns is None
