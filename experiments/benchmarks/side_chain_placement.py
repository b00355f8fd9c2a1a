"""Side chains placed on given backbones: on frames of MD, and on crystal structures.

A placer gets backbones and returns all heavy atoms. Those that are here cost no training: what the
start has, carried along; and FASPR (Huang et al., Bioinformatics 36, 3758 (2020)), which packs each
frame by itself, where the package pyfaspr is installed.

On frames of MD: 16 of them, evenly from the first to the last of the trajectory. The side chains of
the first are what is carried; it counts in the jumps, not in the shares and the contacts.
"""

import importlib.util
import logging
import pathlib
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np

from data_prep import training_systems
from experiments.benchmarks import heavy_frames
from tempo_jax.dynamics import molecule
from tempo_jax.errors import InputError
from tempo_jax.evaluation import markdown
from tempo_jax.metrics import close_contacts, side_chains
from tempo_jax.protein import padding
from tempo_jax.protein.protein import Protein
from tempo_jax.trajectory import trajectory as trajectory_lib

_logger = logging.getLogger(__name__)

NUM_FRAMES = 16
NUM_STRUCTURES = 20

_heavy_atoms = jax.jit(molecule.heavy_atoms)

Placer = Callable[[Protein, np.ndarray, np.ndarray | None], np.ndarray]
"""(protein, backbones [F, L, 4, 3] Å, heavy atoms of the first [L, 14, 3] Å or None) -> all heavy
atoms [F, L, 14, 3] Å."""

CARRIED, FASPR, REBUILT = 'carried', 'FASPR', 'own chi, ideal geometry'


def of_chi(place: Callable[[Protein, np.ndarray], np.ndarray]) -> Placer:
  """The placer of a function (protein, backbones [F, L, 4, 3] Å) -> chi [F, L, 4] radians.

  Atoms are what `tempo-jax side-chains` writes.
  """

  def placer(protein: Protein, positions: np.ndarray, first: np.ndarray | None) -> np.ndarray:
    del first
    chi = place(protein, positions)
    padded = padding.pad(protein.arrays, padding.bucket(protein.num_residues))
    length = len(padded.mask)
    backbone = padding.pad_positions(positions.astype(np.float32), length)
    chi = np.pad(chi, ((0, 0), (0, length - chi.shape[1]), (0, 0)))
    return np.asarray(_heavy_atoms(backbone, chi, padded))[:, : protein.num_residues]

  return placer


def carried(protein: Protein, positions: np.ndarray, first: np.ndarray | None) -> np.ndarray:
  """The chi of the first frame on every backbone."""
  assert first is not None
  residue_type = protein.arrays.residue_type
  chi = heavy_frames.chi_of(first[None], residue_type)
  return heavy_frames.built(positions, np.repeat(chi, len(positions), axis=0), residue_type)


def faspr(protein: Protein, positions: np.ndarray, first: np.ndarray | None) -> np.ndarray:
  """FASPR on every backbone by itself; its own atoms.

  Raises:
    ImportError: pyfaspr is not installed.
  """
  del first
  # Optional, and no dependency of the project.
  import pyfaspr

  found = []
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'frame.pdb'
    for frame in positions:
      trajectory_lib.save_structure(path, protein, frame)
      path.write_text(pyfaspr.run_FASPR(path.read_text()))
      _, atoms = heavy_frames.read_structure(path)
      found.append(atoms[0])
  return np.stack(found)


def placers(with_start: bool = True) -> dict[str, Placer]:
  """Those that can run here; what is carried needs a start."""
  found: dict[str, Placer] = {CARRIED: carried} if with_start else {}
  if importlib.util.find_spec('pyfaspr'):
    found[FASPR] = faspr
  return found


def evenly(count: int, num_frames: int) -> np.ndarray:
  """Indices of `count` of so many frames, from the first to the last."""
  return np.linspace(0, num_frames - 1, min(count, num_frames)).round().astype(int)


def on_frames(
  protein: Protein, heavy_atoms: np.ndarray, every: Mapping[str, Placer]
) -> dict[str, dict[str, float]]:
  """Places side chains on frames of MD.

  Args:
    protein: L residues.
    heavy_atoms: [F, L, 14, 3] Å, of MD; the first is the start.
    every: placers by name.

  Returns:
    By 'MD', `REBUILT` and the names: chi1 and chi2 within 40° and contacts in frames 1 to F - 1,
    chi1 jumps between all.
  """
  residue_type = np.asarray(protein.arrays.residue_type)
  positions = heavy_atoms[:, :, :4]
  true = heavy_frames.chi_of(heavy_atoms, residue_type)
  placed = {'MD': heavy_atoms, REBUILT: heavy_frames.built(positions, true, residue_type)}
  placed |= {name: place(protein, positions, heavy_atoms[0]) for name, place in every.items()}
  found = {}
  for name, atoms in placed.items():
    chi = heavy_frames.chi_of(atoms, residue_type)
    found[name] = {
      'chi1': side_chains.share_near(chi[1:], true[1:], residue_type),
      'chi2': side_chains.share_near(chi[1:], true[1:], residue_type, 2),
      'contacts': float(np.mean(close_contacts.count(atoms[1:], protein.arrays))),
      'jumps': side_chains.share_jumps(chi, residue_type),
    }
  return found


def on_structure(
  protein: Protein, heavy_atoms: np.ndarray, every: Mapping[str, Placer]
) -> dict[str, dict[str, float]]:
  """Places side chains on the bare backbone of a structure [1, L, 14, 3] Å.

  Returns:
    By 'crystal', `REBUILT` and the names: chi1 and chi2 within 40°, and contacts for 100 residues.
  """
  residue_type = np.asarray(protein.arrays.residue_type)
  positions = heavy_atoms[:, :, :4]
  true = heavy_frames.chi_of(heavy_atoms, residue_type)
  placed = {'crystal': heavy_atoms, REBUILT: heavy_frames.built(positions, true, residue_type)}
  placed |= {name: place(protein, positions, None) for name, place in every.items()}
  found = {}
  for name, atoms in placed.items():
    chi = heavy_frames.chi_of(atoms, residue_type)
    contacts = float(np.mean(close_contacts.count(atoms, protein.arrays)))
    found[name] = {
      'chi1': side_chains.share_near(chi, true, residue_type),
      'chi2': side_chains.share_near(chi, true, residue_type, 2),
      'contacts': 100.0 * contacts / protein.num_residues,
    }
  return found


def structures(
  files: Iterable[pathlib.Path], count: int = NUM_STRUCTURES
) -> list[tuple[Protein, np.ndarray]]:
  """Structures to place side chains on.

  Args:
    files: of structures, whose names have their parts between "_" and ".".
    count: how many, at most.

  Returns:
    Of those that have all atoms of all side chains, and that no training system is named after,
    `count` evenly by name; each with its heavy atoms [1, L, 14, 3] Å.
  """
  trained = {system.name for system in training_systems.SYSTEMS if not system.held_out}
  found = []
  for path in sorted(files):
    if trained & set(re.split('[_.]', path.name.lower())):
      continue
    try:
      found.append(heavy_frames.read_structure(path))
    except InputError as error:
      _logger.info('left out: %s', error)
  return [found[i] for i in evenly(count, len(found))] if found else []


_HEADINGS = {
  'chi1': ('chi1 within 40°', '.2f'),
  'chi2': ('chi2 within 40°', '.2f'),
  'contacts': ('close contacts', '.1f'),
  'jumps': ('chi1 jumps > 60°', '.3f'),
}


def table(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
  """Markdown: a line for each protein and placer."""
  every = [row for rows in found.values() for row in rows.values()]
  keys = [key for key in _HEADINGS if key in every[0]]
  lines = []
  for protein, rows in found.items():
    for name, row in rows.items():
      cells = [format(row[key], _HEADINGS[key][1]) for key in keys]
      lines.append([protein if name == next(iter(rows)) else '', name, *cells])
  return markdown.table(['protein', 'side chains', *(_HEADINGS[key][0] for key in keys)], lines)


def mean(found: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
  """Of each number over the proteins."""
  return {
    name: {key: float(np.mean([rows[name][key] for rows in found])) for key in row}
    for name, row in found[0].items()
  }
