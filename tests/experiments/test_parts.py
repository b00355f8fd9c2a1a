"""The parts of a step: that they are those of the sampler, and that they are measured."""

import jax
import numpy as np
import pytest

from experiments.benchmarks import parts
from tempo_jax.benchmark import flops
from tests import builders

CONFIG = builders.generative_config({'coarse': 0.2, 'fine': 0.01}, anchors='both', closure=True)


@pytest.fixture(scope='module')
def found():
  return parts.parts(CONFIG, 12)


def operations(part):
  function, (params, *inputs) = part
  return flops.count(jax.vmap(function, in_axes=(None, *[0] * len(inputs))), params, *inputs)


def test_the_encoder_and_the_head_contain_their_parts(found):
  count = {name: operations(part) for name, part in found.items()}
  of_encoder = ('surroundings', 'IPA blocks', 'attention blocks', 'GRU')
  assert sum(count[name] for name in of_encoder) < count['encoder, all of it']
  assert sum(count[name] for name in of_encoder) > 0.6 * count['encoder, all of it']
  assert count['blocks of the head'] < count['head, all of one pass']
  # Three passes of the head.
  rest = count['encoder, all of it'] + 3 * count['head, all of one pass']
  assert rest + count['overlaps and closure'] < 1.05 * count['step']
  assert rest + count['overlaps and closure'] > 0.8 * count['step']


def test_a_part_is_measured(found):
  row = parts.measure(found['GRU'], peak=1e9)
  assert row['milliseconds'] > 0.0
  assert row['gflop'] == pytest.approx(1e-9 * operations(found['GRU']))
  assert row['peak_share'] == pytest.approx(row['gflop'] / (1e-3 * row['milliseconds']), rel=1e-6)
  assert np.isfinite(row['mbytes'])
