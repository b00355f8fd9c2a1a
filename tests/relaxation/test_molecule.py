import dataclasses
import itertools
import warnings

import mdtraj
import numpy as np
import pytest

with warnings.catch_warnings():
  warnings.simplefilter('ignore', DeprecationWarning)  # of SWIG, on Python 3.12
  pytest.importorskip('openmm', reason="needs the extra 'simulate'")

import openmm
from openmm import app, unit

from tempo_jax.errors import InputError
from tempo_jax.preparation.simulation import structure as simulation_structure
from tempo_jax.relaxation import frames, hydrogens, molecule
from tempo_jax.trajectory import backbone_atoms, reader
from tempo_jax.trajectory import trajectory as trajectory_lib
from tests import heavy_atoms, peptides
from tests.relaxation import short

CPU = openmm.Platform.getPlatformByName('CPU')
FS = short.FOLDER.parent / 'fs/fs.pdb'
TRP_CAGE = short.FOLDER.parent / '2jof/2jof.pdb'


def read(path):
  """The molecule of a structure file, and its positions in nm."""
  structure = reader.load_structure(path, path)
  protein, atom_index = backbone_atoms.select(structure, 'x', str(path))
  found = molecule.of(structure, protein, atom_index, str(path))
  return found, found.positions(structure.atoms.coordinates, protein.arrays.positions)


def atoms_of(found):
  return [(str(a.residue.index), a.residue.name, a.name) for a in found.topology.atoms()]


def bonds_of(topology):
  return {frozenset((first.index, second.index)) for first, second in topology.bonds()}


def test_heavy_atoms_are_those_that_openmm_reads():
  """Names, order within residues aside, places and bonds."""
  found, positions = read(TRP_CAGE)
  pdb = app.PDBFile(str(TRP_CAGE))
  theirs = {(str(a.residue.index), a.residue.name, a.name): a for a in pdb.topology.atoms()}
  names = atoms_of(found)
  assert sorted(names) == sorted(theirs)
  order = [theirs[name].index for name in names]
  expected = np.array(pdb.positions.value_in_unit(unit.nanometer))[order]
  np.testing.assert_allclose(positions, expected, atol=1e-6)
  renumbered = {frozenset(order[i] for i in bond) for bond in bonds_of(found.topology)}
  assert renumbered == bonds_of(pdb.topology)
  ids = [(r.id, r.chain.id) for r in found.topology.residues()]
  assert ids == [(r.id, r.chain.id) for r in pdb.topology.residues()]


def test_the_second_oxygen(tmp_path):
  """Built as symmetric as that of MD, from which it is missing here."""
  text = TRP_CAGE.read_text()
  file = tmp_path / 'x.pdb'
  file.write_text(''.join(x for x in text.splitlines(keepends=True) if ' OXT ' not in x))
  (_, there), (found, built) = read(TRP_CAGE), read(file)
  names = [name for _, _, name in atoms_of(found)]
  assert names[-1] == 'OXT'
  np.testing.assert_allclose(built[:-1], there[:-1], atol=1e-6)
  assert np.linalg.norm(built[-1] - there[-1]) < 0.02
  last = dict(zip(names[-len(names) // 8 :], built[-len(names) // 8 :], strict=True))
  lengths = [np.linalg.norm(last[name] - last['C']) for name in ('O', 'OXT')]
  assert lengths[0] == pytest.approx(lengths[1], abs=1e-6)  # float32


NAMES = {
  'ILE': {'CD1': 'CD'},
  'HIS': {'': 'HSD'},
  'MET': {'': 'MSE', 'SD': 'SE'},
  'LYS': {'O': 'OT1', 'OXT': 'OT2'},
  'ALA': {'N': 'N'},
}


def test_names_of_other_programs(tmp_path, np_rng):
  """CHARMM's, GROMOS's, and selenomethionine; hydrogens and virtual sites are dropped."""
  xyz = peptides.helix(5)
  plain, other = [], []
  for i, (name, changed) in enumerate(NAMES.items()):
    atoms = [*peptides.ATOMS, *SIDE.get(name, '').split(), *(['OXT'] if i == 4 else [])]
    places = [*xyz[i], *(xyz[i, 4] + np_rng.normal(size=(len(atoms) - 5, 3)))]
    for atom, place in zip(atoms, places, strict=True):
      plain.append(peptides.line(atom, name, 'A', i + 1, place))
      renamed = changed.get(atom, atom)
      other.append(peptides.line(renamed, changed.get('', name), 'A', i + 1, place))
    other.append(peptides.line('1HB', changed.get('', name), 'A', i + 1, places[4] + 0.5))
  files = tmp_path / 'plain.pdb', tmp_path / 'other.pdb'
  for file, lines in zip(files, (plain, other), strict=True):
    file.write_text(''.join(lines) + 'END\n')
  (first, here), (second, there) = map(read, files)
  assert atoms_of(first) == atoms_of(second)
  np.testing.assert_allclose(here, there, atol=1e-9)


SIDE = {
  'ILE': 'CG1 CG2 CD1',
  'HIS': 'CG ND1 CD2 CE1 NE2',
  'MET': 'CG SD CE',
  'LYS': 'CG CD CE NZ',
}


@pytest.mark.parametrize(
  'names',
  [
    {},
    {'CH3 ACE': 'CAY ACE', 'C   ACE': 'CY  ACE', 'O   ACE': 'OY  ACE', 'NME': 'NMA'},
  ],
)
def test_caps(tmp_path, names):
  text = FS.read_text()
  for plain, renamed in names.items():
    text = text.replace(plain, renamed)
  file = tmp_path / 'x.pdb'
  file.write_text(text)
  found, positions = read(file)
  residues = list(found.topology.residues())
  assert (residues[0].name, residues[-1].name, len(residues)) == ('ACE', 'NME', 23)
  complete, _ = simulation_structure.add_hydrogens(found.topology, positions, CPU, pH=7.0, seed=1)
  fixed = simulation_structure.prepare(FS)
  assert complete.topology.getNumAtoms() == fixed.topology.getNumAtoms()
  assert len(bonds_of(complete.topology)) == len(bonds_of(fixed.topology))


def test_disulphides(shared_data):
  found, positions = read(shared_data / 'trajectories/bpti_5ns/bpti.pdb')
  pairs = [(a, b) for a, b in found.topology.bonds() if a.name == b.name == 'SG']
  assert [(a.residue.id, b.residue.id) for a, b in pairs] == [('5', '55'), ('14', '38'),
                                                              ('30', '51')]  # fmt: skip
  assert all(np.linalg.norm(positions[a.index] - positions[b.index]) < 0.22 for a, b in pairs)


def test_what_sampling_writes_can_be_read(tmp_path):
  """All heavy atoms, without OXT; the backbone alone is refused."""
  traj = mdtraj.load(str(short.FOLDER / 'cln025_R1.xtc'), top=str(short.FOLDER / 'cln025.pdb'))[:4]
  backbone = trajectory_lib.Trajectory.from_mdtraj(traj, 'cln025')
  atoms, _, _ = heavy_atoms.from_mdtraj(traj)
  every = dataclasses.replace(backbone, heavy_atoms=atoms[None])
  topology, file = tmp_path / 'topology.pdb', tmp_path / 'trajectory.xtc'
  for trajectory in (every, backbone):
    trajectory.save(file, overwrite=True)
    first = None if trajectory.heavy_atoms is None else atoms[0]
    trajectory_lib.save_structure(topology, backbone.protein, first)
    source = frames.Source.of(topology, file)
    how = source.structure, source.protein, source.atom_index, str(topology)
    if trajectory is backbone:
      with pytest.raises(InputError, match=r'topology.pdb: 9 of 10 residues lack atoms'):
        molecule.of(*how)
      continue
    found = molecule.of(*how)
    (frame,) = source.read([3])
    places = dict(zip(atoms_of(found), found.positions(frame.atoms, frame.backbone), strict=True))
    theirs = {
      (str(a.residue.index), a.residue.name, a.name): traj.xyz[3, a.index]
      for a in traj.topology.atoms
    }
    assert places.keys() == theirs.keys()
    off = {name: np.abs(places[name] - theirs[name]).max() for name in places}
    assert max(error for name, error in off.items() if name[2] != 'OXT') < 1.1e-3  # XTC


def test_chains_in_the_image_that_is_wanted():
  structure = reader.load_structure(TRP_CAGE, TRP_CAGE)
  protein, atom_index = backbone_atoms.select(structure, 'x')
  arrays = dataclasses.replace(
    protein.arrays,
    chain_index=np.int32([0] * 10 + [1] * 10),
    bonded=protein.arrays.bonded & (np.arange(20) != 9),
  )
  protein = dataclasses.replace(protein, arrays=arrays, chain_ids=('A', 'B'))
  found = molecule.of(structure, protein, atom_index, 'x')
  assert [len(list(chain.residues())) for chain in found.topology.chains()] == [10, 10]
  ends = [residue_atoms(found, i) for i in (9, 19)]
  assert all('OXT' in names for names in ends)
  where = structure.atoms.coordinates
  there = found.positions(where, arrays.positions)
  shift = np.where(arrays.chain_index[:, None, None] == 1, [0.0, 50.0, 0.0], 0.0)
  moved = found.positions(where, arrays.positions + shift)
  second = np.array([atom.residue.chain.index == 1 for atom in found.topology.atoms()])
  expected = np.where(second[:, None], [0.0, 5.0, 0.0], 0.0)
  np.testing.assert_allclose(moved - there, expected, atol=1e-5)


def residue_atoms(found, i):
  return [name for index, _, name in atoms_of(found) if index == str(i)]


def test_what_is_refused(tmp_path):
  file = tmp_path / 'x.pdb'
  file.write_text(peptides.peptide(('ALA', 'SER', 'ALA'), atoms=('N', 'CA', 'C', 'O')) + 'END\n')
  with pytest.raises(InputError, match=r'x.pdb: 3 of 3 residues lack atoms: A:1 ALA \(CB\), A:2 '
                     r'SER \(CB, OG\).*: sample with --atoms=heavy, or .*side-chains'):  # fmt: skip
    read(file)
  file.write_text(peptides.peptide(('ALA', 'UNK', 'ALA')) + 'END\n')
  with pytest.raises(InputError, match=r'x.pdb: not one of the 20 amino acids: A:2 UNK: the force'):
    read(file)
  xyz = peptides.helix(3)
  lines = peptides.peptide(('ALA', 'S1P', 'ALA'))
  lines = lines.replace(
    peptides.line('CB', 'S1P', 'A', 2, xyz[1, 4]),
    ''.join(
      peptides.line(atom, 'S1P', 'A', 2, xyz[1, 4] + shift)
      for atom, shift in zip(('CB', 'OG', 'P'), itertools.count(), strict=False)
    ),
  )
  file.write_text(lines + 'END\n')
  with pytest.raises(InputError, match=r'not one of the 20 amino acids: A:2 S1P \(P\): the force'):
    read(file)


def test_hydrogens_of_md(shared_data):
  """Spoiled ones come back to where MD has them."""
  traj = mdtraj.load(str(shared_data / 'trajectories/bpti_5ns/bpti.pdb'))
  there = traj.xyz[0].astype(np.float64)
  moved = traj.topology.select(
    'name HA or (name H and not resid 0) or (resname PHE TYR and name HD1 HE1 HZ)'
  )
  spoiled = there.copy()
  spoiled[moved] += np.random.default_rng(0).normal(scale=0.1, size=(len(moved), 3))
  straight = hydrogens.straighten(traj.topology.to_openmm(), spoiled)
  off = np.linalg.norm(straight - there, axis=-1)
  assert off[moved].max() < 0.07  # Half the way to the other side at most
  assert np.sqrt(np.mean(off[moved] ** 2)) < 0.02
  heavy = traj.topology.select('element != H')
  np.testing.assert_array_equal(straight[heavy], there[heavy])


def test_a_hydrogen_on_the_wrong_side(tmp_path):
  """A crowd of atoms beside HA makes OpenMM put it to the side of CB."""
  file = tmp_path / 'x.pdb'
  file.write_text(peptides.peptide(('ALA', 'ALA', 'ALA')) + 'END\n')
  found, positions = read(file)
  complete, _ = simulation_structure.add_hydrogens(found.topology, positions, CPU, pH=7.0, seed=1)
  atoms = {a.name: a.index for a in complete.topology.atoms() if a.residue.index == 1}
  spoiled = complete.positions.copy()
  spoiled[atoms['HA']] = 2.0 * spoiled[atoms['CA']] - spoiled[atoms['HA']]
  straight = hydrogens.straighten(complete.topology, spoiled)
  bonds = straight[[atoms[x] for x in ('N', 'C', 'CB', 'HA')]] - straight[atoms['CA']]
  assert np.linalg.det(bonds[:3]) > 0.0 > np.linalg.det(bonds[[0, 1, 3]])
  cosines = bonds[:3] @ bonds[3] / np.linalg.norm(bonds[:3], axis=1) / np.linalg.norm(bonds[3])
  np.testing.assert_allclose(np.rad2deg(np.arccos(cosines)), 109.0, atol=4.0)
