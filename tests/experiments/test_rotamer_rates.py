"""Oracle: wells counted by hand."""

import types

import numpy as np
import pytest

from experiments import results
from experiments.benchmarks import heavy_frames, memory, rotamer_rates
from tempo_jax.protein import protein as protein_lib


def types_of(*names):
  return np.array([protein_lib.RESIDUE_TYPES.index(name) for name in names], np.int32)


def test_changes_are_counted_per_torsion_and_step():
  """LEU: chi1 and chi2; PRO: its puckers; GLY has none."""
  kind = types_of('LEU', 'PRO', 'GLY')
  chi = np.zeros((4, 3, 4), np.float32)
  chi[:, 0, 0] = np.deg2rad([-60.0, -70.0, 60.0, -60.0])  # Two changes of three steps.
  chi[:, 0, 1] = np.deg2rad([179.0, -179.0, 175.0, 65.0])  # One.
  chi[:, 1, 0] = np.deg2rad([30.0, -30.0, 30.0, -30.0])
  assert rotamer_rates.changes([chi], kind) == pytest.approx((2 / 3, 1 / 3, 1.0))
  still = np.repeat(chi[:1], 3, axis=0)
  assert rotamer_rates.changes([chi, still], kind) == pytest.approx((2 / 5, 1 / 5, 3 / 5))
  assert np.isnan(rotamer_rates.changes([chi[:, :1]], kind[:1])[2])


@pytest.fixture(scope='module')
def source():
  return memory.implicit()['nug2']


def replaying(source):
  """A model whose samples are MD, every second frame twice: half of the steps change nothing."""
  _, md = heavy_frames.read(source.topology, [source.trajectory], 'nug2', 0.01, source.dt_ns)
  atoms = np.repeat(md.heavy_atoms[0][:60], 2, axis=0)

  def sample(protein, num_frames, num_replicas, rng, temperature_K):
    assert protein.arrays.solvent == protein_lib.SOLVENTS.index('implicit')
    assert (num_frames, num_replicas, temperature_K) == (120, 1, 320.0)
    return types.SimpleNamespace(heavy_atoms=atoms[None])

  steps = {0.01: types.SimpleNamespace(sample=sample)}
  return types.SimpleNamespace(at=lambda dt_ns: steps[dt_ns])


def test_a_protein_beside_its_md(source, tmp_path):
  rates = rotamer_rates.compare(replaying(source), 'nug2', source, 'implicit', 0.01, 120, 1, 0)
  assert (rates.protein, rates.dt_ns) == ('nug2', 0.01)
  for of_md, ours in (rates.chi1, rates.chi2):
    assert 0.3 < ours / of_md < 0.8
  text = rotamer_rates.table([rates, rates])
  assert len(text.splitlines()) == 5
  ratio = rates.chi1[1] / rates.chi1[0]
  assert f'({ratio:.2f})' in text.splitlines()[2]
  assert text.splitlines()[-1].startswith('| *geometric mean* | implicit, 0.01 |')
  assert f'{ratio:.2f}' in text.splitlines()[-1]
  # It has no proline.
  assert rotamer_rates.plain(rates)['puckers'] is None
  results.write(tmp_path / 'rates', text, rates=[rotamer_rates.plain(rates)])


def test_too_little_md_is_left_out(source):
  assert rotamer_rates.compare(None, 'nug2', source, 'implicit', 1.0, 9, 1, 0) is None


def test_rates_at_the_shortest_lag_in_water_are_estimated():
  """As rates fall with the lag in implicit solvent, and from 1 to 0.2 ns in explicit solvent."""

  def rates(protein, solvent, dt_ns, chi1, chi2, puckers):
    md = ((x, 0.5) for x in (chi1, chi2, puckers))
    return rotamer_rates.Rates(protein, solvent, dt_ns, 100, *md)

  nan = np.nan
  found = [
    rates('nug2', 'implicit', 0.01, 0.01, 0.1, nan),
    rates('nug2', 'implicit', 0.2, 0.1, 0.2, nan),
    rates('2jof', 'implicit', 0.01, 0.04, 0.05, 0.3),
    rates('2jof', 'implicit', 0.2, 0.1, 0.1, 0.0),
    rates('1tg0', 'implicit', 0.01, 0.03, 0.1, 0.2),
    rates('psi', 'explicit', 0.2, 0.05, 0.1, 0.1),
    rates('psi', 'explicit', 1.0, 0.1, 0.4, 0.1),
    rates('sh2', 'explicit', 1.0, 0.2, 0.4, 0.1),
  ]
  chi1, chi2, puckers = rotamer_rates.estimated(found, 'psi')
  assert (chi1, chi2) == pytest.approx((0.05 * 0.2, 0.1 * 0.5))
  assert np.isnan(puckers)
  chi1, chi2, _ = rotamer_rates.estimated(found, 'sh2')
  assert (chi1, chi2) == pytest.approx((0.2 * 0.5 * 0.2, 0.4 * 0.25 * 0.5))
  assert all(map(np.isnan, rotamer_rates.estimated(found, 'ntl9')))
  line = rotamer_rates.Rates('sh2', 'explicit', 0.01, 0, (0.02, 0.04), (nan, 0.1), (0.0, 0.1))
  cells = rotamer_rates.table([line]).splitlines()[2]
  assert cells == '| sh2 | explicit, 0.01 (MD estimated) | 0.020 / 0.040 (2.00) | - | - |'
