"""The documents: every command, block of Python, flag, setting, link and name holds."""

import functools
import os
import re
import subprocess
import sys

import pytest
import yaml

import tempo_jax
from experiments.ablation import settings as ablation_settings
from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.cli import main as cli_main
from tempo_jax.cli import sample, train
from tempo_jax.configs import mdcath
from tempo_jax.evaluation import columns, suite, summary
from tempo_jax.models import model as model_lib
from tempo_jax.store import entry as store_entry
from tests import documents, newcomer
from tests.documents import DOCUMENTS, ROOT, WALKED

_PROGRAM = r'(python -m (experiments|data_prep)\.|tempo-jax (prepare )?)'
# Commands that are not run here, each with the reason, or with what runs it. Flags, values and
# settings are checked all the same.
PARSED = {
  r'(PIP_CONSTRAINT=\S+ )?pip install': '.ci/run installs; here the extra must exist',
  r'pytest( |$)': '.ci/run',
  r'(python -m venv|ruff|mypy)( |$)': '.ci/run',
  r'python -m pdoc': 'test_reference_is_built_from_the_docstrings',
  _PROGRAM + r'mdcath': 'downloads: tests/preparation/test_mdcath.py',
  _PROGRAM + r'atlas': 'downloads: tests/preparation/test_atlas.py',
  _PROGRAM + r'split': 'tests/preparation/test_split.py',
  _PROGRAM + r'simulate': 'needs OpenMM: tests/preparation/test_simulate.py',
  _PROGRAM + r'relax ': 'needs OpenMM: tests/relaxation/test_relax.py',
  _PROGRAM + r'inspect .*=mdcath_': 'needs mdCATH: tests/preparation/test_inspect.py',
  r'PREMVAL_SAMPLES_DIR=\S+ premval ': 'tests/evaluation/export/test_premval.py',
  'bioemu-bench ': 'tests/evaluation/export/test_bioemu_benchmarks.py',
  r'python -m scripts\.analyze_peptide_sim ': 'tests/evaluation/export/test_mdgen.py',
  r'.*--coordinator_address': 'several processes: tests/training/test_several_processes.py, '
  'tests/cli/test_sample_processes.py',
  _PROGRAM + r'train .*(mdcath|atlas)_': 'hours: tests/configs/test_configs.py',
  _PROGRAM + r'sample .*--model=my(_atlas)?_run': 'needs these: tests/models/test_model.py',
  _PROGRAM + r'evaluate --suite': 'tests/cli/test_evaluate.py',
  _PROGRAM + r'benchmark ': 'minutes: tests/cli/test_benchmark.py',
  r'python -m experiments\.ablation': 'tests/experiments/test_ablation.py',
  r'python -m experiments\.benchmarks\.finetuning ': 'minutes: tests/configs/test_finetune.py',
  r'python -m experiments\.benchmarks\.evaluation_floors ': 'minutes: '
  'tests/experiments/test_evaluation_floors.py',
  r'python -m experiments\.benchmarks\.held_out ': 'minutes: tests/experiments/test_held_out.py',
  r'python -m experiments\.benchmarks\.held_out_metrics ': 'minutes: '
  'tests/experiments/test_held_out_metrics.py',
  r'python -m experiments\.benchmarks\.molecules': 'minutes: tests/experiments/test_molecules.py',
  r'python -m experiments\.benchmarks\.memory ': 'minutes: tests/experiments/test_memory.py',
  r'python -m experiments\.benchmarks\.long_run ': 'tests/experiments/test_long_run.py',
  r'python -m experiments\.benchmarks\.physics ': 'minutes: tests/experiments/test_physics.py',
  r'python -m experiments\.benchmarks\.prior ': 'minutes: tests/experiments/test_prior.py',
  r'python -m experiments\.benchmarks\.rotamer_rates': 'minutes: '
  'tests/experiments/test_rotamer_rates.py',
  r'python -m experiments\.benchmarks\.relaxation ': 'minutes: '
  'tests/experiments/test_relaxation.py',
  r'python -m experiments\.benchmarks\.parts ': 'minutes: tests/experiments/test_parts.py',
  r'python -m experiments\.benchmarks\.limits ': 'minutes: tests/experiments/test_limits.py',
  r'python -m experiments\.benchmarks\.ramachandran_contours ': 'minutes: '
  'tests/experiments/test_ramachandran_contours.py',
  r'python -m data_prep\.default_training_data': 'tests/data_prep/test_default_training_data.py',
  _PROGRAM + r'\S+ .*=(DIR|RUN|STORE)\b': 'the reader names the places',
  _PROGRAM + r'[\w-]+( \w+)?$': 'a name in the text',
  r'(sbatch|scontrol|cd|\.|if|then|fi|exit)( |$)|status=': 'a cluster; bash checks the syntax',
}
# Commands that are run, one after the other, each with what makes it short.
RUN = {
  _PROGRAM + r'(sample|upsample|side-chains)\b': [],
  _PROGRAM + r'evaluate ': ['--num_workers=1', '--noreport'],
  r'python -m experiments\.benchmarks\.pictures': [
    *('--simulated=md', '--names=hp35', '--flexible=hp35', '--num_frames=2'),
  ],
  _PROGRAM + r'export ': [],
  _PROGRAM + r'(trajectories|inspect) ': ['--num_workers=1'],
  _PROGRAM + r'train ': [
    *('--config.train.num_steps=2', '--config.train.rollout_every=0'),
    *('--config.train.validation_batches=1', '--config.data.batch_size=8'),
  ],
}
# Flags of other programs that the text names.
OTHER_FLAGS = {
  '--help',
  '--ntasks-per-node',
  '--gpus-per-task',
  '--signal',
  '--kill-on-bad-exit',
  '--msm_lag',
  '--xtc',
}
EXTRAS_OF_USERS = ('prepare', 'split', 'simulate', 'train', 'evaluate', 'hdf5', 'report')
# Files that the results name, and that are in the history of the repository only.
FORMER = {
  *('experiments/benchmark_cases.py', 'experiments/benchmarks/calibrated_dynamics.py'),
  *('experiments/benchmarks/calibration_cases.py', 'experiments/benchmarks/evaluation.py'),
  *('experiments/benchmarks/data_preparation.py', 'experiments/benchmarks/md_against_md.py'),
}


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
    if documents.is_program(words):
      with documents.parsed(words) as (_, values):
        if words[2:3] == ['experiments.ablation'] and values.setting:
          ablation_settings.settings(values.config, values.setting)
    elif 'install' in words:
      extras = re.findall(r'\[([\w,]+)\]', ' '.join(words))
      for extra in (name for names in extras for name in names.split(',')):
        assert extra in known_extras()


def known_extras():
  return re.findall(r'^(\w+) =$', (ROOT / 'setup.cfg').read_text(), re.MULTILINE)


def test_every_extra_of_users_is_in_the_table():
  listed = first_cells('README.md')
  assert {'all', *EXTRAS_OF_USERS} <= set(listed)
  assert set(listed) <= set(known_extras())


def test_both_spellings_are_one_command():
  for words in (['tempo-jax', 'sample', '1abc.pdb'], ['python', '-m', 'experiments.sample']):
    with documents.parsed(words) as (main, values):
      assert main is sample.main
      assert values.structure == (
        '1abc.pdb' if 'tempo-jax' in words else values['structure'].default
      )


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


def programs():
  """How our commands are called: those of the package, and those of a clone."""
  files = [*ROOT.glob('experiments/**/*.py'), *ROOT.glob('data_prep/*.py')]
  files = [file for file in files if "__name__ == '__main__'" in file.read_text()]
  names = ['.'.join(file.relative_to(ROOT).with_suffix('').parts) for file in files]
  in_clone = [['python', '-m', name.removesuffix('.__main__')] for name in names]
  return [*in_clone, *(['tempo-jax', *name.split()] for name in cli_main.COMMANDS)]


@functools.cache
def known_flags():
  found = set()
  for words in programs():
    with documents.parsed(words) as (_, values):
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
      assert (ROOT / span).exists() != (span in FORMER), f'{document}: {span}'


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


def test_the_map_is_short():
  assert len((ROOT / 'WORKSPACE_NOTES.md').read_text().splitlines()) <= 150


def test_changelog_and_citation_name_the_same_version():
  changelog = (ROOT / 'CHANGELOG.md').read_text()
  newest = re.search(r'^## (\d+\.\d+\.\d+)', changelog, re.MULTILINE)[1]
  citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
  assert str(citation['version']) == newest
  # What the Citation File Format 1.2.0 demands, of the software and of the paper.
  assert citation['cff-version'] == '1.2.0'
  assert {'message', 'title', 'authors'} <= set(citation)
  for reference in citation['references']:
    assert {'type', 'title', 'authors'} <= set(reference)


def test_changelog_knows_the_format_of_stores():
  (row,) = re.findall(r'^\| 0\.1\.0 \|.*$', documents.prose('CHANGELOG.md'), re.MULTILINE)
  assert f'version {store_entry.VERSION}:' in row


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


@pytest.mark.slow  # Imports and renders all modules.
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


@pytest.fixture
def quick(monkeypatch):
  """Everything is as it is but what takes long: networks are neither compiled nor trained."""
  monkeypatch.setattr(transitions, 'make_step', newcomer.wander)
  monkeypatch.setattr(transitions, 'init_params', lambda config, rng: newcomer.untrained(config))
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
  with (
    documents.parsed([*words, *RUN[pattern]]) as (main, values),
    pytest.MonkeyPatch.context() as patch,
  ):
    if main is sample.main:
      patch.setattr(model_lib.Model, 'stream', newcomer.vibrate)
    if main is train.main:
      main = functools.partial(main, train=newcomer.train)
    try:
      code = main(values)
    except SystemExit as end:
      code = end.code
    assert not code, ' '.join(words)
  out = next((values[name].value for name in ('out', 'workdir') if name in values), None)
  assert out is None or os.path.exists(out), ' '.join(words)


@pytest.mark.slow
@pytest.mark.parametrize('document', WALKED)
def test_a_newcomer_gets_through(document, sandbox, quick):
  """All blocks from the first to the last: each needs what those before it have made."""
  text = (ROOT / document).read_text()
  if 'out_start/trajectory.xtc' in text and '--out=out_start' not in text:
    run(['tempo-jax', 'sample', 'start.pdb', '--num_frames=40', '--out=out_start'])
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
