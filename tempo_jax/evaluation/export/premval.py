"""Files for PREMVAL 1.0.0 (commit e4182d5), the leaderboard of ensembles of ATLAS.

    PREMVAL_SAMPLES_DIR=OUT/export/premval premval score-all --models MODEL --split test

It reads `<samples>/<model>/<chain>.pdb`: one chain, residues numbered from 1 as in ATLAS, 250 MODEL
blocks; fewer, and it skips the chain. It superposes CA atoms; other atoms, the order of the frames
and their orientation do not matter. `<chain>.telemetry.json` beside it tells the wall time.
"""

import contextlib
import json
import math
import pathlib
import re
from typing import Any

import numpy as np

from tempo_jax import files
from tempo_jax.errors import InputError
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.export import request as request_lib
from tempo_jax.evaluation.export.request import Request
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import writers

NUM_FRAMES = 250
_CHAIN = re.compile('[0-9][0-9A-Za-z]{3}_[0-9A-Za-z]+')
_METADATA = 'metadata.json'  # of `tempo-jax sample`
_SEVERAL = 'structures'  # in that of the folder above, where one run sampled several proteins


def paths(asked: Request) -> tuple[pathlib.Path, pathlib.Path]:
  """The ensemble and the telemetry."""
  folder = asked.folder / asked.model
  return folder / f'{asked.name}.pdb', folder / f'{asked.name}.telemetry.json'


def write(asked: Request) -> list[str]:
  """Writes 250 frames of the backbone, taken evenly from all replicas, each about the origin.

  Returns:
    What the user should know, one line each.

  Raises:
    InputError: it does not take such a protein or so few frames, or a file cannot be written.
  """
  if not _CHAIN.fullmatch(asked.name):
    raise InputError(
      f'it knows chains by the names of ATLAS, such as 6okd_C, not {asked.name}: name the case so'
    )
  prediction = asked.prediction
  request_lib.one_chain(asked.protein)
  _numbers(asked.protein)
  if prediction.num_frames < NUM_FRAMES:
    raise InputError(
      f'{prediction.num_frames} frames, and it skips chains with fewer than {NUM_FRAMES}: sample '
      'more'
    )
  # The middle one of each of 250 equal parts.
  picked = ((np.arange(NUM_FRAMES) + 0.5) * prediction.num_frames / NUM_FRAMES).astype(int)
  positions = prediction.positions[picked].astype(np.float64)
  positions -= positions[:, :, 1].mean(axis=1)[:, None, None]
  ensemble, telemetry = paths(asked)
  protein = request_lib.numbered_from_one(asked.protein)
  _, template = writers.pdb_template(protein, ensemble, atoms_lib.BACKBONE)
  models = []
  for number, frame in enumerate(positions, start=1):
    atoms = writers.pdb_frame(template, frame.reshape(-1, 3), ensemble, 'leave the protein out')
    models.append(f'MODEL     {number:4d}\n{atoms}ENDMDL\n')
  costs = _telemetry(asked.name, prediction)
  with contextlib.ExitStack() as stack:  # Both appear at its end.
    stack.enter_context(files.aside(ensemble)).write_text(''.join((*models, 'END\n')))
    if costs:
      text = json.dumps(costs, indent=1) + '\n'
      stack.enter_context(files.aside(telemetry)).write_text(text)
  if not costs:
    telemetry.unlink(missing_ok=True)
  return []


def _numbers(protein: protein_lib.Protein) -> None:
  """Refuses gaps: behind one, numbers from 1 would be those of other residues of ATLAS."""
  steps = np.diff(protein.residue_number)
  if (steps == 1).all() and not any(protein.insertion_code):
    return
  bonded = np.asarray(protein.arrays.bonded)[:-1]
  if not bonded.all():
    gap = int(np.argmin(bonded))
    raise InputError(
      f'the native structure has a gap between {protein.label(gap)} and {protein.label(gap + 1)}, '
      'and residues are matched by their number in ATLAS: give the structure of ATLAS'
    )


def _telemetry(chain: str, prediction: Ensemble) -> dict[str, Any] | None:
  """What the runs that sampled the files have cost; None unless every one says so."""
  folders = {pathlib.Path(replica.source).absolute().parent for replica in prediction.replicas}
  runs = [_run(folder) for folder in sorted(folders)]
  if None in runs:
    return None
  known = [run for run in runs if run is not None]
  seconds, samples = (sum(run[key] for run in known) for key in ('seconds', 'samples'))
  return {
    'chain': chain,
    'n_samples': samples,
    'wall_seconds': seconds,
    'seconds_per_sample': seconds / samples,
    'device': ', '.join(sorted({run['device'] for run in known})),
  }


def _run(folder: pathlib.Path) -> dict[str, Any] | None:
  """One run of `sample`; None where its time is not known, or was that of several proteins."""
  if _SEVERAL in (_json(folder.parent / _METADATA) or {}):
    return None
  found = _json(folder / _METADATA) or {}
  # The time of a run that went on after a stop lacks what came before.
  if found.get('taken_over'):
    return None
  try:
    seconds = float(found['wall_seconds'])
    samples = int(found['num_frames']) * int(found['num_replicas'])
    device = str(found['device']['kind'])
  except (KeyError, TypeError, ValueError):
    return None
  if not (0.0 < seconds < math.inf and samples > 0):
    return None
  return {'seconds': seconds, 'samples': samples, 'device': device}


def _json(path: pathlib.Path) -> dict[str, Any] | None:
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError):
    return None
  return found if isinstance(found, dict) else None
