import types

import pytest

from tempo_jax import config as config_lib
from tempo_jax.models import trained_range

SEEN = {
  'temperatures_K': (280.0, 320.0),
  'num_residues': (10, 20),
  'num_chains': 1,
  'longest_ns': ((20, 3.0),),
}
OTHER = {
  'temperatures_K': (300.0,),
  'num_residues': (40, 40),
  'num_chains': 2,
  'longest_ns': ((40, 0.1),),
}


def warnings(num_residues=20, num_chains=1, temperature_K=300.0, length_ns=None, seen=SEEN):
  config = config_lib.model_config()
  config.trained_on.update(seen)
  protein = types.SimpleNamespace(num_residues=num_residues, chain_ids='ABC'[:num_chains])
  return trained_range.warnings(config, protein, temperature_K, length_ns)


def test_merges():
  assert trained_range.merge(SEEN, OTHER) == {
    'temperatures_K': (280.0, 300.0, 320.0),
    'num_residues': (10, 40),
    'num_chains': 2,
    'longest_ns': ((20, 3.0), (40, 0.1)),
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
  parts = [(10, 8.0), (12, 0.5), (20, 3.0), (20, 2.0), (60, 1.0), (64, 1.0)]
  longest = trained_range.longest(parts)
  assert longest == ((10, 8.0), (20, 3.0), (64, 1.0))
  kwargs = {'num_residues': num_residues, 'temperature_K': 320.0}
  kwargs['seen'] = SEEN | {'num_residues': (10, 64), 'longest_ns': longest}

  def said(length_ns):
    return [x for x in warnings(length_ns=length_ns, **kwargs) if 'in one piece' in x]

  assert not said(longest_ns)
  assert f'no more than {longest_ns:g} ns' in said(1.01 * longest_ns)[0]


def test_a_model_that_was_never_trained_says_nothing():
  assert warnings(num_residues=5000, seen=config_lib.model_config().trained_on) == []
