"""Trajectory suite and kinetics through the command: golden numbers, --protocol, --lag_ns."""

import functools
import json

import numpy as np
import pytest

from tempo_jax.cli import evaluate
from tempo_jax.errors import InputError
from tempo_jax.evaluation import columns
from tempo_jax.evaluation.scores import Settings
from tempo_jax.evaluation.suite import Case
from tempo_jax.metrics import biokinema
from tests.cli import commands
from tests.evaluation import cases
from tests.metrics import golden

# Those whose exact W2 takes no second.
QUICK = ('cln025', 'bpti_5ns', '2jof')
STATES = {
  'state_js_distance': 'js_distance_10x10',
  'state_precision': 'precision',
  'state_recall': 'recall',
  'state_f1': 'f1',
}


def commanded(case, out, *flags):
  """metrics.json and metrics.md."""
  code = evaluate.main(
    commands.parse(
      evaluate,
      f'--topology={case.topology}',
      f'--reference={",".join(map(str, case.reference))}',
      f'--prediction={",".join(map(str, case.prediction))}',
      f'--name={case.name}',
      f'--out={out}',
      '--num_workers=1',
      '--noreport',
      *flags,
    )
  )
  assert code == 0
  content = json.loads((out / 'metrics.json').read_text(), parse_constant=pytest.fail)
  return content, (out / 'metrics.md').read_text()


@pytest.fixture(scope='module', params=QUICK)
def published(request, shared_data, tmp_path_factory):
  """Golden numbers, and the files that they are of."""
  found = golden.load(shared_data, request.param)
  folder = tmp_path_factory.mktemp('golden')
  found.reference[0].save(str(folder / 'first.pdb'))  # What theirs is superposed on.
  for name in ('reference', 'prediction'):
    getattr(found, name).save(str(folder / f'{name}.xtc'))
  case = Case(
    name=request.param,
    topology=folder / 'first.pdb',
    reference=(folder / 'reference.xtc',),
    prediction=(folder / 'prediction.xtc',),
  )
  return found, case


def test_biokinemas_numbers_and_ceiling(published, tmp_path, monkeypatch):
  """With their centers: the seed of their k-means is not known."""
  found, case = published
  centers = found.intermediates['biokinema_as_published']['cluster_centers']
  compare = functools.partial(biokinema.compare, centers=np.array(centers))
  monkeypatch.setattr(biokinema, 'compare', lambda *args, **_: compare(*args))
  content, text = commanded(case, tmp_path / 'out', '--protocol=biokinema', '--nobaselines')
  details = content['details'][case.name]['biokinema']
  checked = 0
  for section, kind in (
    ('numbers', 'biokinema_as_published'),
    ('ceiling', 'biokinema_reference_against_itself'),
  ):
    if case.name == 'cln025' and section == 'ceiling':
      continue  # Its states are not connected: not golden.
    for key, expected in found.numbers[kind].items():
      if key.startswith('implied') or (case.name == 'cln025' and key.startswith('mfpt')):
        continue
      value = details[section]['tica_w1_rms' if key == 'w2_tica' else key]
      assert value == pytest.approx(expected, rel=golden.TOLERANCE, abs=1e-5), (section, key)
      checked += 1
  assert checked >= 9
  ceiling = details['ceiling']['mfpt_pearson_log10']
  assert '`--protocol=biokinema`' in text
  row = next(line for line in text.splitlines() if line.startswith('| mfpt_pearson_log10'))
  assert row.split('|')[3].strip() == f'{ceiling:.2f} (n = 1)'
  # Ours has one estimator for both sides.
  assert content['settings']['protocol'] == 'biokinema'


def test_states_and_torsions(published, tmp_path):
  found, case = published
  content, text = commanded(case, tmp_path / 'out', '--nobaselines')
  numbers = content['proteins'][case.name]
  for key, name in STATES.items():
    expected = found.numbers['confdiff_state_recovery'][name]
    assert numbers[key] == pytest.approx(expected, rel=golden.TOLERANCE), key
  torsions = found.numbers['mdgen']['torsion_jsd_backbone']
  assert numbers['torsion_js_distance_backbone'] == pytest.approx(torsions, rel=golden.TOLERANCE)
  assert 'biokinema' not in content['details'][case.name]
  assert 'BioKinema' not in text


@pytest.fixture(scope='module')
def case(tmp_path_factory):
  """MD that is twice as long as the prediction."""
  folder = tmp_path_factory.mktemp('case')
  found = cases.case(folder, frames=80, replicas=2)
  half = cases.case(folder, 'half', frames=40)
  return Case(found.name, found.topology, found.reference, half.prediction)


class TestFlags:
  def test_the_lag_is_that_of_the_flag(self, case, tmp_path):
    one, _ = commanded(case, tmp_path / 'one', '--nobaselines')
    other, _ = commanded(case, tmp_path / 'other', '--nobaselines', '--lag_ns=0.03')
    lags = [x['details']['one']['markov']['lag_ns'] for x in (one, other)]
    assert lags == pytest.approx([0.01, 0.03])
    assert other['settings']['lag_ns'] == 0.03
    keys = [key for key in one['summary'] if one['summary'][key] != other['summary'][key]]
    assert {'tica_w1_rms', 'vamp2_deviation', 'tica_correlation'} <= set(keys)
    assert 'state_recall' not in keys
    assert other['details']['one']['choices']['tica_and_vamp2_lag_ns'] == 0.03

  @pytest.mark.parametrize('value', ['0', '-1', 'nan', 'inf'])
  def test_a_lag_that_is_none(self, case, tmp_path, value):
    with pytest.raises(InputError, match=f'^--lag_ns={value}: give a time above 0'):
      commanded(case, tmp_path / 'out', f'--lag_ns={value}')
    assert not (tmp_path / 'out').exists()

  def test_the_beginning_of_md_is_a_baseline_where_md_is_longer(self, case, tmp_path):
    content, text = commanded(case, tmp_path / 'out')
    assert list(content['baselines']) == list(columns.BASELINES)
    assert '| MD, its first n ns (n = 1) |' in text
    beginning = content['baselines'][columns.FIRST]['proteins']['one']
    assert beginning['state_precision'] == 1.0
    assert 0.0 < beginning['state_recall'] < 1.0

  def test_details_say_what_was_chosen(self, case, tmp_path):
    content, _ = commanded(case, tmp_path / 'out', '--nobaselines', '--protocol=biokinema')
    details = content['details']['one']
    assert details['choices']['state_bins_per_component'] == 10
    assert details['choices']['tica_and_vamp2_lag_ns'] == pytest.approx(0.01)
    assert details['states']['all_frames']['recall'] == content['summary']['state_recall']
    assert details['torsions']['phi_psi'] > 0.0
    assert len(details['torsions']['of_phi_and_psi']) == 10
    assert details['torsions']['of_phi_and_psi'][0][0] is None
    assert details['slow_torsions']['lag_ns'] == pytest.approx(0.1)
    assert 0.0 < details['slow_torsions']['tica_0_jsd'] < 0.8326
    assert details['biokinema']['lags_frames'] == {'tica': 1, 'counts': 10, 'root': 10}

  def test_missing_times_are_reasons_in_details(self, case, tmp_path):
    uneven = cases.save_uneven(tmp_path / 'P.xtc', case.topology, frames=60)
    case = Case(case.name, case.topology, case.reference, (uneven,))
    content, text = commanded(case, tmp_path / 'out', '--nobaselines', '--protocol=biokinema')
    reason = 'prediction: its frames are 10 to 30 ps apart'
    details, numbers = content['details']['one'], content['proteins']['one']
    assert details['markov'] == details['biokinema'] == {'reason': reason}
    for key in ('mfpt_spearman', 'pi_mae', 'rmsd_deviation', 'dynamic_content_step'):
      assert numbers[key] is None
      assert numbers['notes'][key] == reason
    assert numbers['state_f1'] > 0.0
    assert details['slow_torsions']['tica_0_jsd'] > 0.0
    assert 'unknown' in text


def test_defaults():
  assert (Settings().protocol, Settings().lag_ns) == ('default', None)
