"""mdCATH files, real and synthetic, against h5py and scipy by hand."""

import functools
import os
import re
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest

from tempo_jax.preparation.mdcath import mdcath
from tempo_jax.preparation.mdcath import replica as mdcath_replica
from tempo_jax.preparation.mdcath import topology as mdcath_topology
from tests.preparation import mdcath_runs, synthetic_mdcath
from tests.preparation.mdcath_runs import by_hand, file_of, run

LIMIT = 50  # frames
RIGID = 1e-4  # Å


write_directory = functools.partial(
  synthetic_mdcath.write_directory,
  num_domains=len(synthetic_mdcath.TRAPS) + 1,
  num_residues=(20, 40),
  num_frames=(40, 60),
  temperatures=(320,),
)


@pytest.fixture(scope='module')
def raw_dir(tmp_path_factory):
  """A domain for each trap, and one without; and what is planted where."""
  path = tmp_path_factory.mktemp('mdcath')
  planted = write_directory(path)
  return path, {trap: name for name, trap in planted.items()}


@pytest.fixture(scope='module')
def intact_dir(tmp_path_factory):
  """The same domains without damage."""
  path = tmp_path_factory.mktemp('intact')
  write_directory(path, damaged=False)
  return path


@pytest.fixture(scope='module')
def prepared(raw_dir, tmp_path_factory):
  return run(raw_dir[0], tmp_path_factory.mktemp('stores') / 'store', num_frames=LIMIT)


@pytest.fixture
def small(tmp_path):
  return mdcath_runs.Small(tmp_path / 'raw')


# --- The layout ---


def layout(file, group):
  """Names -> rank, type and attributes, of one domain and one of its replicas."""
  found = {}

  def visit(name, item):
    _, *rest = name.split('/')
    name = '/'.join(rest)
    if not rest or not rest[0].isdigit() or name.startswith(group):
      strings = h5py.check_string_dtype(item.dtype) if isinstance(item, h5py.Dataset) else None
      kind = (item.ndim, item.dtype.str, strings) if isinstance(item, h5py.Dataset) else 'group'
      attributes = {key: getattr(value, 'dtype', type(value)) for key, value in item.attrs.items()}
      found[name] = (kind, attributes)

  with h5py.File(file) as h5:
    h5.visititems(visit)
    return found, h5.attrs.get('layout')


def test_synthetic_layout(shared_data, raw_dir):
  path, planted = raw_dir
  for file in ('mdcath_dataset_0fsAA00.h5', 'mdcath_source.h5'):
    expected = layout(shared_data / 'mdcath' / file, '320/0')
    own = path / file.replace('0fsAA00', planted[''])
    assert layout(own, '320/0') == expected


def test_real_layout(shared_data, tmp_path):
  """Atoms chosen, superposed and stored as by hand; the empty replica is reported."""
  raw = shared_data / 'mdcath'
  outcome = run(raw, tmp_path / 'store', temperatures=None, replicas=None)
  assert (outcome.code, outcome.errors) == (0, [])
  assert '0fsAA00/T348/R0: empty, left out' in outcome.out
  assert '0fsAA00/T320/R1: 19 frames, fewer than 400' in outcome.out
  numbers = {(e.temperature_K, e.replica): e.num_frames for e in outcome.store.entries}
  assert numbers == {(320.0, 0): 20, (320.0, 1): 19, (320.0, 2): 21, (450.0, 0): 40}
  for entry in outcome.store.entries:
    assert entry.sequence == mdcath_runs.sequence(file_of(raw, '0fsAA00'))
    assert (entry.dt_ns, entry.split, entry.notes) == (1.0, 'train', ())
    assert list(entry.residue_number) == list(range(140, 161))
    assert entry.bonded.tolist() == [True] * 20 + [False]
    expected = by_hand(
      file_of(raw, '0fsAA00'), f'{entry.temperature_K:g}/{entry.replica}', num_frames=400
    )
    actual = outcome.store.read(entry)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=mdcath_runs.TOLERANCE)
    np.testing.assert_allclose(distances(actual), distances(expected), rtol=0, atol=RIGID)


def distances(positions):
  """Å, between all atoms of a frame."""
  atoms = positions.reshape(len(positions), -1, 3).astype(np.float64)
  return np.linalg.norm(atoms[:, :, None] - atoms[:, None, :], axis=-1)


# --- What is to be coped with ---


@pytest.mark.parametrize(
  ('trap', 'frames', 'said'),
  [
    ('', 'all', None),
    ('sims_spelling', 'all', None),
    ('empty_replica', {0, 2}, r'/T320/R1: empty, left out'),
    ('missing_replica', {0, 2}, r'/T320/R1: no such replica'),
    ('short_replica', 'all', r'/T320/R1: 20 frames, fewer than 50'),
    ('corrupt_tail', 'all', r'/T320/R1: cut 12 corrupt frames from the end'),
    ('zero_tail', 'all', r'/T320/R1: cut 12 corrupt frames from the end'),
    ('broken_over_box', 'all', r'/T320/R1: re-imaged 12 frames'),
    ('broken_tail', 'all', r'/T320/R1: re-imaged \d+ frames'),
    ('parted_chains', 'all', r'/T320/R1: re-imaged 12 frames'),
    ('odd_numbering', 'all', None),
    ('no_caps', 'all', None),
    ('long', 'all', r': 2[67]\d residues, cut to the first 240'),
    ('wrong_frame_attribute', 'all', r'/T320/R1: \d0 frames, although its numFrames is \d7'),
    ('compressed', 'all', None),
    ('no_layout', 'all', None),
  ],
)
def test_coped_with(raw_dir, prepared, trap, frames, said):
  path, planted = raw_dir
  name = planted[trap]
  entries = [entry for entry in prepared.store.entries if entry.name == name]
  assert {entry.replica for entry in entries} == ({0, 1, 2} if frames == 'all' else frames)
  assert not any(name in line for line in prepared.errors)
  if said:
    assert re.search(f'^{name}{said}', prepared.about(name), re.MULTILINE), prepared.about(name)
  moved = trap in ('broken_over_box', 'broken_tail', 'parted_chains')  # tested below
  for entry in entries:
    spelling = 'sims320K' if trap == 'sims_spelling' else '320'
    end = LIMIT
    with h5py.File(file_of(path, name)) as h5:
      total = len(h5[name][spelling][f'{entry.replica}']['coords'])
    if entry.replica == 1 and trap in ('corrupt_tail', 'zero_tail'):
      end = min(LIMIT, total - synthetic_mdcath.TAIL)
      assert entry.notes == ('cut 12 corrupt frames from the end',)
    assert entry.num_frames == min(end, total)
    if entry.replica != 1 or not moved:
      group = f'{spelling}/{entry.replica}'
      expected = by_hand(file_of(path, name), group, entry.length, entry.num_frames)
      actual = prepared.store.read(entry)
      np.testing.assert_allclose(actual, expected, rtol=0, atol=mdcath_runs.TOLERANCE)


@pytest.mark.parametrize('trap', ['broken_over_box', 'broken_tail', 'parted_chains'])
def test_made_whole(raw_dir, prepared, intact_dir, trap):
  """As if the box had never cut it."""
  path, planted = raw_dir
  name = planted[trap]
  actual = prepared.store.read(prepared.entry(name))
  intact = by_hand(file_of(intact_dir, name), num_frames=LIMIT)
  np.testing.assert_allclose(actual, intact, rtol=0, atol=mdcath_runs.TOLERANCE)
  cut = by_hand(file_of(path, name), num_frames=LIMIT)
  assert np.abs(cut - intact).max() > 5.0


def test_shape_of_what_is_stored(raw_dir, prepared):
  _, planted = raw_dir
  for entry in prepared.store.entries:
    assert (entry.temperature_K, entry.dt_ns, entry.split) == (320.0, 1.0, 'train')
    assert set(entry.sources) == {
      f'mdcath_dataset_{entry.name}.h5:320/{entry.replica}',
      'frames',
    }
    assert entry.length <= 240
  odd = prepared.entry(planted['odd_numbering'])
  half = odd.length // 2
  numbers = [i - 3 for i in range(half)] + [i + 7 for i in range(half, odd.length)]
  assert odd.residue_number.tolist() == numbers
  assert odd.bonded.tolist() == [True] * (odd.length - 1) + [False]
  parted = prepared.entry(planted['parted_chains'])
  assert parted.chain_ids == ('0', '1')
  assert np.flatnonzero(~parted.bonded).tolist() == [parted.length // 2 - 1, parted.length - 1]
  long = prepared.entry(planted['long'])
  assert (long.length, long.bonded[-1], long.bonded[:-1].all()) == (240, False, True)
  assert re.fullmatch(r'the first 240 of 2\d\d residues', long.notes[0])
  assert long.sequence == mdcath_runs.sequence(file_of(raw_dir[0], long.name))[:240]


@pytest.mark.parametrize('block_frames', [1, 5, 16])
def test_small_blocks_change_nothing(raw_dir, prepared, tmp_path, block_frames):
  path, planted = raw_dir
  traps = ['', 'corrupt_tail', 'zero_tail', 'broken_tail', 'parted_chains', 'compressed']
  (tmp_path / 'names.txt').write_text('\n'.join(planted[trap] for trap in traps))
  outcome = run(
    path,
    tmp_path / 'store',
    num_frames=LIMIT,
    domains=[tmp_path / 'names.txt'],
    block_frames=block_frames,
  )
  assert outcome.code == 0
  assert {entry.name for entry in outcome.store.entries} == {planted[trap] for trap in traps}
  for entry in outcome.store.entries:
    whole = prepared.store.entry(entry.key)
    assert (entry.array, entry.notes) == (whole.array, whole.notes)


class Watched:
  """Coordinates that remember which frames were read."""

  def __init__(self, coords):
    self.coords, self.read = coords, []
    self.shape, self.chunks = coords.shape, coords.chunks

  def read_direct(self, target, source, destination):
    self.read.append((source.start, source.stop))
    self.coords.read_direct(target, source, destination)


def test_blocks_are_whole_chunks(raw_dir):
  """So that nothing is decompressed twice; the first and last frame are read by themselves."""
  path, planted = raw_dir
  name = planted['compressed']
  with h5py.File(file_of(path, name)) as h5:
    domain = mdcath_topology.read(h5, file_of(path, name), name)
    group = {**h5[name]['320/1'], 'coords': Watched(h5[name]['320/1/coords'])}
    replica = mdcath_replica.Replica(group, '320/1', domain, block_frames=20)
    read = group['coords'].read
    assert read.pop(0) == (0, 1)
    frames = sum(len(block) for block in replica.blocks())
  assert len(read) > 2
  assert frames == replica.num_frames
  assert all(start % 7 == 0 and (stop % 7 == 0 or stop == frames) for start, stop in read)


def test_cut_within_the_first_chain(raw_dir, tmp_path):
  path, planted = raw_dir
  name = planted['parted_chains']
  (tmp_path / 'names.txt').write_text(name)
  outcome = run(path, tmp_path / 'store', domains=[tmp_path / 'names.txt'], max_residues=8)
  entry = outcome.entry(name)
  assert (entry.length, entry.chain_ids, entry.chain_index.tolist()) == (8, ('0',), [0] * 8)
  assert entry.residue_number.tolist() == [*range(1, 9)]


def test_two_residues_of_one_number(small, tmp_path):
  """As where insertion codes were lost."""
  lines = [
    line[:17] + 'ALA 0   5' + line[26:] if line[22:26].strip() in ('5', '6') else line
    for line in small.atoms.pdb().splitlines()
  ]
  small.replace('pdbProteinAtoms', '\n'.join(lines).encode())
  entry = run(small.path, tmp_path / 'store').entry(small.name)
  assert entry.residue_number.tolist() == [1, 2, 3, 4, 5, 5, 7, 8, 9, 10, 11, 12]
  assert entry.bonded[:-1].all()


def test_longer_domains_can_be_left_out(raw_dir, tmp_path):
  path, planted = raw_dir
  name = planted['long']
  (tmp_path / 'names.txt').write_text(name)
  outcome = run(path, tmp_path / 'store', domains=[tmp_path / 'names.txt'], skip_longer=True)
  assert (outcome.code, outcome.store, outcome.errors) == (0, None, [])
  assert re.match(
    rf'{name}: 2\d\d residues, longer than --max_residues=240: left out', outcome.out[0]
  )
  outcome = run(path, tmp_path / 'store', domains=[tmp_path / 'names.txt'], max_residues=0)
  assert outcome.entry(name).length > 240


def test_mirror_images_are_not_turned_back(small, tmp_path):
  with small.edit() as domain:
    domain['320/1/coords'][...] = domain['320/1/coords'][()] * [-1.0, 1.0, 1.0]
  outcome = run(small.path, tmp_path / 'store')
  actual = outcome.store.read(outcome.entry(small.name))
  np.testing.assert_allclose(actual, by_hand(small.file), rtol=0, atol=mdcath_runs.TOLERANCE)


# --- Planted errors ---


@pytest.mark.parametrize(
  ('trap', 'line'),
  [
    ('truncated_file', r': cannot be read, damaged or cut short: download it again \(.*truncated'),
    ('wrong_order', r': 320/0: frame 0: .* is \d.*Å: the atoms of coords are probably in another '),
    (
      'nan_in_the_middle',
      r': 320/1: frame [23]\d: N-CA of \w+ 1 is nan Å: .* not numbers: .*again',
    ),
    ('nanometres', r': 320/1: frame 0: .* is 0.1\d Å: coordinates are 10 times too small'),
    ('other_layout', r": its layout is 'mdcath-noh-v1.0', and only"),
    ('no_coordinates_at_all', r': 320/0: no coords in it: download .* \(the same in 320/1, 320/2'),
  ],
)
def test_one_clear_line_each(raw_dir, prepared, trap, line):
  _, planted = raw_dir
  (said,) = [error for error in prepared.errors if planted[trap] in error]
  assert re.match(f'error: mdcath_dataset_{planted[trap]}.h5{line}', said), said
  kept = {entry.replica for entry in prepared.store.entries if entry.name == planted[trap]}
  assert kept == ({0, 2} if trap in ('nan_in_the_middle', 'nanometres') else set())


def test_nothing_else_is_an_error(prepared):
  assert prepared.code == 1
  assert len(prepared.errors) == len(synthetic_mdcath.ERRORS)


# --- Settings, restarts, splits ---


def test_periodic_extension(small, tmp_path):
  plain = run(small.path, tmp_path / 'store', num_frames=50)
  assert {entry.num_frames for entry in plain.store.entries} == {20}
  kept = plain.store.read(plain.entry(small.name))
  refused = run(small.path, tmp_path / 'store', num_frames=50, extend_periodically=True)
  assert (refused.code, len(refused.errors)) == (1, 3)
  assert all('there already, with other sources' in line for line in refused.errors)
  extended = run(
    small.path, tmp_path / 'store', num_frames=50, extend_periodically=True, overwrite=True
  )
  assert extended.code == 0
  entry = extended.entry(small.name)
  assert entry.notes == ('20 frames, repeated periodically up to 50',)
  frames = extended.store.read(entry)
  np.testing.assert_array_equal(frames, kept[np.arange(50) % 20])
  # What is long enough is not touched.
  other = run(small.path, tmp_path / 'other', num_frames=15)
  again = run(small.path, tmp_path / 'other', num_frames=15, extend_periodically=True)
  assert (other.code, again.code) == (0, 0)
  assert {entry.num_frames for entry in again.store.entries} == {15}


def test_restart_reads_no_frames(small, tmp_path):
  """Of what is there: it is no longer sound, and nobody notices."""
  first = run(small.path, tmp_path / 'store', replicas=(0, 1))
  with small.edit() as domain:
    for replica in (0, 1):
      domain[f'320/{replica}/coords'][5] = np.nan
  assert run(small.path, tmp_path / 'other').code == 1
  again = run(small.path, tmp_path / 'store')
  assert (first.code, again.code) == (0, 0)
  assert re.search('1 replicas, 20 frames, 2 replicas there already', again.out[0])
  assert [e.array for e in first.store.entries] == [e.array for e in again.store.entries[:2]]


def test_other_content_is_refused(small, tmp_path):
  run(small.path, tmp_path / 'store')
  with small.edit() as domain:
    domain['320/1/coords'][-1, 0] += 1.0
  outcome = run(small.path, tmp_path / 'store')
  assert outcome.code == 1
  (line,) = outcome.errors
  assert f'{small.name}/T320/R1 is there already, with other sources' in line


def test_lists_and_splits(raw_dir, tmp_path):
  path, planted = raw_dir
  names = [planted[trap] for trap in ('', 'no_caps', 'compressed')]
  (tmp_path / 'list.csv').write_text(
    f'name,split\n{names[0]},test\n{names[1]},val\n{names[2]},train\n9zzzA00,train\n'
  )
  run(path, tmp_path / 'store', domains=[tmp_path / 'list.csv'], replicas=(0,))
  (tmp_path / 'list.csv').write_text((tmp_path / 'list.csv').read_text().replace('test', 'train'))
  outcome = run(path, tmp_path / 'store', domains=[tmp_path / 'list.csv'], replicas=(0,))
  splits = {entry.name: entry.split for entry in outcome.store.entries}
  assert splits == {names[0]: 'train', names[1]: 'validation', names[2]: 'train'}
  assert outcome.code == 1
  assert outcome.errors == [
    f'error: {path}: has no file for 1 of the 4 domains that are listed, 9zzzA00: get them with '
    '--download'
  ]


def test_files_in_the_folder_data(small, tmp_path):
  (small.path / 'data').mkdir()
  os.replace(small.file, small.path / 'data' / small.file.name)
  synthetic_mdcath.write_source(small.path / 'mdcath_source.h5', {small.name: (12, {})})
  assert list(mdcath.find_files(small.path)) == [small.name]
  assert run(small.path, tmp_path / 'store').code == 0


def contents(path):
  return {
    str(file.relative_to(path)): file.read_bytes() for file in path.rglob('*') if file.is_file()
  }


@pytest.mark.slow  # Three runs in processes.
def test_killed_twice(tmp_path):
  """Ends with the bytes of a run that nobody disturbed."""
  raw = tmp_path / 'raw'
  synthetic_mdcath.write_directory(
    raw, 10, num_residues=(50, 60), num_frames=(400, 400), temperatures=(320,), traps=['']
  )
  undisturbed = run(raw, tmp_path / 'undisturbed')
  assert (undisturbed.code, len(undisturbed.store.entries)) == (0, 30)
  entries = tmp_path / 'store' / 'entries'

  def count():
    return len(list(entries.glob('*/*/*/entry.json')))

  for end in (os.kill, os.killpg):  # the parent alone, and all of them
    before = count()
    process = subprocess.Popen(
      mdcath_runs.command(raw, tmp_path / 'store', '--num_workers=2'),
      cwd=mdcath_runs.REPOSITORY,
      start_new_session=True,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    while count() < before + 3:
      assert process.poll() is None
      time.sleep(0.002)
    end(process.pid, signal.SIGKILL)
    process.wait()
    assert count() < 30
  before = count()
  last = run(raw, tmp_path / 'store')
  assert last.code == 0
  already = [int(n) for line in last.out for n in re.findall(r'(\d+) replicas there', line)]
  assert sum(already) == before
  assert contents(tmp_path / 'store') == contents(tmp_path / 'undisturbed')
