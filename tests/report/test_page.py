import html.parser
import re
import sys

import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.output import frame_table
from tempo_jax.report import page, plots, trajectory_page
from tests import heavy_trajectories


class Outline(html.parser.HTMLParser):
  """Texts, tags, and whether tags are closed in order."""

  VOID = ('meta', 'br', 'input', 'img')

  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.texts, self.attributes = [], [], [], []
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append(data.strip())


def check_self_contained(text):
  outline = Outline(text)
  assert not outline.open
  assert not {'link', 'iframe', 'object'} & set(outline.tags)
  for name, value in outline.attributes:
    if name in ('src', 'href', 'xlink:href'):
      assert value.startswith(('#', 'data:')), value[:40]
  assert not re.search(r'url\((?!#)', text)
  assert '@import' not in text
  return outline


def test_plain_text_cannot_become_html():
  text = page.page(
    '<b>', [page.section('<i>', page.table({'a<': ['<x>', None, 0.1]}), page.listing(['<u>']))]
  )
  outline = check_self_contained(text)
  assert not {'b', 'i', 'x', 'u'} & set(outline.tags)
  assert '<x>, default, 0.1' in outline.texts


def test_the_report_of_a_trajectory(trajectory_of):
  pytest.importorskip('matplotlib')
  trajectory = trajectory_of(chains=('A', 'B'), replicas=2, frames=7)
  frames = frame_table.FrameTable.of(trajectory)
  text = trajectory_page.trajectory_page(
    trajectory, frames, {'seed': 5, 'model': 'default'}, ['9 K is < 10 K'], 'RMSF was < 2'
  )
  outline = check_self_contained(text)
  assert 'Caution: 9 K is < 10 K.' in outline.texts
  assert 'How far to trust it: RMSF was < 2.' in outline.texts
  assert outline.tags.count('svg') == 8
  assert outline.tags.count('canvas') == 1
  shown = set(outline.texts)
  assert {'time (ns)', 'RMSF (Å)', 'RMSD to start (Å)', 'radius of gyration (Å)'} <= shown
  assert {'CA-CA (Å)', 'longest C-N (Å)', 'clashes', 'replica 2', 'A10', 'seed', '5'} <= shown
  assert f'{frames.broken_percent:.1f} %' in shown
  pairwise = []
  for traj in map(trajectory.to_mdtraj, range(2)):
    start = mdtraj.Trajectory(trajectory.protein.arrays.positions.reshape(1, -1, 3) / 10, traj.top)
    ca = traj.top.select('name CA')
    ca = 10.0 * traj.superpose(start, atom_indices=ca).xyz[:, ca]
    step = ca[:, None] - ca
    pairwise.append(np.mean(np.sqrt(np.mean(np.sum(step**2, -1), -1))))
  (found,) = re.findall(
    r'>([0-9.]+) Å \(CA, 7 frames of each, all superposed on the start\)<', text
  )
  assert abs(float(found) - np.mean(pairwise)) < 0.01
  assert len(text) < 200_000


def test_the_report_of_all_heavy_atoms():
  pytest.importorskip('matplotlib')
  trajectory = heavy_trajectories.simulated('hp35')
  frames = frame_table.FrameTable.of(trajectory)
  text = trajectory_page.trajectory_page(trajectory, frames, {})
  outline = check_self_contained(text)
  assert outline.tags.count('svg') == 9
  contacts = frames.column('close_contacts').mean()
  assert contacts > 0.0
  assert f'{contacts:.1f} per frame' in outline.texts
  assert ('data-choose', 'sticks') in outline.attributes
  again = trajectory_page.trajectory_page(trajectory, frames, {})
  assert text == again


def test_the_report_is_the_same_from_run_to_run(trajectory_of):
  pytest.importorskip('matplotlib')
  trajectory = trajectory_of(frames=1)
  frames = frame_table.FrameTable.of(trajectory)
  texts = {trajectory_page.trajectory_page(trajectory, frames, {}) for _ in range(2)}
  assert len(texts) == 1


def test_lines_end_where_they_should():
  pytest.importorskip('matplotlib')
  x = np.linspace(0.0, 1.0, 5)
  curves = {f'curve {k}': k + np.array([[1.0, np.inf, 2.0, 3.0, 5.0]]) for k in range(9)}
  figure = plots.lines(x, curves, x_label='x', y_label='y', limits=[7.0], marks=[0.5])
  (axes,) = figure.axes
  assert len(axes.lines) == 9 + 2
  np.testing.assert_array_equal(axes.lines[1].get_ydata(), [2.0, np.nan, 3.0, 4.0, 6.0])
  assert not figure.legends  # nine names would not fit
  assert axes.get_xlim() == (0.0, 1.0)


def test_without_matplotlib_there_is_one_line(trajectory_of, monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  trajectory = trajectory_of()
  with pytest.raises(InputError, match=r"matplotlib.*pip install 'tempo-jax\[report\]'") as raised:
    trajectory_page.trajectory_page(trajectory, frame_table.FrameTable.of(trajectory), {})
  assert '\n' not in str(raised.value)
