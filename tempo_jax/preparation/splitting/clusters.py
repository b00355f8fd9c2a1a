"""Clusters of proteins that are alike, given to splits as a whole."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from tempo_jax.preparation.splitting import sequence_identity
from tempo_jax.store import store
from tempo_jax.store.entry import SPLITS

# Residues: equal chains of up to that many may be so by chance (see `sequence_identity`).
_SHORT = 5


@dataclasses.dataclass(frozen=True)
class ProteinSummary:
  """What counts of a protein, over all its entries.

  Attributes:
    name: its name in the store.
    chains: the sequences of its chains, without those too short to tell, if it has others.
    length: number of residues.
    num_frames: number of frames.
    time_ns: simulated time, ns.
    splits: those of its entries.
  """

  name: str
  chains: frozenset[str]
  length: int
  num_frames: int
  time_ns: float
  splits: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Crossing:
  """Two proteins of different splits that are alike beyond chance.

  Attributes:
    identity: the highest of their chains, up to 1.
    names: theirs; that of the earlier split comes first.
    splits: theirs.
  """

  identity: float
  names: tuple[str, str]
  splits: tuple[str, str]

  def __str__(self) -> str:
    (a, b), (split_a, split_b) = self.names, self.splits
    return f'{a} ({split_a}) and {b} ({split_b}): identity {self.identity:.3f}'


def read_proteins(entries: Iterable[store.Entry]) -> list[ProteinSummary]:
  """The proteins of a store, by name; what several entries of one differ in is joined."""
  proteins: dict[str, ProteinSummary] = {}
  for entry in entries:
    before = proteins.get(
      entry.name, ProteinSummary(entry.name, frozenset(), 0, 0, 0.0, frozenset())
    )
    proteins[entry.name] = ProteinSummary(
      entry.name,
      before.chains | _chains(entry),
      max(before.length, entry.length),
      before.num_frames + entry.num_frames,
      before.time_ns + entry.num_frames * entry.dt_ns,
      before.splits | {entry.split},
    )
  return [proteins[name] for name in sorted(proteins)]


def _chains(entry: store.Entry) -> set[str]:
  letters = np.array(list(entry.sequence))
  chains = {''.join(letters[entry.chain_index == chain]) for chain in np.unique(entry.chain_index)}
  # A bound tripeptide, or unknown residues, are no kinship between proteins that have more.
  return {chain for chain in chains if len(chain.replace('X', '')) > _SHORT} or chains


def chain_owners(proteins: Sequence[ProteinSummary]) -> tuple[list[str], list[list[int]]]:
  """All different chains, and which proteins have each."""
  owners: dict[str, list[int]] = {}
  for p, protein in enumerate(proteins):
    for chain in protein.chains:
      owners.setdefault(chain, []).append(p)
  chains = sorted(owners)
  return chains, [owners[chain] for chain in chains]


def find_clusters(
  owners: Sequence[Sequence[int]], pairs: sequence_identity.Pairs, max_identity: float
) -> np.ndarray:
  """Proteins that hang together by pairs above the threshold (single linkage).

  Args:
    owners: per chain, the proteins that have it; every protein has one.
    pairs: of chains.
    max_identity: the threshold.

  Returns:
    [number of proteins] int, the number of each one's cluster; 0 is the largest.
  """
  # Proteins and chains are both nodes, so that many proteins of one sequence need few edges.
  above = pairs.identity > max_identity
  chain = np.repeat(np.arange(len(owners)), [len(own) for own in owners])
  rows = np.concatenate([chain, pairs.first[above]])
  protein = np.fromiter(itertools.chain.from_iterable(owners), int)
  columns = np.concatenate([len(owners) + protein, pairs.second[above]])
  size = columns.max() + 1
  graph = sparse.coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(size, size))
  _, label = csgraph.connected_components(graph, directed=False)
  _, cluster = np.unique(label[len(owners) :], return_inverse=True)
  rank = np.argsort(np.argsort(-np.bincount(cluster), kind='stable'))
  return rank[cluster]


def assign_clusters(sizes: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
  """Gives whole clusters to splits: the largest first, each to the split that lacks most.

  Args:
    sizes: [C] int, proteins per cluster; at least as many clusters as splits.
    fractions: of all proteins, per split; 0 leaves it out.
    seed: orders clusters of equal size.

  Returns:
    [C] int, the split of each; no split that was asked for stays empty.
  """
  lacking = np.asarray(fractions) * sizes.sum()
  wanted = lacking > 0.0
  empty = wanted.copy()
  chosen = np.zeros(len(sizes), int)
  order = np.lexsort((np.random.default_rng(seed).permutation(len(sizes)), -sizes))
  for left, c in zip(range(len(order), 0, -1), order, strict=True):
    candidates = empty if left <= empty.sum() else wanted
    chosen[c] = np.argmax(np.where(candidates, lacking, -np.inf))
    lacking[chosen[c]] -= sizes[c]
    empty[chosen[c]] = False
  return chosen


def find_crossings(
  proteins: Sequence[ProteinSummary],
  owners: Sequence[Sequence[int]],
  pairs: sequence_identity.Pairs,
  splits: Mapping[str, str],
) -> list[Crossing]:
  """Pairs of proteins in different splits that are alike beyond chance, the most alike first."""
  where = [SPLITS.index(splits[protein.name]) for protein in proteins]
  highest: dict[tuple[int, int], float] = {}
  equal = ((c, c, 1.0) for c in range(len(owners)))
  alike = zip(*(column.tolist() for column in pairs), strict=True)
  for i, j, identity in itertools.chain(equal, alike):
    for p, q in itertools.product(owners[i], owners[j]):
      if where[p] != where[q]:
        pair = (p, q) if where[p] < where[q] else (q, p)
        highest[pair] = max(identity, highest.get(pair, 0.0))
  found = [
    Crossing(identity, (proteins[p].name, proteins[q].name), (SPLITS[where[p]], SPLITS[where[q]]))
    for (p, q), identity in highest.items()
  ]
  return sorted(found, key=lambda crossing: (-crossing.identity, crossing.names))
