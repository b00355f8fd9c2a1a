"""`tempo-jax side-chains`: the backbones stay, every residue gets its atoms, times are kept."""

import json

import mdtraj
import numpy as np
import pytest

from tempo_jax.cli import side_chains
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tempo_jax.output import trajectory_files
from tests import builders
from tests.cli import commands
from tests.cli.test_upsample import backbone

CONFIG = builders.generative_config(anchors='both', reference=True, side_chains=True)


@pytest.fixture(scope='module')
def model_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('models') / 'side_chains'
  params = {name: builders.params(CONFIG, k) for k, name in enumerate(CONFIG.levels)}
  model_lib.Model('side chains', CONFIG, params).save(folder)
  return folder


@pytest.fixture
def run(tmp_path, model_dir):
  """run(frames, *flags) -> the output as mdtraj reads it, and what it was made from."""

  def place(frames, *flags):
    traj = backbone(frames, 100.0, 100.0)
    traj = traj.atom_slice([a.index for a in traj.topology.atoms if a.name != 'CB'])
    traj[0].save_pdb(str(tmp_path / 'top.pdb'))
    traj.save_xtc(str(tmp_path / 'given.xtc'))
    out = tmp_path / 'out'
    files = f'--topology={tmp_path}/top.pdb', f'--trajectory={tmp_path}/given.xtc'
    start = *files, f'--model={model_dir}', f'--out={out}', '--format=h5'
    side_chains.place(commands.parse(side_chains, *start, *flags))
    return mdtraj.load(str(out / 'trajectory.h5')), traj

  return place


@pytest.mark.parametrize('frames', [2, 65])
def test_backbones_stay_and_every_side_chain_is_there(run, tmp_path, frames):
  """65 frames are more than one block, and the last block has one."""
  found, given = run(frames)
  np.testing.assert_allclose(found.time, given.time, atol=1e-3)
  for name in ('N', 'CA', 'C', 'O'):
    there, before = (
      x.xyz[:, [a.index for a in x.topology.atoms if a.name == name]] for x in (found, given)
    )
    np.testing.assert_allclose(there, before, atol=2e-3)  # XTC, nm.
  names = [[atom.name for atom in residue.atoms] for residue in found.topology.residues]
  heavy = {'ALA': 5, 'GLY': 4, 'SER': 6, 'LEU': 8, 'LYS': 9, 'GLU': 9, 'VAL': 7, 'THR': 7}
  for residue, atoms in zip(given.topology.residues, names, strict=True):
    assert len(atoms) == heavy.get(residue.name, len(atoms))
  table = (tmp_path / 'out' / trajectory_files.FRAMES).read_text().splitlines()
  assert len(table) == frames + 1
  record = json.loads((tmp_path / 'out' / trajectory_files.METADATA).read_text())
  assert record['atoms'] == 'heavy'


def test_a_model_of_backbones_is_refused_in_one_line(run, tmp_path):
  config = builders.generative_config()
  folder = tmp_path / 'backbones'
  params = {name: builders.params(config, k) for k, name in enumerate(config.levels)}
  model_lib.Model('backbones', config, params).save(folder)
  with pytest.raises(InputError, match='draws no side chains: take a model that does'):
    run(2, f'--model={folder}')
  assert not (tmp_path / 'out').exists()
