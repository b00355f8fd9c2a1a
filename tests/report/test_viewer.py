"""What the 3-D view is given, and what its script makes of it: against numpy and the MD itself."""

import base64
import configparser
import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
from scipy import spatial

from tempo_jax.evaluation import series
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Replica
from tempo_jax.protein import protein as protein_lib
from tempo_jax.report import sticks as sticks_lib
from tempo_jax.report import viewer
from tests import heavy_trajectories
from tests.report import browser

CYS = protein_lib.RESIDUE_TYPES.index('CYS')


def clip_of(trajectory, heavy=True):
  ensemble = Ensemble(
    trajectory.protein, [Replica(trajectory.positions[0], np.asarray(trajectory.time_ns), 'MD')]
  )
  return series.clip('MD', ensemble, trajectory.heavy_atoms[0] if heavy else None)


def shown(trajectory, heavy=True):
  """The HTML of a viewer, and the data in it."""
  arrays = trajectory.protein.arrays
  text = viewer.viewer(
    [clip_of(trajectory, heavy)], arrays.chain_index, arrays.bonded, sticks_lib.Sticks.of(arrays)
  )
  (data,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
  return text, json.loads(data)


def decoded(text, kind, count):
  return np.frombuffer(base64.b64decode(text), kind).reshape(-1, count, 3)


@pytest.fixture(scope='module')
def nug2():
  return heavy_trajectories.simulated('nug2')


def test_sticks_are_the_short_distances_of_side_chains(nug2):
  sticks = sticks_lib.Sticks.of(nug2.protein.arrays)
  frame = nug2.heavy_atoms[0, 0]
  ca = frame[:, 1]
  atoms = frame[sticks.residue, sticks.slot]
  near = spatial.cKDTree(np.concatenate([atoms, ca])).query_pairs(2.0)
  size = len(atoms)
  expected = {(a, b if b < size else size - 1 - b) for a, b in near if a < size}
  found = {tuple(sorted(bond, reverse=True)) for bond in sticks.bonds.tolist()}
  assert found == {tuple(sorted(bond, reverse=True)) for bond in expected}
  assert len(found) == len(sticks.bonds)
  names = {atom.name[0] for atom in nug2.to_mdtraj().top.atoms}
  assert set(sticks.elements) <= names
  # Every atom beyond the backbone, and N of proline, which nug2 has not.
  assert size == nug2.to_mdtraj().n_atoms - 4 * 56
  np.testing.assert_array_equal(sticks.from_ca(frame[None])[0], atoms - ca[sticks.residue])


def test_sticks_close_prolines_and_join_sulphurs():
  arrays = heavy_trajectories.of_every_type().protein.arrays
  sticks = sticks_lib.Sticks.of(arrays)
  atoms = list(zip(sticks.residue.tolist(), sticks.slot.tolist(), strict=True))
  assert len(atoms) == 177 - 4 * 22 + 1
  bonds = {
    frozenset(atoms[k] if k >= 0 else (-1 - k, 1) for k in bond) for bond in sticks.bonds.tolist()
  }
  proline = protein_lib.RESIDUE_TYPES.index('PRO')
  assert frozenset({(proline, 0), (proline, 6)}) in bonds
  assert frozenset({(proline, 0), (proline, 1)}) in bonds
  assert frozenset({(CYS, 5), (21, 5)}) in bonds
  assert sticks.elements.count('S') == 3  # Of two CYS and MET.


def test_the_page_holds_the_atoms_of_every_frame(nug2):
  """Distances, which no rotation changes, are those of the MD."""
  _, data = shown(nug2)
  sticks = data['sticks']
  (clip,) = data['clips']
  ca = 0.01 * decoded(clip['xyz'], '<i2', 56)
  side = 0.06 * decoded(clip['side'], 'i1', len(sticks['residue'])) + ca[:, sticks['residue']]
  all_sticks = sticks_lib.Sticks.of(nug2.protein.arrays)
  truth = nug2.heavy_atoms[0]
  for frame in range(5):
    expected = np.concatenate(
      [truth[frame, :, 1], truth[frame, all_sticks.residue, all_sticks.slot]]
    )
    found = np.concatenate([ca[frame], side[frame]])
    difference = spatial.distance.pdist(found) - spatial.distance.pdist(expected)
    # 0.03 Å at most along each axis of both atoms.
    assert np.abs(difference).max() < 0.11
    # No mirror image.
    rotation, _ = spatial.transform.Rotation.align_vectors(
      found - found.mean(0), expected - expected.mean(0)
    )
    moved = rotation.apply(expected - expected.mean(0))
    np.testing.assert_allclose(moved, found - found.mean(0), atol=0.1)
    # Planes of the peptides, turned alike.
    plane = decoded(clip['plane'], 'i1', 56)[frame] / 127.0
    carbonyl = truth[frame, :, 3] - truth[frame, :, 2]
    carbonyl /= np.linalg.norm(carbonyl, axis=-1, keepdims=True)
    np.testing.assert_allclose(plane, rotation.apply(carbonyl), atol=0.02)
  assert len(clip['structure']) == 5 * 56


def test_without_side_chains_there_is_nothing_to_switch(nug2):
  text, data = shown(nug2, heavy=False)
  assert 'sticks' not in data
  assert 'side' not in data['clips'][0]
  assert 'side chains' not in text


@pytest.mark.parametrize(('frames', 'count'), [(400, 300), (4000, 300)])
def test_pages_stay_small(nug2, frames, count):
  """56 residues; and 1,000 residues get fewer frames, in place of a page of 20 MB."""
  atoms = np.resize(nug2.heavy_atoms, (1, frames, 56, 14, 3))
  text, data = shown(dataclasses.replace(nug2, positions=atoms[..., :4, :], heavy_atoms=atoms))
  assert len(data['times']) == count
  assert len(text) < 800_000
  arrays = nug2.protein.arrays
  many = {
    name: np.tile(value, (18, *[1] * (value.ndim - 1)))
    for name, value in vars(arrays).items()
    if value is not None
  }
  protein = dataclasses.replace(
    nug2.protein,
    arrays=protein_lib.ProteinArrays(**many),
    residue_number=np.arange(18 * 56),
    insertion_code=('',) * 18 * 56,
  )
  long = np.tile(atoms[:, :120], (1, 1, 18, 1, 1))
  trajectory = dataclasses.replace(
    nug2, positions=long[..., :4, :], heavy_atoms=long, protein=protein
  )
  text, data = shown(trajectory)
  assert len(data['times']) == 76
  assert len(text) < 4_000_000


def test_glycines_have_no_sticks(nug2):
  types = np.full(56, protein_lib.RESIDUE_TYPES.index('GLY'), np.int32)
  arrays = dataclasses.replace(nug2.protein.arrays, residue_type=types)
  protein = dataclasses.replace(nug2.protein, arrays=arrays)
  sticks = sticks_lib.Sticks.of(arrays)
  assert sticks.bonds.shape == (0, 2)
  assert sticks.from_ca(nug2.heavy_atoms[0]).shape == (5, 0, 3)
  _, data = shown(dataclasses.replace(nug2, protein=protein))
  assert data['sticks'] == {'residue': [], 'elements': '', 'bonds': []}
  assert data['clips'][0]['side'] == ''


def test_wheels_hold_the_scripts():
  package = pathlib.Path(viewer.__file__).parents[1]
  config = configparser.ConfigParser()
  config.read(package.parent / 'setup.cfg')
  patterns = config['options.package_data']['tempo_jax'].split(',')
  packed = {path for pattern in patterns for path in package.glob(pattern.strip())}
  scripts = set(package.rglob('*.js'))
  assert {path.name for path in scripts} == {'cartoon.js', 'viewer.js'}
  assert scripts <= packed


# --- the script, in a browser ---

_PARTS = """(() => {
  const data = JSON.parse(document.querySelector('.viewer script').textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (x) => x.charCodeAt(0)).buffer;
  const clip = {...data.clips[0]};
  clip.xyz = new Int16Array(bytes(clip.xyz));
  clip.plane = new Int8Array(bytes(clip.plane));
  clip.side = new Int8Array(bytes(clip.side));
  const parts = [];
  const project = ([x, y, z]) => ({x, y: -y, z, scale: 1});
  const view = {turn: %s, project, colourOf: () => [0, 0, 0], withSticks: true};
  cartoon.add(data, clip, 2, view, parts);
  const flat = (p) => [p.x, -p.y, p.z];
  return [
    parts.filter((p) => p.points).map((p) => p.points.map(flat)),
    parts.filter((p) => p.from).map((p) => [flat(p.from), flat(p.to)]),
  ];
})()"""


@pytest.fixture(scope='module')
def parts(nug2, tmp_path_factory):
  """Faces from the front and from behind, sticks, in the axes of the data; and the data."""
  pytest.importorskip('tornado')
  browser.path()
  folder = tmp_path_factory.mktemp('viewer')
  text, data = shown(nug2)
  page = folder / 'page.html'
  page.write_text(f'<!DOCTYPE html><meta charset="utf-8">{viewer.head()}{text}')
  with browser.Browser(folder / 'chromium') as chromium:
    chromium.open(page)
    assert not chromium.complaints()
    front, sticks = chromium.run(_PARTS % '[1,0,0,0,1,0,0,0,1]')
    back, _ = chromium.run(_PARTS % '[-1,0,0,0,1,0,0,0,-1]')
  turned = [np.array(face) * [-1.0, 1.0, -1.0] for face in back]
  return [*map(np.array, front)], turned, np.array(sticks), data


def test_the_ribbon_runs_through_every_ca(parts):
  front, back, _, data = parts
  ca = 0.01 * decoded(data['clips'][0]['xyz'], '<i2', 56)[2]
  corners = np.concatenate([*front, *back])
  distance, nearest = spatial.cKDTree(ca).query(corners)
  # Half of 3.8 Å along the chain, 1.8 Å at most across it.
  assert distance.max() < 2.7
  assert set(nearest.tolist()) == set(range(56))
  # A coil is 0.3 Å thick in every direction.
  kinds = data['clips'][0]['structure'][2 * 56 : 3 * 56]
  middle = [i for i in range(1, 55) if kinds[i - 1 : i + 2] == '000']
  assert middle
  for i in middle:
    assert spatial.cKDTree(corners).query(ca[i])[0] == pytest.approx(0.3, abs=0.02)


def test_ribbons_lie_in_the_planes_of_the_peptides(parts):
  """What is farthest from CA of a helix or strand lies in the direction of C=O."""
  front, back, _, data = parts
  (clip,) = data['clips']
  ca = 0.01 * decoded(clip['xyz'], '<i2', 56)[2]
  plane = decoded(clip['plane'], 'i1', 56)[2] / 127.0
  kinds = clip['structure'][2 * 56 : 3 * 56]
  corners = np.concatenate([*front, *back])
  checked = 0
  for i in range(1, 55):
    if kinds[i - 1 : i + 2] not in ('111', '222'):
      continue
    axis = ca[i + 1] - ca[i - 1]
    axis /= np.linalg.norm(axis)
    there = corners - ca[i]
    here = there[(np.abs(there @ axis) < 0.3) & (np.linalg.norm(there, axis=-1) < 1.4)]
    far = here[np.linalg.norm(here, axis=-1) > 0.9]
    across = [plane[k] - (plane[k] @ axis) * axis for k in (i - 1, i)]
    # The planes before and behind are turned to each other, and alternate in strands.
    across = across[0] + across[1] * np.sign(across[0] @ across[1])
    across /= np.linalg.norm(across)
    assert len(far) >= 2, i
    cosine = np.abs(far @ across) / np.linalg.norm(far, axis=-1)
    assert np.median(cosine) > 0.8, i
    checked += 1
  assert checked > 20


def test_strands_end_in_an_arrow(parts):
  front, back, _, data = parts
  (clip,) = data['clips']
  ca = 0.01 * decoded(clip['xyz'], '<i2', 56)[2]
  kinds = clip['structure'][2 * 56 : 3 * 56]
  corners = np.concatenate([*front, *back])
  found = []
  for i in range(1, 55):
    axis = (ca[i + 1] - ca[i - 1]) / np.linalg.norm(ca[i + 1] - ca[i - 1])
    there = corners[np.linalg.norm(corners - ca[i], axis=-1) < 1.9] - ca[i]
    across = np.linalg.norm(there - (there @ axis)[:, None] * axis, axis=-1)
    if (across[np.abs(there @ axis) < 0.3] > 1.5).any():
      found.append(i)
  assert found == [i for i in range(1, 55) if kinds[i] == '2' and kinds[i + 1] != '2']
  assert len(found) > 2


def test_front_and_back_are_two_sides_of_one_body(parts):
  front, back, _, _ = parts

  def area(face):
    """Of the face as the viewer sees it, counter-clockwise above zero."""
    x, y = face[:, 0], face[:, 1]
    return 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))

  seen, hidden = (sum(area(face) for face in faces) for faces in (front, back))
  # A closed surface throws the same shadow from both sides.
  assert min(area(face) for face in front) > 0.0 > max(area(face) for face in back)
  assert seen == pytest.approx(-hidden, rel=0.02)


def test_sticks_join_atoms_that_are_bonded(parts):
  _, _, lines, data = parts
  sticks = data['sticks']
  ca = 0.01 * decoded(data['clips'][0]['xyz'], '<i2', 56)[2]
  offset = 0.06 * decoded(data['clips'][0]['side'], 'i1', len(sticks['residue']))[2]
  places = np.concatenate([offset + ca[sticks['residue']], ca[::-1]])  # -1 is CA of the first.
  ends = places[np.array(sticks['bonds']).reshape(-1, 2)]
  total = np.linalg.norm(lines[:, 0] - lines[:, 1], axis=-1).sum()
  assert total == pytest.approx(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1).sum(), rel=1e-6)
  tree = spatial.cKDTree(np.concatenate([places, ends.mean(axis=1)]))
  assert tree.query(lines.reshape(-1, 3))[0].max() < 1e-6
