import dataclasses
import types

import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.models import trained_range


@dataclasses.dataclass
class Trajectory:
  temperature_K: float  # noqa: N815  (K is kelvin)
  num_residues: int
  num_frames: int = 100
  chain_ids: tuple[str, ...] = ('A',)
  dt_ns: float = 0.01

  @property
  def residue_type(self):
    return np.zeros(self.num_residues, np.int32)


SEEN = trained_range.measure([Trajectory(320.0, 20, 300), Trajectory(280.0, 10)])


def warnings(num_residues=20, num_chains=1, temperature_K=300.0, length_ns=None, seen=SEEN):
  config = config_lib.model_config()
  config.trained_on.update(seen)
  protein = types.SimpleNamespace(num_residues=num_residues, chain_ids='ABC'[:num_chains])
  return trained_range.warnings(config, protein, temperature_K, length_ns)


def test_measures_and_merges():
  assert SEEN['temperatures_K'] == (280.0, 320.0)
  assert SEEN['num_residues'] == (10, 20)
  assert SEEN['longest_ns'] == ((20, pytest.approx(3.0)),)
  other = trained_range.measure([Trajectory(300.0, 40, 10, ('A', 'B'))])
  block = (0.25, 0.75)
  half = trained_range.measure([Trajectory(320.0, 20, 300)], block)
  assert half['longest_ns'] == ((20, pytest.approx(1.5)),)
  assert trained_range.merge(SEEN, other) == {
    'temperatures_K': (280.0, 300.0, 320.0),
    'num_residues': (10, 40),
    'num_chains': 2,
    'longest_ns': (*SEEN['longest_ns'], (40, pytest.approx(0.1))),
  }
  untrained = config_lib.model_config().trained_on
  assert trained_range.merge(untrained, SEEN) == trained_range.merge(SEEN, untrained) == SEEN


@pytest.mark.parametrize(
  ('given', 'expected'),
  [
    ({}, []),
    ({'num_residues': 10, 'temperature_K': 280.0, 'length_ns': 3.0}, []),
    (
      {'temperature_K': 350.5},
      ['the model was trained at 280 to 320 K; 350.5 K is outside'],
    ),
    (
      {'num_residues': 21},
      ['the model was trained on proteins of 10 to 20 residues; 21 is outside'],
    ),
    ({'num_chains': 2}, ['the model was trained on single chains; it has not seen 2']),
    (
      {'length_ns': 4.0},
      [
        'of proteins of such a size the model was trained on no more than 3 ns in one piece: '
        'slower motion, within 4 ns, is a guess'
      ],
    ),
    (
      {'temperature_K': 300.0, 'num_residues': 9, 'seen': SEEN | {'temperatures_K': (320.0,)}},
      [
        'the model was trained at 320 K only; 300 K is outside',
        'the model was trained on proteins of 10 to 20 residues; 9 is outside',
      ],
    ),
  ],
)
def test_warns_of_what_lies_outside(given, expected):
  assert warnings(**given) == expected


@pytest.mark.parametrize(
  ('num_residues', 'longest_ns'),
  [(10, 8.0), (20, 8.0), (21, 3.0), (40, 3.0), (41, 1.0), (500, 1.0)],
)
def test_how_long_proteins_of_a_size_were_followed(num_residues, longest_ns):
  trajectories = [(10, 800), (12, 50), (20, 300), (20, 200), (60, 100), (64, 100)]
  seen = trained_range.measure([Trajectory(320.0, n, frames) for n, frames in trajectories])
  assert [n for n, _ in seen['longest_ns']] == [10, 20, 64]
  kwargs = {'num_residues': num_residues, 'temperature_K': 320.0, 'seen': seen}

  def said(length_ns):
    return [x for x in warnings(length_ns=length_ns, **kwargs) if 'in one piece' in x]

  assert not said(longest_ns)
  assert f'no more than {longest_ns:g} ns' in said(1.01 * longest_ns)[0]


def test_a_model_that_was_never_trained_says_nothing():
  assert warnings(num_residues=5000, seen=config_lib.model_config().trained_on) == []
