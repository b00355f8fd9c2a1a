import dataclasses
import html.parser
import itertools
import json
import pathlib
import pickle
import re
import shutil
import subprocess
import sys

import jax
import mdtraj
import numpy as np
import pytest
import tensorstore
from scipy import spatial
from scipy.spatial.transform import Rotation

from tempo_jax.errors import InputError
from tempo_jax.geometry import torsion
from tempo_jax.preparation import trajectories
from tempo_jax.preparation.inspection import (
  conformations,
  entry_checks,
  findings,
  frame_series,
  inspect,
  store_checks,
  store_page,
  store_text,
)
from tempo_jax.store import frames as frames_lib
from tempo_jax.store import store
from tests import peptides
from tests.store import synthetic

REPOSITORY = pathlib.Path(__file__).parents[2]
LENGTH = 14  # residue 100 + i is of type i; 5 is GLY, 12 PRO
NUM_FRAMES = 60
MIRROR = np.array([1.0, 1.0, -1.0])


def chain(phi, psi, omega):
  """[L, 4, 3] Å with ideal bonds; omega[i] is that between i and i + 1."""
  step = peptides._next_atom
  n, ca = np.array([0.0, 0.0, 0.0]), np.array([1.46, 0.0, 0.0])
  c = step(np.array([0.0, 1.0, 0.3]), n, ca, 1.525, 111.0, 40.0)
  residues = []
  for i in range(len(phi)):
    residues.append([n, ca, c, step(n, ca, c, 1.231, 120.1, psi[i] + 180.0)])
    next_n = step(n, ca, c, 1.329, 117.2, psi[i])
    next_ca = step(ca, c, next_n, 1.46, 121.7, omega[i])
    following = phi[(i + 1) % len(phi)]
    n, ca, c = next_n, next_ca, step(c, next_n, next_ca, 1.525, 111.0, following)
  return np.array(residues)


HELIX = {'phi': -62.0, 'psi': -42.0, 'omega': 180.0}
STRAND = {'phi': -120.0, 'psi': 130.0, 'omega': 180.0}


def motion(seed, num_frames=NUM_FRAMES, means=HELIX, **fixed):
  """A peptide whose torsions drift and shake: steps of some 0.5 Å, [F, L, 4, 3] float32.

  Args:
    fixed: phi, psi or omega -> {residue: degrees}, held there.
  """
  rng = np.random.default_rng(seed)
  angles = {}
  for name, mean in means.items():
    noise = np.zeros((num_frames, LENGTH))
    for frame in range(1, num_frames):
      noise[frame] = 0.8 * noise[frame - 1] + rng.normal(scale=3.0, size=LENGTH)
    angles[name] = mean + noise
    for residue, value in fixed.get(name, {}).items():
      angles[name][:, residue] = value
  frames = [chain(*(angles[name][k] for name in means)) for k in range(num_frames)]
  return np.array(frames, np.float32)


def entry(name, **changes):
  rng = np.random.default_rng(list(name.encode()))
  changes = {'sequence': ''.join(rng.choice(list('ACDE'), LENGTH)), **changes}
  return synthetic.entry(name, LENGTH, **changes)


TWO_CHAINS = {
  'bonded': ~np.isin(np.arange(LENGTH), [6, LENGTH - 1]),
  'chain_index': (np.arange(LENGTH) > 6).astype(np.int32),
  'chain_ids': ('A', 'B'),
}


def two_chains(seed):
  """The second half is a chain of its own, 25 Å away."""
  x = motion(seed)
  x[:, 7:] += np.array([25.0, 0.0, 0.0], np.float32)
  return x


def planted():
  """name -> entry, positions: every defect once."""
  defects = {}

  def add(name, positions, **changes):
    defects[name] = entry(name, **changes), np.asarray(positions, np.float32)

  add('sound', motion(0))
  add('nanometres', 0.1 * motion(1))
  add('tenfold', 10.0 * motion(2))
  broken = motion(3)
  broken[23, 8:] += 30.0  # after residue 107
  add('broken', broken)
  stretched = motion(4)
  stretched[31:33, 4, 3] += 2.0
  add('stretched', stretched)
  add('mirror', MIRROR * motion(5))
  add('d_residue', motion(6, phi={8: 60.0}))
  add('glycine', motion(7, phi={5: 60.0}))
  add('cis', motion(8, means=STRAND, omega={3: 5.0}))
  add('cis_proline', motion(9, means=STRAND, omega={11: -4.0}))
  twisted = motion(10, means=STRAND)
  twisted[40] = motion(10, 41, means=STRAND, omega={12: 95.0})[40]
  add('twisted', twisted)
  frozen = motion(11)
  frozen[30:33] = frozen[29]
  add('frozen', frozen)
  add('still', np.repeat(motion(12, 1), 20, axis=0))
  # Moved as a whole, so that not even the numbers are equal.
  repeated = motion(13)
  turn = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
  repeated[50] = repeated[11] @ turn.T + [3.0, 4.0, 5.0]
  add('repeated', repeated)
  periodic = motion(14, 25)
  add('periodic', np.concatenate([periodic, periodic, periodic])[:60])
  note = ('25 frames, repeated periodically up to 60',)
  periodic = motion(15, 25)
  add('extended', np.concatenate([periodic] * 3)[:60], notes=note)
  add('gap', np.concatenate([motion(16, 34), motion(17, 26, means=STRAND)]))
  jumping = two_chains(18)
  jumping[45:, 7:] += np.array([0.0, 0.0, 40.0], np.float32)
  add('box', jumping, **TWO_CHAINS)
  moved = motion(19)
  moved += 0.3 * np.random.default_rng(0).normal(size=(NUM_FRAMES, 1, 1, 3))
  moved[20:] += 50.0
  add('moved', moved)
  clash = two_chains(20)
  # In line; the first CA of the second chain comes near to the last one of the first.
  axis = clash[:, 6:7, 1:2] - clash[:, 0:1, 1:2]
  axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
  apart = 0.9 + 0.35 * np.abs(np.arange(NUM_FRAMES) - 37)[:, None, None, None]
  clash[:, 7:] += clash[:, 6:7, 1:2] + apart * axis - clash[:, 7:8, 1:2]
  add('clash', clash, **TWO_CHAINS)
  add('one_frame', motion(21, 1))
  many = np.tile(motion(22), (14, 1, 1, 1))
  add('lost', many + np.random.default_rng(1).normal(scale=0.03, size=many.shape))
  return defects


@dataclasses.dataclass
class Planted:
  path: pathlib.Path
  report: store_checks.StoreReport
  positions: dict

  def of(self, name):
    return [f for f in self.report.findings if f.where.split('/')[0] == name]


@pytest.fixture(scope='module')
def planted_store(tmp_path_factory) -> Planted:
  path = tmp_path_factory.mktemp('planted') / 'store'
  defects = planted()
  with store.StoreWriter(path) as writer:
    for item, positions in defects.values():
      writer.add(item, positions)
  (lost,) = [e for e in store.Store(path).entries if e.name == 'lost']
  shutil.rmtree(path / lost.path / 'c/1')  # from frame 780 on
  # Every entry has several blocks.
  report = store_checks.inspect(path, block_frames=13, num_workers=1)
  return Planted(path, report, {name: positions for name, (_, positions) in defects.items()})


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('sound', []),
    ('nanometres', [('error', 'units', r'CA-C is 0\.15\d? Å where .* nm stored as Å')]),
    ('tenfold', [('error', 'units', r'CA-C is 15\.\d Å where .* Å taken for nm')]),
    (
      'broken',
      [('error', 'bonds', r'frame 23: C-N of ILE 107 and LYS 108 is .*; 1 of 60 frames')],
    ),
    ('stretched', [('error', 'bonds', r'frame 31: C-O of PHE 104 is .*; 2 of 60 frames')]),
    ('mirror', [('error', 'mirror', r'phi is positive in 100% of residues')]),
    ('d_residue', [('note', 'phi', r'phi of LYS 108 is positive in every frame')]),
    ('glycine', []),
    ('cis', [('warning', 'cis', r'GLU 103 and PHE 104; .* in 60 of 60 frames, first in frame 0')]),
    ('cis_proline', [('note', 'cis', r'between ASN 111 and PRO 112, as before prolines')]),
    (
      'twisted',
      [('warning', 'omega', r'PRO 112 and GLN 113B; .* in 1 of 60 frames, first in frame 40:')],
    ),
    ('frozen', [('warning', 'frozen', r'3 of 60 frames .* first is frame 30:')]),
    ('still', [('error', 'frozen', r'19 of 20 frames .* first is frame 1:')]),
    ('repeated', [('warning', 'repeat', r'frame 50 is frame 11 once more; 1 of 60 frames')]),
    (
      'periodic',
      [('warning', 'repeat', r'frame 25 is frame 0 once more; 35 of 60 .*, 25 frames later')],
    ),
    ('extended', [('note', 'repeat', r'35 of 60 .*, 25 frames later: as its preparation notes')]),
    (
      'gap',
      [('warning', 'gap', r'frame 34 is \d+\.\d Å \(RMSD\) away from .*: frames are missing')],
    ),
    ('box', [('warning', 'box', r"frame 45 is .* end after HIS 106 of chain 'A', jump past")]),
    ('moved', [('note', 'moved', r'over 10 Å in 1 frames, first in frame 20:')]),
    (
      'clash',
      [
        (
          'warning',
          'clash',
          r"frame 37: .* HIS 106 of .*'A' and ILE 107 of .*'B' are 0.90 Å .*; 1 ",
        )
      ],
    ),
    ('one_frame', [('warning', 'short', 'one frame only')]),
    ('lost', [('error', 'missing', r'frame 780 of lost/T300/R1 is missing')]),
  ],
)
def test_every_defect_is_found_once(planted_store, name, expected):
  found = planted_store.of(name)
  assert [(f.severity, f.kind) for f in found] == [e[:2] for e in expected], list(map(str, found))
  for finding, (_, _, message) in zip(found, expected, strict=True):
    assert re.search(message, finding.message), finding.message
    assert finding.where == f'{name}/T300/R1'
    assert '\n' not in finding.message


@pytest.mark.parametrize('verify', [True, False])
def test_a_changed_coordinate_is_found(tmp_path, verify):
  """0.02 Å of one atom: every bond is as good as before."""
  with store.StoreWriter(tmp_path / 'store') as writer:
    writer.add(entry('sound'), motion(0).astype(np.float32))
  (item,) = store.Store(tmp_path / 'store').entries
  spec = {'driver': 'zarr3', 'kvstore': f'file://{tmp_path}/store/{item.path}/'}
  array = tensorstore.open(spec, open=True).result()
  array[7, 3, 1, 0] = array[7, 3, 1, 0].read().result() + 0.02
  found = store_checks.inspect(
    tmp_path / 'store', block_frames=13, num_workers=1, verify=verify
  ).findings
  assert [finding.kind for finding in found] == (['changed'] if verify else [])
  if verify:
    assert str(found[0]).startswith('error: sound/T300/R1: its coordinates are not those')


def test_numbers_are_those_of_independent_tools(planted_store):
  gap = planted_store.positions['gap'][33:35].reshape(2, -1, 3)
  frames = mdtraj.Trajectory(0.1 * gap, None)
  expected = 10.0 * mdtraj.rmsd(frames, frames, 0)[1]
  (finding,) = planted_store.of('gap')
  assert f'is {expected:.1f} Å (RMSD)' in finding.message
  # The table and the histograms of bonds.
  (report,) = [r for r in planted_store.report.reports if r.name == 'sound/T300/R1']
  x = planted_store.positions['sound'].astype(np.float64)
  lengths = np.linalg.norm(x[:, 1:, 1] - x[:, :-1, 1], axis=-1)
  np.testing.assert_allclose(report.bonds['CA-CA'], [lengths.min(), lengths.max()], atol=1e-5)
  expected, _ = np.histogram(lengths, frame_series.NUM_BINS, frame_series.HISTOGRAMS['CA-CA'])
  # Float32 lengths may fall on the other side of the edge of a bin.
  assert np.abs(np.cumsum(report.histograms['CA-CA'] - expected)).max() < 10
  assert report.histograms['C-N'].sum() == NUM_FRAMES * (LENGTH - 1)
  # Steps, thinned to the greatest of each stretch.
  frames = mdtraj.Trajectory(0.1 * x.reshape(NUM_FRAMES, -1, 3), None)
  steps = [10.0 * mdtraj.rmsd(frames[k], frames, k - 1)[0] for k in range(1, NUM_FRAMES)]
  np.testing.assert_allclose(report.steps, steps, atol=1e-3)
  np.testing.assert_allclose(entry_checks._thinned(np.arange(801.0))[[0, -1]], [1.0, 800.0])
  assert len(entry_checks._thinned(np.arange(801.0))) == entry_checks.NUM_STEPS


def test_every_report_is_small_and_can_be_sent(planted_store):
  for report in planted_store.report.reports:
    content = pickle.dumps(report)
    assert len(content) < 60_000
    assert list(map(str, pickle.loads(content).findings)) == list(map(str, report.findings))


@pytest.mark.parametrize('moved', [False, True])
def test_rmsd(np_rng, moved):
  a, b = np_rng.normal(scale=5.0, size=(2, 3, 7, 4, 3))
  if moved:
    b = a @ Rotation.random(rng=np_rng).as_matrix() + [30.0, -20.0, 10.0]
  expected = [
    Rotation.align_vectors(x - x.mean(axis=0), y - y.mean(axis=0))[1] / np.sqrt(28)
    for x, y in zip(a.reshape(3, 28, 3), b.reshape(3, 28, 3), strict=True)
  ]
  found = conformations.rmsd(conformations.centred(a), conformations.centred(b))
  np.testing.assert_allclose(found, expected, atol=2e-6)
  mirrored = conformations.rmsd(conformations.centred(a), conformations.centred(MIRROR * a))
  assert mirrored.min() > 1.0


def test_torsions_are_those_of_the_model():
  x = motion(30, 4)
  bonded = np.ones(LENGTH, bool)
  bonded[[6, LENGTH - 1]] = False
  angles, mask = conformations.torsions(x, bonded)
  expected, expected_mask = map(np.asarray, jax.jit(torsion.backbone_torsions)(x, bonded))
  np.testing.assert_array_equal(np.broadcast_to(mask, (4, LENGTH, 3)), expected_mask)
  # Around the circle.
  difference = np.deg2rad(angles[:, mask]) - expected[:, mask]
  assert np.abs(np.sin(difference / 2)).max() < 1e-4
  assert np.isnan(angles[:, ~mask]).all()


def test_clashes_are_those_of_all_pairs(np_rng):
  x = np_rng.uniform(0.0, 9.0, size=(5, 12, 4, 3)).astype(np.float32)
  bonded = np.arange(12) % 4 < 3
  x[0, [6, 8], 0] = x[0, [5, 7], 2] + [0.8, 0.0, 0.0]  # bonded, and not bonded
  where, lengths = conformations.clashes(x, bonded)
  expected = {}
  for frame, atoms in enumerate(x.reshape(5, 48, 3)):
    distance = spatial.distance.cdist(atoms, atoms)
    for a, b in itertools.combinations(range(48), 2):
      peptide = a % 4 == 2 and b == a + 2 and bonded[a // 4]
      if a // 4 != b // 4 and not peptide and distance[a, b] < 1.2:
        expected.setdefault((frame, a // 4, b // 4), []).append(distance[a, b])
  assert len(expected) > 20
  assert (0, 7, 8) in expected
  found = {}
  for key, length in zip(map(tuple, where.tolist()), lengths, strict=True):
    found.setdefault(key, []).append(length)
  assert found.keys() == expected.keys()
  for key, value in found.items():
    np.testing.assert_allclose(sorted(value), sorted(expected[key]), rtol=1e-5)


def test_fingerprints(np_rng):
  x = motion(31, 40)
  known = conformations.fingerprints(x)
  assert len(set(known.tolist())) == 40
  np.testing.assert_array_equal(conformations.fingerprints(x[7:9]), known[7:9])
  turned = x @ Rotation.random(rng=np_rng).as_matrix() + [3.0, 2.0, 1.0]
  assert np.mean(conformations.fingerprints(turned.astype(np.float32)) == known) > 0.8


def test_jumps(np_rng):
  steps = np.exp(np_rng.normal(scale=0.3, size=20_000)) * 0.6
  assert not conformations.jumps(steps, 1.0).size
  # It unfolds, and moves three times as much from then on: no jump.
  steps[10_000:] *= 3.0
  assert not conformations.jumps(steps, 1.0).size
  steps[[70, 12_345]] = 9.0, 25.0
  steps[500:600] = 0.0
  steps[600] = np.nan
  assert conformations.jumps(steps, 1.0).tolist() == [70, 12_345]
  assert conformations.jumps(steps, 10.0).tolist() == [12_345]
  assert not conformations.jumps(np.array([0.5] * 8 + [30.0]), 1.0).size  # too few to tell


@pytest.fixture
def written(tmp_path):
  """Writes (entry, positions) and inspects them."""

  def run(*pairs, **kwargs):
    with store.StoreWriter(tmp_path / 'store') as writer:
      for item, positions in pairs:
        writer.add(item, positions)
    return store_checks.inspect(tmp_path / 'store', num_workers=1, **kwargs)

  return run


def said(report):
  return [(f.severity, f.kind, f.where) for f in report.findings]


def test_replicas_that_are_copies(written):
  a, b = motion(40, 100), motion(41, 100)
  b[0] = a[0]  # the same start is no copy
  turn = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
  report = written(
    (entry('p', replica=1), a),
    (entry('p', replica=2), b),
    (entry('p', replica=3), (b @ turn + 7.0).astype(np.float32)),
    (entry('p', replica=4), np.concatenate([motion(42, 50), a[40:90]])),
  )
  assert said(report) == [('warning', 'copy', 'p/T300/R4'), ('warning', 'copy', 'p/T300/R3')][::-1]
  third, fourth = report.findings
  assert re.match(r'about (8|9|10)\d?% of its frames are those of p/T300/R2', third.message)
  share, frame, other = re.match(
    r'about (\d+)% of its frames are those of p/T300/R1, such as frame (\d+), there (\d+):',
    fourth.message,
  ).groups()
  assert 35 < int(share) < 65
  assert int(frame) == int(other) + 10


@pytest.mark.parametrize('block_frames', [13, None])
def test_atoms_in_another_order_are_no_unit(written, block_frames):
  """However long the median bond is; no block has a sound frame."""
  order = np.random.default_rng(0).permutation(4 * LENGTH)
  shuffled = 3.0 * motion(23).reshape(NUM_FRAMES, -1, 3)[:, order].reshape(-1, LENGTH, 4, 3)
  (finding,) = written((entry('p'), shuffled), block_frames=block_frames).findings
  assert (finding.severity, finding.kind) == ('error', 'bonds')
  assert re.match(r'frame 0: N-CA .* in another order than .*; 60 of 60 frames', finding.message)


@pytest.mark.parametrize('frame', [0, 57])
def test_frames_that_were_not_written(written, frame):
  positions = motion(24)
  positions[frame] = 0.0
  (finding,) = written((entry('p'), positions), block_frames=13).findings
  assert (finding.severity, finding.kind) == ('error', 'bonds')
  expected = rf'frame {frame}: N-CA .* all atoms lie on one point: .*; 1 of 60 frames'
  assert re.match(expected, finding.message)


def test_proteins_in_two_splits(written):
  sequence = 'ACDEFGHIKLMNPQ'
  report = written(
    (entry('a', sequence=sequence), motion(1)),
    (entry('b', sequence=sequence, split='test'), motion(2)),
    (entry('c', replica=1), motion(3)),
    (entry('c', replica=2, split='validation'), motion(4)),
    (entry('d', sequence=sequence[::-1]), motion(5)),
    (entry('e', sequence=sequence[::-1]), motion(6)),
  )
  assert said(report) == [('error', 'leak', 'a'), ('warning', 'leak', 'c'), ('note', 'same', 'd')]
  assert 'train: a/T300/R1, test: b/T300/R1' in report.findings[0].message
  assert 'the sequence of e' in report.findings[2].message


def test_time_steps_of_one_protein(written):
  report = written(
    (entry('a', replica=1), motion(1)),
    (entry('a', replica=2, dt_ns=0.02), motion(2)),
    (entry('b', replica=1), motion(3)),
    (entry('b', replica=2, dt_ns=0.011), motion(4)),
    (entry('c', dt_ns=1.0), motion(5)),
  )
  assert said(report) == [('warning', 'dt', 'a')]
  assert '0.01 ns (a/T300/R1) and 0.02 ns (a/T300/R2)' in report.findings[0].message


def test_what_interrupted_commands_leave(written, tmp_path):
  root = tmp_path / 'store/entries'
  written(*((entry(name), motion(k, 20)) for k, name in enumerate('abcde')))
  # Written after the manifest.
  store.StoreWriter(tmp_path / 'store').add(entry('new'), motion(9, 20))
  (root / 'a/T300/R1/partial-0123/c').mkdir(parents=True)
  (root / 'killed/T300/R1/partial-4567').mkdir(parents=True)
  (root / 'killed/T300/R1/partial-4567/zarr.json').write_bytes(b'x' * 2048)
  (root / 'b/T300/R1/entry.json').unlink()
  (root / 'c/T300/R1/entry.json').write_text('{')
  other = json.loads((root / 'd/T300/R1/entry.json').read_text())
  other['entries'][0]['split'] = 'test'
  (root / 'd/T300/R1/entry.json').write_text(json.dumps(other))
  report = store_checks.inspect(tmp_path / 'store', num_workers=1)
  assert said(report) == [
    ('error', 'manifest', 'b/T300/R1'),
    ('error', 'manifest', 'c/T300/R1'),
    ('warning', 'manifest', 'd/T300/R1'),
    ('warning', 'partial', 'killed/T300/R1'),
    ('warning', 'unlisted', 'new/T300/R1'),
    ('note', 'partial', 'a/T300/R1'),
  ]
  assert 'other split:' in report.findings[2].message
  assert 'partial-4567 (2 KiB)' in report.findings[3].message
  # Only what was asked for; and nothing is known of the disk behind a URL.
  report = store_checks.inspect(tmp_path / 'store', names=['e'], num_workers=1)
  assert [e.key for e in report.entries] == ['e/T300/R1']
  assert not report.findings
  report = store_checks.inspect(f'file://{tmp_path}/store', num_workers=1)
  assert not report.findings
  assert report.num_bytes is None


def test_a_worker_that_fails(written, tmp_path):
  """No memory is large enough for what an entry says that it holds."""
  written((entry('a'), motion(1)), (entry('b'), motion(2)))
  for file in ('manifest.json', 'entries/a/T300/R1/entry.json'):
    content = json.loads((tmp_path / 'store' / file).read_text())
    content['entries'][0]['num_frames'] = 10**15
    (tmp_path / 'store' / file).write_text(json.dumps(content))
  report = store_checks.inspect(tmp_path / 'store', num_workers=1)
  assert said(report) == [('error', 'failed', 'a/T300/R1')]
  assert 'MemoryError' in report.findings[0].message
  assert [each.frames for each in report.reports] == [0, NUM_FRAMES]


class Outline(html.parser.HTMLParser):
  """Tags, links and texts of a page."""

  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.links, self.texts = [], [], [], []
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.links += [value for name, value in attrs if name in ('src', 'href', 'xlink:href')]
    if tag != 'meta':
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)
    self.links += [value for name, value in attrs if name in ('src', 'href', 'xlink:href')]

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append(data.strip())


def test_the_page_and_the_text(planted_store):
  pytest.importorskip('matplotlib')
  page = store_page.store_page(planted_store.report)
  text = store_text.store_text(planted_store.report)
  outline = Outline(page)
  assert not outline.open
  assert all(link.startswith(('#', 'data:image/png;base64,')) for link in outline.links)
  assert any(link.startswith('data:') for link in outline.links)
  assert not {'script', 'link', 'iframe', 'object'} & set(outline.tags)
  assert not re.search(r'url\((?!#)', page)
  assert '@import' not in page
  assert outline.tags.count('svg') == 3 + 4
  assert len(page) < 1_000_000
  shown = set(outline.texts)
  assert {'phi (°)', 'CA-CA (Å)', 'C-N (Å)', 'RMSF (Å)', 'step RMSD (Å)', 'time (ns)'} <= shown
  assert {'7 errors', '9 warnings', '4 notes'} <= shown
  for finding in planted_store.report.findings:
    assert finding.message in shown
    assert str(finding) in text.splitlines()
  for item in planted_store.report.entries:
    assert item.key in shown
    assert re.search(rf'^{re.escape(item.key)} +train +14 +{item.num_frames} ', text, re.MULTILINE)
  assert '25 frames, repeated periodically up to 60' in shown
  assert '1 of 22 entries: 25 frames, repeated periodically up to 60' in text
  assert text.splitlines()[-1] == '7 errors, 9 warnings, 4 notes'
  assert re.search(r'^ +proteins +22, of 14 residues$', text, re.MULTILINE)
  # The same from run to run.
  assert store_page.store_page(planted_store.report) == page


def test_long_lists_are_cut(planted_store):
  pytest.importorskip('matplotlib')
  report = planted_store.report
  long = dataclasses.replace(
    report,
    entries=50 * report.entries,
    reports=50 * report.reports,
    findings=100 * report.findings,
  )
  text = store_text.store_text(long)
  assert '... and 1050 more entries' in text  # of 50 * 22
  assert '... and 600 errors more' in text  # of 100 * 7
  page = store_page.store_page(long)
  assert '... and 100 more.' in page
  assert '... and 200 more.' in page


def test_nothing_can_be_read(written, tmp_path):
  pytest.importorskip('matplotlib')
  written((entry('a'), motion(1)))
  shutil.rmtree(next((tmp_path / 'store/entries/a/T300/R1').glob('*/c')))
  report = store_checks.inspect(tmp_path / 'store', num_workers=1)
  assert said(report) == [('error', 'missing', 'a/T300/R1')]
  assert 'svg' in store_page.store_page(report)
  assert '1 error, 0 warnings, 0 notes' in store_text.store_text(report)


def test_alike_notes_count_as_one(written):
  report = written(
    (entry('a', notes=('cut 3 frames', 'cut by hand <b>')), motion(1, 20)),
    (entry('b', notes=('cut 12 frames',)), motion(2, 20)),
  )
  assert store_text.preparation(report) == [
    '2 of 2 entries: cut 3 frames (that is a/T300/R1)',
    '1 of 2 entries: cut by hand <b>',
  ]
  pytest.importorskip('matplotlib')
  assert 'b' not in Outline(store_page.store_page(report)).tags


def test_real_simulations_are_sound(tmp_path, monkeypatch, capsys):
  pytest.importorskip('matplotlib')
  folder = REPOSITORY / 'data_prep/simulated/2jof'
  trajectories.prepare(
    folder / '2jof.pdb',
    [folder / '2jof_R1.xtc', folder / '2jof_R2.xtc'],
    tmp_path / 'store',
    temperature_K=320.0,
    num_workers=1,
  )
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  capsys.readouterr()
  assert inspect.inspect('~/store') == 0
  text = capsys.readouterr().out
  assert '\n0 errors, 0 warnings, ' in text
  assert 'page: tempo_out/store/inspect.html' in text
  page = tmp_path / 'tempo_out/store/inspect.html'
  assert '~/store: trajectory store' in page.read_text(encoding='utf-8')
  # Again, over the page that is there; not over something else.
  page.write_text(page.read_text().replace('0 errors', ''))
  assert inspect.inspect(str(tmp_path / 'store'), out='~/tempo_out/store') == 0
  assert sorted(path.name for path in page.parent.iterdir()) == ['inspect.html']
  (tmp_path / 'mine.html').write_text('<p>precious')
  with pytest.raises(InputError, match=r'mine.html exists, and is no page of this command'):
    inspect.inspect('~/store', out='~/mine.html')
  with pytest.raises(InputError, match=r'mine.html is a file: choose a directory'):
    inspect.inspect('~/store', out='~/mine.html/page')
  with pytest.raises(InputError, match=r"no protein 'x' in it, correct --names: it has 2jof"):
    inspect.inspect('~/store', names=['x'])
  assert (tmp_path / 'mine.html').read_text() == '<p>precious'


def test_without_matplotlib_there_is_text(written, tmp_path, monkeypatch, capsys):
  written((entry('a'), motion(1)))
  monkeypatch.chdir(tmp_path)
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  assert inspect.inspect(tmp_path / 'store') == 0
  printed = capsys.readouterr()
  assert '0 errors, 0 warnings, 0 notes' in printed.out
  assert re.search(r"note: no page: .* pip install 'tempo-jax\[report\]'", printed.err)
  with pytest.raises(InputError, match=r"pip install 'tempo-jax\[report\]'"):
    inspect.inspect(tmp_path / 'store', out=tmp_path / 'page.html')


def command(*arguments, cwd=REPOSITORY):
  return subprocess.run(
    [sys.executable, '-m', 'data_prep.inspect', *arguments],
    capture_output=True,
    text=True,
    cwd=cwd,
    check=False,
  )


@pytest.mark.slow  # Four processes, two with Dask.
def test_the_command(planted_store, tmp_path):
  pytest.importorskip('matplotlib')
  page = tmp_path / 'new/page.html'
  done = command(
    f'--store={planted_store.path}', f'--out={page}', '--names=sound,mirror', '--num_workers=2'
  )
  assert done.returncode == 1, done.stderr
  assert 'Traceback' not in done.stderr
  assert '\nerror: mirror/T300/R1: phi is positive in 100% of residues' in done.stdout
  assert done.stdout.splitlines()[-2:] == ['1 error, 0 warnings, 0 notes', f'page: {page}']
  assert page.is_file()
  done = command(f'--store={tmp_path}/nowhere')
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert line.startswith('error: ')
  assert 'no store here' in line
  assert not (REPOSITORY / 'tempo_out/nowhere').exists()
  shown = command('--help').stdout
  assert all(
    f'--{flag}=' in shown for flag in ('store', 'out', 'names', 'num_workers', 'scheduler')
  )


def test_findings_by_severity():
  some = [findings.Finding(s, 'k', 'w', 'm') for s in ('note', 'error', 'note')]
  assert findings.count(some) == {'error': 1, 'warning': 0, 'note': 2}


def test_the_size_of_things():
  assert [store_checks.size_text(n) for n in (5, 2048, 3 << 30, 7 << 40)] == [
    '5 B',
    '2 KiB',
    '3 GiB',
    '7 TiB',
  ]


def test_side_chains_are_verified_too(tmp_path, np_rng):
  positions = motion(0).astype(np.float32)
  chi = np_rng.uniform(-3.0, 3.0, (*positions.shape[:2], 4)).astype(np.float32)
  with store.StoreWriter(tmp_path / 'store') as writer:
    writer.add(entry('sound'), frames_lib.Frames(positions, chi))

  def found():
    report = store_checks.inspect(tmp_path / 'store', block_frames=13, num_workers=1)
    return [str(f) for f in report.findings if f.kind != 'side chains']

  assert found() == []
  (item,) = store.Store(tmp_path / 'store').entries
  spec = {'driver': 'zarr3', 'kvstore': f'file://{tmp_path}/store/{item.chi_path}'}
  array = tensorstore.open(spec, open=True).result()
  array[7, 3, 0] = array[7, 3, 0].read().result() + 0.01
  (changed,) = found()
  assert changed.startswith('error: sound/T300/R1: its side chains are not those that were written')
  shutil.rmtree(tmp_path / 'store' / item.chi_path / 'c')
  (lost,) = found()
  assert 'frame 0 of sound/T300/R1 is missing' in lost
