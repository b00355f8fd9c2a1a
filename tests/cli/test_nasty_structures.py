"""What becomes of each awkward structure: 10 frames, or one line that says what is wrong."""

import jax
import numpy as np
import pytest

from tempo_jax.cli import sample
from tempo_jax.errors import InputError
from tempo_jax.metrics import validity
from tempo_jax.models import model as model_lib
from tempo_jax.protein import padding, structure_file
from tests.cli import commands

# Residues, chains, peptide bonds, residues left out.
SAMPLED = {
  '1A8O_MSE.pdb': (70, 1, 69, 0),
  '1dix_insertion_codes.pdb': (208, 1, 207, 0),
  '1k6p_altloc_digits_12.pdb': (198, 2, 196, 0),
  '1o1z_negative_resid_altloc.pdb': (226, 1, 225, 0),
  '2JOF_backbone_only.pdb': (20, 1, 19, 0),
  '3o5r_altloc_large.pdb': (128, 1, 127, 0),
  '4E43_altloc_peptide_chainC_ligands.pdb': (204, 3, 201, 0),
  '4OH9_twochain.pdb': (101, 2, 99, 0),
  '5a7u_zincfinger_numbering.pdb': (27, 1, 26, 0),
  'A6PA6_nochain_occ0.pdb': (13, 1, 12, 0),
  'aaqaa_capped_ACE_NMA.pdb': (14, 1, 13, 2),
  'chemfiles_psfgen.pdb': (2, 1, 0, 1),
  'disordered.pdb': (6, 1, 5, 0),
  'openmm_twochain_caps_LYN.pdb': (27, 2, 25, 2),
  'pdbtools_altloc.pdb': (4, 1, 3, 1),
}

# What was found where at least 2 residues with N, CA and C are needed.
REFUSED = {
  'ala2_native2.pdb': r'2 ALA \(complete\), 2 left out \(a cap\)',
  'alanine_dipeptide_ACE_NME.pdb': r'A:2 ALA \(complete\), 2 left out \(a cap\)',
  'biopython_a_structure_everything_wrong.pdb': r'1 left out \(a free amino acid',
  'chemfiles_atom_id_0.pdb': '1 EST',
  'chemfiles_end_endmdl.pdb': '4 XXX',
  'chemfiles_insertion_code.pdb': '4 XXX',
  'ensemble_error_1.pdb': r'1 left out \(no CA, C\)',
  'incomplete_records.pdb': r'3 left out \(no N, C\)',
  'nonconsecutive_resSeq.pdb': r'3 ALA \(complete\), 2 left out \(a cap\)',
  'occupancy.pdb': r'A:152 ASP \(complete\)',
  'openmm_altlocs2.pdb': r'A:25 ILE \(complete\)',
  'overflow_indexing.pdb': '2 water',
  'pdbtools_hetatm.pdb': r'2 left out \(no N, CA\)',
  'pdbtools_vu7.pdb': '1 VU7',
}

NUM_FRAMES = 10


@pytest.fixture(scope='module')
def nasty(shared_data):
  return shared_data / 'nasty_structures'


@pytest.fixture(scope='module')
def sample_padded(tmp_path_factory):
  """protein -> positions [10, L, 4, 3]; compiles once for small ones and once for others."""
  path = tmp_path_factory.mktemp('model')
  commands.save_model(path)
  model = model_lib.load_model(path)
  sampler = model.sampler(NUM_FRAMES)

  def run(protein):
    arrays = protein.arrays.with_chi(None)
    arrays = padding.pad(arrays, padding.bucket(protein.num_residues, (32, 256)))
    (positions,) = np.asarray(sampler(model.params, arrays, jax.random.key(0), 320.0))
    return positions[:, : protein.num_residues]

  return run


def test_the_tables_hold_every_file(nasty):
  assert {path.name for path in nasty.glob('*.pdb')} == {*SAMPLED, *REFUSED}
  assert not {*SAMPLED} & {*REFUSED}


@pytest.mark.parametrize('name', SAMPLED)
def test_samples(nasty, sample_padded, name):
  protein = structure_file.load_protein(nasty / name)
  read = protein.num_residues, protein.num_chains, protein.arrays.bonded.sum()
  assert (*read, len(protein.left_out)) == SAMPLED[name]
  positions = sample_padded(protein)
  assert positions.shape == (NUM_FRAMES, protein.num_residues, 4, 3)
  assert np.all(np.isfinite(positions))
  # The first frame is a small step away from the start, and the start is a sound chain.
  start = protein.arrays.positions
  moved = np.linalg.norm(positions[0] - start, axis=-1)
  assert 0.0 < moved.mean() < 2.0
  steps = np.linalg.norm(np.diff(start[:, 1], axis=0), axis=-1)[protein.arrays.bonded[:-1]]
  assert np.all((steps > validity.MIN_CA_CA) & (steps < validity.MAX_CA_CA))


@pytest.mark.parametrize('name', REFUSED)
def test_is_refused(nasty, tmp_path, name):
  values = commands.parse(sample, f'--structure={nasty / name}', f'--out={tmp_path}/out')
  with pytest.raises(InputError, match=REFUSED[name]) as error:
    sample.sample(values)
  message = str(error.value)
  assert message.startswith(f'{nasty / name}: at least 2 residues with N, CA and C are needed')
  assert '\n' not in message
  assert not list(tmp_path.iterdir())
