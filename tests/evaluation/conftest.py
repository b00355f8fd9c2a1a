import pytest

from tests.evaluation import cases


@pytest.fixture
def files(tmp_path, np_rng):
  """Native structure in a folder of its own, and 12 frames [F, L, 5, 3] Å about it."""
  (tmp_path / 'md').mkdir()
  native = tmp_path / 'md' / 'native.pdb'
  xyz = cases.write_native(native, length=9)
  return native, cases.wander(np_rng, xyz, num_frames=12)
