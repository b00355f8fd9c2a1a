"""The systems of `data_prep.default_training_data`, and the structures that they start from."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import gemmi
import numpy as np

from data_prep import coiled_coil
from tempo_jax import files
from tempo_jax.errors import InputError
from tempo_jax.geometry import ideal

# phi and psi in degrees, repeated along the chain.
_CONFORMATIONS = {
  'helix': [(-63.0, -42.0)],
  'extended': [(-75.0, 145.0)],  # polyproline II
  'coil': [(-75.0, 145.0), (-120.0, 130.0), (-75.0, 145.0), (-65.0, -40.0), (-120.0, 130.0)],
}
_COILED_COIL = 'coiled coil'
_CAPS = {'ACE': ('CH3', 'C', 'O'), 'NME': ('N', 'C')}
# The atoms that a backbone has where a cap has others.
_BACKBONE = {'ACE': ('CA', 'C', 'O'), 'NME': ('N', 'CA')}

_BIOEMU = 'bioemu_benchmarks/assets/folding_free_energies_benchmark_0.1/folding_free_energies'
_WILDTYPES = f'{_BIOEMU}/reference_wildtypes'
_PDB_IN_BIOEMU = 'bioemu-benchmarks 0.0.2.post1 (PyPI, CDLA-Permissive-2.0); PDB entry, CC0'
_DESIGN_IN_BIOEMU = (
  'bioemu-benchmarks 0.0.2.post1 (PyPI, CDLA-Permissive-2.0); Tsuboyama et al. 2023, CC-BY-4.0'
)


@dataclasses.dataclass(frozen=True)
class System:
  """A protein, and how much of it is simulated.

  Attributes:
    name: of its folder and files.
    sequence: one-letter codes, without caps; chains apart by a stroke.
    fold: in words.
    source: of the start, with its licence.
    file: of the start, below one of the directories that the user gives; '' if it is built.
    chain: author's ids in the file, apart like the chains; '' is the first.
    build: conformation that the start is built in, see `build_backbone`, or a 'coiled coil' of two
      equal chains; '' if it is read.
    first_a: of a coiled coil, index of a residue at position a of the heptad.
    capped: whether the ends are ACE and NME, of a start that is built.
    lengths_ns: of each replica at the main temperature, in passes over all systems.
    num_replicas: at the main temperature.
    temperatures_K: others, one replica each.
    temperature_length_ns: of these replicas.
    first_pass: passes over the other systems that come before its own first.
    committed: simulated earlier; its files in the repository are left as they are.
    held_out: no replica of it is trained on; it tests the bundled model.
    held_out_replicas: numbers of those at the main temperature that validate it.
  """

  name: str
  sequence: str
  fold: str
  source: str
  file: str = ''
  chain: str = ''
  build: str = ''
  first_a: int = 0
  capped: bool = False
  lengths_ns: tuple[float, ...] = (0.5, 1.0, 2.0)
  num_replicas: int = 2
  temperatures_K: tuple[float, ...] = ()
  temperature_length_ns: float = 0.5
  first_pass: int = 0
  committed: bool = False
  held_out: bool = False
  held_out_replicas: tuple[int, ...] = ()

  @property
  def chains(self) -> list[str]:
    """Sequences of the chains."""
    return self.sequence.split('/')

  @property
  def num_residues(self) -> int:
    """In all chains, without caps."""
    return sum(map(len, self.chains))


# 0.61 ns hold one window of the bundled model's coarse level.
_MIDDLE = (0.2, 0.7, 1.2)
_LARGE = (0.1, 0.7, 1.6)
_ONE = (1.2,)

SYSTEMS = (
  System(
    'cln025',
    'YYDPETGTWY',
    'beta hairpin',
    'torchmd-net (MIT)',
    committed=True,
    held_out_replicas=(1,),
  ),
  System(
    '2jof',
    'DAYAQWLKDGGPSSGRPPPS',
    'Trp-cage: helix, 3-10 helix, polyproline',
    'PDB 2JOF, CC0 (two-for-one-diffusion, MIT)',
    temperatures_K=(350.0,),
    committed=True,
    held_out_replicas=(2,),
  ),
  System(
    '6a5j',
    'IKKILSKIKKLLK',
    'helix',
    'PDB 6A5J, CC0 (moleculekit)',
    file='openmm_implicit/6a5j/6a5j.pdb',
  ),
  System(
    'gb1_hairpin',
    'GEWTYDDATKTFTVTE',
    'beta hairpin',
    f'residues 41-56 of 1PGA; {_PDB_IN_BIOEMU}',
    file=f'{_WILDTYPES}/1PGA_V39S.pdb',
    temperatures_K=(300.0, 350.0, 400.0),
    held_out_replicas=(2,),
  ),
  System(
    'aaqaa3',
    'AAQAAAAQAAAAQAA',
    'helix and coil',
    'built: helix',
    build='helix',
    capped=True,
    temperatures_K=(300.0, 350.0, 400.0),
  ),
  System(
    'abeta21_30',
    'AEDVGSNKGA',
    'coil with a turn',
    'built: polyproline II',
    build='extended',
  ),
  System(
    'angiotensin_I',
    'DRVYIHPFHL',
    'coil',
    'built: polyproline II',
    build='extended',
  ),
  System(
    'fs',
    'AAAAAAAARAAAARAAAARAA',
    'helix and coil',
    'built: helix',
    build='helix',
    capped=True,
  ),
  System(
    'fs_unf',
    'AAAAAAAARAAAARAAAARAA',
    'the same, from an unfolded conformation',
    'frame of an MD of Fs (msmb_data, CC-BY)',
    committed=True,
  ),
  System(
    'rs1',
    'GAMGPSYGRSRSRSRSRSRSRSRS',
    'disordered',
    'built: mixed torsions',
    build='coil',
    lengths_ns=(0.5, 1.0),
  ),
  System(
    'hp35',
    'LSDEDFKAVFGMTRSAFANLPLWKQQHLKKEKGLF',
    'three helices (villin headpiece)',
    'OpenMM (MIT), app/data/test.pdb',
    committed=True,
    held_out=True,
  ),
  System(
    '2m9i',
    'KLPPGWEKRMFRSNGTVYYFNHITNASQFERPSG',
    'three-stranded sheet (WW domain)',
    f'2M9I; {_PDB_IN_BIOEMU}',
    committed=True,
    held_out=True,
  ),
  System(
    'ehee0053',
    'TYTFKVDNKDQAKKAAKWAKKLGLSFQIEKHGDTFKITVQ',
    'strand, helix, two strands (designed)',
    f'EHEE_rd3_0053; {_DESIGN_IN_BIOEMU}',
    committed=True,
    held_out=True,
  ),
  System(
    'hhh0335',
    'TEDEKKIQELLKRANGDVSKAEKLAQSQGNEELARRLREYANK',
    'three helices (designed)',
    f'HHH_rd1_0335; {_DESIGN_IN_BIOEMU}',
    file=f'{_WILDTYPES}/HHH_rd1_0335.pdb',
    lengths_ns=_MIDDLE,
    first_pass=1,
  ),
  System(
    'eehee1049',
    'TTVKLGDIKVTFDNPEKAKKYAQKLAKIYQLTVHVHGDTIHVK',
    'two strands, helix, two strands (designed)',
    f'EEHEE_rd3_1049; {_DESIGN_IN_BIOEMU}',
    file=f'{_WILDTYPES}/EEHEE_rd3_1049.pdb',
    held_out_replicas=(2,),
    lengths_ns=_MIDDLE,
  ),
  System(
    'nug2',
    'DTYKLVIVLNGTTFTYTTEAVDAATAEKVFKQYANDNGVDGEWTYADATKTFTVTE',
    'ubiquitin-like alpha/beta (protein G variant)',
    'PDB 1MI0, CC0',
    file='native/NuG2.pdb',
    chain='A',
    lengths_ns=_LARGE,
    first_pass=1,
  ),
  System(
    '1tg0',
    'EVPFKVVAQFPYKSDYEDDLNFEKDQEIIVTSVEDAEWYFGEYQDSNGDVIEGIFPKSFVAVQG',
    'beta barrel (SH3)',
    f'1TG0; {_PDB_IN_BIOEMU}',
    file=f'{_WILDTYPES}/1TG0.pdb',
    lengths_ns=_LARGE,
    first_pass=1,
  ),
  # Folds of their own, smallest first, one replica each.
  System(
    '2wqg',
    'SADYSSLTVVQLKDLLTKRNLSVGGLKNEWVQRLIKDDEES',
    'helix, extended loop, helix (SAP)',
    f'2WQG; {_PDB_IN_BIOEMU}',
    file=f'{_WILDTYPES}/2WQG.pdb',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '1gjs',
    'NSLAEAKVLANRELDKYGVSDYYKNLINNAKTVEGVKALIDEILA',
    'three helices (albumin-binding GA)',
    f'1GJS; {_PDB_IN_BIOEMU}',
    file=f'{_WILDTYPES}/1GJS.pdb',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '2mkx',
    'TYYTVKSGDTANKIAAQYGVSVANLRSWNGISGDLIFVGQKLIVKKG',
    'strand, two helices, strand (LysM, L11A)',
    f'2MKX with L11A; {_DESIGN_IN_BIOEMU}',
    file=f'{_WILDTYPES}/2MKX_L11A.pdb',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '5z2s',
    'AVTGSQTALLLRAFEKDRFPGIAAREELARETGLPESRIQIWFQNRR',
    'three helices (homeodomain)',
    f'5Z2S; {_PDB_IN_BIOEMU}',
    file=f'{_WILDTYPES}/5Z2S.pdb',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    'ea0325',
    'DEVTIHLGDKTIRVDGLDKELLEILKELARRGADEEELRKEIERWER',
    'two strands, two helices (designed)',
    f'EA_run2_0325_0005; {_DESIGN_IN_BIOEMU}',
    file=f'{_WILDTYPES}/EA_run2_0325_0005.pdb',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '2k1b',
    'FAVESIRKKRVRKGKVEYLVKWKGWPPKYSTWEPEEHILDPRLVMAYEE',
    'three strands and a helix (chromodomain)',
    f'2K1B; {_PDB_IN_BIOEMU}',
    file=f'{_WILDTYPES}/2K1B.pdb',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '1guu',
    'KTRWTREEDEKLKKLVEQNGTDDWKVIANYLPNRTDVQCQHRWQKVLNPE',
    'three helices (Myb)',
    'PDB 1GUU, CC0 (Kortemme-Lab)',
    file='structures/Kortemme-Lab_1GUU_A.pdb.gz',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '2gkr',
    'VDCSEYPKPACTLEYRPLCGSDNKTYGNKCNFCNAVVESNGTLTLSHFGKC',
    'helix, sheet and three disulphides (Kazal)',
    'PDB 2GKR, CC0 (Haddox/design_guided_optE)',
    file='structures/Haddox_2gkr_clean_0001.pdb.gz',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '2myx',
    'GGHPVTTQMVETVQNLAPNLHPEQIRYSLENTGSVEETVERYLRGDEFSFPP',
    'three helices (CUE)',
    f'2MYX; {_PDB_IN_BIOEMU}',
    file=f'{_WILDTYPES}/2MYX.pdb',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '2fma',
    'EACKFLHQERMDVCETHLHWHTVAKETCSEKSTNLHDYGMLLPCGIDKFRGVEFVCCPL',
    'helix, three strands and three disulphides',
    'PDB 2FMA, CC0 (Haddox/design_guided_optE)',
    file='structures/Haddox_2fma_clean_0001.pdb.gz',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '1bxy',
    'MPRLKVKLVKSPIGYPKDQKAALKALGLRRLQQERVLEDTPAIRGNVEKVAHLVRVEVVE',
    'two helices on three strands (ribosomal L30)',
    'PDB 1BXY, CC0 (Kortemme-Lab)',
    file='structures/Kortemme-Lab_1BXY_A.pdb.gz',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '1i2t',
    'HRQALGERLYPRVQAMQPAFASKITGMLLELSPAQLLLLLASEDSLRARVDEAMELIIAHG',
    'four helices (MLLE)',
    'PDB 1I2T, CC0 (Haddox/design_guided_optE)',
    file='structures/Haddox_1i2t_clean_0001.pdb.gz',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '2ptl',
    'EVTIKANLIFANGSTQTAEFKGTFEKATSEAYAYADTLKKDNGEYTVDVADKGYTLNAKFAG',
    'helix on four strands (protein L, I58A)',
    f'2PTL with I58A; {_DESIGN_IN_BIOEMU}',
    file=f'{_WILDTYPES}/2PTL_I58A.pdb',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '4c26',
    'SELMNSSKLIRMLEEDGWRLVRVTGSAHHFKHPKKPGLVTVPHPKKDLPIGTVKSIQKSAGL',
    'double-stranded RNA-binding fold (HicA)',
    f'4C26; {_PDB_IN_BIOEMU}',
    file=f'{_WILDTYPES}/4C26.pdb',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    '2ci2',
    'NLKTEWPELVGKSVEEAKKVILQDKPEAQIIVLPVGTIVTMEYRIDRVRLFVDKLDNIAEVPRVG',
    'helix on a sheet (chymotrypsin inhibitor 2)',
    'PDB 2CI2, CC0 (Kortemme-Lab)',
    file='structures/Kortemme-Lab_2CI2.pdb.gz',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  # Two chains.
  System(
    '1oai',
    'PTLSPEQQEMLQAFSTQSGMNLEWSQKCLQDNNWDYTRSAQAFTHLKAKGEIPEVAFMK/DSGFSFGSK',
    'four helices (UBA of TAP) with a peptide of nucleoporin',
    'PDB 1OAI, CC0 (Haddox/design_guided_optE)',
    file='structures/Haddox_1oai_clean_0001.pdb.gz',
    chain='A/B',
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
    held_out=True,
  ),
  System(
    'gcn4',
    'RMKQLEDKVEELLSKNYHLENEVARLKKLVGER/RMKQLEDKVEELLSKNYHLENEVARLKKLVGER',
    'coiled coil of two helices (leucine zipper of GCN4)',
    'built: coiled coil',
    build=_COILED_COIL,
    first_a=1,
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
  System(
    'cc_di',
    'GEIAALKQEIAALKKENAALKWEIAALKQG/GEIAALKQEIAALKKENAALKWEIAALKQG',
    'coiled coil of two helices (designed)',
    'built: coiled coil',
    build=_COILED_COIL,
    first_a=2,
    lengths_ns=_ONE,
    num_replicas=1,
    first_pass=1,
  ),
)


def write_start(
  system: System,
  path: pathlib.Path,
  directories: Sequence[str | os.PathLike],
  simulated: pathlib.Path,
) -> None:
  """Writes the structure that a system starts from.

  It is, of what there is first: built; cut out of the file that the table names; the first
  conformation of our own simulation.

  Args:
    system: which.
    path: PDB file to write; whole or not at all.
    directories: where `system.file` may be.
    simulated: directory of our own simulations, with NAME/NAME.pdb.

  Raises:
    InputError: there is none of these, or it has no such sequence.
  """
  ours = simulated / system.name / f'{system.name}.pdb'
  candidates = [pathlib.Path(directory).expanduser() / system.file for directory in directories]
  found = next((file for file in candidates if system.file and file.is_file()), ours)
  if system.build == _COILED_COIL:
    structure = build_coiled_coil(system.chains, system.first_a)
  elif system.build:
    structure = build_backbone(system.sequence, _CONFORMATIONS[system.build], capped=system.capped)
  elif found.is_file():
    structure = _cut(found, system)
  else:
    looked = ', '.join(map(str, directories)) or 'no directory given'
    raise InputError(
      f'{system.name}: no structure to start from: {ours} is not there, nor '
      f'{system.file or "a file of the table"} in --starts ({looked}): give a directory that '
      f'holds it; it comes from {system.source}'
    )
  with files.aside(path) as new:
    # Without a record of a unit cell, of which there is none.
    structure.write_pdb(str(new), gemmi.PdbWriteOptions(cryst1_record=False))


def _cut(file: pathlib.Path, system: System) -> gemmi.Structure:
  """The parts of chains that have the sequences; caps next to them stay."""
  structure = gemmi.read_structure(str(file))
  structure.remove_hydrogens()
  model, parts = structure[0], []
  names = system.chain.split('/')
  for letter, name, sequence in zip('ABCDEFGH', names, system.chains, strict=False):
    chain = model[name] if name else model[0]
    codes = ''.join(gemmi.find_tabulated_residue(r.name).one_letter_code.upper() for r in chain)
    at = codes.find(sequence)
    if at < 0:
      raise InputError(f'{file}: chain {chain.name} has no {sequence}: give another --starts')
    cut = gemmi.Chain(letter)
    for k, residue in enumerate(chain):
      near = at - 1 <= k <= at + len(sequence)
      if at <= k < at + len(sequence) or (near and residue.name in _CAPS):
        cut.add_residue(residue)
    parts.append(cut)
  return _in_structure(*parts)


def build_coiled_coil(sequences: Sequence[str], first_a: int) -> gemmi.Structure:
  """Two parallel helices of equal chains, wound about each other (`data_prep.coiled_coil`).

  Args:
    sequences: one-letter codes of both chains.
    first_a: index of a residue at position a of the heptad.

  Returns:
    N, CA, C and O of each residue, chains A and B.
  """
  helix = build_backbone(sequences[0], _CONFORMATIONS['helix'])[0][0]
  atoms = [atom for residue in helix for atom in residue]
  positions = np.array([atom.pos.tolist() for atom in atoms])
  ca = positions[[atom.name == 'CA' for atom in atoms]]
  chains = []
  for name, points in zip('AB', coiled_coil.dimer(positions, ca, first_a), strict=True):
    chain = helix.clone()
    chain.name = name
    moved = (atom for residue in chain for atom in residue)
    for atom, point in zip(moved, points, strict=True):
      atom.pos = gemmi.Position(*point)
    chains.append(chain)
  return _in_structure(*chains)


def build_backbone(
  sequence: str, torsions: Sequence[tuple[float, float]], *, capped: bool = False
) -> gemmi.Structure:
  """A chain of ideal bonds and angles; side chains are left to `data_prep.simulate`.

  Args:
    sequence: one-letter codes.
    torsions: phi and psi in degrees, repeated along the chain; omega is 180.
    capped: ACE and NME at the ends.

  Returns:
    N, CA, C and O of each residue.
  """
  names = gemmi.expand_one_letter_sequence(sequence, gemmi.ResidueKind.AA)
  if capped:
    names = ['ACE', *names, 'NME']
  n, ca, c = ideal.N_CA_C_POSITIONS
  chain = gemmi.Chain('A')
  for k, name in enumerate(names):
    phi, psi = np.deg2rad(torsions[k % len(torsions)])
    if k:
      before = np.deg2rad(torsions[(k - 1) % len(torsions)][1])
      last_ca, last_c = ca, c
      n = ideal.place_atom(n, ca, c, ideal.C_N, ideal.CA_C_N, before)
      ca = ideal.place_atom(last_ca, last_c, n, ideal.N_CA, ideal.C_N_CA, np.pi)
      c = ideal.place_atom(last_c, n, ca, ideal.CA_C, ideal.N_CA_C, phi)
    o = ideal.place_atom(n, ca, c, ideal.C_O, ideal.CA_C_O, psi + np.pi)
    residue = gemmi.Residue()
    residue.name, residue.seqid = name, gemmi.SeqId(k + (not capped), ' ')
    atoms = dict(zip(('N', 'CA', 'C', 'O'), (n, ca, c, o), strict=True))
    wanted = _BACKBONE.get(name, tuple(atoms))
    for atom_name, called in zip(wanted, _CAPS.get(name, wanted), strict=True):
      atom = gemmi.Atom()
      atom.name, atom.element = called, gemmi.Element(called[0])
      atom.pos = gemmi.Position(*atoms[atom_name])
      residue.add_atom(atom)
    chain.add_residue(residue)
  return _in_structure(chain)


def _in_structure(*chains: gemmi.Chain) -> gemmi.Structure:
  structure, model = gemmi.Structure(), gemmi.Model(1)
  for chain in chains:
    model.add_chain(chain)
  structure.add_model(model)
  structure.setup_entities()
  return structure
