"""What `sample` and `upsample` say of a run: on the terminal, in metadata.json, in report.html."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tempo_jax.cli import execution
from tempo_jax.errors import InputError, first_few
from tempo_jax.metrics import validity
from tempo_jax.models import centres, trained_range
from tempo_jax.models import model as model_lib
from tempo_jax.output import expected_error, frame_table, provenance, trajectory_files
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib


def describe(
  model: model_lib.Model,
  protein: protein_lib.Protein,
  source: str,
  temperature_K: float,
  atoms: str,
  num_frames: int | None = None,
) -> None:
  """Prints what was read, and warnings.

  Args:
    model: the sampler's model.
    protein: the structure read.
    source: its file.
    temperature_K: K.
    atoms: of each frame, one of `atoms.CHOICES`.
    num_frames: frames to sample; None where the user gives the slow motion.
  """
  lengths = ', '.join(
    f'{chain["id"] or "(blank)"} ({chain["num_residues"]})' for chain in _chains(protein)
  )
  print(f'{source}: {protein.num_residues} residues; chains: {lengths}')
  if bonds := _disulphides(protein):
    print(f'disulphides, kept closed: {first_few([" - ".join(pair) for pair in bonds])}')
  if atoms == atoms_lib.HEAVY and (lacking := protein.incomplete_side_chains):
    known = protein.arrays.chi is not None
    print(f'{lacking}; built anew' if known else 'no side chains in it: all are built anew')
  if protein.left_out:
    print(f'left out {len(protein.left_out)} residues:')
  for residue in protein.left_out:
    print(f'  {residue}')
  for warning in (*protein.warnings, *_beyond_training(model, protein, temperature_K, num_frames)):
    print(f'warning: {warning}')
  if num_frames is not None and centres.of(protein, model.centres) is not None:
    print('it fluctuates about the mean of MD that the model was trained on')
  if expected := _expected_error(model, protein, num_frames):
    print(f'how far to trust it: {expected}')


def _expected_error(
  model: model_lib.Model, protein: protein_lib.Protein, num_frames: int | None
) -> str | None:
  """Of a trajectory that is sampled; of given slow motion there is nothing to say."""
  if num_frames is None:
    return None
  known = expected_error.read(model)
  solvent = protein_lib.SOLVENTS[int(protein.arrays.known_solvent)]
  length_ns = num_frames * model.dt_ns
  return expected_error.sentence(known, solvent, length_ns, protein.num_residues)


def _beyond_training(
  model: model_lib.Model,
  protein: protein_lib.Protein,
  temperature_K: float,
  num_frames: int | None,
) -> list[str]:
  """Warnings of what the model has not seen in training."""
  length_ns = None if num_frames is None else num_frames * model.dt_ns
  return trained_range.warnings(model.config, protein, temperature_K, length_ns)


def _chains(protein: protein_lib.Protein) -> list[dict[str, Any]]:
  index = protein.arrays.chain_index.tolist()
  return [
    {'id': chain_id, 'num_residues': index.count(k)} for k, chain_id in enumerate(protein.chain_ids)
  ]


def _disulphides(protein: protein_lib.Protein) -> list[list[str]]:
  """The two residues of each."""
  partner = protein.arrays.disulphides
  if partner is None:
    return []
  return [[protein.label(i), protein.label(j)] for i, j in enumerate(partner.tolist()) if i < j]


def check_finite(
  model: model_lib.Model, positions: np.ndarray, first: int, num_frames: int
) -> None:
  """Raises `InputError` if coordinates diverged.

  Args:
    model: that sampled them.
    positions: [F, L, A, 3] Å.
    first: index of the first of these frames.
    num_frames: of the whole trajectory.
  """
  # A non-finite number makes the sum non-finite, without memory for a mask; a sum may overflow too.
  if np.isfinite(np.sum(positions)):
    return
  finite = np.isfinite(positions).all(axis=(1, 2, 3))
  if not finite.all():
    raise InputError(
      f'the model {model.name} diverged (non-finite coordinates) at frame '
      f'{first + int(np.argmin(finite)) + 1} of {num_frames}: sample fewer frames, try another '
      'seed, or train it further'
    )


def complete(
  folder: pathlib.Path,
  outline: trajectory_files.Outline,
  frames: frame_table.FrameTable,
  model: model_lib.Model,
  seconds: execution.Seconds,
  settings: Mapping[str, Any],
  started: float,
  taken_over: int = 0,
) -> None:
  """Writes the report and metadata.json, and prints whether the frames are valid.

  Args:
    folder: holds the other files.
    outline: their contents.
    frames: the numbers in frames.csv.
    model: what sampled them.
    seconds: wall times.
    settings: the value of every flag.
    started: `time.monotonic()` when the command began.
    taken_over: how many trajectories an earlier run had sampled: the times lack theirs.
  """
  circumstances = {
    'model_sha256': provenance.model_sha256(model),
    'levels_ns': {name: model.config.level[name].dt_ns for name in model.config.levels},
    'versions': provenance.versions(),
    'device': provenance.device(),
    'compile_seconds': seconds.compiling,
    'sample_seconds': seconds.sampling,
  }
  protein = outline.protein
  unseen = _beyond_training(model, protein, settings['temperature_K'], settings.get('num_frames'))
  expected = _expected_error(model, protein, settings.get('num_frames'))
  if settings['report']:
    # Slow to import, and seldom needed.
    from tempo_jax.report import trajectory_page

    picked = trajectory_files.picked(folder, outline)
    text = trajectory_page.trajectory_page(
      picked, frames, {**settings, **circumstances}, unseen, expected
    )
    (folder / trajectory_files.REPORT).write_text(text, encoding='utf-8')
  metadata = {
    'model': model.name,
    'seed': settings['seed'],
    'temperature_K': settings['temperature_K'],
    'dt_ns': outline.dt_ns,
    'first_frame_ns': outline.start_ns,
    'num_frames': outline.num_frames,
    'num_replicas': outline.num_replicas,
    'atoms': outline.atoms,
    **_described(protein),
    'warnings': [*protein.warnings, *unseen],
    'expected_error': expected,
    'known_centre': centres.of(protein, model.centres) is not None,
    'broken_chain_percent': frames.broken_percent,
    'clash_percent': frames.clash_percent,
    'sound_percent': frames.sound_percent,
    'flags': dict(settings),
    **circumstances,
    'taken_over': taken_over,
    'wall_seconds': time.monotonic() - started,
  }
  write_metadata(folder, metadata)
  why = frames.why_unsound
  print(
    f'validity: {frames.broken_percent:.1f} % of {frames.num_frames} frames have a broken chain '
    f'(CA-CA outside {validity.MIN_CA_CA:g} to {validity.MAX_CA_CA:g} Å or C-N above '
    f'{validity.MAX_C_N:g} Å), {frames.clash_percent:.1f} % a clash (atoms of different residues '
    f'nearer than {validity.CLASH_DISTANCE:g} Å); {frames.sound_percent:.1f} % are sound: every '
    f'bond, angle and omega within the range of MD, no clash{_of_side_chains(frames)}'
    + (f'; not sound: {why}; frames.csv says which' if why else '')
  )


def _of_side_chains(frames: frame_table.FrameTable) -> str:
  if np.isnan(frames.column('overlaps')).all():
    return ''
  return ', no overlap of heavy atoms, no wrong hand'


def write_metadata(folder: pathlib.Path, metadata: Mapping[str, Any]) -> None:
  """Writes metadata.json."""
  with open(folder / trajectory_files.METADATA, 'w', encoding='utf-8') as file:
    json.dump(metadata, file, indent=2)
    file.write('\n')


def _described(protein: protein_lib.Protein) -> dict[str, Any]:
  return {
    'name': protein.name,
    'num_residues': protein.num_residues,
    'sequence': protein.sequence,
    'chains': _chains(protein),
    'disulphides': _disulphides(protein),
    'left_out': [dataclasses.asdict(residue) for residue in protein.left_out],
  }
