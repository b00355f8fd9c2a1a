"""The notebook runs from top to bottom and shows what it should.

By default with small numbers, compiled without optimisation; TEMPO_JAX_NOTEBOOK=full: as users run
it.
"""

import base64
import html
import io
import json
import os
import pathlib
import re

import matplotlib.image
import numpy as np
import pytest

_MISSING = "the notebook needs the extra 'notebook': pip install -e '.[notebook]'"
nbformat = pytest.importorskip('nbformat', reason=_MISSING)
nbclient = pytest.importorskip('nbclient', reason=_MISSING)
pytest.importorskip('ipykernel', reason=_MISSING)

_NOTEBOOK = pathlib.Path(__file__).parents[2] / 'experiments/colab/tempo_jax.ipynb'


@pytest.fixture(scope='module')
def executed(tmp_path_factory):
  """The cells, with what came out of them."""
  work = tmp_path_factory.mktemp('notebook')
  full = os.environ.get('TEMPO_JAX_NOTEBOOK') == 'full'
  # All that it writes goes below `work`.
  changes = {'TMPDIR': str(work), 'XDG_CACHE_HOME': str(work), 'IPYTHONDIR': str(work / 'ipython')}
  # As quickly compiled as this session's programs, but not for its eight devices.
  quick = re.sub(r'--xla_force_host_platform_device_count=\d+', '', os.environ['XLA_FLAGS'])
  changes['XLA_FLAGS'] = '' if full else quick
  changes['TEMPO_JAX_NOTEBOOK'] = 'full' if full else 'short'
  content = nbformat.read(_NOTEBOOK, as_version=4)
  client = nbclient.NotebookClient(
    content, timeout=900, kernel_name='python3', resources={'metadata': {'path': str(work)}}
  )
  client.execute(env=os.environ | changes)
  return [cell for cell in content.cells if cell.cell_type == 'code']


def outputs(cells, kind):
  """All outputs of a kind, by their order."""
  found = (output.get('data', {}) for cell in cells for output in cell.outputs)
  return [data[kind] for data in found if kind in data]


def printed(cells):
  return ''.join(o.text for cell in cells for o in cell.outputs if o.output_type == 'stream')


def test_committed_without_outputs():
  content = json.loads(_NOTEBOOK.read_text())
  for cell in content['cells']:
    assert not cell.get('outputs')
    assert cell.get('execution_count') is None
  nbformat.validate(content)


def test_paths_in_its_text_are_there():
  package = _NOTEBOOK.parents[2] / 'tempo_jax'
  text = ''.join(
    cell.source
    for cell in nbformat.read(_NOTEBOOK, as_version=4).cells
    if cell.cell_type == 'markdown'
  )
  scope = text[text.index('## Scope') :]
  modules = re.findall(r'`([a-z_0-9/]+\.py)`', scope)
  assert len(modules) > 10
  for module in modules:
    assert (package / module).is_file(), module


@pytest.mark.slow  # Runs the notebook.
def test_pictures_are_not_blank(executed):
  pictures = outputs(executed, 'image/png')
  # Flexibility twice, the free energy, the ensemble.
  assert len(pictures) == 4
  for picture in pictures:
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)))[..., :3]
    drawn = np.any(pixels < 0.9, axis=-1)
    assert 0.01 < drawn.mean() < 0.9
    # Not only axes and text, which are black.
    assert np.mean(np.ptp(pixels, axis=-1) > 0.2) > 0.003


@pytest.mark.slow  # Runs the notebook.
def test_movies_hold_the_trajectories(executed):
  movies = outputs(executed, 'text/html')
  labels = []
  for movie in movies:
    page = html.unescape(re.search(r'srcdoc="([^"]*)"', movie)[1])
    assert 'new Viewer(root)' in page
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    assert data['length'] == 20
    for clip in data['clips']:
      labels.append(clip['label'])
      # int16 of 0.01 Å
      xyz = np.frombuffer(base64.b64decode(clip['xyz']), '<i2').reshape(-1, 20, 3) / 100.0
      assert len(xyz) == len(clip['times']) > 30
      bonds = np.linalg.norm(np.diff(xyz, axis=1), axis=-1)
      assert 2.5 < bonds.min() < bonds.max() < 4.5
      assert xyz.std(axis=0).max() > 0.3
  slow = '1 ns apart, with side chains'
  assert labels == ['MD', 'model', slow, 'MD', 'fine-tuned']


@pytest.mark.slow  # Runs the notebook.
def test_the_table_is_filled(executed):
  (table,) = outputs(executed, 'text/markdown')
  header, _, *rows = [line.strip('| ').split(' | ') for line in table.splitlines()]
  assert header[:3] == ['metric', 'prediction', 'MD halves']
  numbers = {row[0]: row[1] for row in rows if len(row) > 1 and row[1].strip()}
  assert len(numbers) > 20
  assert np.isfinite([float(value) for value in numbers.values()]).all()
  assert float(numbers['pairwise RMSD (Å)']) > 0.3


@pytest.mark.slow  # Runs the notebook.
def test_frames_become_structures_for_md(executed):
  text = printed(executed)
  assert '2 of 2 frames are relaxed' in text
  assert len(re.findall(r'\bframe_\d+\.pdb\b', text)) >= 2


@pytest.mark.slow  # Runs the notebook.
def test_fine_tuning_ends_with_a_model(executed):
  text = printed(executed)
  assert re.search(r'\d+ frames written; 1 files read, no errors', text)
  assert re.search(r'any/validation_loss \d', text)
  assert 'trained into' in text
  errors = [o for cell in executed for o in cell.outputs if o.get('name') == 'stderr']
  assert not errors
