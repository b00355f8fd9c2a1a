"""The draw of domains from mdCATH's index, and their download from a server of our own."""

import dataclasses
import functools
import http.server
import re
import shutil
import threading

import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.preparation.mdcath import domain_file, source_index
from tests.preparation import synthetic_mdcath
from tests.preparation.mdcath_runs import file_of, run

NUM_ELIGIBLE = 1200


@pytest.fixture(scope='module')
def index_file(tmp_path_factory):
  """1,200 eligible domains, of which 1,114 are drawn, and five others."""
  full = {(320, r): 400 for r in range(3)}
  domains = {synthetic_mdcath.domain_name(i): (240, full) for i in range(NUM_ELIGIBLE)}
  domains['9longA00'] = (241, full)
  domains['9shrtA00'] = (100, {**full, (320, 1): 399})
  domains['9gapsA00'] = (100, {(320, 0): 400, (320, 2): 400})
  domains['9coldA00'] = (100, {(348, r): 400 for r in range(3)})
  domains['9emptA00'] = (100, {})
  file = tmp_path_factory.mktemp('index') / 'mdcath_source.h5'
  synthetic_mdcath.write_source(file, domains)
  return file


@pytest.fixture
def source(tmp_path, index_file):
  (tmp_path / 'raw').mkdir()
  shutil.copy(index_file, tmp_path / 'raw')
  return tmp_path / 'raw'


def test_the_papers_draw(source, tmp_path):
  index = source_index.read(source)
  assert len(index) == NUM_ELIGIBLE + 5
  selection = domain_file.Selection()
  drawn = source_index.draw_paper(index, selection, seed=0)
  assert drawn == source_index.draw_paper(dict(reversed(index.items())), selection, seed=0)
  assert drawn != source_index.draw_paper(index, selection, seed=1)
  assert [*drawn.values()].count('train') == 1000
  assert [*drawn.values()].count('validation') == 50
  assert [*drawn.values()].count('test') == 64
  everyone = {n for seed in range(30) for n in source_index.draw_paper(index, selection, seed)}
  assert everyone == {synthetic_mdcath.domain_name(i) for i in range(NUM_ELIGIBLE)}
  with pytest.raises(InputError, match='draws 1114 domains, and 0 of 1205 have at most'):
    source_index.draw_paper(index, dataclasses.replace(selection, num_frames=401), 0)
  with pytest.raises(InputError, match='draws 1114 domains, and 0 of 1205'):
    source_index.draw_paper(index, dataclasses.replace(selection, replicas=None), 0)


def test_preset(source, tmp_path):
  selection = domain_file.Selection(replicas=(0,), num_frames=10)
  drawn = source_index.draw_paper(source_index.read(source), selection, seed=3)
  rng = np.random.default_rng(0)
  present = [*drawn][:2] + [*drawn][-1:]
  for name in present:
    atoms = synthetic_mdcath.build(12, rng)
    synthetic_mdcath.write_domain(file_of(source, name), name, atoms, {(320, 0): 10}, rng)
  outcome = run(source, tmp_path / 'store', preset='paper', seed=3, replicas=(0,), num_frames=10)
  lines = (source / 'mdcath_paper_seed3.csv').read_text().splitlines()
  assert lines[0] == 'name,split'
  assert dict(line.split(',') for line in lines[1:]) == drawn
  splits = {entry.name: entry.split for entry in outcome.store.entries}
  assert splits == {name: drawn[name] for name in present}
  (said,) = outcome.errors
  assert re.search(r'has no file for 1111 of the 1114 domains that are listed', said)


@dataclasses.dataclass
class Mirror:
  url: str
  asked: list[str]


@pytest.fixture
def mirror(tmp_path):
  """Serves tmp_path / 'remote', and lists what was asked for."""
  asked = []

  class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
      asked.append(self.path)
      super().do_GET()

    def log_message(self, *_):
      pass

  (tmp_path / 'remote' / 'data').mkdir(parents=True)
  handler = functools.partial(Handler, directory=tmp_path / 'remote')
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as httpd:
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield Mirror(f'http://127.0.0.1:{httpd.server_port}', asked)
    httpd.shutdown()


def test_download(mirror, tmp_path):
  """Only what is asked for, and only what is of use."""
  rng = np.random.default_rng(0)
  frames = {(320, 0): 20}
  names = ['1aaaA00', '1aabA00', '1aacA00']
  for name in names[:2]:
    atoms = synthetic_mdcath.build(12, rng)
    file = file_of(tmp_path / 'remote' / 'data', name)
    synthetic_mdcath.write_domain(file, name, atoms, frames, rng)
  index = dict.fromkeys(names, (12, frames))
  index |= {'9longA00': (300, frames), '9coldA00': (12, {(450, 0): 20}), '9moreA00': (12, frames)}
  synthetic_mdcath.write_source(tmp_path / 'remote' / 'mdcath_source.h5', index)
  listed = tmp_path / 'test.txt'
  listed.write_text('\n'.join([*names, '9longA00', '9coldA00']))
  raw = tmp_path / 'raw'
  settings = {'mirror': mirror.url, 'replicas': (0,), 'skip_longer': True}
  outcome = run(raw, tmp_path / 'store', download=listed, **settings)
  assert outcome.code == 1
  (said,) = outcome.errors  # the server has no such file
  assert '1aacA00' in said
  assert {entry.name: entry.split for entry in outcome.store.entries} == {
    '1aaaA00': 'test',
    '1aabA00': 'test',
  }
  assert '9longA00: 300 residues, more than --max_residues: not downloaded' in outcome.out
  assert '9coldA00: no frames at --temperatures and --replicas: not downloaded' in outcome.out
  assert any('licence' in line and source_index.CARD in line for line in outcome.out)
  wanted = {'/mdcath_source.h5', *(f'/data/mdcath_dataset_{name}.h5' for name in names)}
  assert set(mirror.asked) == wanted
  mirror.asked.clear()
  again = run(raw, tmp_path / 'store', download=listed, **settings)
  assert set(mirror.asked) == {'/data/mdcath_dataset_1aacA00.h5'}
  assert '1 replicas there already' in again.about('1aaaA00')
  listed.write_text('1aaaA00\n1nonA00\n1aaaA00/320')
  with pytest.raises(InputError, match='mdCATH has no domain 1nonA00, 1aaaA00/320: give ids'):
    run(raw, tmp_path / 'store', download=listed, mirror=mirror.url)
