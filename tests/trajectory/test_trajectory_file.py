"""What is written is read back: a file that a disk lost or changed is noticed when it is closed."""

import os

import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.trajectory import trajectory_file, writers

FORMATS = [extension.removeprefix('.') for extension in writers.WRITERS]


@pytest.fixture
def write(trajectory_of, tmp_path):
  """write('xtc', spoil): 250 frames in blocks; before the file is closed, spoil(path)."""
  trajectory = trajectory_of(frames=250)

  def run(extension, spoil=lambda path: None):
    path = tmp_path / f'x.{extension}'
    file = trajectory_file.Writer(path, trajectory.protein, 0.01, 0.01)
    for first in range(0, 250, 50):
      file.append(trajectory.positions[0, first : first + 50])
    try:
      spoil(path)
      file.close()
    finally:
      file.abandon()
    return path, trajectory

  return run


def lose(path):
  """What was written so far, as if the disk had never had room for it."""
  os.truncate(path, path.stat().st_size // 3)


@pytest.mark.parametrize('extension', FORMATS)
def test_a_sound_file_passes_and_is_read_in_blocks(write, extension):
  path, trajectory = write(extension)
  for stride in (1, 3, 120):
    found = np.concatenate(list(trajectory_file.read(path, trajectory.protein, stride)))
    np.testing.assert_allclose(found, trajectory.positions[0, ::stride], atol=0.0052)


@pytest.mark.parametrize('extension', ['xtc', 'dcd', 'pdb'])
def test_what_the_disk_lost_is_noticed(write, extension):
  """Nobody reports an error: the rest is written behind a hole."""
  with pytest.raises(InputError, match=rf'/x\.{extension}.*is the disk full\?') as error:
    write(extension, lose)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('extension', FORMATS)
def test_a_shorter_file_of_whole_frames_is_noticed(write, trajectory_of, extension):
  """Valid by its format, but of 200 frames: one that somebody put in its place."""

  def shorten(path):
    shorter = trajectory_of(frames=200).save(path.with_name(f'short{path.suffix}'))
    os.replace(shorter[0], path)

  with pytest.raises(InputError, match=rf'/x\.{extension}.*is the disk full\?'):
    write(extension, shorten)


def test_one_coordinate_that_changed_is_noticed(write):
  """By 1 Å, in one frame of 250: the signed sums tell."""

  def change(path):
    content = np.fromfile(path, np.uint8)
    # The last frame but some: x of one atom, a float32 of Å.
    place = len(content) - 4 * 7
    value = content[place : place + 4].view(np.float32)
    value += 1.0
    content.tofile(path)

  with pytest.raises(InputError, match=r'/x\.dcd was not written correctly.*other coordinates'):
    write('dcd', change)
