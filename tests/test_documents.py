"""README.md and docs/: every command, block of Python, flag, setting, link and name holds."""

import functools
import os
import re
import subprocess
import sys

import jax
import pytest

import tempo_jax
from experiments.ablation import settings as ablation_settings
from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.configs import mdcath
from tempo_jax.evaluation import columns, suite, summary
from tempo_jax.models import model as model_lib
from tempo_jax.training import parallel
from tests import documents, newcomer
from tests.documents import DOCUMENTS, ROOT

# Commands that are not run here, each with the reason, or with what runs it. Flags, values and
# settings are checked all the same.
PARSED = {
  r'pip install': '.ci/run installs; here the extra must exist',
  r'pytest$': '.ci/run',
  r'python -m pdoc': 'test_reference_is_built_from_the_docstrings',
  r'python -m data_prep\.mdcath': 'downloads: tests/data_prep/test_mdcath.py, test_download.py',
  r'python -m data_prep\.atlas': 'downloads: tests/data_prep/test_atlas.py, test_download.py',
  r'python -m data_prep\.split': 'tests/data_prep/test_split.py',
  r'python -m data_prep\.simulate': 'needs OpenMM: tests/data_prep/test_simulate.py',
  r'python -m data_prep\.inspect .*=mdcath_': 'needs mdCATH: tests/data_prep/test_inspect.py',
  r'.*--coordinator_address': 'several processes: tests/training/test_several_processes.py, '
  'tests/experiments/test_sample_processes.py',
  r'python -m experiments\.train .*(mdcath|atlas)_': 'hours: tests/experiments/test_configs.py',
  r'python -m experiments\.sample .*--model=my(_atlas)?_run': 'needs these: tests/test_model.py',
  r'python -m experiments\.evaluate --suite': 'tests/experiments/test_evaluate.py',
  r'python -m experiments\.ablation': 'tests/experiments/test_ablation.py',
  r'python -m experiments\.benchmark ': 'minutes: tests/experiments/test_benchmark.py',
  r'python -m experiments\.benchmarks\.finetuning ': 'minutes: tests/experiments/test_finetune.py',
  r'(sbatch|scontrol|cd|\.|if|then|fi|exit)( |$)|status=': 'a cluster; bash checks the syntax',
}
# Commands that are run, one after the other, each with what makes it short.
RUN = {
  r'python -m experiments\.(sample|upsample)\b': [],
  r'python -m experiments\.evaluate ': ['--num_workers=1', '--noreport'],
  r'python -m experiments\.benchmarks\.pictures': [
    *('--simulated=md', '--names=toy', '--num_frames=2'),
  ],
  r'python -m data_prep\.(trajectories|inspect) ': ['--num_workers=1'],
  r'python -m experiments\.train ': [
    *('--config.train.num_steps=2', '--config.train.rollout_every=0'),
    *('--config.train.validation_batches=1', '--config.data.batch_size=8'),
  ],
}
# Flags of other programs that the text names.
OTHER_FLAGS = {'--help', '--ntasks-per-node', '--gpus-per-task', '--signal', '--kill-on-bad-exit'}


def rule(words):
  """The pattern that a command is of; None: of none."""
  patterns = (p for p in (*PARSED, *RUN) if re.match(p, ' '.join(words)))
  return next(patterns, None)


def test_every_command_is_known_and_every_rule_is_needed():
  used = set()
  for document in DOCUMENTS:
    for words in documents.all_commands(document):
      found = rule(words)
      assert found, f'{document}: {" ".join(words)!r}: say in PARSED or RUN what becomes of it'
      used.add(found)
  assert used == {*PARSED, *RUN}
  for reason in PARSED.values():
    for file in re.findall(r'tests/\S+\.py', reason):
      assert (ROOT / file).is_file(), file


@pytest.mark.parametrize('document', DOCUMENTS)
def test_every_command_has_the_flags_that_it_is_given(document, monkeypatch):
  monkeypatch.chdir(ROOT)
  for words in documents.all_commands(document):
    found = documents.module_of(words)
    if found and found[0] != 'pdoc':
      with documents.binary(*found) as (_, values):
        if found[0] == 'experiments.ablation':
          ablation_settings.settings(values.config, values.setting)
    elif words[:2] == ['pip', 'install']:
      for extra in re.findall(r'\[(\w+)\]', ' '.join(words)):
        assert re.search(rf'^{extra} =$', (ROOT / 'setup.cfg').read_text(), re.MULTILINE), extra


@pytest.mark.parametrize('document', DOCUMENTS)
def test_shell_is_shell(document):
  for block in documents.blocks(document):
    if block.language == 'bash':
      subprocess.run(['bash', '-n'], input=block.text, text=True, check=True)


@pytest.mark.parametrize('document', DOCUMENTS)
def test_code_is_fenced_and_of_a_known_language(document):
  languages = {block.language for block in documents.blocks(document)}
  assert languages <= {'bash', 'python', 'json', 'text'}
  # Indented code would not be seen here.
  assert not re.findall(r'^(?: {4}|\t).*', documents.prose(document), re.MULTILINE)


def binaries():
  """Names of the modules that are programs."""
  files = [*ROOT.glob('experiments/**/*.py'), *ROOT.glob('data_prep/*.py')]
  programs = [file for file in files if "__name__ == '__main__'" in file.read_text()]
  return ['.'.join(file.relative_to(ROOT).with_suffix('').parts) for file in programs]


@functools.cache
def known_flags():
  found = set()
  for module in binaries():
    with documents.binary(module, []) as (_, values):
      found |= set(values)
  return found


@pytest.mark.parametrize('document', DOCUMENTS)
def test_flags_in_the_text_exist(document):
  for span in documents.code_spans(document):
    for flag in re.findall(r'(?<!\S)--[\w.-]+', span):
      name = flag[2:].split('.')[0]
      known = {name, name.removeprefix('no')} & known_flags()
      assert known or flag in OTHER_FLAGS, f'{document}: {flag}'


@pytest.mark.parametrize('document', DOCUMENTS)
def test_settings_in_the_text_exist(document):
  config = mdcath.get_config()
  for span in documents.code_spans(document):
    for name in re.findall(r'^(?:(?:--)?config\.)?((?:model|data|train)\.[\w.*]+)', span):
      section = config
      for part in name.replace('NAME', 'fine').split('.'):
        matching = [key for key in section if re.fullmatch(part.replace('*', '.*'), key)]
        assert matching, f'{document}: {span}: no {part}'
        section = section[matching[0]]


@pytest.mark.parametrize('document', DOCUMENTS)
def test_files_in_the_text_exist(document):
  for span in documents.code_spans(document):
    if re.fullmatch(r'(tempo_jax|experiments|data_prep|docs|tests)/[\w./]+', span):
      assert (ROOT / span).exists(), f'{document}: {span}'


@pytest.mark.parametrize('document', DOCUMENTS)
def test_links_lead_somewhere(document):
  for link in documents.links(document):
    if link.startswith('https://'):
      continue
    target, _, heading = link.partition('#')
    path = (ROOT / document).parent / target if target else ROOT / document
    assert path.exists(), f'{document}: {link}'
    if heading:
      name = str(path.resolve().relative_to(ROOT))
      assert heading in documents.headings(name), f'{document}: {link}'


def test_pictures_are_small():
  assert sum(file.stat().st_size for file in ROOT.glob('docs/pictures/*')) < 600 * 1024


def first_cells(document):
  """Codes in the first column of tables."""
  return [
    code
    for cell in re.findall(r'^\| ([^|]*)\|', documents.prose(document), re.MULTILINE)
    for code in re.findall(r'`([^`]+)`', cell)
  ]


def test_every_metric_is_explained():
  explained = first_cells('docs/metrics.md')
  assert set(summary.KEYS) <= set(explained)
  assert set(columns.BASELINES) <= set(explained)


def test_every_public_name_is_listed():
  listed = [cell.split('(')[0] for cell in first_cells('docs/api.md')]
  assert set(tempo_jax.__all__) - {'__version__'} <= set(listed)
  for name in listed:
    if '/' not in name:
      functools.reduce(getattr, name.split('.'), tempo_jax)


def test_switches_have_the_values_that_they_have():
  rows = re.findall(r'^\| `model\.(\S+)` \| (.*?) \| (.*?) \|', documents.prose('docs/method.md'),
                    re.MULTILINE)  # fmt: skip
  assert len(rows) > 8
  configs = config_lib.paper_model_config(), config_lib.model_config()
  compared = 0
  for name, *cells in rows:
    for config, cell in zip(configs, cells, strict=True):
      value = functools.reduce(
        lambda c, key: c[key], name.replace('NAME', 'fine').split('.'), config
      )
      written = re.match(r'`(\w+)`|([\d.]+)', cell)
      if written:
        compared += 1
        assert written[1] == str(value) or float(written[2] or 'nan') == value, (name, cell)
  assert compared > 14


def test_reference_is_built_from_the_docstrings(tmp_path):
  pytest.importorskip('pdoc', reason="needs pip install -e '.[docs]'; .ci/run has it")
  (words,) = (w for w in documents.all_commands('docs/api.md') if w[2:3] == ['pdoc'])
  words[words.index('api')] = str(tmp_path / 'api')
  command = [sys.executable, '-W', 'error', *words[1:]]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert (done.returncode, done.stderr) == (0, '')
  page = (tmp_path / 'api/tempo_jax.html').read_text()
  names = set(re.findall(r'id="([\w.]+)"', page))
  assert set(tempo_jax.__all__) <= names
  assert {'Model.sample', 'Model.upsample', 'Trajectory.save', 'ProteinArrays.bonded'} <= names
  for package in (word for word in words if word.startswith('tempo_jax.')):
    assert (tmp_path / f'api/{package.replace(".", "/")}.html').is_file()
  assert (tmp_path / 'api/tempo_jax/metrics/distribution.html').is_file()


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
  """The working directory of a newcomer: a clone, and the files that the documents name."""
  monkeypatch.chdir(tmp_path)
  for folder in ('experiments', 'data_prep'):
    (tmp_path / folder).symlink_to(ROOT / folder)
  newcomer.write_files()
  return tmp_path


@pytest.fixture(scope='module')
def compile_once(tmp_path_factory):
  """Programs are kept from test to test; commands leave the directory at that."""
  names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
  before = [getattr(jax.config, name) for name in names]
  for name, value in zip(names, (str(tmp_path_factory.mktemp('xla')), 0.0), strict=True):
    jax.config.update(name, value)
  yield
  for name, value in zip(names, before, strict=True):
    jax.config.update(name, value)


@pytest.fixture
def quick(monkeypatch, compile_once):
  """Everything is as it is but what takes long: networks are neither compiled nor trained."""
  monkeypatch.setattr(transitions, 'make_step', newcomer.wander)
  monkeypatch.setattr(transitions, 'init_params', lambda config, rng: newcomer.untrained(config))
  monkeypatch.setattr(parallel, 'map_train_step', lambda *_: newcomer.stand_still)
  monkeypatch.setattr(parallel, 'map_evaluation_step', lambda *_: newcomer.evaluate)
  samplers = model_lib._ensemble_sampler, model_lib._upsampler
  for cached in samplers:
    cached.cache_clear()
  yield
  for cached in samplers:
    cached.cache_clear()


def run(words):
  """Runs a command in this process, if the rules say so."""
  pattern = rule(words)
  if pattern in PARSED:
    return
  module, arguments = documents.module_of(words)
  with (
    documents.binary(module, [*arguments, *RUN[pattern]]) as (main, values),
    pytest.MonkeyPatch.context() as patch,
  ):
    if module == 'experiments.sample':
      patch.setattr(model_lib.Model, 'stream', newcomer.vibrate)
    try:
      code = main(values)
    except SystemExit as end:
      code = end.code
    assert not code, ' '.join(words)
  out = next((values[name].value for name in ('out', 'workdir') if name in values), None)
  assert out is None or os.path.exists(out), ' '.join(words)


@pytest.mark.parametrize('document', DOCUMENTS)
def test_a_newcomer_gets_through(document, sandbox, quick):
  """All blocks from the first to the last: each needs what those before it have made."""
  text = (ROOT / document).read_text()
  if 'out_start/trajectory.xtc' in text and '--out=out_start' not in text:
    sample = ('experiments.sample', '--structure=start.pdb', '--num_frames=40', '--out=out_start')
    run(['python', '-m', *sample])
  for block in documents.blocks(document):
    if block.language == 'bash':
      for words in documents.commands(block.text):
        run(words)
    elif block.language == 'python':
      exec(compile(block.text, document, 'exec'), {})
    elif block.language == 'json':
      (sandbox / 'suite.json').write_text(block.text)
      assert suite.read_suite('suite.json')
  for words in documents.spoken_commands(document):
    run(words)
