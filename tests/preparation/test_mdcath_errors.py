"""Every broken mdCATH file, and every mistake, gets its one clear line."""

import os
import re
import subprocess

import h5py
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tests.preparation import mdcath_runs
from tests.preparation.mdcath_runs import by_hand, run


@pytest.fixture
def small(tmp_path):
  return mdcath_runs.Small(tmp_path / 'raw')


def scale(factor):
  return lambda coords: np.multiply(coords, factor)


def replaced(value, frames=slice(None)):
  def change(coords):
    coords = coords.copy()
    coords[frames] = value
    return coords

  return change


def broken_over_box(coords):
  coords = coords - coords.mean(axis=1, keepdims=True)
  return np.mod(coords, 50.0)


COORDINATES = [
  (scale(10.0), r': 320/1: frame 0: .* 10 times too large'),
  (replaced(np.nan), r': 320/1: frame 0: .* are not numbers'),
  (replaced(0.0), r': 320/1: frame 0: .* is 0.00 Å: coordinates are corrupt'),
  (replaced(3e7, slice(1)), r': 320/1: frame 0: .* coordinates are corrupt'),
  (replaced(np.inf, slice(7, 9)), r': 320/1: frame 7: .* are not numbers'),
  (lambda coords: coords[:, 1:], r': 320/1: coords are \(20, \d+, 3\): pdbProteinAtoms has'),
  (lambda coords: coords[..., 0], r': 320/1: coords are \(20, \d+\): pdbProteinAtoms has'),
  (lambda coords: coords[:, ::-1], r': 320/1: frame 0: .* probably in another order'),
]


@pytest.mark.parametrize(('change', 'line'), COORDINATES)
def test_broken_coordinates(small, tmp_path, change, line):
  with small.edit() as domain:
    coords = domain['320/1/coords'][()]
  small.replace('320/1/coords', change(coords).astype(np.float32))
  outcome = run(small.path, tmp_path / 'store')
  assert outcome.code == 1
  assert {entry.replica for entry in outcome.store.entries} == {0, 2}
  (said,) = outcome.errors
  assert re.match(f'error: {small.file.name}{line}', said), said
  assert sorted(p.name for p in (tmp_path / 'store/entries/1abcA00/T320').iterdir()) == ['R0', 'R2']


@pytest.mark.parametrize(
  ('box', 'made_whole'),
  [
    (5.0 * np.eye(3), True),
    (50.0 * np.eye(3), True),  # Å, whatever the attribute says
    (np.full(3, 5.0), True),
    (np.zeros((3, 3)), False),
    (np.full((3, 3), np.nan), False),
    (4.0 * np.eye(3), False),
    (None, False),
  ],
)
def test_boxes(small, tmp_path, box, made_whole):
  intact = by_hand(small.file)
  with small.edit() as domain:
    coords = domain['320/1/coords'][()]
    del domain['320/1/box']
    if box is not None:
      domain['320/1/box'] = box
  small.replace('320/1/coords', broken_over_box(coords))
  outcome = run(small.path, tmp_path / 'store')
  if made_whole:
    entry = outcome.entry(small.name)
    assert entry.notes == ('re-imaged 20 frames that the periodic box had cut',)
    np.testing.assert_allclose(
      outcome.store.read(entry), intact, rtol=0, atol=mdcath_runs.TOLERANCE
    )
  else:
    (said,) = outcome.errors
    assert 'frame 0' in said
    assert 'the molecule is broken, and the periodic box does not make it whole' in said


def edit_text(change):
  def damage(small):
    text = small.atoms.pdb()
    small.replace('pdbProteinAtoms', change(text).encode())

  return damage


def drop(key):
  def damage(small):
    with small.edit() as domain:
      del domain[key]

  return damage


def cut_off(small):
  os.truncate(small.file, 3000)


def write_text(small):
  small.file.write_text('<html>not found</html>')


def rename(small):
  with h5py.File(small.file, 'r+') as h5:
    h5.move(small.name, '2xyzB00')


FILES = [
  (cut_off, r': cannot be read, damaged or cut short'),
  (write_text, r': cannot be read, damaged or cut short'),
  (rename, r': should hold 1abcA00 and holds 2xyzB00: name it after its domain'),
  (drop('pdbProteinAtoms'), r': no pdbProteinAtoms in it'),
  (edit_text(lambda text: text[: len(text) // 2]), r': pdbProteinAtoms has \d+ atoms, num'),
  (edit_text(lambda text: ''), r': pdbProteinAtoms has 0 atoms, numProteinAtoms says'),
  (edit_text(lambda text: text.replace(' 5  ', ' x  ')), r': pdbProteinAtoms: no residue number'),
  (edit_text(lambda text: text.replace('.', 'x')), r': pdbProteinAtoms: no coordinates'),
  (edit_text(lambda text: text.replace(' CA ', ' XX ')), r': pdbProteinAtoms: at least 2 resid'),
  (
    edit_text(lambda text: re.sub(r'(?m)^(.{12} CA .{14}).{8}', r'\1  99.000', text, count=1)),
    r': pdbProteinAtoms: 0:1 [A-Z]{3} \(broken geometry: N-CA is .*\): download the file again',
  ),
]


@pytest.mark.parametrize(('damage', 'line'), FILES)
def test_broken_files(small, tmp_path, damage, line):
  damage(small)
  outcome = run(small.path, tmp_path / 'store')
  (said,) = outcome.errors
  assert re.match(f'error: {small.file.name}{line}', said), said
  assert (outcome.code, outcome.store) == (1, None)
  assert not (tmp_path / 'store').exists()


def test_no_frames_at_all(small, tmp_path):
  small.replace('320/1/coords', np.zeros((0, len(small.atoms.names), 3), np.float32))
  outcome = run(small.path, tmp_path / 'store')
  assert (outcome.code, outcome.errors) == (0, [])
  assert f'{small.name}/T320/R1: empty, left out' in outcome.out


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'temperatures': (300,)}, '--temperatures=300: mdCATH has 320, 348, 379, 413, 450'),
    ({'replicas': (1, 5)}, '--replicas=1,5: mdCATH has 0, 1, 2, 3, 4'),
    ({'replicas': ()}, '--replicas=: mdCATH has'),
    ({'max_residues': 1}, '--max_residues=1: give 2 or more'),
    ({'num_frames': -1}, '--num_frames=-1: give 1 or more'),
    ({'num_frames': 0, 'extend_periodically': True}, '--extend_periodically: needs --num_frames'),
    ({'download': 'preset'}, '--download=preset: downloads what --preset draws'),
    ({'preset': 'paper', 'domains': ['x']}, 'each say which domains to prepare: give one of them'),
    ({'preset': 'paper'}, 'mdcath_source.h5: no such file, .*: add --download'),
    ({'domains': ['absent.txt']}, 'absent.txt: cannot be read'),
  ],
)
def test_mistakes(small, tmp_path, settings, message):
  with pytest.raises(InputError, match=message):
    run(small.path, tmp_path / 'store', **settings)
  assert not (tmp_path / 'store').exists()


def test_no_files(tmp_path):
  with pytest.raises(InputError, match='no such folder: correct --raw_dir, or use --download'):
    run(tmp_path / 'absent', tmp_path / 'store')
  with pytest.raises(InputError, match=r'no mdcath_dataset_\*\.h5 in it'):
    run(tmp_path, tmp_path / 'store')


def test_command_line(small, tmp_path):
  wrong = subprocess.run(
    mdcath_runs.command(small.path, tmp_path / 'store', '--temperatures=warm'),
    cwd=mdcath_runs.REPOSITORY,
    capture_output=True,
    text=True,
  )
  assert wrong.returncode == 2
  assert wrong.stderr == 'error: --temperatures=warm: give numbers with commas, or all\n'
  assert not (tmp_path / 'store').exists()
