"""Means of proteins whose MD a model was fine-tuned on: conformations that they fluctuate about.

A single structure does not tell its mean, and samplers draw one (`dynamics.expected.drawn_about`).
`training.mean_conformation` measures them; on disk they are beside the model, in `NAME`.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from tempo_jax import files
from tempo_jax.protein import protein as protein_lib

NAME = 'centres.npz'
Centres = Mapping[str, np.ndarray]
"""By `key`, [L, 3] float32 Å: CA."""


def key(sequence: str, chain_index: np.ndarray) -> str:
  """What a protein is known by: its sequence, a mark between chains."""
  starts = 1 + np.flatnonzero(np.diff(np.asarray(chain_index)))
  return '/'.join(''.join(part) for part in np.split(np.array(list(sequence)), starts))


def of(protein: protein_lib.Protein, centres: Centres) -> np.ndarray | None:
  """[L, 3] Å; None where it is not known."""
  return centres.get(key(protein.sequence, protein.arrays.chain_index))


def about(protein: protein_lib.Protein, centres: Centres) -> protein_lib.Protein:
  """The protein, with its centre where there is one."""
  centre = of(protein, centres)
  if centre is None:
    return protein
  return dataclasses.replace(protein, arrays=dataclasses.replace(protein.arrays, centre=centre))


def write(directory: str | os.PathLike[str], centres: Centres) -> None:
  """Writes the file, whole or not at all; none where there are no centres."""
  if centres:
    with files.aside(pathlib.Path(directory).resolve() / NAME) as path, open(path, 'wb') as file:
      np.savez_compressed(file, allow_pickle=False, **centres)


def read(directories: Iterable[str | os.PathLike[str]]) -> dict[str, np.ndarray]:
  """Centres of all models in some directories, of which some may have none."""
  found: dict[str, np.ndarray] = {}
  for directory in directories:
    path = pathlib.Path(directory) / NAME
    if path.exists():
      # np.load itself leaves a damaged file open.
      with open(path, 'rb') as file, np.load(file, allow_pickle=False) as arrays:
        found |= {name: arrays[name] for name in arrays.files}
  return found
