import collections
import csv
import itertools
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.preparation.splitting import clusters as protein_clusters
from tempo_jax.preparation.splitting import sequence_identity, split
from tempo_jax.store import store
from tests import disk
from tests.store import synthetic

pyopal = pytest.importorskip('pyopal', reason='the extra `split` is not installed')
scoring_matrices = pytest.importorskip('scoring_matrices')

REPOSITORY = pathlib.Path(__file__).parents[2]
LETTERS = 'ACDEFGHIKLMNPQRSTVWY'
CLN025, CHIGNOLIN, PENTALANINE = 'YYDPETGTWY', 'GYDPETGTWG', 'AAAAA'


def random_chain(rng, length):
  return ''.join(rng.choice(list(LETTERS), length))


def mutate(rng, chain, identity):
  """Other residues at a share of 1 - identity of the positions, neither the first nor the last."""
  letters = list(chain)
  count = round((1.0 - identity) * len(chain))
  for i in rng.choice(np.arange(1, len(chain) - 1), count, replace=False):
    letters[i] = rng.choice([letter for letter in LETTERS if letter != letters[i]])
  return ''.join(letters)


def oracle(a, b):
  """Gotoh's recursion by hand: identity of the best local alignment, least and most, and E-value.

  Alignments of one score may differ: the shortest and the longest are taken.
  """
  (score, *shortest), (_, *longest) = (best_alignment(a, b, sign) for sign in (-1, 1))
  shorter = 0.8 * min(len(a), len(b))
  identities = [identical / max(aligned, shorter) for identical, aligned in (shortest, longest)]
  return min(identities), max(identities), 0.041 * len(a) * len(b) * np.exp(-0.267 * score)


def best_alignment(a, b, sign):
  """Score, identical residues and aligned ones; the latter decide among equal scores."""
  table = scoring_matrices.ScoringMatrix.from_name('BLOSUM62')
  scores = {x: dict(zip(table.alphabet, table[x], strict=True)) for x in set(a)}
  zero, low = (0, 0, 0), (-1e9, 0, 0)  # score, sign * aligned, identical
  above, gap_above = [zero] * (len(b) + 1), [low] * (len(b) + 1)
  best = zero
  for x in a:
    here, gap_left = [zero], low
    for j, y in enumerate(b, start=1):
      gap_above[j] = max(_add(above[j], -12), _add(gap_above[j], -1))
      gap_left = max(_add(here[-1], -12), _add(gap_left, -1))
      score, aligned, identical = above[j - 1]
      pair = (score + scores[x][y], aligned + sign, identical + (x == y != 'X'))
      here.append(max(zero, pair, gap_above[j], gap_left))
    best = max(best, *here)
    above = here
  return best[0], best[2], sign * best[1]


def _add(cell, score):
  return (cell[0] + score, *cell[1:])


def compare(*chains, method='pyopal'):
  pairs = sequence_identity.compare(chains, (method,))
  return {(i, j): identity for i, j, identity in zip(*map(np.ndarray.tolist, pairs), strict=True)}


@pytest.fixture
def make_store(tmp_path, np_rng):
  """Writes sequences (a tuple: its chains), each with two replicas and two temperatures."""

  def make(sequences, path='store'):
    with store.StoreWriter(tmp_path / path) as writer:
      for name, chains in sequences.items():
        chains = (chains,) if isinstance(chains, str) else chains
        length = sum(map(len, chains))
        for temperature_K, replica in itertools.product((320.0, 450.0), (1, 2)):
          entry = synthetic.entry(
            name=name,
            length=length,
            temperature_K=temperature_K,
            replica=replica,
            sequence=''.join(chains),
            chain_index=np.repeat(np.arange(len(chains)), list(map(len, chains))).astype(np.int32),
            chain_ids=tuple('ABCDEF'[: len(chains)]),
          )
          writer.add(entry, synthetic.positions(np_rng, 2 + replica, length))
    return tmp_path / path

  return make


@pytest.fixture
def family(np_rng):
  """Five roots, each with one mutant at 30, 60 and 90 % identity."""
  found: dict[str, str] = {}
  for root in range(5):
    chain = random_chain(np_rng, 48)
    found |= {f'root{root}': chain}
    found |= {
      f'p{percent}_{root}': mutate(np_rng, chain, percent / 100) for percent in (30, 60, 90)
    }
  return found


def read_csv(path):
  with open(path, newline='') as file:
    return list(csv.DictReader(file))


def test_identity_by_hand(np_rng):
  chain, other = random_chain(np_rng, 100), random_chain(np_rng, 100)
  close = mutate(np_rng, chain, 0.9)
  assert compare(chain, close) == {(0, 1): pytest.approx(0.9)}
  assert compare(chain, other) == {}
  # A domain in a longer chain, a loop left out, a chain that goes on otherwise.
  assert compare(chain, other + chain + other) == {(0, 1): 1.0}
  assert compare(chain, chain[:50] + chain[60:]) == {(0, 1): 1.0}
  shared = compare('W' + chain[1:40] + 'P' * 60, 'W' + chain[1:40] + 'D' * 60)
  assert shared == {(0, 1): pytest.approx(40 / 80, abs=0.03)}
  # Unknown residues are not identical, not even to each other.
  unknown = chain[:20] + 'X' * 10 + chain[30:]
  assert compare(unknown, mutate(np_rng, chain, 0.99)[:20] + unknown[20:])[0, 1] < 0.91
  assert compare(chain, unknown) == {(0, 1): pytest.approx(0.9)}
  assert compare(unknown, unknown + other) == {(0, 1): pytest.approx(0.9)}


def test_short_chains_are_judged_by_significance(np_rng):
  assert compare(CLN025, CHIGNOLIN) == {(0, 1): pytest.approx(1.0)}  # the 8 that are aligned
  # Half of a peptide within a protein is chance, and little peptides differ or are equal.
  chain = random_chain(np_rng, 150)
  assert compare(CLN025, chain[:70] + CLN025[2:7] + chain[70:]) == {}
  least, _, e_value = oracle(CLN025, chain[:70] + CLN025[2:7] + chain[70:])
  assert least > 0.4
  assert e_value > 1e-3
  assert compare('FLRH', 'FLRW', PENTALANINE, 'AAAAARAAAARAAAARAAAAA') == {}


def test_against_dynamic_programming(np_rng):
  chains = [random_chain(np_rng, length) for length in (12, 30, 45, 60)]
  chains += [mutate(np_rng, chain, identity) for chain in chains for identity in (0.35, 0.6, 0.9)]
  chains += [chains[2][:20] + random_chain(np_rng, 4) + chains[2][20:], 'XX'.join(chains[1:3])]
  found = compare(*chains)
  assert len(found) > 20
  for (i, a), (j, b) in itertools.combinations(enumerate(chains), 2):
    least, most, e_value = oracle(a, b)
    if (i, j) in found:
      assert e_value <= 1e-3
      assert least - 0.01 < found[i, j] < most + 0.01
    else:
      assert e_value > 1e-3


@pytest.mark.parametrize('max_identity', [0.4, 0.75])
def test_no_crossing_above_the_threshold(make_store, family, max_identity, capsys):
  path = make_store(family)
  splits = split.split(path, max_identity=max_identity, fractions=(0.6, 0.2, 0.2))
  assert set(splits) == set(family)
  assert collections.Counter(splits.values()) == {'train': 12, 'validation': 4, 'test': 4}
  highest = dict.fromkeys(itertools.combinations(protein_clusters.SPLITS, 2), (0.0, 0.0))
  for (a, split_a), (b, split_b) in itertools.permutations(splits.items(), 2):
    if (split_a, split_b) in highest:
      *bounds, e_value = oracle(family[a], family[b])
      if e_value <= 1e-3:
        before = highest[split_a, split_b]
        highest[split_a, split_b] = max(before[0], bounds[0]), max(before[1], bounds[1])
  assert max(most for _, most in highest.values()) <= max_identity
  # The 60 % relatives are together below, and may be apart above.
  together = [splits[f'root{i}'] == splits[f'p60_{i}'] for i in range(5)]
  assert all(together) == (max_identity == 0.4)
  assert all(splits[f'root{i}'] == splits[f'p90_{i}'] for i in range(5))
  said = capsys.readouterr().out
  for (a, b), (least, most) in highest.items():
    (line,) = (line for line in said.splitlines() if line.startswith(f'  {a} / {b}:'))
    if most:
      assert least - 0.001 <= float(line.split()[-1]) <= most + 0.001
    else:
      assert line.endswith('none beyond chance')


def test_what_is_written(make_store, family, tmp_path, capsys):
  path = make_store(family)
  before = store.Store(path)
  content = {entry.key: (entry, before.read(entry)) for entry in before.entries}
  splits = split.split(path)
  rows = read_csv(tmp_path / 'store.splits.csv')
  assert {row['name']: row['split'] for row in rows} == splits
  assert {row['length'] for row in rows} == {'48'}
  clusters = {row['name']: int(row['cluster']) for row in rows}
  assert clusters['root0'] == clusters['p60_0'] == clusters['p90_0'] != clusters['root1']
  sizes = collections.Counter(clusters.values())
  assert [sizes[number] for number in sorted(sizes)] == sorted(sizes.values(), reverse=True)
  after = store.Store(path)
  assert [entry.key for entry in after.entries] == [entry.key for entry in before.entries]
  for entry in after.entries:
    old, positions = content[entry.key]
    assert entry.split == splits[entry.name]
    assert (entry.array, entry.num_frames, entry.dt_ns) == (old.array, old.num_frames, old.dt_ns)
    assert (entry.sources, entry.sequence, entry.notes) == (old.sources, old.sequence, old.notes)
    np.testing.assert_array_equal(after.read(entry), positions)
  # 4 entries per protein, of 3 and 4 frames at 0.01 ns.
  said = capsys.readouterr().out
  for name, count in collections.Counter(splits.values()).items():
    (line,) = (line.split() for line in said.splitlines() if line.startswith(f'{name} '))
    assert line[:3] == [name, str(count), f'{100 * count / 20:.1f}']
    assert line[5:] == [str(48 * count), str(14 * count), f'{0.14 * count:.6g}']
  # The list can be given to --fixed, for another store of the same proteins too.
  other = make_store(family, 'other')
  assert split.split(other, fixed=[tmp_path / 'store.splits.csv']) == splits
  assert {e.name: e.split for e in store.Store(other).entries} == splits


def test_dry_run_and_second_run(make_store, family, tmp_path, capsys):
  path = make_store(family)
  splits = split.split(path, dry_run=True, out=tmp_path / 'absent' / 'x.csv')
  assert capsys.readouterr().out.endswith('nothing was written (--dry_run)\n')
  assert sorted(tmp_path.iterdir()) == [path]
  assert {entry.split for entry in store.Store(path).entries} == {'train'}
  assert split.split(path, out=tmp_path / 'x.csv') == splits
  assert sorted(tmp_path.iterdir()) == [path, tmp_path / 'x.csv']
  content = (tmp_path / 'x.csv').read_bytes()
  assert split.split(path, out=tmp_path / 'x.csv') == splits
  assert (tmp_path / 'x.csv').read_bytes() == content
  assert '0 entries changed' in capsys.readouterr().out


def test_a_failure_writes_no_list(make_store, family, tmp_path):
  path = make_store(family)
  # There is room for the manifest, but not for a longer one: 'validation' is longer than 'train'.
  size = (path / 'manifest.json').stat().st_size
  with (
    disk.files_end_at(size),
    pytest.raises(InputError, match=r'cannot write .*manifest\.json: is the disk full\?'),
  ):
    split.split(path)
  assert sorted(tmp_path.iterdir()) == [path]


def test_seed(make_store, np_rng):
  path = make_store({f'p{i:02}': random_chain(np_rng, 40) for i in range(20)})
  first, again, other = (split.split(path, seed=seed, dry_run=True) for seed in (0, 0, 1))
  assert first == again != other
  assert collections.Counter(first.values()) == collections.Counter(other.values())
  assert collections.Counter(first.values()) == {'train': 16, 'validation': 2, 'test': 2}


def test_what_hangs_together_stays_together(make_store, np_rng):
  chains = [random_chain(np_rng, 100) for _ in range(8)]
  bridge = chains[0][:50] + chains[1][:50]
  half = random_chain(np_rng, 60)
  sequences = {
    # Two that are not alike, and one that is like both.
    'left': chains[0],
    'right': chains[1],
    'bridge': bridge,
    # One chain in common, or alike, wherever it stands.
    'dimer': (half, chains[2]),
    'monomer': chains[2],
    'trimer': (random_chain(np_rng, 90), random_chain(np_rng, 30), mutate(np_rng, half, 0.8)),
    # Equal, also where alignments say nothing.
    'peptide1': 'FLRH',
    'peptide2': 'FLRH',
    'unknown1': 'XXXX',
    'unknown2': 'XXXX',
    # A ligand in common is no kinship.
    'bound3': (chains[3], 'GGG', 'X'),
    'bound4': (chains[4], 'GGG', 'X'),
    'loner5': chains[5],
    'loner6': chains[6],
  }
  path = make_store(sequences)
  split.split(path, fractions=(0.5, 0.25, 0.25))
  cluster = {row['name']: row['cluster'] for row in read_csv(path.with_name('store.splits.csv'))}
  groups = collections.defaultdict(set)
  for name, number in cluster.items():
    groups[number].add(name)
  assert sorted(map(sorted, groups.values())) == [
    ['bound3'],
    ['bound4'],
    ['bridge', 'left', 'right'],
    ['dimer', 'monomer', 'trimer'],
    ['loner5'],
    ['loner6'],
    ['peptide1', 'peptide2'],
    ['unknown1', 'unknown2'],
  ]
  found = collections.defaultdict(set)
  for entry in store.Store(path).entries:
    found[cluster[entry.name]].add(entry.split)
  assert all(len(splits) == 1 for splits in found.values())


def test_entries_of_one_name_may_differ(make_store, np_rng):
  whole, tail = random_chain(np_rng, 60), random_chain(np_rng, 40)
  path = make_store({
    'a': whole, 'b': mutate(np_rng, tail, 0.8), 'c': mutate(np_rng, whole, 0.8),
    'd': random_chain(np_rng, 40), 'e': random_chain(np_rng, 40),
  })  # fmt: skip
  with store.StoreWriter(path) as writer:
    extra = synthetic.entry('a', 40, sequence=tail, replica=9, split='test')
    writer.add(extra, synthetic.positions(np_rng, 2, 40))
  split.split(path, fractions=(0.6, 0.2, 0.2))
  cluster = {row['name']: row['cluster'] for row in read_csv(path.with_name('store.splits.csv'))}
  assert [name for name in cluster if cluster[name] == '1'] == ['a', 'b', 'c']
  assert {e.split for e in store.Store(path).entries if e.name == 'a'} == {'train'}


def test_entries_of_an_interrupted_preparation_count(make_store, tmp_path, np_rng):
  path = make_store({f'p{i}': random_chain(np_rng, 40) for i in range(3)})
  late = synthetic.entry('late', 40, sequence=random_chain(np_rng, 40))
  store.StoreWriter(path).add(late, synthetic.positions(np_rng, 2, 40))  # no manifest
  assert 'late' in split.split(path, fractions=(0.5, 0.25, 0.25))


@pytest.mark.parametrize(
  ('sizes', 'fractions', 'counts'),
  [
    ([1] * 100, (0.8, 0.1, 0.1), [80, 10, 10]),
    ([30, 20, 5, 5, 5] + [1] * 35, (0.8, 0.1, 0.1), [80, 10, 10]),
    ([1] * 10, (0.9, 0.0, 0.1), [9, 0, 1]),
    ([1] * 10, (0.0, 0.0, 1.0), [0, 0, 10]),
    ([1] * 3, (0.8, 0.1, 0.1), [1, 1, 1]),
    ([95, 1, 1, 1, 1, 1], (0.8, 0.1, 0.1), [95, 3, 2]),
    ([51, 50], (0.8, 0.2, 0.0), [51, 50, 0]),
  ],
)
def test_fractions(sizes, fractions, counts, np_rng):
  sizes = np_rng.permutation(sizes)
  chosen = protein_clusters.assign_clusters(sizes, fractions, seed=3)
  assert np.bincount(chosen, sizes, minlength=3).tolist() == counts
  if sizes.max() > 1:
    assert chosen[np.argmax(sizes)] == 0


def test_a_huge_cluster_is_told(make_store, np_rng, capsys):
  chain = random_chain(np_rng, 60)
  sequences = {f'p{i}': mutate(np_rng, chain, 0.9) for i in range(8)}
  path = make_store(sequences | {f'q{i}': random_chain(np_rng, 60) for i in range(2)})
  split.split(path, fractions=(0.5, 0.4, 0.1))
  said = capsys.readouterr().out
  assert 'note: train has 8 proteins in place of 5.0, as clusters stay whole' in said
  assert 'note: validation has 1 proteins in place of 4.0' in said
  assert 'note: test' not in said
  with pytest.raises(InputError, match=r'its 9 proteins form 2 cluster.* too few for 3') as error:
    split.split(make_store(sequences | {'q': random_chain(np_rng, 60)}, 'few'))
  assert 'raise --max_identity, or ask for fewer splits' in str(error.value)


def test_fixed_lists_are_taken_as_they_are(make_store, np_rng, tmp_path, capsys):
  chain, other = random_chain(np_rng, 80), random_chain(np_rng, 80)
  sequences = {
    'a': chain,
    'b': mutate(np_rng, chain, 0.7),
    'c': other,
    'd': other,
    'e': random_chain(np_rng, 80),
    'late': mutate(np_rng, chain, 0.8),
    'later': random_chain(np_rng, 80),
  }
  path = make_store(sequences)
  with store.StoreWriter(path) as writer:
    writer.assign_splits({'later': 'validation'})
  (tmp_path / 'my_train.csv').write_text('name,seqres\na,AAA\nc,AAA\nelsewhere,AAA\n')
  (tmp_path / 'my_val.csv').write_text('name,seqres\nb,AAA\n')
  (tmp_path / 'my_test.csv').write_text('name,seqres\nd,AAA\ne,AAA\n')
  lists = [tmp_path / f'my_{name}.csv' for name in ('train', 'val', 'test')]
  splits = split.split(path, fixed=lists)
  assert splits == {
    'a': 'train', 'b': 'validation', 'c': 'train', 'd': 'test', 'e': 'test', 'late': 'train',
    'later': 'validation',
  }  # fmt: skip
  assert {entry.name: entry.split for entry in store.Store(path).entries} == splits
  said, warned = capsys.readouterr()
  assert '1 of 6 listed proteins are not in the store' in said
  assert '2 proteins are not listed and keep their split: late (train), later (validation)' in said
  assert 'warning: 3 pairs of proteins in different splits are above 0.4' in warned
  first, second, third = warned.splitlines()[1:4]
  assert first == '  c (train) and d (test): identity 1.000'
  assert second.startswith('  a (train) and b (validation): identity 0.70')
  assert third.startswith('  late (train) and b (validation): identity 0.5')
  assert '  validation / test: none beyond chance' in said
  split.split(path, fixed=lists, max_identity=1.0)
  assert capsys.readouterr().err == ''

  with store.StoreWriter(path) as writer:
    extra = synthetic.entry('late', 80, sequence=sequences['late'], replica=7, split='test')
    writer.add(extra, synthetic.positions(np_rng, 2, 80))
  with pytest.raises(InputError, match=r'late is not listed, and its entries are in several spl'):
    split.split(path, fixed=lists)
  (tmp_path / 'names.txt').write_text('a\nb\n')
  with pytest.raises(InputError, match=r'--fixed: a has no split: give a CSV with a column'):
    split.split(path, fixed=[tmp_path / 'names.txt'])
  (tmp_path / 'test.txt').write_text('x\ny\n')
  with pytest.raises(InputError, match=r'none of the 2 listed names, e.g. x, is in'):
    split.split(path, fixed=[tmp_path / 'test.txt'])
  with pytest.raises(InputError, match=r'my_val.csv is one of the lists of --fixed'):
    split.split(path, fixed=lists, out=lists[1])


@pytest.fixture
def fake_mmseqs(tmp_path, monkeypatch):
  """An `mmseqs` that keeps what it was asked, and answers with the given lines."""

  def install(answer, code=0):
    folder = tmp_path / 'bin'
    folder.mkdir(exist_ok=True)
    (folder / 'answer').write_text(answer)
    script = folder / 'mmseqs'
    script.write_text(
      f'#!/bin/sh\necho "$@" > {folder}/asked\ncp "$2" {folder}/fasta\n'
      f'[ {code} = 0 ] && cp {folder}/answer "$4"\necho no memory >&2\nexit {code}\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv('PATH', f'{folder}:/usr/bin:/bin')
    return folder

  return install


def test_mmseqs_output(fake_mmseqs, np_rng, make_store, monkeypatch):
  chain, other = random_chain(np_rng, 50), random_chain(np_rng, 60)
  chains = (chain, other, mutate(np_rng, chain, 0.5))
  folder = fake_mmseqs(
    f'0\t0\t250\t{chain}\t{chain}\n'
    '0\t1\t30\tAAAAAAAAAAAAAAAAAAAAAAAA\tAAAAAAAAAAAAAAAAAAAAAAAA\n'  # not significant
    '1\t2\t100\tACDEF--GHIKLMNPXQRST\tACDEFPPGHIKLMNPX-WST\n'
    '2\t1\t100\tACDEF\tACDEF\n'
  )
  # 20 columns, 17 pairs, 15 of them identical; the alignment counts as 40 pairs.
  assert compare(*chains, method='mmseqs') == {(1, 2): pytest.approx(15 / 40)}
  assert (folder / 'fasta').read_text() == f'>0\n{chain}\n>1\n{other}\n>2\n{chains[2]}\n'
  asked = (folder / 'asked').read_text().split()
  assert asked[0] == 'easy-search'
  assert asked[1] == asked[2]
  assert '--max-seqs 300' in ' '.join(asked)
  # Chains stand in alphabetical order.
  path = make_store({'x': 'C' * 50, 'y': 'D' * 50, 'z': 'E' * 50, 'u': 'F' * 50})
  fake_mmseqs(f'1\t3\t200\t{"D" * 50}\t{"D" * 45}FFFFF\n')
  splits = split.split(path, method='mmseqs', fractions=(0.5, 0.25, 0.25))
  assert splits['y'] == splits['u'] == 'train'
  assert splits['x'] != splits['z']
  # Nothing escapes pyopal; beyond some size it would take long.
  assert sequence_identity.choose_methods(20_000) == ('pyopal', 'mmseqs')
  assert sequence_identity.choose_methods(20_001) == ('mmseqs',)
  monkeypatch.setitem(sys.modules, 'pyopal', None)
  assert sequence_identity.choose_methods(2) == ('mmseqs',)


def test_mmseqs_errors(fake_mmseqs, np_rng, monkeypatch, tmp_path):
  chains = random_chain(np_rng, 50), random_chain(np_rng, 50)
  folder = fake_mmseqs('', code=3)
  with pytest.raises(InputError, match=r'bin/mmseqs failed: try --method=pyopal \(no memory\)'):
    compare(*chains, method='mmseqs')
  for answer in ('0\t1\t0.5\n', 'x\t1\t100\tA\tA\n', '0\t7\t100\tA\tA\n', '0\t1\t100\tAA\tA\n'):
    fake_mmseqs(answer)
    with pytest.raises(
      InputError, match=r'its output cannot be read, at .* use MMseqs2 of version'
    ):
      compare(*chains, method='mmseqs')
  (folder / 'mmseqs').write_bytes(b'\x7fELF')
  with pytest.raises(InputError, match=r'bin/mmseqs cannot be run'):
    compare(*chains, method='mmseqs')
  monkeypatch.setenv('PATH', str(tmp_path))
  with pytest.raises(InputError, match=r'no mmseqs on the PATH: install MMseqs2'):
    compare(*chains, method='mmseqs')
  assert sequence_identity.choose_methods(10**6) == ('pyopal',)
  monkeypatch.setitem(sys.modules, 'pyopal', None)
  with pytest.raises(InputError, match=r"pip install 'tempo-jax\[split\]'"):
    compare(*chains)
  with pytest.raises(InputError, match=r'nothing here compares sequences'):
    sequence_identity.choose_methods(2)


@pytest.mark.skipif(not shutil.which('mmseqs'), reason='no mmseqs (MMseqs2) on the PATH')
def test_mmseqs_agrees(np_rng):
  chains = [random_chain(np_rng, 120) for _ in range(6)]
  chains += [mutate(np_rng, chain, identity) for chain in chains for identity in (0.6, 0.9)]
  exact, found = compare(*chains), compare(*chains, method='mmseqs')
  expected = {pair for pair, identity in exact.items() if identity > 0.4}
  assert len(expected) == 18
  assert expected <= found.keys()
  assert all(abs(found[pair] - exact[pair]) < 0.03 for pair in found.keys() & exact.keys())


@pytest.mark.parametrize(
  ('kwargs', 'message'),
  [
    ({'max_identity': 40.0}, r'--max_identity=40: give a fraction, e.g. 0.4 for 40 %'),
    ({'max_identity': float('nan')}, r'--max_identity=nan: give a fraction'),
    ({'fractions': (0.8, 0.2)}, r'--fractions=0.8,0.2: give three from 0 to 1'),
    ({'fractions': (1.2, -0.1, -0.1)}, r'--fractions=1.2,-0.1,-0.1: give three from 0 to 1'),
    ({'fractions': (80.0, 10.0, 10.0)}, r'--fractions=80,10,10: give three from 0 to 1'),
    ({'fractions': (0.8, 0.1, 0.2)}, r'they add up to 1.1: make that 1'),
    ({'out': 'absent/x.csv'}, r'--out=.*: no directory .*absent to write into'),
    ({'out': 'mine.csv'}, r'mine.csv exists, and is no list of splits: choose another'),
    ({'out': '.'}, r'exists, and is no list of splits'),
    ({'fixed': ['absent.csv']}, r'absent.csv: cannot be read as a list of names'),
    ({'fractions': (0.4, 0.3, 0.3)}, r'its 2 proteins form 2 cluster.* for 3 splits'),
  ],
)
def test_errors(make_store, tmp_path, np_rng, monkeypatch, kwargs, message):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine.csv').write_text('my,data\n')
  path = make_store({'a': random_chain(np_rng, 30), 'b': random_chain(np_rng, 30)})
  there = sorted(tmp_path.iterdir())
  with pytest.raises(InputError, match=message) as error:
    split.split(path, **kwargs)
  assert '\n' not in str(error.value)
  assert sorted(tmp_path.iterdir()) == there
  assert (tmp_path / 'mine.csv').read_text() == 'my,data\n'
  assert {entry.split for entry in store.Store(path).entries} == {'train'}


def test_no_store(tmp_path):
  with pytest.raises(InputError, match='no store here'):
    split.split(tmp_path / 'nowhere')
  assert not list(tmp_path.iterdir())
  with pytest.raises(InputError, match='a store is prepared on a local disk'):
    split.split('gs://bucket/store', out=tmp_path / 'x.csv')


def test_binary(make_store, np_rng, tmp_path):
  chain = random_chain(np_rng, 60)
  make_store({'a': chain, 'b': mutate(np_rng, chain, 0.9), 'c': random_chain(np_rng, 60)})
  (tmp_path / 'list.csv').write_text('name,split\na,train\nb,test\nc,train\n')

  def run(*args):
    command = [sys.executable, '-m', 'data_prep.split', f'--store={tmp_path / "store"}', *args]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr

  code, said, warned = run(f'--fixed={tmp_path / "list.csv"}')
  assert (code, warned.count('identity 0.9')) == (0, 1)
  assert 'entries changed their split; list: ' in said
  assert [row['split'] for row in read_csv(tmp_path / 'store.splits.csv')] == [
    'train', 'test', 'train'
  ]  # fmt: skip
  assert run('--fixed=list.csv', '--seed=1') == (
    2, '', 'error: --fixed takes the splits as they are listed: leave out --seed\n'
  )  # fmt: skip
