"""The reports as a person meets them: in a real browser, offline, by mouse and keyboard."""

import numpy as np
import pytest

from tempo_jax.cli import evaluate
from tempo_jax.evaluation.scores import Settings
from tempo_jax.output import frame_table
from tempo_jax.report import trajectory_page
from tests import heavy_trajectories
from tests.evaluation import cases
from tests.report import browser

pytest.importorskip('matplotlib')
pytest.importorskip('tornado')

# How many pixels of the canvas are not background, and a number that any change of it changes.
_CANVAS = """(() => {
  const canvas = document.querySelector('.viewer canvas');
  // A copy: the browser warns of pages that read their own canvas again and again.
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext('2d', {willReadFrequently: true});
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let drawn = 0, sum = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] > 0 && Math.min(data[i], data[i + 1], data[i + 2]) < 200) drawn += 1;
    sum = (31 * sum + data[i] + 7 * data[i + 1] + 13 * data[i + 2]) % 1000003;
  }
  return [drawn, sum];
})()"""


@pytest.fixture(scope='module')
def chromium(tmp_path_factory):
  browser.path()
  with browser.Browser(tmp_path_factory.mktemp('chromium')) as found:
    yield found


@pytest.fixture(scope='module')
def evaluation(tmp_path_factory):
  """report.html of an evaluation."""
  folder = tmp_path_factory.mktemp('evaluation')
  case = cases.case(folder)
  evaluate.evaluate([case], folder / 'out', Settings(), num_workers=1)
  return folder / 'out' / 'report.html'


def check_page(chromium, file, headings):
  """Opens offline, complains of nothing, asks for nothing, and shows what it should."""
  chromium.open(file)
  assert not chromium.complaints()
  assert set(chromium.requests()) == {file.resolve().as_uri()}
  shown = chromium.run("[...document.querySelectorAll('h1, h2, h3')].map((h) => h.textContent)")
  assert set(headings) <= set(shown)
  drawn, _ = chromium.run(_CANVAS)
  assert drawn > 500
  # Nothing is wider than the page, on a desktop or a phone.
  for width in (1000, 380):
    chromium.open(file, width=width)
    wide = chromium.run('document.documentElement.scrollWidth')
    assert wide <= width


def test_evaluation(chromium, evaluation):
  headings = ['Summary', 'The trajectory in 3-D', 'Flexibility', 'Over time', 'Free energy']
  check_page(chromium, evaluation, [*headings, 'Contacts', 'Validity'])
  figures = chromium.run("document.querySelectorAll('figure svg').length")
  assert figures >= 8


def test_sample_report(chromium, trajectory_of, tmp_path):
  trajectory = trajectory_of(frames=12)
  text = trajectory_page.trajectory_page(trajectory, frame_table.FrameTable.of(trajectory), {})
  (tmp_path / 'report.html').write_text(text)
  check_page(chromium, tmp_path / 'report.html', ['Summary', 'The trajectory in 3-D', 'Validity'])


def test_side_chains_can_be_switched(chromium, tmp_path):
  trajectory = heavy_trajectories.simulated('hp35')
  text = trajectory_page.trajectory_page(trajectory, frame_table.FrameTable.of(trajectory), {})
  (tmp_path / 'report.html').write_text(text)
  headings = ['Summary', 'The trajectory in 3-D', 'Validity']
  check_page(chromium, tmp_path / 'report.html', headings)
  box = '.viewer [data-choose=sticks]'
  with_sticks = chromium.run(_CANVAS)
  chromium.run(f"document.querySelector('{box}').click()")
  chromium.run('new Promise((done) => setTimeout(done, 100))')
  without = chromium.run(_CANVAS)
  assert without[0] < 0.9 * with_sticks[0]
  chromium.run("document.querySelector('.viewer canvas').focus()")
  chromium.press('s')
  assert chromium.run(_CANVAS) == with_sticks
  for colours in ('structure', 'residue'):
    chromium.run(
      "(() => { const box = document.querySelector('.viewer [data-choose=colour]');"
      f" box.value = '{colours}'; box.dispatchEvent(new Event('change')); }})()"
    )
    chromium.run('new Promise((done) => setTimeout(done, 100))')
    assert (chromium.run(_CANVAS)[1] == with_sticks[1]) == (colours == 'residue')
  assert not chromium.complaints()


def test_keyboard_and_mouse(chromium, evaluation):
  chromium.open(evaluation)
  for _ in range(30):  # Tab alone reaches the viewer.
    if chromium.run('document.activeElement.tagName') == 'CANVAS':
      break
    chromium.press('Tab')
  assert chromium.run('document.activeElement.tagName') == 'CANVAS'
  seen = [chromium.run(_CANVAS)[1]]
  for key in ('ArrowLeft', '+', '.'):
    chromium.press(key)
    seen.append(chromium.run(_CANVAS)[1])
  assert len(set(seen)) == len(seen), 'a key changed nothing'
  chromium.press('0')
  frame = chromium.run("document.querySelector('.viewer input[type=range]').value")
  chromium.press(' ')
  playing = "document.querySelector('.viewer input[type=range]').value"
  chromium.run('new Promise((done) => setTimeout(done, 700))')
  assert chromium.run(playing) != frame
  chromium.press(' ')
  stopped = chromium.run(playing)
  chromium.run('new Promise((done) => setTimeout(done, 300))')
  assert chromium.run(playing) == stopped
  box = chromium.run(
    "(() => { const r = document.querySelector('.viewer canvas').getBoundingClientRect();"
    ' return [r.left + r.width / 2, r.top + r.height / 2]; })()'
  )
  before = chromium.run(_CANVAS)[1]
  chromium.drag(box, list(np.add(box, [60, 20])))
  assert chromium.run(_CANVAS)[1] != before
  assert not chromium.complaints()
