"""Files for the analysis scripts of MDGen (Jing et al. 2024, commit 642b95b).

    python -m scripts.analyze_peptide_sim --mddir=MD --pdbdir=OUT/export/mdgen --save

They read NAME.pdb, whose torsions PyEMMA names, and NAME.xtc, one trajectory per protein, and
compare phi, psi and all chi with those of MD in MD/NAME/NAME.pdb and .xtc. Lags are numbers of
frames: the Markov model of the prediction has 10, meant as 100 ps. Names with a dot or `_traj` are
passed over.
"""

from tempo_jax.errors import InputError
from tempo_jax.evaluation.export import request as request_lib
from tempo_jax.evaluation.export import trajectories
from tempo_jax.evaluation.export.request import Request
from tempo_jax.trajectory import atoms

LAG_FRAMES = 10
"""`--msm_lag` of the scripts."""
LAG_NS = 0.1
"""What it means at MDGen's time step."""

paths = trajectories.paths


def write(asked: Request) -> list[str]:
  """Writes NAME.pdb and NAME.xtc with all heavy atoms.

  Returns:
    What the user should know, one line each: another time step than MDGen's, joined replicas.

  Raises:
    InputError: the scripts would pass it over or fail, or a file cannot be written.
  """
  if '.' in asked.name or '_traj' in asked.name:
    raise InputError(
      f'its scripts pass over names with a dot or "_traj", such as {asked.name}: give the case '
      'another name'
    )
  request_lib.one_chain(asked.protein)
  request_lib.standard(asked.protein)
  request_lib.complete_side_chains(asked.prediction)
  trajectories.write(asked, atoms.HEAVY)
  return _remarks(asked)


def _remarks(asked: Request) -> list[str]:
  found, dt_ns = [], asked.prediction.dt_ns
  if dt_ns is None:
    found.append(
      f'{asked.prediction.no_time}: its scripts count frames, and take {LAG_FRAMES} for {LAG_NS:g} '
      'ns (--msm_lag)'
    )
  elif abs(LAG_NS / dt_ns - LAG_FRAMES) > 0.5:
    lag = max(1, round(LAG_NS / dt_ns))
    found.append(
      f'frames are {dt_ns:g} ns apart: its scripts need --msm_lag={lag} for {lag * dt_ns:g} ns in '
      f'place of {LAG_FRAMES} frames for {LAG_NS:g} ns'
    )
  if (number := len(asked.prediction.replicas)) > 1:
    found.append(
      f'{number} replicas are joined, as its scripts take one trajectory: they count the jump from '
      'one to the next as motion'
    )
  return found
