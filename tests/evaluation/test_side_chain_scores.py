import dataclasses
import json

import jax
import mdtraj
import numpy as np
import pytest
import scipy.linalg
from scipy.spatial import distance

from tempo_jax.cli import evaluate
from tempo_jax.evaluation import ensemble as ensemble_lib
from tempo_jax.evaluation import scores, side_chain_details, side_chain_scores, summary
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Native
from tempo_jax.evaluation.suite import Case
from tempo_jax.geometry import side_chains as geometry
from tempo_jax.metrics import exposure
from tempo_jax.protein import protein as protein_lib
from tests import heavy_atoms, peptides
from tests.cli import commands
from tests.evaluation import cases

NAMES = ('ALA', 'SER', 'LEU', 'PRO', 'GLY', 'PHE', 'LYS', 'ALA', 'VAL')
TYPES = np.array([protein_lib.RESIDUE_TYPES.index(name) for name in NAMES])
SER, LEU, PRO, PHE, LYS, VAL = 1, 2, 3, 5, 6, 8
FRAMES = 120
DT_NS = cases.DT_PS / 1000.0
# Degrees, all in the middle of a bin of any histogram. Of chi that rest:
REST = {
  SER: (66,),
  LEU: (-66, 174),
  PRO: (34,),
  PHE: (-66, 92),
  LYS: (-66, 174, 174, 174),
  VAL: (174,),
}
# And of those that move, a frame each, repeated. 124 is a barrier.
MD_SER = [66, 66, 66, 174, 174, 174, 174, 174, -66, -66, 124, -66]
OUR_SER = [66, 66, 174, 174, 174, 174]
MD_LEU2 = [174] * 60 + [66] * 60
OUR_PRO = [34, -34] * 60

BUILD = jax.jit(geometry.heavy_atoms)


def chi_of(frames=FRAMES, **moving):
  """[F, 9, 4] radians; `moving`: name and number, such as SER1, to its degrees."""
  chi = np.zeros((frames, len(NAMES), 4))
  for residue, angles in REST.items():
    chi[:, residue, : len(angles)] = angles
  for name, series in moving.items():
    chi[:, globals()[name[:3]], int(name[3]) - 1] = np.resize(series, frames)
  return np.deg2rad(chi)


def save(path, chi, seed, scale=0.3):
  """All heavy atoms as a file, on a backbone that wanders; returns them as [F, L, 14, 3] Å."""
  rng = np.random.default_rng(seed)
  backbone = cases.wander(rng, peptides.helix(len(NAMES))[:, :4], len(chi), scale)
  if path.suffix == '.pdb':
    backbone[:] = peptides.helix(len(NAMES))[:, :4]
  backbone = np.resize(backbone, (FRAMES, *backbone.shape[1:])).astype(np.float32)
  full = np.resize(chi, (FRAMES, *chi.shape[1:])).astype(np.float32)
  atoms = np.asarray(BUILD(backbone, full, TYPES))[: len(chi)]
  traj = heavy_atoms.as_mdtraj(atoms, TYPES)
  traj.time = cases.DT_PS * np.arange(1, len(chi) + 1)
  traj.save(str(path))
  return atoms


@pytest.fixture(scope='module')
def case(tmp_path_factory):
  """Two replicas of MD and a prediction, whose rotamers are made by hand."""
  folder = tmp_path_factory.mktemp('rotamers')
  save(folder / 'native.pdb', chi_of(1), 0)
  for k in range(2):
    save(folder / f'R{k + 1}.xtc', chi_of(SER1=MD_SER, LEU2=MD_LEU2), 1 + k)
  save(folder / 'P.xtc', chi_of(SER1=OUR_SER, PRO1=OUR_PRO), 3)
  files = tuple(folder / f'R{k}.xtc' for k in (1, 2))
  return Case('one', folder / 'native.pdb', files, (folder / 'P.xtc',))


@pytest.fixture(scope='module')
def ensembles(case):
  native = Native(case.topology)
  return [
    Ensemble(native.protein, [native.read(file) for file in files])
    for files in (case.reference, case.prediction)
  ]


def of(reference, prediction, *, with_exposure=False):
  """Numbers and reasons."""
  found = side_chain_scores.scores(reference, prediction, with_exposure)
  assert tuple(found) == side_chain_scores.KEYS
  assert all((value is None) != (reason is None) for value, reason in found.values())
  return {k: v for k, (v, _) in found.items()}, {k: why for k, (_, why) in found.items()}


def test_rotamers_that_are_known(ensembles):
  numbers, _ = of(*ensembles)
  # Of 12 frames of MD 3, 5 and 4 are in the wells (the barrier counts with the well before); of 6
  # of ours 2, 4 and 0. LEU chi2 is a half of the time elsewhere; PRO puckers in ours alone.
  apart = {
    'SER': 0.5 * (abs(2 / 6 - 3 / 12) + abs(4 / 6 - 5 / 12) + 4 / 12),
    'LEU': 0.5,
    'PRO': 0.5,
  }
  num_wells = 6 + 2  # chi1 of SER, LEU, PRO, PHE, LYS, VAL; chi2 of LEU and LYS
  expected = sum(apart.values()) / num_wells
  assert numbers['rotamer_population_distance'] == pytest.approx(expected, abs=1e-6)
  # In MD SER changes three times in 12 frames, and LEU once; the first frame has none before it.
  md = (3 * FRAMES / 12 - 1 + 1) / ((FRAMES - 1) * DT_NS)
  ours = (2 * FRAMES / 6 - 1) / ((FRAMES - 1) * DT_NS)
  assert numbers['rotamer_changes_ratio'] == pytest.approx(ours / md, rel=1e-4)


def test_distances_are_those_of_scipy(ensembles):
  numbers, _ = of(*ensembles)
  # Each angle is a bin of its own.
  ser = np.array([3, 5, 3, 1]) / 12, np.array([2, 4, 0, 0]) / 6
  leu2, pro = ((0.5, 0.5), (1.0, 0.0)), ((1.0, 0.0), (0.5, 0.5))
  bits = [distance.jensenshannon(*pair, base=2) ** 2 for pair in (ser, pro, leu2)]
  assert numbers['chi1_jsd'] == pytest.approx((bits[0] + bits[1]) / 6, abs=1e-6)
  assert numbers['chi2_jsd'] == pytest.approx(bits[2] / 3, abs=1e-6)
  apart = [distance.jensenshannon(*pair) for pair in (ser, pro, leu2)]
  # Of eleven chi: one of SER, PRO and VAL, two of LEU and PHE, four of LYS.
  assert numbers['torsion_js_distance_side_chain'] == pytest.approx(sum(apart) / 11, abs=1e-6)


def test_details_tell_every_residue(ensembles):
  found = side_chain_details.details(*ensembles)
  assert found['reason'] is None
  assert found['changes_reason'] is None
  labels = [entry['label'] for entry in found['residues']]
  assert labels == [f'A:{i + 1} {NAMES[i]}' for i in (SER, LEU, PRO, PHE, LYS, VAL)]
  by_label = dict(zip(labels, found['residues'], strict=True))
  ser, leu, pro, phe, lys = (by_label[label] for label in labels[:5])
  assert ser['populations']['reference'] == [
    [pytest.approx(x, abs=1e-3) for x in (0.25, 5 / 12, 1 / 3)]
  ]
  assert ser['populations']['prediction'] == [
    [pytest.approx(x, abs=1e-3) for x in (1 / 3, 2 / 3, 0.0)]
  ]
  assert leu['populations']['reference'] == [[0.0, 0.0, 1.0], [0.5, 0.5, 0.0]]
  assert pro['populations']['prediction'] == [[0.5, 0.5]]
  assert pro['populations']['reference'] == [[1.0, 0.0]]
  assert phe['populations']['reference'] == [[0.0, 0.0, 1.0]]  # Its chi2 has no wells.
  assert len(phe['jsd']) == 2
  assert len(lys['jsd']) == 4
  assert len(lys['populations']['reference']) == 2
  steps_ns = (FRAMES - 1) * DT_NS
  assert ser['changes_per_ns']['prediction'] == [pytest.approx(39 / steps_ns, rel=1e-3)]
  assert leu['changes_per_ns']['reference'] == [0.0, pytest.approx(1 / steps_ns, rel=1e-3)]
  assert found['changes_per_ns']['prediction'] == pytest.approx(39 / steps_ns, rel=1e-3)
  assert found['pucker_changes_per_ns'] == {
    'reference': 0.0,
    'prediction': pytest.approx(119 / steps_ns, rel=1e-3),
  }
  # Each frame the other pucker: after one frame nothing is left.
  assert pro['decorrelation_ns']['prediction'] == [pytest.approx(DT_NS)]
  # One change at half of the time: C(k) = 1 - 2 k / (F - k) is first below 1/e at k = 29.
  lags = np.arange(FRAMES // 2)
  first = int(np.argmax(1.0 - 2.0 * lags / (FRAMES - lags) < np.exp(-1.0)))
  assert leu['decorrelation_ns']['reference'][1] == pytest.approx(first * DT_NS, rel=1e-3)
  assert found['contact_frames'] == {'reference': 48, 'prediction': 40}
  # Halves of MD differ in LEU chi2 alone, and in all of its bins.
  assert found['chi2_jsd_floor'] == pytest.approx(1 / 3, abs=1e-4)
  json.dumps(found, allow_nan=False)


def test_heavy_atoms_fluctuate_as_mdtraj_says(case, ensembles):
  reference, prediction = ensembles
  native = heavy_atoms_of(mdtraj.load(str(case.topology)))
  fluctuations, gaussians = [], []
  for ensemble in ensembles:
    atoms = ensemble.heavy_atoms
    traj = heavy_atoms.as_mdtraj(atoms, TYPES)
    target = heavy_atoms.as_mdtraj(native, TYPES)
    backbone = traj.topology.select('name N CA C O')
    traj.superpose(target, atom_indices=backbone)
    # A copy as a reference, so that nothing is superposed again.
    fluctuation = 10.0 * np.sqrt(3.0 * traj.xyz.astype(np.float64).var(axis=0).mean(axis=-1))
    fluctuations.append(fluctuation)
    points = 10.0 * traj.xyz.astype(np.float64)
    gaussians.append(
      (points.mean(axis=0), np.array([np.cov(x.T, bias=True) for x in points.swapaxes(0, 1)]))
    )
  numbers, _ = of(reference, prediction)
  assert numbers['reference_heavy_rmsf'] == pytest.approx(fluctuations[0].mean(), rel=1e-4)
  assert numbers['heavy_rmsf'] == pytest.approx(fluctuations[1].mean(), rel=1e-4)
  assert numbers['heavy_rmsf_r'] == pytest.approx(np.corrcoef(*fluctuations)[0, 1], rel=1e-4)
  squares = [
    np.sum((m - n) ** 2) + np.trace(s + t - 2.0 * np.real(scipy.linalg.sqrtm(s @ t)))
    for m, s, n, t in zip(*gaussians[0], *gaussians[1], strict=True)
  ]
  assert numbers['heavy_root_mean_w2'] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-3)
  # More than the backbone's: side chains move.
  whole, _ = scores.score(reference, prediction, scores.Settings())
  assert whole['heavy_root_mean_w2'] > whole['root_mean_w2']


def heavy_atoms_of(traj):
  """[F, L, 14, 3] Å."""
  return heavy_atoms.from_mdtraj(traj)[0]


def test_contacts_are_counted_in_evenly_spaced_frames(ensembles, monkeypatch):
  reference, prediction = ensembles
  numbers, _ = of(reference, prediction)
  for key, one in (('reference_close_contacts', reference), ('close_contacts', prediction)):
    assert np.count_nonzero(~np.isnan(one.close_contacts)) <= ensemble_lib.MAX_CONTACT_FRAMES
    counted = [by_hand(atoms) for atoms in one.heavy_atoms[:: -(-one.num_frames // 50)]]
    assert numbers[key] == pytest.approx(np.mean(counted))


def by_hand(atoms):
  """Close contacts of [L, 14, 3] Å, pair by pair."""
  found, names = 0, heavy_atoms.side_chain_atoms.ATOM_NAMES
  flat = [
    (i, slot, names[TYPES[i]][slot][0] in 'NO', atoms[i, slot])
    for i in range(len(TYPES))
    for slot in range(len(names[TYPES[i]]))
  ]
  for n, (i, a, polar, x) in enumerate(flat):
    for j, b, other_polar, y in flat[n + 1 :]:
      limit = 2.4 if polar and other_polar else 3.0
      found += i != j and max(a, b) > 4 and np.linalg.norm(x - y) < limit
  return found


def test_validity_is_the_share_within_the_limits_of_md(ensembles):
  reference, prediction = ensembles
  numbers, _ = of(reference, prediction)
  # In a twelfth of MD's frames SER is on a barrier, which is then within the limits.
  assert numbers['valid_all_atom_percent'] == 100.0
  native = reference.native
  torn = chi_of(SER1=[60, 0], LEU2=[0, 60])
  worse = Ensemble(native, prediction.replicas)
  worse.chi = torn
  # In every second frame two residues are eclipsed, one more than MD ever has.
  numbers, _ = of(reference, worse)
  off = np.abs(np.rad2deg(torn[:, [SER, LEU], [0, 1]]) % 120 - 60) > 40
  assert off.sum(axis=1).max() == 1
  assert numbers['valid_all_atom_percent'] == 100.0
  worse.__dict__.pop('rotamer_outliers')
  worse.chi = chi_of(SER1=[60, 0], LEU2=[60, 0])
  numbers, _ = of(reference, worse)
  assert numbers['valid_all_atom_percent'] == pytest.approx(50.0)
  assert numbers['valid_percent'] <= 50.0


def test_without_side_chains_each_number_says_which_file(case, ensembles, tmp_path):
  native = Native(case.topology)
  traj = mdtraj.load(str(case.prediction[0]), top=str(case.topology))
  backbone = traj.atom_slice(traj.topology.select('name N CA C O'))
  backbone.save(str(tmp_path / 'B.xtc'))
  without = Ensemble(native.protein, [native.read(tmp_path / 'B.xtc')])
  for pair in ((ensembles[0], without), (without, ensembles[1])):
    numbers, notes = of(*pair)
    assert set(numbers.values()) == {None}
    assert set(notes.values()) == {f'{tmp_path / "B.xtc"} has no side chains'}
    reason = {'reason': f'{tmp_path / "B.xtc"} has no side chains'}
    assert side_chain_details.details(*pair) == reason


def test_missing_atoms_of_a_residue_leave_the_others(case, ensembles, tmp_path):
  native = Native(case.topology)
  traj = mdtraj.load(str(case.prediction[0]), top=str(case.topology))
  cut = traj.atom_slice(traj.topology.select(f'not (resid {SER} and name OG)'))
  (tmp_path / 'cut').mkdir()
  cut[0].save(str(tmp_path / 'cut' / 'topology.pdb'))
  cut.save(str(tmp_path / 'cut' / 'P.xtc'))
  lacking = Ensemble(native.protein, [native.read(tmp_path / 'cut' / 'P.xtc')])
  numbers, notes = of(ensembles[0], lacking)
  whole, _ = of(*ensembles)
  # Without SER, the sum is that of LEU and PRO.
  assert numbers['rotamer_population_distance'] == pytest.approx(1.0 / 7, abs=1e-6)
  assert numbers['rotamer_changes_ratio'] == 0.0
  assert numbers['chi2_jsd'] == whole['chi2_jsd']
  assert numbers['heavy_rmsf'] < whole['heavy_rmsf']
  assert numbers['close_contacts'] is None
  assert notes['close_contacts'] == (
    'one side lacks atoms of side chains that the other has, e.g. of A:2 SER'
  )


def test_no_times_leave_all_but_the_changes(ensembles):
  reference, prediction = ensembles
  still = [prediction.replicas[0].take(slice(None))]
  timeless = Ensemble(
    prediction.native,
    [dataclasses.replace(still[0], time_ns=None, remarks=('no times',))],
  )
  numbers, notes = of(reference, timeless)
  assert notes['rotamer_changes_ratio'] == 'prediction: no times'
  assert {key for key in numbers if numbers[key] is None} == {
    'rotamer_changes_ratio',
    *side_chain_scores.EXPOSURE,
  }
  found = side_chain_details.details(reference, timeless)
  assert found['changes_per_ns'] is None
  assert found['changes_reason'] == 'prediction: no times'
  assert found['residues'][0]['changes_per_ns'] is None


def test_changes_are_seen_at_common_times(case, ensembles):
  """A prediction every 20 ps: MD is looked at in every second frame, too."""
  native = Native(case.topology)
  reference = ensembles[0]
  coarse = Ensemble(native.protein, [native.read(case.reference[0]).take(slice(None, None, 2))])
  numbers, _ = of(reference, coarse)
  assert numbers['rotamer_changes_ratio'] == pytest.approx(1.0)


def test_exposure_is_looked_at_on_demand(ensembles):
  _, notes = of(*ensembles)
  for key in side_chain_scores.EXPOSURE:
    assert notes[key] == 'needs --exposure'
  few = [Ensemble(x.native, [x.replicas[0].take(slice(0, 12))]) for x in ensembles]
  numbers, notes = of(*few, with_exposure=True)
  # A peptide of nine has nothing that is buried.
  assert notes['exposed_residues_j'] == 'no buried residue comes to the surface on either side'
  areas = few[0].side_chain_areas
  assert areas.shape == (12, len(TYPES))
  assert (areas[:, [4]] == 0.0).all()  # glycine
  assert (
    numbers['exposure_information_r'] is None or -1.0 <= numbers['exposure_information_r'] <= 1.0
  )


def test_the_command_writes_them(case, tmp_path):
  options = {'with_page': False, 'with_baselines': True, 'num_workers': 1}
  assert evaluate.evaluate([case], tmp_path / 'out', scores.Settings(), **options) == 0
  content = json.loads((tmp_path / 'out' / 'metrics.json').read_text(), parse_constant=pytest.fail)
  found = content['proteins']['one']
  assert set(side_chain_scores.KEYS) <= set(summary.KEYS)
  assert found['rotamer_population_distance'] == pytest.approx(
    (0.5 * (1 / 12 + 3 / 12 + 4 / 12) + 1.0) / 8, abs=1e-6
  )
  assert found['notes']['exposed_residues_j'] == 'needs --exposure'
  assert content['settings']['exposure'] is False
  assert len(content['details']['one']['side_chains']['residues']) == 6
  # Replicas of MD have the same rotamers; what is made of the backbone alone has none.
  assert content['baselines']['MD replicas']['summary']['rotamer_changes_ratio'] == pytest.approx(
    1.0
  )
  for name in ('frozen', 'Gaussian noise', 'elastic network'):
    assert content['baselines'][name]['summary']['chi1_jsd'] is None


def test_exposure_is_that_of_the_metric(ensembles, case, monkeypatch):
  """Of some of the frames, and of the native structure as it is in its file."""
  monkeypatch.setattr(ensemble_lib, 'MAX_AREA_FRAMES', 20)
  pair = [Ensemble(x.native, x.replicas) for x in ensembles]
  numbers, notes = of(*pair, with_exposure=True)
  native = exposure.side_chain_areas(heavy_atoms_of(mdtraj.load(str(case.topology))), TYPES)[0][0]
  strides = (12, 6)  # 240 and 120 frames
  areas = [
    exposure.side_chain_areas(x.heavy_atoms[::stride], TYPES)[0]
    for x, stride in zip(pair, strides, strict=True)
  ]
  for x, stride in zip(pair, strides, strict=True):
    (counted,) = np.nonzero(~np.isnan(x.side_chain_areas).any(axis=1))
    np.testing.assert_array_equal(counted, np.arange(0, x.num_frames, stride))
  np.testing.assert_allclose(
    pair[0].replicas[0].side_chains.native[None],
    heavy_atoms_of(mdtraj.load(str(case.topology))),
    atol=1e-4,
  )
  for key, (value, reason) in {
    'exposed_residues_j': exposure.exposed_jaccard(areas[1], areas[0], native),
    'exposure_information_r': exposure.information_correlation(areas[1], areas[0]),
  }.items():
    assert numbers[key] == value
    assert notes[key] == reason


def test_the_flag_asks_for_exposure(case, tmp_path):
  flags = (
    f'--topology={case.topology}',
    f'--reference={case.reference[0]}',
    f'--prediction={case.prediction[0]}',
    f'--out={tmp_path / "out"}',
    '--exposure',
    '--noreport',
    '--nobaselines',
    '--num_workers=1',
  )
  assert evaluate.main(commands.parse(evaluate, *flags)) == 0
  content = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
  assert content['settings']['exposure'] is True
  (found,) = content['proteins'].values()
  assert 'needs --exposure' not in found['notes'].values()


def test_md_against_md(shared_data):
  """Halves of NTL9: side chains of the same protein at the same temperature, of 250 frames each."""
  folder = shared_data / 'md_public' / 'ntl9_mdcath_320K'
  native = Native(folder / 'topology.pdb')
  md = native.read(folder / 'R1.xtc')
  half = md.num_frames // 2
  reference, prediction = (
    Ensemble(native.protein, [md.take(frames)]) for frames in (slice(half, None), slice(0, half))
  )
  numbers, notes = of(reference, prediction)
  assert set(notes.values()) == {None, 'needs --exposure'}
  assert 0.0 < numbers['chi1_jsd'] < 0.1
  assert 0.0 < numbers['rotamer_population_distance'] < 0.15
  assert numbers['rotamer_changes_ratio'] == pytest.approx(1.0, abs=0.2)
  assert numbers['close_contacts'] == pytest.approx(numbers['reference_close_contacts'], abs=1.0)
  assert numbers['heavy_rmsf_r'] > 0.9
  assert numbers['valid_all_atom_percent'] > 95.0
  traj = mdtraj.load(str(folder / 'R1.xtc'), top=str(folder / 'topology.pdb'))[:half]
  atoms, angles = mdtraj.compute_chi1(traj)
  ours = [traj.topology.atom(quad[1]).residue.index for quad in atoms]
  np.testing.assert_allclose(np.cos(prediction.chi[:, ours, 0] - angles), 1.0, atol=1e-5)
