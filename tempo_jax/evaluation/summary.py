"""The paper's table over many proteins: medians, correlations, and how sure they are."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tempo_jax.evaluation import markdown
from tempo_jax.metrics import uncertainty

NUM_BOOTSTRAP = 1000
_FEWEST = 3  # proteins

# n, and the sums of x, y, x^2, y^2 and x y over the atoms of one protein: all that a pooled
# correlation of x (RMSF in the reference) and y (in the prediction) needs.
MOMENTS = 'rmsf_moments'


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of the table.

  Attributes:
    key: in metrics.json.
    label: in metrics.md and in the report.
    digits: after the point.
    of_proteins: the summary, from the numbers of all proteins; None: their median.
  """

  key: str
  label: str
  digits: int = 2
  of_proteins: Callable[[Sequence[Mapping[str, Any]]], float | None] | None = None


def _pairwise_r(proteins: Sequence[Mapping[str, Any]]) -> float | None:
  pairs = [(p['reference_pairwise_rmsd'], p['pairwise_rmsd']) for p in proteins]
  pairs = [pair for pair in pairs if None not in pair]
  # Two points always lie on a line.
  return _pearson(np.array(pairs).T) if len(pairs) > 2 else None


def _global_r(proteins: Sequence[Mapping[str, Any]]) -> float | None:
  n, x, y, xx, yy, xy = np.sum([p[MOMENTS] for p in proteins], axis=0)
  variance = (n * xx - x * x) * (n * yy - y * y)
  return float((n * xy - x * y) / np.sqrt(variance)) if variance > 0.0 else None


def _above_half(proteins: Sequence[Mapping[str, Any]]) -> float | None:
  values = [p['pc_sim'] for p in proteins if p['pc_sim'] is not None]
  return 100.0 * float(np.mean(np.array(values) > 0.5)) if values else None


# The paper's rows in its order, then ours.
ROWS = (
  Row('pairwise_rmsd', 'pairwise RMSD (Å)'),
  Row('reference_pairwise_rmsd', 'pairwise RMSD of the reference (Å)'),
  Row('pairwise_rmsd_r', 'pairwise RMSD r', of_proteins=_pairwise_r),
  Row('rmsf', 'backbone RMSF (Å)'),
  Row('reference_rmsf', 'backbone RMSF of the reference (Å)'),
  Row('global_rmsf_r', 'global RMSF r', of_proteins=_global_r),
  Row('per_target_rmsf_r', 'per-protein RMSF r'),
  Row('root_mean_w2', 'root mean W2 (Å)'),
  Row('root_mean_w2_translation', '— its translation part (Å)'),
  Row('root_mean_w2_variance', '— its variance part (Å)'),
  Row('md_pca_w2', 'MD PCA W2 (Å)'),
  Row('joint_pca_w2', 'joint PCA W2 (Å)'),
  Row('pc_sim', 'PC-sim'),
  Row('pc_sim_above_half_percent', '% PC-sim > 0.5', 1, _above_half),
  Row('weak_contacts_j', 'weak contacts J'),
  Row('transient_contacts_j', 'transient contacts J'),
  Row('clash_ratio_percent', 'clash ratio (%)'),
  Row('rmsd_error', 'RMSD error (Å)'),
  Row('ddg', 'ddG (kcal/mol)'),
  Row('pc1_cosine', 'PC1 cosine'),
  Row('ca_distance_jsd', 'JSD of CA distances (bits)', 3),
  Row('torsion_jsd', 'JSD of torsions (bits)', 3),
  Row('bond_break_percent', 'frames with a broken chain (%)'),
  Row('autocorrelation_error', 'autocorrelation error', 3),
  # Trajectory suite. JS distances are roots of divergences in nats, 0 to 0.83.
  Row('state_js_distance', 'states: JS distance of populations'),
  Row('state_precision', 'states: precision'),
  Row('state_recall', 'states: recall'),
  Row('state_f1', 'states: F1'),
  Row('torsion_js_distance_backbone', 'JS distance of phi and psi', 3),
  Row('valid_ca_percent', 'frames with CA as in 99 % of MD (%)', 1),
  Row('rmsd_deviation', 'deviation of RMSD over time (Å)'),
  Row('autocorrelation_deviation', 'deviation of the autocorrelation of PCs', 3),
  Row('vamp2_deviation', 'deviation of VAMP-2', 3),
  Row('tica_correlation', 'tICA r over residues'),
  Row('dynamic_content_trajectory', 'dynamic content r: trajectories'),
  Row('dynamic_content_frame', 'dynamic content r: frames'),
  Row('dynamic_content_step', 'dynamic content r: steps'),
  # Kinetics, in ten states of MD.
  Row('mfpt_pearson_log10', 'passage times: r of logarithms'),
  Row('mfpt_pearson_log10_ceiling', '— its ceiling: halves of MD'),
  Row('mfpt_spearman', 'passage times: rank correlation'),
  Row('mfpt_log10_mae', 'passage times: error (decades)'),
  Row('stationary_kl', 'populations of states: KL (nats)', 3),
  Row('pi_mae', 'populations of states: mean error', 3),
  Row('tica_w1_rms', 'W1 of tICA coordinates', 3),
  # Side chains.
  Row('torsion_js_distance_side_chain', 'JS distance of chi', 3),
  Row('chi1_jsd', 'JSD of chi1 (bits)', 3),
  Row('chi2_jsd', 'JSD of chi2 (bits)', 3),
  Row('rotamer_population_distance', 'distance of rotamer populations', 3),
  Row('rotamer_changes_ratio', 'rotamer changes per ns, relative to MD'),
  Row('close_contacts', 'close contacts per frame'),
  Row('reference_close_contacts', 'close contacts per frame of the reference'),
  Row('heavy_rmsf', 'RMSF of heavy atoms (Å)'),
  Row('reference_heavy_rmsf', 'RMSF of heavy atoms of the reference (Å)'),
  Row('heavy_rmsf_r', 'RMSF of heavy atoms: r'),
  Row('heavy_root_mean_w2', 'root mean W2 of heavy atoms (Å)'),
  Row('valid_all_atom_percent', 'frames with torsions as in 99 % of MD (%)', 1),
  Row('valid_percent', '— and with CA as in 99 % of MD (%)', 1),
  Row('exposed_residues_j', 'exposed residues J'),
  Row('exposure_information_r', 'mutual information of exposure: r'),
)
KEYS = tuple(row.key for row in ROWS)
AGREEMENTS = frozenset(
  {
    *('pairwise_rmsd_r', 'global_rmsf_r', 'per_target_rmsf_r', 'pc_sim', 'pc1_cosine'),
    *('pc_sim_above_half_percent', 'weak_contacts_j', 'transient_contacts_j'),
    *('state_precision', 'state_recall', 'state_f1', 'valid_ca_percent', 'tica_correlation'),
    *('dynamic_content_trajectory', 'dynamic_content_frame', 'dynamic_content_step'),
    *('mfpt_pearson_log10', 'mfpt_pearson_log10_ceiling', 'mfpt_spearman', 'heavy_rmsf_r'),
    *('valid_all_atom_percent', 'valid_percent', 'exposed_residues_j', 'exposure_information_r'),
  }
)
"""Correlations, cosines, overlaps and shares whose best is 1 (or 100 %): 0 is one value of many."""


def of_proteins(proteins: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
  """The summary of each row.

  Args:
    proteins: the numbers of each, by key; None where one could not be computed.

  Returns:
    By key: the median, or what `ROWS` says; None where no protein has it.
  """
  return {row.key: _statistic(row, proteins) for row in ROWS}


def bootstraps(
  proteins: Sequence[Mapping[str, Any]], seed: int = 0
) -> dict[str, uncertainty.Bootstrap | None]:
  """How the summary varies if proteins are drawn again, with replacement.

  Args:
    proteins: as for `of_proteins`.
    seed: of the draws.

  Returns:
    By key; None where fewer than three proteins have the number: two say too little of others.
  """
  found: dict[str, uncertainty.Bootstrap | None] = {}
  for row in ROWS:
    values = [p[row.key] for p in proteins]
    if row.of_proteins is not None:
      drawn = proteins if len(proteins) >= _FEWEST else []
      found[row.key], _ = uncertainty.bootstrap(row.of_proteins, drawn, seed, NUM_BOOTSTRAP)
    elif len(values) - values.count(None) >= _FEWEST:
      found[row.key], _ = uncertainty.bootstrap_values(values, np.median, seed, NUM_BOOTSTRAP)
    else:
      found[row.key] = None
  return found


def intervals(
  proteins: Sequence[Mapping[str, Any]], seed: int = 0
) -> dict[str, tuple[float, float] | None]:
  """95 % bootstrap intervals (percentiles) of the summary, of `bootstraps`."""
  found = bootstraps(proteins, seed)
  return {key: None if x is None else (x.low, x.high) for key, x in found.items()}


def errors(
  drawn: Mapping[str, uncertainty.Bootstrap | None],
  own: Sequence[Mapping[str, float | None]],
) -> dict[str, float | None]:
  """Standard errors of the summary.

  Args:
    drawn: from `bootstraps`.
    own: standard errors of each protein's own numbers, by key.

  Returns:
    By key: of one protein, its own; of several, over proteins, which holds the scatter of each
    protein's sampling; None for two.
  """
  if len(own) == 1:
    return {key: own[0][key] for key in KEYS}
  return {key: None if x is None else x.standard_error for key, x in drawn.items()}


def is_noise(key: str, value: float | None, error: float | None) -> bool:
  """Whether a difference from MD, a distance or an amount is no larger than its error.

  Not so for `AGREEMENTS`: near 0 they say that there is no agreement, with an error like any other.
  """
  if value is None or error is None or key in AGREEMENTS:
    return False
  return uncertainty.is_noise(value, error)


def table(
  columns: Mapping[str, Mapping[str, float | None]],
  bounds: Mapping[str, Mapping[str, tuple[float, float] | None]],
  standard_errors: Mapping[str, Mapping[str, float | None]],
) -> str:
  """The table.

  Args:
    columns: heading -> summary by key; the prediction first, then baselines.
    bounds: heading -> intervals by key.
    standard_errors: heading -> errors by key.
  """
  rows = [
    [
      row.label,
      *(
        text(
          row,
          values[row.key],
          bounds.get(name, {}).get(row.key),
          standard_errors.get(name, {}).get(row.key),
        )
        for name, values in columns.items()
      ),
    ]
    for row in ROWS
  ]
  return markdown.table(['metric', *columns], rows)


def text(
  row: Row,
  value: float | None,
  bounds: tuple[float, float] | None = None,
  error: float | None = None,
) -> str:
  """A cell: the number, its interval or else its error, and whether it is noise; or blank."""
  if value is None:
    return ''
  shown = f'{value:.{row.digits}f}'
  if bounds:
    shown += f' ({bounds[0]:.{row.digits}f}–{bounds[1]:.{row.digits}f})'
  elif error is not None:
    shown += f' ± {error:.{row.digits}f}'
  return shown + (' (noise)' if is_noise(row.key, value, error) else '')


def _statistic(row: Row, proteins: Sequence[Mapping[str, Any]]) -> float | None:
  if row.of_proteins is not None:
    return row.of_proteins(proteins)
  values = [p[row.key] for p in proteins if p[row.key] is not None]
  return float(np.median(values)) if values else None


def _pearson(pair: np.ndarray) -> float | None:
  """Of [2, N]; None where one of them does not vary."""
  if (np.ptp(pair, axis=1) == 0.0).any():
    return None
  return float(np.corrcoef(pair)[0, 1])
