import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import mdtraj
import numpy as np
import pytest
import scipy.stats

from tempo_jax.cli import command, evaluate
from tempo_jax.errors import InputError
from tempo_jax.evaluation import columns, summary
from tempo_jax.evaluation.scores import Settings
from tests.cli import commands
from tests.evaluation import cases

ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = Settings()


def commanded(*args):
  """The exit code of the command in this process."""
  return evaluate.main(commands.parse(evaluate, *args))


def arguments(case):
  """The flags of a single protein."""
  return (
    f'--topology={case.topology}',
    f'--reference={",".join(map(str, case.reference))}',
    f'--prediction={",".join(map(str, case.prediction))}',
    f'--name={case.name}',
  )


def run(proteins, out, settings=SETTINGS, **options):
  """The exit code and metrics.json."""
  options = {'with_page': False, 'with_baselines': False, 'num_workers': 1} | options
  code = evaluate.evaluate(proteins, out, settings, **options)
  return code, json.loads((out / 'metrics.json').read_text(), parse_constant=pytest.fail)


@pytest.fixture(scope='module')
def proteins(tmp_path_factory):
  """Three of 8 to 12 residues; nobody may change their files."""
  folder = tmp_path_factory.mktemp('proteins')
  return [
    cases.case(folder, name, length=8 + 2 * i, frames=40, seed=i, scale=1.0 + 0.4 * i)
    for i, name in enumerate(('a', 'b', 'c'))
  ]


@pytest.fixture(scope='module')
def evaluated(proteins, tmp_path_factory):
  """The directory of all three, with baselines."""
  out = tmp_path_factory.mktemp('evaluated') / 'out'
  code, content = run(proteins, out, with_baselines=True)
  assert code == 0
  return out, content


@pytest.fixture
def computed(tmp_path):
  """The proteins whose results were written to tmp_path / 'out' since the last call."""
  before = {}

  def look():
    files = (tmp_path / 'out' / 'proteins').glob('*.npz')
    now = {file.stem: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}
    names = sorted(name for name, stamp in now.items() if stamp != before.get(name))
    before.update(now)
    return names

  return look


@pytest.fixture
def pair(tmp_path):
  """Two proteins with files of their own."""
  return [cases.case(tmp_path, name, length=8, frames=30, seed=i) for i, name in enumerate('ab')]


# MD of these proteins is as long as the prediction.
BASELINES = tuple(name for name in columns.BASELINES if name != columns.FIRST)


class TestResults:
  def test_metrics_json(self, evaluated):
    _, content = evaluated
    assert set(content) == {
      'summary', 'proteins', 'settings', 'intervals', 'details', 'baselines',
    }  # fmt: skip
    # The order and the names are checked in tests/evaluation/test_summary.py.
    both = [(key, f'{key}_error') for key in summary.KEYS]
    assert tuple(content['summary']) == tuple(np.ravel(both).tolist())
    assert list(content['proteins']) == ['a', 'b', 'c']
    for numbers in content['proteins'].values():
      assert set(numbers) == {*np.ravel(both).tolist(), 'notes', 'remarks'}
      assert {key for key in summary.KEYS if numbers[key] is None} == set(numbers['notes'])
      assert numbers['pairwise_rmsd_r'] is None
    asked = content['settings']
    assert {k: asked[k] for k in ('resample', 'seed', 'temperature_K', 'num_proteins')} == {
      'resample': 'none',
      'seed': 137,
      'temperature_K': 300.0,
      'num_proteins': 3,
    }
    assert asked['versions']['tempo_jax']

  def test_summary_is_of_the_proteins(self, evaluated):
    _, content = evaluated
    each, found = content['proteins'].values(), content['summary']
    for key in ('pairwise_rmsd', 'rmsf', 'root_mean_w2', 'ddg', 'rmsd_error', 'pc_sim'):
      assert found[key] == pytest.approx(np.median([numbers[key] for numbers in each]))
    pairs = np.array([(n['reference_pairwise_rmsd'], n['pairwise_rmsd']) for n in each])
    assert found['pairwise_rmsd_r'] == pytest.approx(scipy.stats.pearsonr(*pairs.T).statistic)
    for key, bounds in content['intervals'].items():
      if bounds:
        assert bounds[0] <= found[key] <= bounds[1], key
    assert content['intervals']['rmsf']
    # Of the median of three, by all ten draws, worked out by hand.
    low, middle, high = np.sort([numbers['rmsf'] for numbers in each])
    draws = np.repeat([low, middle, high], [7, 13, 7])
    assert found['rmsf_error'] == pytest.approx(draws.std() * np.sqrt(1.5), rel=0.1)

  def test_global_rmsf_r_pools_the_atoms_of_all_proteins(self, proteins, evaluated):
    pairs = [columns.read(case) for case in proteins]
    x, y = (np.concatenate([pair[k].rmsf.ravel() for pair in pairs]) for k in (0, 1))
    assert len(x) == 4 * (8 + 10 + 12)
    expected = scipy.stats.pearsonr(x, y).statistic
    assert evaluated[1]['summary']['global_rmsf_r'] == pytest.approx(expected, abs=1e-6)
    assert evaluated[1]['summary']['per_target_rmsf_r'] != pytest.approx(expected, abs=1e-3)

  def test_table_and_baselines(self, evaluated):
    out, content = evaluated
    lines = (out / 'metrics.md').read_text().splitlines()
    names = [cell.strip() for cell in lines[0].strip('|').split('|')]
    assert names == ['metric', *(f'{n} (n = 3)' for n in ('prediction', *BASELINES))]
    assert [line.split('|')[1].strip() for line in lines[2:-2]] == [
      row.label for row in summary.ROWS
    ]
    median = content['summary']['root_mean_w2']
    row = next(line for line in lines if line.startswith('| root mean W2 (Å)'))
    assert row.split('|')[2].split()[0] == f'{median:.2f}'
    assert list(content['baselines']) == list(BASELINES)
    for baseline in content['baselines'].values():
      assert tuple(baseline['summary']) == summary.KEYS
      assert list(baseline['proteins']) == ['a', 'b', 'c']
    assert content['baselines'][columns.FROZEN]['summary']['rmsf'] == 0.0

  def test_without_baselines(self, proteins, evaluated, tmp_path):
    _, content = run(proteins, tmp_path / 'out')
    assert content['baselines'] == {}
    assert content['proteins'] == evaluated[1]['proteins']
    assert content['summary'] == evaluated[1]['summary']
    assert 'frozen' not in (tmp_path / 'out' / 'metrics.md').read_text()
    assert not (tmp_path / 'out' / 'report.html').exists()

  def test_one_protein_has_no_correlation_over_proteins(self, proteins, tmp_path):
    _, content = run(proteins[:1], tmp_path / 'out')
    assert content['summary']['pairwise_rmsd_r'] is None
    assert set(content['intervals'].values()) == {None}
    numbers = content['proteins']['a']
    for key in summary.KEYS:
      assert content['summary'][key] == pytest.approx(numbers[key]), key
      assert content['summary'][f'{key}_error'] == numbers[f'{key}_error'], key
    lines = (tmp_path / 'out' / 'metrics.md').read_text().splitlines()
    row = next(line for line in lines if line.startswith('| root mean W2 (Å)'))
    value, error = (numbers[key] for key in ('root_mean_w2', 'root_mean_w2_error'))
    assert row.split('|')[2].strip() == f'{value:.2f} ± {error:.2f}'
    of_errors = content['details']['a']['errors']
    assert of_errors['num_parts'] == 4
    missing = {key for key in summary.KEYS if numbers[f'{key}_error'] is None}
    assert set(of_errors['notes']) == missing

  def test_the_reference_predicts_itself(self, proteins, tmp_path):
    own = dataclasses.replace(
      proteins[1], reference=proteins[1].reference[:1], prediction=proteins[1].reference[:1]
    )
    found = run([own], tmp_path / 'out')[1]['summary']
    for key in (
      'root_mean_w2',
      'md_pca_w2',
      'joint_pca_w2',
      'rmsd_error',
      'ddg',
      'ca_distance_jsd',
    ):
      assert found[key] == pytest.approx(0.0, abs=1e-5)
    for key in ('global_rmsf_r', 'per_target_rmsf_r', 'pc_sim', 'pc1_cosine'):
      assert found[key] == pytest.approx(1.0)
    for key in ('weak_contacts_j', 'transient_contacts_j'):
      assert found[key] in (1.0, None)

  def test_alphaflow_draws_are_those_of_the_seed(self, proteins, evaluated, tmp_path):
    found = [
      run(proteins[:1], tmp_path / str(i), Settings('alphaflow', seed))[1]
      for i, seed in enumerate((137, 137, 5))
    ]
    assert found[0] == found[1]
    assert found[0]['proteins'] != found[2]['proteins']
    assert found[0]['proteins']['a'] != evaluated[1]['proteins']['a']
    assert found[0]['settings']['resample'] == 'alphaflow'

  def test_missing_times_are_nulls_with_reasons_and_remarks(self, pair, tmp_path):
    native = pair[0].topology
    uneven = cases.save_uneven(tmp_path / 'P.xtc', native, frames=30)
    case = dataclasses.replace(pair[0], prediction=(uneven,))
    numbers = run([case], tmp_path / 'out')[1]['proteins']['a']
    for key in ('rmsd_error', 'pc1_cosine', 'autocorrelation_error'):
      assert numbers[key] is None
      assert numbers['notes'][key] == 'prediction: its frames are 10 to 30 ps apart'
    assert numbers['remarks'] == [f'{uneven}: its frames are 10 to 30 ps apart']
    assert numbers['root_mean_w2'] > 0.0

  def test_temperature_of_a_protein(self, pair, tmp_path):
    _, both = run([pair[0], dataclasses.replace(pair[1], temperature_K=600.0)], tmp_path / 'one')
    _, cold = run(pair, tmp_path / 'two')
    ddg = [content['proteins'][name]['ddg'] for name in 'ab' for content in (cold, both)]
    assert ddg[0] == ddg[1]
    assert ddg[3] == pytest.approx(2.0 * ddg[2])

  def test_the_report_needs_no_network(self, proteins, tmp_path):
    out = tmp_path / 'out'
    run(proteins[:1], out, with_page=True, with_baselines=True)
    page = (out / 'report.html').read_text()
    fetched = re.findall(r'(?:src|href)\s*=\s*["\']?(?!data:|#)([^"\'\s>]+)', page, re.IGNORECASE)
    assert [link for link in fetched if re.match(r'(https?:)?//|file:', link)] == []
    assert not re.search(r'@import|url\(\s*["\']?https?:|fetch\(\s*["\']https?:', page)
    for text in ('Evaluation of a', 'root mean W2', 'Gaussian noise', '<svg'):
      assert text in page
    assert sorted(path.name for path in out.iterdir()) == [
      'metrics.json',
      'metrics.md',
      'proteins',
      'report.html',
    ]


class TestCache:
  def test_a_second_run_computes_nothing(self, pair, tmp_path, computed):
    _, first = run(pair, tmp_path / 'out')
    assert computed() == ['a', 'b']
    _, second = run(pair, tmp_path / 'out')
    assert computed() == []
    assert first == second

  @pytest.mark.parametrize('kind', ['topology', 'reference', 'prediction'])
  def test_a_changed_file_repeats_its_protein(self, pair, tmp_path, computed, kind):
    run(pair, tmp_path / 'out')
    assert computed() == ['a', 'b']
    file = getattr(pair[1], kind)
    file = file if kind == 'topology' else file[-1]
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    run(pair, tmp_path / 'out')
    assert computed() == ['b']

  def test_a_changed_topology_beside_repeats_its_protein(self, pair, tmp_path, computed):
    """It is read although no flag names it."""
    run(pair, tmp_path / 'out')
    assert computed() == ['a', 'b']
    beside = pair[1].prediction[0].with_name('topology.pdb')
    os.utime(beside, ns=(0, 0))
    run(pair, tmp_path / 'out')
    assert computed() == ['b']

  @pytest.mark.parametrize(
    ('settings', 'options'),
    [
      (Settings(seed=1), {}),
      (Settings(resample='alphaflow'), {}),
      (Settings(temperature_K=320.0), {}),
      (SETTINGS, {'with_baselines': True}),
    ],
  )
  def test_other_settings_repeat_all(self, pair, tmp_path, computed, settings, options):
    run(pair, tmp_path / 'out')
    assert computed() == ['a', 'b']
    _, again = run(pair, tmp_path / 'out', settings, **options)
    assert computed() == ['a', 'b']
    _, fresh = run(pair, tmp_path / 'fresh', settings, **options)
    assert again == fresh

  def test_a_page_needs_what_a_run_without_one_left_out(self, pair, tmp_path, computed):
    _, numbers = run(pair[:1], tmp_path / 'out')
    assert computed() == ['a']
    _, again = run(pair[:1], tmp_path / 'out', with_page=True)
    assert computed() == ['a']
    assert again == numbers
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert '<h3>Kinetics</h3>' in page
    # What a page has, numbers alone can use.
    run(pair[:1], tmp_path / 'out')
    assert computed() == []

  def test_a_new_metric_repeats_all(self, pair, tmp_path, computed, monkeypatch):
    """What was kept lacks its number."""
    with monkeypatch.context() as earlier:
      earlier.setattr(summary, 'ROWS', summary.ROWS[:-1])
      earlier.setattr(summary, 'KEYS', summary.KEYS[:-1])
      run(pair, tmp_path / 'out')
    assert computed() == ['a', 'b']
    _, again = run(pair, tmp_path / 'out')
    assert computed() == ['a', 'b']
    assert again == run(pair, tmp_path / 'fresh')[1]

  def test_another_protein_repeats_only_itself(self, pair, tmp_path, computed):
    run(pair[:1], tmp_path / 'out')
    assert computed() == ['a']
    _, both = run(pair, tmp_path / 'out')
    assert computed() == ['b']
    assert list(both['proteins']) == ['a', 'b']
    # One that is no longer asked for is not in the table.
    _, second = run(pair[1:], tmp_path / 'out')
    assert list(second['proteins']) == ['b']

  def test_an_interrupted_run_goes_on(self, pair, tmp_path, computed, monkeypatch):
    out = tmp_path / 'out'
    real = columns.score

    def interrupted(*args, **kwargs):
      if (out / 'proteins' / 'a.npz').exists():  # The second protein is under way.
        signal.raise_signal(signal.SIGINT)
      return real(*args, **kwargs)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(columns, 'score', interrupted)
    try:
      with pytest.raises(KeyboardInterrupt):
        run(pair, out)
    finally:
      signal.signal(signal.SIGINT, before)
      monkeypatch.undo()
    assert [path.name for path in out.iterdir()] == ['proteins']
    assert computed() == ['a']
    _, found = run(pair, out)
    assert computed() == ['b']
    assert found == run(pair, tmp_path / 'fresh')[1]

  @pytest.mark.parametrize('text', ['', '{"fingerprint": 1', '[]', '{}', 'null'])
  def test_a_spoilt_result_is_computed_again(self, pair, tmp_path, computed, text):
    run(pair, tmp_path / 'out')
    (tmp_path / 'out' / 'proteins' / 'b.npz').write_text(text)
    assert computed() == ['a', 'b']
    run(pair, tmp_path / 'out')
    assert computed() == ['b']


# What is wrong with a protein, and what the line must say.
BAD = {
  'another order, as many atoms': r'/P.dcd: .*in another order',
  'another sequence': r'/other.pdb: is of another sequence than .*native.pdb',
  'one frame': r'/P.dcd: 1 frames, and at least 2 are needed',
  'not a number': r'/P.dcd: frame 3 has coordinates that are not numbers',
  'ten times': r'/P.dcd: N-CA is 14.\d+ Å on the whole: its unit',
  'not a trajectory': r'/P.dcd: mdtraj cannot read it',
  'broken MD': r'/R.dcd: frame 2 has a broken chain: make molecules whole',
  'MD of half the numbers': r'/R.dcd: frame 2: all atoms lie on one point',
}


def spoil(case, folder, what):
  """The case with something wrong."""
  rng = np.random.default_rng(0)
  folder.mkdir(exist_ok=True)
  xyz = cases.helix(8)
  positions = cases.wander(rng, xyz, 10)
  path, changes = folder / 'P.dcd', {}
  if what == 'another order, as many atoms':
    positions = positions[:, :, [2, 0, 4, 3, 1]]
  elif what == 'another sequence':
    cases.write_native(folder / 'other.pdb', 8, names=cases.NAMES[::-1])
    changes = {'prediction_topology': folder / 'other.pdb'}
  elif what == 'one frame':
    positions = positions[:1]
  elif what == 'not a number':
    positions[3, 4] = np.nan
  elif what == 'ten times':
    positions = 10.0 * positions
  elif what == 'broken MD':
    positions[2, 4:] += 50.0
    path = folder / 'R.dcd'
  elif what == 'MD of half the numbers':
    positions[2:] = 0.0
    path = folder / 'R.dcd'
  cases.save(path, positions, case.topology)
  if what == 'not a trajectory':
    path.write_text('no trajectory' * 30)
  role = 'reference' if path.name == 'R.dcd' else 'prediction'
  return dataclasses.replace(case, **{role: (path,)}, **changes)


class TestMistakes:
  @pytest.mark.parametrize('what', BAD)
  def test_of_one_protein(self, pair, tmp_path, what):
    case = spoil(pair[0], tmp_path / 'bad', what)
    with pytest.raises(InputError, match=BAD[what]) as raised:
      run([case], tmp_path / 'out')
    assert '\n' not in str(raised.value)
    assert not (tmp_path / 'out').exists()

  def test_a_folder_of_the_users_stays(self, pair, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'notes.txt').touch()
    with pytest.raises(InputError):
      run([spoil(pair[0], tmp_path / 'bad', 'one frame')], tmp_path / 'out')
    assert (tmp_path / 'out' / 'notes.txt').exists()

  @pytest.mark.parametrize('kind', ['reference', 'prediction'])
  def test_a_replica_counts_once(self, pair, tmp_path, kind):
    (file, *_) = getattr(pair[0], kind)
    again = file.parent / '..' / file.parent.name / file.name
    case = dataclasses.replace(pair[0], **{kind: (file, again)})
    with pytest.raises(InputError, match=f'^a: .*{file.name} is named twice as {kind}'):
      run([case], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()

  def test_one_of_many_does_not_stop_the_others(self, pair, tmp_path, capsys):
    bad = [
      dataclasses.replace(spoil(pair[0], tmp_path / str(i), what), name=f'bad{i}')
      for i, what in enumerate(BAD)
    ]
    code, content = run([*bad, *pair], tmp_path / 'out')
    assert code == 1
    assert list(content['proteins']) == ['a', 'b']
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith('error: ')]
    assert len(lines) == len(BAD)
    for line, message in zip(lines, BAD.values(), strict=True):
      assert re.search(message, line)
    assert f'2 of {len(BAD) + 2} proteins evaluated' in captured.out

  def test_a_crash_is_an_error_of_its_protein(self, pair, tmp_path, monkeypatch, capsys):
    compute = evaluate._evaluate

    def crash(task):
      if task.case.name == 'a':
        raise RuntimeError('two\nlines')
      return compute(task)

    monkeypatch.setattr(evaluate, '_evaluate', crash)
    code, content = run(pair, tmp_path / 'out')
    assert code == 1
    assert list(content['proteins']) == ['b']
    assert 'error: a: RuntimeError: two lines\n' in capsys.readouterr().err

  def test_old_results_do_not_hide_a_new_mistake(self, pair, tmp_path):
    run(pair, tmp_path / 'out')
    case = spoil(pair[0], tmp_path / 'bad', 'one frame')
    code, content = run([case, pair[1]], tmp_path / 'out')
    assert code == 1
    assert list(content['proteins']) == ['b']

  def test_nothing_is_computed_where_a_file_is_missing(self, pair, tmp_path):
    case = dataclasses.replace(pair[1], prediction=(tmp_path / 'gone.xtc',))
    with pytest.raises(InputError, match=r'b: .*gone.xtc: no such file'):
      run([pair[0], case], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()

  @pytest.mark.parametrize(
    ('module', 'extra'), [('threadpoolctl', 'evaluate'), ('matplotlib', 'report')]
  )
  def test_a_missing_extra_is_named_first(self, pair, tmp_path, monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{module} is not .*'tempo-jax\[{extra}\]'") as raised:
      run(pair, tmp_path / 'out', with_page=True)
    assert '\n' not in str(raised.value)
    assert not (tmp_path / 'out').exists()

  def test_out_cannot_be_made(self, pair, tmp_path):
    (tmp_path / 'file').write_text('')
    for out in (tmp_path / 'file', tmp_path / 'file' / 'out'):
      with pytest.raises(InputError, match='choose another --out'):
        run(pair, out)

  @pytest.mark.parametrize(
    ('args', 'message'),
    [
      ([], '--out is missing'),
      (['--out=OUT', '--temperature_K=nan'], '--temperature_K=nan: '),
      (['--out=OUT', '--temperature_K=inf'], '--temperature_K=inf: '),
      (['--out=OUT', '--prediction_dt_ns=0'], '--prediction_dt_ns=0: give a number of ns above z'),
      (['--out=OUT', '--reference_dt_ns=nan'], '--reference_dt_ns=nan: '),
      (['--out=OUT'], '--topology is missing'),
      (['--out=OUT', '--topology=T'], '--reference is missing'),
      (['--out=OUT', '--topology=T', '--reference=R'], '--prediction is missing'),
      (['--out=OUT', '--suite=S', '--topology=T'], '--suite and --topology: give one'),
      (['--out=OUT', '--suite=S', '--prediction=P'], '--suite and --prediction: give one'),
      (['--out=OUT', '--suite=S', '--name=a'], '--suite and --name: '),
      (['--out=OUT', '--suite=S', '--prediction_topology=a'], '--suite and --prediction_topology'),
      (['--out=OUT', '--suite=nowhere.json'], 'nowhere.json: cannot be read'),
      (
        ['--out=OUT', '--topology=T', '--reference=R', '--prediction=P', '--name=a/b'],
        "--name: 'a/b' cannot be a name",
      ),
      (['--out=OUT', '--topology=T', '--reference=R', '--prediction=P'], 'T: no such file'),
    ],
  )
  def test_flags(self, tmp_path, args, message):
    args = [arg.replace('OUT', str(tmp_path / 'out')) for arg in args]
    with pytest.raises(InputError, match=message) as raised:
      commanded(*args)
    assert '\n' not in str(raised.value)
    assert not (tmp_path / 'out').exists()


class TestPredictionsOfOthers:
  def test_an_array_with_its_time_step(self, pair, tmp_path, computed):
    """The numbers are those of the same frames as XTC, but for the rounding of that."""
    case = pair[0]
    traj = mdtraj.load(str(case.prediction[0]), top=str(case.prediction[0].parent / 'topology.pdb'))
    array = 10.0 * traj.xyz.reshape(30, -1, 4, 3)
    np.save(tmp_path / 'P.npy', array)
    other = dataclasses.replace(case, prediction=(tmp_path / 'P.npy',))
    options = (f'--out={tmp_path / "out"}', '--noreport', '--nobaselines', '--num_workers=1')
    assert commanded(*arguments(other), *options, '--prediction_dt_ns=0.01') == 0
    assert computed() == ['a']
    found = json.loads((tmp_path / 'out' / 'metrics.json').read_text())['proteins']['a']
    expected = run([case], tmp_path / 'same')[1]['proteins']['a']
    for key in ('rmsf', 'root_mean_w2', 'md_pca_w2', 'rmsd_error', 'autocorrelation_error'):
      assert found[key] == pytest.approx(expected[key], abs=1e-5), key
    assert found['remarks'] == []
    # Another time step is another result; that of a protein of a suite comes first.
    assert commanded(*arguments(other), *options, '--prediction_dt_ns=0.02') == 0
    assert computed() == ['a']
    suite_file = cases.write_suite(tmp_path / 'suite.json', [other])
    item = json.loads(suite_file.read_text())[0] | {'prediction_dt_ns': 0.01}
    suite_file.write_text(json.dumps([item]))
    assert commanded(f'--suite={suite_file}', *options, '--prediction_dt_ns=0.02') == 0
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text())['proteins']['a'] == found

  @pytest.mark.parametrize(
    ('change', 'message'),
    [
      (lambda x: x[:, :, 1], r'P.npy: holds CA atoms alone, and the numbers need'),
      (lambda x: x[:, :-1], r'P.npy: holds \[30, 7, 4, 3\], 7 residues, and .*native.pdb has 8'),
      (lambda x: 100.0 * x, r'P.npy: N-CA is 14\d.* Å on the whole: its units are prob'),
      (lambda x: x[:1], r'P.npy: 1 frames, and at least 2 are needed: give one file with all'),
      (lambda x: x[0, 0, 0], r'P.npy: holds float32 \[3\], no coordinates: give \[frames, res'),
    ],
  )
  def test_mistakes(self, pair, tmp_path, change, message):
    case = pair[0]
    traj = mdtraj.load(str(case.prediction[0]), top=str(case.prediction[0].parent / 'topology.pdb'))
    np.save(tmp_path / 'P.npy', change(10.0 * traj.xyz.reshape(30, -1, 4, 3)))
    other = dataclasses.replace(case, prediction=(tmp_path / 'P.npy',))
    with pytest.raises(InputError, match=message) as raised:
      commanded(*arguments(other), f'--out={tmp_path / "out"}', '--num_workers=1')
    assert '\n' not in str(raised.value)
    assert not (tmp_path / 'out').exists()

  def test_samples_are_replicas(self, pair, tmp_path):
    case = pair[0]
    traj = mdtraj.load(str(case.reference[0]), top=str(case.topology))
    samples = 10.0 * np.stack([traj.xyz[:15], traj.xyz[15:]], axis=1)
    np.save(tmp_path / 'P.npy', samples)
    halves = [traj[:15], traj[15:]]
    for k, half in enumerate(halves):
      half.save(str(tmp_path / f'{k}.h5'))
    found, expected = (
      run([dataclasses.replace(case, prediction=files)], tmp_path / str(len(files)))[1]
      for files in ((tmp_path / 'P.npy',), (tmp_path / '0.h5', tmp_path / '1.h5'))
    )
    for key in ('rmsf', 'root_mean_w2', 'md_pca_w2', 'pairwise_rmsd'):
      assert found['summary'][key] == pytest.approx(expected['summary'][key], abs=1e-5)


class TestCommand:
  def test_one_protein(self, proteins, evaluated, tmp_path):
    out = tmp_path / 'out'
    options = ('--noreport', '--nobaselines', '--num_workers=1')
    assert commanded(*arguments(proteins[1]), f'--out={out}', *options) == 0
    content = json.loads((out / 'metrics.json').read_text())
    assert content['proteins'] == {'b': evaluated[1]['proteins']['b']}

  def test_a_suite(self, pair, tmp_path):
    file = cases.write_suite(tmp_path / 'suite.json', pair)
    flag = (f'--suite={file}', f'--out={tmp_path / "out"}', '--noreport', '--nobaselines')
    assert commanded(*flag, '--num_workers=1') == 0
    expected = run(pair, tmp_path / 'fresh')[1]
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text()) == expected
    pair[0].prediction[0].write_bytes(b'spoilt')
    assert commanded(*flag, '--num_workers=1') == 1

  def test_the_binary(self, pair, tmp_path):
    def call(*args):
      return subprocess.run(
        [sys.executable, '-m', 'experiments.evaluate', *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
      )

    out = tmp_path / 'out'
    bad = spoil(pair[0], tmp_path / 'bad', 'one frame')
    wrong = call(*arguments(bad), f'--out={out}', '--noreport')
    assert wrong.returncode == 2
    assert re.fullmatch(r'error: [^\n]*P.dcd: 1 frames[^\n]*\n', wrong.stderr)
    assert not out.exists()
    file = cases.write_suite(tmp_path / 'suite.json', [bad, pair[1]])
    partly = call(f'--suite={file}', f'--out={out}', '--noreport', '--num_workers=1')
    assert partly.returncode == 1
    assert [line for line in partly.stderr.splitlines() if line.startswith('error: ')] != []
    assert 'Traceback' not in partly.stderr
    assert 'Warning' not in partly.stderr
    assert '1 of 2 proteins evaluated' in partly.stdout
    assert list(json.loads((out / 'metrics.json').read_text())['proteins']) == ['b']

  def test_help_names_every_flag_with_its_default(self):
    values = commands.parse(evaluate)
    shown = command.help_text(evaluate, values, list(values), 'tempo-jax evaluate')
    of_one = ('topology', 'reference', 'prediction', 'reference_topology', 'prediction_topology')
    for flag in (*of_one, 'suite', 'name', 'out', 'num_workers', 'scheduler'):
      assert f'  --{flag}=' in shown
    assert '--resample=none|alphaflow\n' in shown
    for flag in ('baselines', 'report'):
      assert f'--[no]{flag}\n' in shown
    for default in ('none', '137', '300.0', 'on', 'one per core'):
      assert f' Default: {default}.' in ' '.join(shown.split())
