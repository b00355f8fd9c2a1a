import numpy as np
import pytest
import scipy.stats

from tempo_jax.evaluation import summary

# Those of the interface, in the order of the paper's table.
KEYS = (
  'pairwise_rmsd',
  'reference_pairwise_rmsd',
  'pairwise_rmsd_r',
  'rmsf',
  'reference_rmsf',
  'global_rmsf_r',
  'per_target_rmsf_r',
  'root_mean_w2',
  'root_mean_w2_translation',
  'root_mean_w2_variance',
  'md_pca_w2',
  'joint_pca_w2',
  'pc_sim',
  'pc_sim_above_half_percent',
  'weak_contacts_j',
  'transient_contacts_j',
  'clash_ratio_percent',
  'rmsd_error',
  'ddg',
  'pc1_cosine',
  'ca_distance_jsd',
  'torsion_jsd',
  'bond_break_percent',
  'autocorrelation_error',
  'state_js_distance',
  'state_precision',
  'state_recall',
  'state_f1',
  'torsion_js_distance_backbone',
  'valid_ca_percent',
  'rmsd_deviation',
  'autocorrelation_deviation',
  'vamp2_deviation',
  'tica_correlation',
  'dynamic_content_trajectory',
  'dynamic_content_frame',
  'dynamic_content_step',
  'mfpt_pearson_log10',
  'mfpt_pearson_log10_ceiling',
  'mfpt_spearman',
  'mfpt_log10_mae',
  'stationary_kl',
  'pi_mae',
  'tica_w1_rms',
  'torsion_js_distance_side_chain',
  'chi1_jsd',
  'chi2_jsd',
  'rotamer_population_distance',
  'rotamer_changes_ratio',
  'close_contacts',
  'reference_close_contacts',
  'heavy_rmsf',
  'reference_heavy_rmsf',
  'heavy_rmsf_r',
  'heavy_root_mean_w2',
  'valid_all_atom_percent',
  'valid_percent',
  'exposed_residues_j',
  'exposure_information_r',
)


def protein(rng, sizes=(20, 40)):
  """Made-up numbers, and the RMSF values that some of them come from."""
  x = rng.uniform(0.3, 3.0, rng.integers(*sizes))
  y = 0.7 * x + rng.uniform(0.0, 1.0, len(x)) + 0.5 * rng.normal()
  numbers = {key: float(rng.uniform(0.1, 4.0)) for key in KEYS}
  numbers['pairwise_rmsd_r'] = None
  numbers['pc_sim'] = float(rng.uniform(0.0, 1.0))
  numbers[summary.MOMENTS] = [len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y]
  return numbers, x, y


def test_keys_are_those_of_the_interface():
  assert summary.KEYS == KEYS


def test_medians(np_rng):
  proteins = [protein(np_rng)[0] for _ in range(6)]
  proteins[2]['weak_contacts_j'] = None
  found = summary.of_proteins(proteins)
  assert tuple(found) == KEYS
  for key in ('pairwise_rmsd', 'rmsf', 'root_mean_w2', 'ddg', 'pc_sim', 'autocorrelation_error'):
    assert found[key] == pytest.approx(np.median([p[key] for p in proteins]))
  there = [p['weak_contacts_j'] for i, p in enumerate(proteins) if i != 2]
  assert found['weak_contacts_j'] == pytest.approx(np.median(there))


def test_what_no_protein_has_is_none(np_rng):
  proteins = [protein(np_rng)[0] for _ in range(4)]
  for numbers in proteins:
    numbers.update(ddg=None, pc_sim=None)
  found, bounds = summary.of_proteins(proteins), summary.intervals(proteins)
  for key in ('ddg', 'pc_sim', 'pc_sim_above_half_percent'):
    assert found[key] is None
    assert bounds[key] is None


def test_correlations_over_proteins_are_those_of_scipy(np_rng):
  made = [protein(np_rng) for _ in range(5)]
  found = summary.of_proteins([numbers for numbers, _, _ in made])
  x, y = (np.concatenate([one[k] for one in made]) for k in (1, 2))
  pooled = scipy.stats.pearsonr(x, y).statistic
  each = [scipy.stats.pearsonr(a, b).statistic for _, a, b in made]
  assert found['global_rmsf_r'] == pytest.approx(pooled, abs=1e-9)
  assert abs(pooled - np.median(each)) > 0.01
  pairs = [(n['reference_pairwise_rmsd'], n['pairwise_rmsd']) for n, _, _ in made]
  assert found['pairwise_rmsd_r'] == pytest.approx(scipy.stats.pearsonr(*zip(*pairs)).statistic)  # noqa: B905


def test_share_above_half(np_rng):
  proteins = [protein(np_rng)[0] for _ in range(5)]
  for numbers, value in zip(proteins, (0.2, 0.5, 0.51, None, 0.9), strict=True):
    numbers['pc_sim'] = value
  assert summary.of_proteins(proteins)['pc_sim_above_half_percent'] == pytest.approx(50.0)


@pytest.mark.parametrize('count', [1, 2])
def test_few_proteins_have_no_correlation_and_no_interval(np_rng, count):
  proteins = [protein(np_rng)[0] for _ in range(count)]
  assert summary.of_proteins(proteins)['pairwise_rmsd_r'] is None
  assert set(summary.intervals(proteins).values()) == {None}


def test_intervals_hold_the_summary_and_are_those_of_their_seed(np_rng):
  proteins = [protein(np_rng)[0] for _ in range(15)]
  found, bounds = summary.of_proteins(proteins), summary.intervals(proteins, seed=1)
  for key in KEYS:
    low, high = bounds[key]
    assert low <= found[key] <= high
    assert low < high
  assert bounds == summary.intervals(proteins, seed=1)
  assert bounds != summary.intervals(proteins, seed=2)


def test_intervals_narrow_with_the_number_of_proteins(np_rng):
  proteins = [protein(np_rng)[0] for _ in range(60)]
  few, many = (summary.intervals(proteins[:n])['rmsf'] for n in (6, 60))
  assert many[1] - many[0] < 0.7 * (few[1] - few[0])
  scipys = scipy.stats.bootstrap(
    ([p['rmsf'] for p in proteins],), np.median, method='percentile', rng=np_rng, n_resamples=1000
  ).confidence_interval
  assert many == pytest.approx(tuple(scipys), abs=0.2)


def test_errors_are_those_of_the_protein_or_over_proteins(np_rng):
  proteins = [protein(np_rng)[0] for _ in range(40)]
  own = [dict.fromkeys(KEYS, 0.25) for _ in proteins]
  one = summary.errors(summary.bootstraps(proteins[:1]), own[:1])
  assert one == own[0]
  two = summary.errors(summary.bootstraps(proteins[:2]), own[:2])
  assert set(two.values()) == {None}
  many = summary.errors(summary.bootstraps(proteins), own)
  scipys = scipy.stats.bootstrap(
    ([p['rmsf'] for p in proteins],), np.median, rng=np_rng, n_resamples=1000, method='percentile'
  )
  assert many['rmsf'] == pytest.approx(scipys.standard_error, rel=0.2)
  assert many['pairwise_rmsd_r'] > 0.0


def test_what_few_proteins_have_has_no_error(np_rng):
  proteins = [protein(np_rng)[0] for _ in range(6)]
  for numbers in proteins[2:]:
    numbers['ddg'] = None
  drawn = summary.bootstraps(proteins)
  assert drawn['ddg'] is None
  assert drawn['rmsf'].num_drawn_from == 6


def test_what_is_no_larger_than_its_error_is_noise():
  rows = {row.key: row for row in summary.ROWS}
  assert summary.text(rows['ddg'], 0.1, None, 0.234) == '0.10 ± 0.23 (noise)'
  assert summary.text(rows['ddg'], 0.3, None, 0.234) == '0.30 ± 0.23'
  assert summary.text(rows['ddg'], 0.1, (0.0, 0.3), 0.2) == '0.10 (0.00–0.30) (noise)'
  assert summary.text(rows['ddg'], 0.1) == '0.10'
  assert summary.text(rows['ddg'], None, None, 0.2) == ''
  # No correlation is a finding.
  assert summary.text(rows['pc1_cosine'], 0.01, None, 0.2) == '0.01 ± 0.20'


def test_agreements_are_those_whose_best_is_one():
  best_is_one = ('_r', '_j', '_cosine', '_correlation', '_spearman', '_precision', '_recall', '_f1')
  named = {key for key in KEYS if key.endswith(best_is_one)}
  named |= {key for key in KEYS if key.startswith(('valid_', 'pc_sim', 'dynamic_content'))}
  named |= {key for key in KEYS if key.startswith('mfpt_pearson')}
  assert named == summary.AGREEMENTS


def test_equal_proteins_correlate_with_nothing(np_rng):
  one = protein(np_rng)[0]
  proteins = [one] * 4
  assert summary.of_proteins(proteins)['pairwise_rmsd_r'] is None
  assert summary.intervals(proteins)['pairwise_rmsd_r'] is None
  assert summary.intervals(proteins)['rmsf'] == (one['rmsf'], one['rmsf'])


def test_the_table_has_the_rows_of_the_paper_in_its_order(np_rng):
  proteins = [protein(np_rng)[0] for _ in range(4)]
  columns = {'prediction': summary.of_proteins(proteins), 'frozen': dict.fromkeys(KEYS)}
  columns['prediction'].update(rmsf=1.234, pc_sim_above_half_percent=7.81)
  bounds = {'prediction': summary.intervals(proteins) | {'rmsf': (1.0, 2.0), 'ddg': None}}
  lines = summary.table(columns, bounds, {}).splitlines()
  assert lines[:2] == ['| metric | prediction | frozen |', '| --- | --- | --- |']
  assert len(lines) == 2 + len(KEYS)
  labels = [line.split('|')[1].strip() for line in lines[2:]]
  paper = [
    'pairwise RMSD (Å)',
    'pairwise RMSD r',
    'backbone RMSF (Å)',
    'global RMSF r',
    'root mean W2 (Å)',
    'MD PCA W2 (Å)',
    '% PC-sim > 0.5',
    'weak contacts J',
    'transient contacts J',
    'clash ratio (%)',
    'RMSD error (Å)',
    'ddG (kcal/mol)',
    'PC1 cosine',
  ]
  assert [label for label in labels if label in paper] == paper
  rows = dict(zip(labels, lines[2:], strict=True))
  assert rows['backbone RMSF (Å)'] == '| backbone RMSF (Å) | 1.23 (1.00–2.00) |  |'
  assert '| 7.8 (' in rows['% PC-sim > 0.5']
  assert '(' not in rows['ddG (kcal/mol)'].split('|')[2]
