"""One frame: completed, minimised, judged, written.

Needs the extra `simulate`: openmm and pdbfixer.
"""

import dataclasses
import math
import os
import pathlib
from typing import Any

import numpy as np
import openmm

from tempo_jax.compilation import interruption
from tempo_jax.errors import InputError
from tempo_jax.metrics import superposition
from tempo_jax.preparation.simulation import run as simulation_run
from tempo_jax.preparation.simulation import stereochemistry
from tempo_jax.preparation.simulation import structure as simulation_structure
from tempo_jax.preparation.simulation import system as simulation_system
from tempo_jax.preparation.simulation.structure import Structure
from tempo_jax.relaxation import frames as frames_lib
from tempo_jax.relaxation import hydrogens, minimiser, molecule, rings, table

_WHOLE = (
  'make molecules whole (e.g. gmx trjconv -pbc whole), or model what is missing, e.g. with MODELLER'
)
# Å. A CA that moves further is no longer where the frame had it.
_MAX_CA_MOVE = 1.0


class FrameRelaxer:
  """Relaxes the frames of one trajectory, all with the same atoms."""

  def __init__(
    self,
    source: frames_lib.Source,
    settings: table.Settings,
    platform: str,
    num_threads: int | None,
  ):
    """Sets up the force field.

    Args:
      source: the trajectory.
      settings: see there.
      platform: of OpenMM; see `simulation_system.open_context`.
      num_threads: on the CPU platform.

    Raises:
      InputError: the protein cannot be relaxed, or the platform does not work.
    """
    self._path, self._settings = str(source.file.path), settings
    name = str(source.file.source)
    self._molecule = molecule.of(source.structure, source.protein, source.atom_index, name)
    self._num_residues = source.protein.num_residues
    positions = self._molecule.positions(
      source.structure.atoms.coordinates, source.protein.arrays.positions
    )
    simulation_structure.check_chains(self._molecule.topology, positions, name, _WHOLE)
    # Every frame is to have the same atoms: which nitrogen of histidine has the hydrogen is
    # decided once, in the conformation of the topology.
    self._variants: list[str | None] | None = None
    complete, self._variants = self._complete(positions)
    self._protonation = complete.protonation
    self._topology = complete.topology
    self._minimiser = minimiser.Minimiser(
      complete,
      temperature_K=settings.temperature_K,
      seed=simulation_run.derive_seed(settings.seed, 0),
      platform=platform,
      num_threads=num_threads,
    )
    self._stereo = stereochemistry.Stereochemistry(self._topology)
    self._rings = rings.Rings(self._topology)
    residues = list(self._topology.residues())
    self._labels = [stereochemistry.label(residue) for residue in residues]
    self._ca = np.array([atom.index for atom in self._topology.atoms() if atom.name == 'CA'])
    self._ca_of = [atom.residue.index for atom in self._topology.atoms() if atom.name == 'CA']

  def about(self) -> dict[str, Any]:
    """For the metadata."""
    return {
      'num_atoms': self._topology.getNumAtoms(),
      'protonation': self._protonation,
      **minimiser.describe(),
      **self._minimiser.about,
    }

  def relax(
    self,
    frame: frames_lib.Frame,
    population: float | None,
    partial: pathlib.Path,
    result: pathlib.Path,
  ) -> table.Row:
    """Relaxes one frame, and writes it into the folder `result` if it is sound."""
    row = table.Row(frame.number, frame.time_ns, population)
    try:
      if not (np.isfinite(frame.atoms).all() and np.isfinite(frame.backbone).all()):
        raise InputError(f'{self._path}, frame {frame.number}: coordinates that are not numbers')
      positions = self._molecule.positions(frame.atoms, frame.backbone)
      where = f'{self._path}, frame {frame.number}'
      simulation_structure.check_chains(self._molecule.topology, positions, where, _WHOLE)
      start, _ = self._complete(positions)
      row, end = self._minimise(row, start.positions)
      if not row.problem and self._settings.md_ps:
        row = self._try_md(row, end)
    except InputError as error:
      return dataclasses.replace(row, problem=str(error))
    row = dataclasses.replace(row, ok=not row.problem)
    if row.ok:
      name = f'frame_{frame.number:04d}.pdb'
      simulation_system.write_pdb(partial / name, self._topology, end, header=table.header(row))
      os.replace(partial / name, result / name)
    return row

  def _complete(self, positions: np.ndarray) -> tuple[Structure, list[str | None]]:
    complete, variants = simulation_structure.add_hydrogens(
      self._molecule.topology,
      positions,
      openmm.Platform.getPlatformByName('CPU'),
      pH=self._settings.pH,
      seed=simulation_run.derive_seed(0, 1),
      variants=self._variants,
    )
    straight = hydrogens.straighten(complete.topology, complete.positions)
    return dataclasses.replace(complete, positions=straight), variants

  def _minimise(self, row: table.Row, start: np.ndarray) -> tuple[table.Row, np.ndarray]:
    found = interruption.call(self._minimiser.minimise, start)
    end = found.positions
    moved = 10.0 * np.linalg.norm(end[self._ca] - start[self._ca], axis=-1)
    flips, pierced = self._stereo.problems(end, start), self._rings.pierced(end)
    problems = [*flips, *(piercing.text for piercing in pierced)]
    if not moved.max() <= _MAX_CA_MOVE:
      label = self._labels[self._ca_of[int(np.argmax(moved))]]
      problems.append(f'CA of {label} moved by {moved.max():.2f} Å')
    if not found.after < simulation_system.MAX_ENERGY_PER_ATOM * len(end):
      problems.append(f'its energy is {found.after:.3g} kJ/mol')
    row = dataclasses.replace(
      row,
      energy_before_kJ_per_mol=found.before,
      energy_kJ_per_mol=found.after,
      energy_per_residue_kJ_per_mol=found.after / self._num_residues,
      ca_rms_A=float(np.sqrt(np.mean(moved**2))),
      ca_max_A=float(moved.max()),
      flips=len(flips),
      pierced_rings_before=len(self._rings.pierced(start)),
      pierced_rings=len(pierced),
      problem='; '.join(problems),
    )
    return row, end

  def _try_md(self, row: table.Row, start: np.ndarray) -> table.Row:
    seed = simulation_run.derive_seed(self._settings.seed, 1, row.frame)
    end, temperature_K = interruption.call(self._minimiser.simulate, self._settings.md_ps, seed)
    if not math.isfinite(temperature_K):
      return dataclasses.replace(row, problem=f'blew up in {self._settings.md_ps:g} ps of MD')
    problems = [*self._stereo.problems(end, start)]
    problems += [piercing.text for piercing in self._rings.pierced(end)]
    return dataclasses.replace(
      row,
      md_temperature_K=temperature_K,
      md_ca_rms_A=10.0 * float(superposition.rmsd(end[self._ca], start[self._ca])),
      problem='; '.join(f'{problem} in MD' for problem in problems),
    )
