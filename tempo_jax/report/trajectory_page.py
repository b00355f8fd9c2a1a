"""The report on one sampled trajectory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tempo_jax import extras
from tempo_jax.evaluation import series
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Replica
from tempo_jax.metrics import close_contacts, flexibility, superposition, validity
from tempo_jax.output import frame_table
from tempo_jax.protein import protein as protein_lib
from tempo_jax.report import page, plots, protein_section, viewer
from tempo_jax.trajectory import trajectory as trajectory_lib

_MAX_FRAMES = 1000
_MAX_PAIRED_FRAMES = 500


def trajectory_page(
  trajectory: trajectory_lib.Trajectory,
  frames: frame_table.FrameTable,
  settings: Mapping[str, Any],
  unseen: Sequence[str] = (),
  expected_error: str | None = None,
) -> str:
  """The HTML document.

  Args:
    trajectory: what was sampled, or evenly picked frames of it.
    frames: numbers of every frame.
    settings: name -> value, shown as a table.
    unseen: what of the input the model has not seen the like of, a sentence each.
    expected_error: how well the model did on proteins that it had not seen, a sentence.

  Raises:
    InputError: matplotlib is not installed.
  """
  extras.require('matplotlib', 'report')
  protein = trajectory.protein
  shown = _conformations(trajectory)
  picked = _picked(trajectory, frames)
  cautions = [f'Caution: {each}.' for each in unseen]
  if expected_error:
    cautions.append(f'How far to trust it: {expected_error}.')
  sections = [
    page.section(
      'Summary',
      page.table(_numbers(trajectory, frames)),
      *([page.listing(cautions)] if cautions else []),
    ),
    page.section('The trajectory in 3-D', *picked, shown.viewer),
    page.section(
      'Motion',
      _over_time(
        frames,
        ['rmsd_to_start_A'],
        'RMSD to start (Å)',
        'RMSD of the CA atoms to the start conformation, after superposition.',
      ),
      _over_time(
        frames,
        ['radius_of_gyration_A'],
        'radius of gyration (Å)',
        'Radius of gyration of the backbone atoms, every atom weighing the same.',
      ),
      _fluctuation(trajectory),
    ),
    page.section('Conformations', shown.pictures),
    page.section(
      'Validity',
      _over_time(
        frames,
        ['ca_ca_min_A', 'ca_ca_max_A'],
        'CA-CA (Å)',
        'Least and greatest distance of CA atoms that are neighbours in the chain, per frame. '
        f'Outside the dashed lines the chain has collapsed (below {validity.MIN_CA_CA:g} Å) or '
        f'come apart (above {validity.MAX_CA_CA:g} Å).',
        limits=(validity.MIN_CA_CA, validity.MAX_CA_CA),
      ),
      _over_time(
        frames,
        ['c_n_max_A'],
        'longest C-N (Å)',
        'Greatest C-N distance across a peptide bond, per frame; ideal is 1.33 Å, above the '
        f'dashed line ({validity.MAX_C_N:g} Å) the bond is broken.',
        limits=(validity.MAX_C_N,),
      ),
      _over_time(
        frames,
        ['clashes'],
        'clashes',
        'Pairs of backbone atoms of different residues nearer than '
        f'{validity.CLASH_DISTANCE:g} Å, per frame.',
      ),
      *_close_contacts(trajectory, frames),
    ),
  ]
  said = [*protein.warnings, *(f'left out: {residue}' for residue in protein.left_out)]
  if said:
    sections.append(page.section('About the input', page.listing(said)))
  sections.append(page.section('Settings', page.table(settings)))
  return page.page(f'{protein.name}: sampled trajectory', sections, head=viewer.head())


def _picked(trajectory: trajectory_lib.Trajectory, frames: frame_table.FrameTable) -> list[str]:
  """Says that not all frames are shown, if so."""
  num_frames = len(frames.time_ns)
  if trajectory.num_frames == num_frames:
    return []
  every = -(-num_frames // trajectory.num_frames)
  return [
    page.listing(
      [
        f'Of the {num_frames:,} frames of each trajectory this page holds {trajectory.num_frames:,}'
        f', evenly picked (one of {every:,}): in 3-D, conformations, fluctuation and pairwise RMSD '
        'are of these; RMSD to the start, radius of gyration and validity of all.'
      ]
    )
  ]


def _conformations(trajectory: trajectory_lib.Trajectory) -> protein_section.ProteinSection:
  """What a report on a comparison shows too, of evenly picked frames if there are many."""
  step = -(-trajectory.num_frames // _MAX_FRAMES)
  times = np.asarray(trajectory.time_ns)[::step]
  ensemble = Ensemble(
    trajectory.protein,
    [
      Replica(np.asarray(positions[::step]), times, f'replica {k + 1}')
      for k, positions in enumerate(trajectory.positions)
    ],
  )
  arrays, heavy = trajectory.protein.arrays, trajectory.heavy_atoms
  heavy = None if heavy is None else np.asarray(heavy[0, ::step])
  return protein_section.draw(
    series.ProteinSeries(
      name=trajectory.protein.name,
      chain_index=np.asarray(arrays.chain_index),
      bonded=np.asarray(arrays.bonded),
      reference=series.EnsembleSeries(''),
      prediction=series.of_conformations('sampled', ensemble, heavy),
      residues=None if heavy is None else arrays,
    ),
    metrics={},
  )


def _numbers(
  trajectory: trajectory_lib.Trajectory, frames: frame_table.FrameTable
) -> dict[str, str]:
  protein = trajectory.protein
  rmsd = frames.column('rmsd_to_start_A')
  gyration = frames.column('radius_of_gyration_A')
  numbers = {
    'residues': str(protein.num_residues),
    'chains': str(protein.num_chains),
    'trajectories': str(trajectory.num_replicas),
    'frames of each': str(len(frames.time_ns)),
    'time': f'{frames.time_ns[0]:g} to {frames.time_ns[-1]:g} ns, {frames.dt_ns:g} ns apart',
    'RMSD to start': f'{rmsd.mean():.2f} Å on average, {rmsd.max():.2f} Å at most',
    'radius of gyration': f'{gyration.mean():.2f} ± {gyration.std():.2f} Å',
    'frames with a broken chain': f'{frames.broken_percent:.1f} %',
    'frames with a clash': f'{frames.clash_percent:.1f} %',
    'sound frames': f'{frames.sound_percent:.1f} %',
  }
  if trajectory.heavy_atoms is not None:
    contacts = frames.column('close_contacts')
    numbers['close contacts of side chains'] = f'{contacts.mean():.1f} per frame'
  if trajectory.num_frames > 1:
    # The work grows as the square of the frames.
    some = trajectory.positions[:, :: -(-trajectory.num_frames // _MAX_PAIRED_FRAMES)]
    ca, start = (np.asarray(x)[..., superposition.CA, :] for x in (some, protein.arrays.positions))
    pairwise = np.mean(
      [flexibility.pairwise_rmsd(superposition.superpose_points(frames, start)) for frames in ca]
    )
    numbers['pairwise RMSD'] = (
      f'{pairwise:.2f} Å (CA, {ca.shape[1]} frames of each, all superposed on the start)'
    )
  return numbers


def _close_contacts(
  trajectory: trajectory_lib.Trajectory, frames: frame_table.FrameTable
) -> list[str]:
  """Over time, where there are side chains."""
  if trajectory.heavy_atoms is None:
    return []
  picture = _over_time(
    frames,
    ['close_contacts'],
    'close contacts',
    'Close contacts of side chains, per frame: pairs of heavy atoms of different residues nearer '
    f'than {close_contacts.CLOSE:g} Å, or {close_contacts.CLOSE_POLAR:g} Å where both are nitrogen '
    'or oxygen. In MD there are some, too.',
  )
  return [picture]


def _replicas(values: np.ndarray) -> dict[str, np.ndarray]:
  """Label -> the numbers of one replica; values [R, ...]."""
  return {f'replica {k + 1}': row for k, row in enumerate(values)}


def _over_time(
  frames: frame_table.FrameTable,
  columns: list[str],
  y_label: str,
  caption: str,
  limits: tuple[float, ...] = (),
) -> str:
  curves = np.stack([frames.column(name) for name in columns], axis=1)  # [R, columns, F]
  figure = plots.lines(
    frames.time_ns, _replicas(curves), x_label='time (ns)', y_label=y_label, limits=limits
  )
  return page.picture(plots.to_svg(figure), caption)


def _fluctuation(trajectory: trajectory_lib.Trajectory) -> str:
  protein = trajectory.protein
  start = np.asarray(protein.arrays.positions)
  rmsf = [flexibility.ca_rmsf(frames, start) for frames in np.asarray(trajectory.positions)]
  figure = plots.lines(
    np.arange(protein.num_residues),
    _replicas(np.stack(rmsf)),
    x_label='residue',
    y_label='RMSF (Å)',
    marks=(np.flatnonzero(np.diff(protein.arrays.chain_index)) + 0.5).tolist(),
    x_name=lambda index: _residue_name(protein, index),
  )
  return page.picture(
    plots.to_svg(figure),
    'Fluctuation of each CA atom about its mean, frames superposed on the start conformation. '
    'Dotted lines part chains.',
  )


def _residue_name(protein: protein_lib.Protein, index: float) -> str:
  """Chain and author's number; nothing beyond the ends."""
  i = round(index)
  if not 0 <= i < protein.num_residues:
    return ''
  return f'{protein.chain_of_residue[i]}{protein.residue_number[i]}{protein.insertion_code[i]}'
