"""What inspection finds, and how it names entries and residues."""

import collections
import dataclasses
from collections.abc import Iterable

import numpy as np

from tempo_jax.errors import first_few
from tempo_jax.preparation import frame_checks
from tempo_jax.protein import protein as protein_lib
from tempo_jax.store import entry as entry_lib

SEVERITIES = ('error', 'warning', 'note')


@dataclasses.dataclass(frozen=True)
class Finding:
  """Something wrong, or worth knowing.

  Attributes:
    severity: 'error' (unusable), 'warning' (suspicious) or 'note'.
    kind: one word.
    where: key of an entry, name of a protein, or '' for the whole store.
    message: one line: frame and residue, what is wrong, what to do. Frames count from 0, residues
      have their author's numbers.
  """

  severity: str
  kind: str
  where: str
  message: str

  def __str__(self) -> str:
    return f'{self.severity}: {self.where}{": " if self.where else ""}{self.message}'


def count(findings: Iterable[Finding]) -> dict[str, int]:
  """Number of findings by severity, worst first."""
  counter = collections.Counter(finding.severity for finding in findings)
  return {severity: counter[severity] for severity in SEVERITIES}


class Subject:
  """An entry as findings name it.

  Attributes:
    entry: the entry.
    protein: its residues, in no conformation.
    bonded: [L] bool; the last residue is not.
    bonds: all peptide bonds, those that close rings, too.
  """

  def __init__(self, entry: entry_lib.Entry):
    self.entry = entry
    self.bonded = np.append(entry.bonded[:-1], False)
    self.bonds = entry.bonds
    self.protein = protein_lib.Protein(
      name=entry.name,
      arrays=entry.arrays(np.zeros((entry.length, 4, 3), np.float32)),
      chain_ids=entry.chain_ids,
      residue_number=entry.residue_number,
      insertion_code=entry.insertion_code,
    )

  def finding(self, severity: str, kind: str, message: str) -> Finding:
    """About this entry."""
    return Finding(severity, kind, self.entry.key, message)

  def residue(self, index: int) -> str:
    """Name and number of a residue, and its chain where there are several."""
    name = frame_checks.label(self.protein, index)
    several = len(self.entry.chain_ids) > 1
    return f'{name} of chain {self.protein.chain_of_residue[index]!r}' if several else name

  def residues(self, indices: Iterable[int]) -> str:
    """The first few of many residues."""
    return first_few([self.residue(i) for i in indices])

  def pair(self, first: int, second: int) -> str:
    """Two residues."""
    return f'{self.residue(first)} and {self.residue(second)}'

  def peptides(self, indices: Iterable[int]) -> str:
    """The first few of many peptide bonds, each given by the residue that it begins in."""
    return first_few([self.pair(i, i + 1) for i in indices])
