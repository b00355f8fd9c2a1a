"""How limits come from MD; their table needs data that is not here."""

import math

import numpy as np
import pytest

from experiments.benchmarks import limits, md_atoms
from tempo_jax.metrics import close_contacts, covalent_geometry


def test_what_a_share_of_an_exponential_is_beyond():
  values = np.random.default_rng(0).exponential(2.0, 200_000)
  # One in a million is beyond 2 ln 10^6, and 2,000 values of these more than 2 ln 100.
  assert limits.beyond(values, 1e-6) == pytest.approx(2.0 * math.log(1e6), abs=2.5)
  greatest = values[values > 2.0 * math.log(100.0)]
  assert limits.beyond(greatest, 1e-6, len(values)) == limits.beyond(values, 1e-6)
  assert limits.beyond(values, 1e-2) < limits.beyond(values, 1e-4) < values.max() + 2.0


def test_the_force_field_that_allows_most_counts():
  rng = np.random.default_rng(1)
  narrow, wide = rng.normal(110.0, 1.0, 20_000), rng.normal(112.0, 4.0, 20_000)
  lower, upper = limits.widest([narrow, wide, np.zeros(100)])
  # Five sd: one in 1.7 million. An exponential tail lies a little farther out.
  assert 112.0 - 7.0 * 4.0 < lower < 112.0 - 4.5 * 4.0
  assert 112.0 + 4.5 * 4.0 < upper < 112.0 + 7.0 * 4.0
  assert limits.widest([wide]) == (lower, upper)


def test_the_tables_of_some_md():
  """NuG2: 160 + 10 frames; all that it shows lies within the limits."""
  source = next(x for x in md_atoms.sources(None) if x.name == 'nug2')
  frames = md_atoms.read(*source)
  found = limits.Collected()
  found.add('own', frames)
  assert found.num_residues == 170 * 56
  assert 0.0 < found.num_eclipsed / found.num_residues < 0.03
  for pair, distances in found.distances.items():
    assert np.concatenate(distances).min(initial=9.0) > close_contacts.NEAREST[pair]
  assert min(map(np.min, found.families('CA'))) > covalent_geometry.LEAST_VOLUME
  assert found.families('C-N')[0].size == 170 * 55
