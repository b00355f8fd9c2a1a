"""What the tests of several commands start from."""

import pytest

from tests.cli import commands


@pytest.fixture(scope='module')
def model_dir(tmp_path_factory):
  """A small untrained model."""
  path = tmp_path_factory.mktemp('model')
  commands.save_model(path)
  return path
