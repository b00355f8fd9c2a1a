"""Which of many protein chains are alike, and how much.

Two chains are compared by their best local alignment (Smith-Waterman, BLOSUM62, a gap of k residues
costs 11 + k, as in BLAST; of several that score the same, the one that the aligner gives).

    identity = identical residues / max(aligned residue pairs, 0.8 * length of the shorter chain)

It counts where chance does not give such an alignment: E = K m n exp(-lambda score) <= 0.001 for
chains of m and n residues (Karlin and Altschul, PNAS 87:2264, 1990; lambda 0.267 and K 0.041 are
those of BLAST for this matrix and these gaps). Elsewhere it is zero. Why so:

- Some stretch of a chain is always like some stretch of another. The denominator makes short
  alignments count little without a limit at which they would suddenly count fully, so what
  `mmseqs --min-seq-id T -c 0.8` (identical / columns, at least 80 % of both chains covered) or
  CD-HIT (identical / shorter chain) calls T or more, of the same alignment, is T or more here. A
  domain within a longer chain counts too: it is a leak.
- A peptide finds much of itself in any protein: the 10 residues of CLN025 are above 0.4 with 205 of
  the 1,390 chains of ATLAS. None of that is significant; its relative chignolin (8 of 10) is. Below
  some 5 residues nothing is, so that such peptides are alike only where they are equal.
- An unknown residue (X) is never identical to anything.

Two ways to find the pairs. `pyopal` (bindings to Opal, SIMD) aligns every chain with every other,
so nothing escapes it: 15 s for the 1,379 different chains of ATLAS on one core, by extrapolation
two minutes for the 5,398 domains of mdCATH. `mmseqs` (Steinegger and Söding, Nat. Biotechnol.
35:1026, 2017) aligns what its k-mer search proposes, which is what 100,000 chains need, but may
miss a pair: with the settings here 1 of the 81 of ATLAS that are above 0.4, and peptides as a rule.
So 'auto' takes what is installed, both where both are, and counts the higher identity; but
beyond 20,000 different chains, where pyopal takes half an hour, mmseqs alone if it is there. Where
both methods find a pair of ATLAS, they agree within 0.04 (MMseqs2 rounds BLOSUM62 in its own way).
"""

import importlib.util
import itertools
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tempo_jax import extras, progress
from tempo_jax.errors import InputError

METHODS = ('pyopal', 'mmseqs')
MAX_E_VALUE = 1e-3

_LEAST_COVERAGE = 0.8
_LAMBDA, _K = 0.267, 0.041
# Opal and MMseqs2 count the first residue of a gap as opening it.
_GAP_OPEN, _GAP_EXTEND = 12, 1
_MOST_CHAINS = 20_000


class Pairs(NamedTuple):
  """Pairs of chains that are alike beyond chance.

  Attributes:
    first: [P] int, number of a chain.
    second: [P] int, number of another, above `first`.
    identity: [P] float64, above 0 and up to 1.
  """

  first: np.ndarray
  second: np.ndarray
  identity: np.ndarray


def choose_methods(num_chains: int) -> tuple[str, ...]:
  """Those of `METHODS` that are installed; not pyopal where it takes long and there is mmseqs.

  Raises:
    InputError: neither is installed.
  """
  has_pyopal = importlib.util.find_spec('pyopal') is not None
  has_mmseqs = shutil.which('mmseqs') is not None
  if not (has_pyopal or has_mmseqs):
    raise InputError(
      "nothing here compares sequences: pip install 'tempo-jax[split]' (pyopal), or put mmseqs "
      '(MMseqs2) on the PATH'
    )
  exact = ('pyopal',) if has_pyopal and (num_chains <= _MOST_CHAINS or not has_mmseqs) else ()
  return (*exact, *(('mmseqs',) if has_mmseqs else ()))


def compare(chains: Sequence[str], methods: Sequence[str]) -> Pairs:
  """Compares every chain with every other.

  Args:
    chains: different from each other, one letter per residue.
    methods: of `METHODS`; the highest identity that one of them finds counts.

  Raises:
    InputError: a method is not installed, or fails.
  """
  search = {'pyopal': _align_all, 'mmseqs': _search_mmseqs}
  # mmseqs finds most pairs twice, and not always in the same alignment.
  found: dict[tuple[int, int], float] = {}
  for i, j, identity in itertools.chain.from_iterable(search[m](chains) for m in methods):
    pair = (min(i, j), max(i, j))
    found[pair] = max(identity, found.get(pair, 0.0))
  index = np.array(sorted(found), np.int64).reshape(-1, 2)
  return Pairs(index[:, 0], index[:, 1], np.array([found[i, j] for i, j in index.tolist()]))


def _align_all(chains: Sequence[str]) -> Iterator[tuple[int, int, float]]:
  pyopal = extras.require('pyopal', 'split')
  aligner = pyopal.Aligner('BLOSUM62', gap_open=_GAP_OPEN, gap_extend=_GAP_EXTEND)
  # Opal aligns one query with several targets at a time: the more alike in length, the better.
  order = sorted(range(len(chains)), key=lambda i: (len(chains[i]), chains[i]))
  database = pyopal.Database([chains[i] for i in order])
  lengths = np.array([len(chains[i]) for i in order])
  for rank in _report_progress(len(order)):
    query = chains[order[rank]]
    needed = _least_score(len(query), lengths[rank + 1 :]).tolist()
    results = aligner.align(query, database, mode='full', start=rank + 1)
    for result, least in zip(results, needed, strict=True):
      if result.score >= least:
        j = order[result.target_index]
        rows = _rows(
          result.alignment, query[result.query_start :], chains[j][result.target_start :]
        )
        yield order[rank], j, _identity(*rows, min(len(query), len(chains[j])))


def _rows(operations: str, query: str, target: str) -> tuple[str, str]:
  """The rows of Opal's alignment: M and X are pairs, D is a residue of the query, I of the target.

  Returns:
    Two str of equal length; '-' stands for a gap.
  """
  queries, targets = iter(query), iter(target)
  return (
    ''.join('-' if operation == 'I' else next(queries) for operation in operations),
    ''.join('-' if operation == 'D' else next(targets) for operation in operations),
  )


def _search_mmseqs(chains: Sequence[str]) -> Iterator[tuple[int, int, float]]:
  program = shutil.which('mmseqs')
  if program is None:
    raise InputError('--method=mmseqs: there is no mmseqs on the PATH: install MMseqs2')
  with tempfile.TemporaryDirectory(prefix='mmseqs_') as folder:
    fasta, hits, scratch = (pathlib.Path(folder, name) for name in ('in.fasta', 'out.m8', 'tmp'))
    fasta.write_text(''.join(f'>{i}\n{chain}\n' for i, chain in enumerate(chains)))
    print(f'mmseqs compares {len(chains)} chains', file=sys.stderr, flush=True)
    command = [program, 'easy-search', str(fasta), str(fasta), str(hits), str(scratch)]
    command += ['--dbtype', '1', '--max-seqs', str(max(300, len(chains)))]
    command += ['-s', '7.5', '-k', '5', '--min-ungapped-score', '0', '--mask', '0']
    # Significance is judged here, by the pair alone: mmseqs' own depends on all the others.
    command += ['-e', 'inf', '--comp-bias-corr', '0', '--gap-open', str(_GAP_OPEN)]
    command += ['--format-output', 'query,target,raw,qaln,taln']
    try:
      done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
      raise InputError(f'{program} cannot be run: try --method=pyopal ({error})') from error
    if done.returncode or not hits.is_file():
      said = (done.stderr.strip() or done.stdout.strip() or 'it wrote nothing').splitlines()[-1]
      raise InputError(f'{program} failed: try --method=pyopal ({said[:200]})')
    with hits.open() as lines:
      yield from _read_hits(lines, chains, program)


def _read_hits(
  lines: Iterable[str], chains: Sequence[str], program: str
) -> Iterator[tuple[int, int, float]]:
  for line in lines:
    try:
      query, target, score, query_row, target_row = line.split()
      i, j = int(query), int(target)
      m, n = len(chains[i]), len(chains[j])
      if i != j and float(score) >= _least_score(m, n):
        yield i, j, _identity(query_row, target_row, min(m, n))
    except (ValueError, IndexError) as error:
      raise InputError(
        f'{program}: its output cannot be read, at {line.strip()[:60]!r}: use MMseqs2 of version '
        '13 or later, or --method=pyopal'
      ) from error


def _least_score(m: int, n: int | np.ndarray) -> np.ndarray:
  """The least score of an alignment of chains of m and n residues that chance does not give."""
  return np.log(_K * m * np.asarray(n) / MAX_E_VALUE) / _LAMBDA


def _identity(query: str, target: str, shorter: int) -> float:
  """Of two rows of an alignment, gaps as '-', and the length of the shorter chain."""
  columns = list(zip(query, target, strict=True))
  aligned = sum('-' not in column for column in columns)
  identical = sum(a == b != 'X' for a, b in columns)
  return identical / max(aligned, _LEAST_COVERAGE * shorter)


def _report_progress(count: int) -> Iterator[int]:
  """Counts up to the last but one."""
  total = count * (count - 1) // 2
  with progress.Progress(desc='aligned', total=total, unit='pair', unit_scale=True) as shown:
    for i, done in enumerate(itertools.accumulate(range(count - 1, 0, -1))):
      yield i
      shown.update(count - 1 - i, f'aligned {done} of {total} pairs of chains')
