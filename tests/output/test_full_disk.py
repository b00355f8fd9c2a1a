"""A disk that fills up while a trajectory is written: one line, and nothing is left."""

import os
import re

import pytest

from tempo_jax.errors import InputError
from tempo_jax.output import staging, trajectory_files
from tempo_jax.trajectory import writers
from tests import disk

# Formats and the sizes, bytes, at which a file ends: in its first block, and later.
LIMITS = [
  *(('xtc', 8_000), ('xtc', 60_000)),
  *(('dcd', 8_000), ('dcd', 100_000)),
  *(('pdb', 8_000), ('pdb', 500_000)),
  *(('h5', 8_000), ('h5', 100_000)),
]


def write_blocks(out, trajectory, extension):
  """As `sample` does, block by block."""
  outline = trajectory_files.Outline.of(trajectory, extension)
  with staging.output_directory(out, trajectory_files.FILE_NAMES) as folder:
    file = trajectory_files.ReplicaFile(folder, outline, 0)
    try:
      for first in range(0, trajectory.num_frames, 50):
        file.append(trajectory.positions[0, first : first + 50])
      file.close()
    except BaseException:
      file.abandon()
      raise
    trajectory_files.join_frames(folder, outline)


@pytest.mark.parametrize(('extension', 'limit'), LIMITS)
def test_a_full_disk_is_one_line(trajectory_of, tmp_path, extension, limit):
  trajectory = trajectory_of(frames=400)
  out = tmp_path / 'parent' / 'out'
  with disk.files_end_at(limit), pytest.raises(InputError) as error:
    write_blocks(out, trajectory, extension)
  message = str(error.value)
  assert re.search(r'cannot write|disk full', message)
  assert str(tmp_path) in message
  assert '.partial_' not in message
  assert '\n' not in message
  assert os.listdir(tmp_path) == ['helices.pdb']
  write_blocks(out, trajectory, extension)  # once there is space
  assert sorted(os.listdir(out)) == ['frames.csv', f'trajectory.{extension}']


def test_a_disk_that_loses_what_it_took_is_noticed(trajectory_of, tmp_path, monkeypatch):
  """No error is reported, as by some network disks: reading back finds it out."""
  trajectory = trajectory_of(frames=250)

  class Losing(writers.WRITERS['.xtc']):
    def close(self):
      super().close()
      os.truncate(self.path, self.path.stat().st_size // 2)

  monkeypatch.setitem(writers.WRITERS, '.xtc', Losing)
  with pytest.raises(InputError, match=r'/out/trajectory\.xtc .*is the disk full\?'):
    write_blocks(tmp_path / 'out', trajectory, 'xtc')
  assert os.listdir(tmp_path) == ['helices.pdb']


@pytest.mark.parametrize('extension', trajectory_files.FORMATS)
def test_saving_on_a_full_disk_keeps_the_old_file(trajectory_of, tmp_path, extension):
  trajectory = trajectory_of(frames=400)
  path = tmp_path / f'x.{extension}'
  path.write_text('old')
  with disk.files_end_at(8_000), pytest.raises(InputError, match=rf'x\.{extension}'):
    trajectory.save(path, overwrite=True)
  assert path.read_text() == 'old'
  assert sorted(os.listdir(tmp_path)) == ['helices.pdb', path.name]
