"""MD of others in the store that the bundled model learns from; here helices under their names."""

import pathlib
import shutil

import mdtraj
import numpy as np
import pytest
from absl import flags

from data_prep import default_training_data, public_md
from tempo_jax.errors import InputError
from tempo_jax.store import store as store_lib
from tests import peptides

SIMULATED = pathlib.Path(default_training_data.__file__).with_name('simulated')
FRAMES = 21


def write_md(folder, md, number, residues, seed):
  """A shaken helix; [F, L, 5, 3] Å."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / md.topology).write_text(
    peptides.peptide((2 * peptides.SEQUENCE)[:residues], xyz=peptides.helix(residues))
  )
  structure = mdtraj.load(folder / md.topology)
  noise = 0.003 * np.random.default_rng(seed).normal(size=(FRAMES, structure.n_atoms, 3))
  # Times of other programs need not be right: the table says how far apart frames are.
  time = 1000.0 * md.dt_ns * np.arange(1, FRAMES + 1)
  traj = mdtraj.Trajectory(np.float32(structure.xyz + noise), structure.topology, time=time)
  traj.save_xtc(str(folder / f'R{number}.xtc'))
  return 10.0 * traj.xyz.reshape(FRAMES, residues, -1, 3)


@pytest.fixture
def data(tmp_path):
  """The folder of the user's, and positions by (name, replica)."""
  written = {}
  for k, md in enumerate(public_md.SETS):
    for number in range(1, len(md.splits) + 1):
      written[md.name, number] = write_md(
        tmp_path / 'data' / md.name, md, number, 8 + k, seed=10 * k + number
      )
  return tmp_path / 'data', written


def build(tmp_path, *args):
  """Runs the command on one small protein of our own, and what the arguments add."""
  if not (tmp_path / 'simulated').exists():
    shutil.copytree(SIMULATED / '6a5j', tmp_path / 'simulated' / '6a5j')
  values = flags.FlagValues()
  default_training_data.define_flags(values)
  store = f'--store={tmp_path}/store'
  values(['command', f'--simulated={tmp_path}/simulated', store, *args])
  default_training_data.main(values)
  return store_lib.Store(str(tmp_path / 'store'))


def test_the_table_is_sound():
  names = [md.name for md in public_md.SETS]
  assert len(set(names)) == len(names) >= 4
  for md in public_md.SETS:
    assert md.splits[0] == 'train', md.name
    assert 0.0 < md.part <= 1.0, md.name
    assert 0.01 <= md.dt_ns <= 5.0, md.name
    # A licence that permits to bundle what was learnt.
    assert md.source.endswith(('MIT', 'BSD-3-Clause', 'CC-BY-4.0')), md.name
    # Held out from all training.
    assert not {'hp35', 'barstar', '3tvj', '2m9i', 'bpti'} & set(md.name.lower().split('_')), (
      md.name
    )


def test_public_md_stands_beside_our_own(tmp_path, data, capsys):
  folder, written = data
  store = build(tmp_path, f'--public={folder}')
  entries = {(entry.name, entry.replica): entry for entry in store.entries}
  assert set(entries) == {('6a5j', 1), ('6a5j', 2), *written}
  table = {md.name: md for md in public_md.SETS}
  for (name, replica), positions in written.items():
    entry, md = entries[name, replica], table[name]
    assert entry.solvent == 'explicit'
    assert entry.split == md.splits[replica - 1]
    assert entry.temperature_K == md.temperature_K
    assert entry.dt_ns == pytest.approx(md.dt_ns, rel=1e-6)
    assert entry.num_frames == (10 if md.part == 0.5 else FRAMES)
    found = store.read(entry, slice(0, entry.num_frames))
    # Each file is rounded to 0.01 Å.
    np.testing.assert_allclose(
      found, positions[: entry.num_frames, :, :4], atol=0.012, err_msg=name
    )
  assert {entries['6a5j', k].solvent for k in (1, 2)} == {'implicit'}
  trained = sum(entry.split == 'train' for entry in entries.values())
  assert f'{trained} train, {len(entries) - trained} validation' in capsys.readouterr().out
  # Again: it is replaced.
  assert len(build(tmp_path, f'--public={folder}').entries) == len(entries)
  # Without them the store holds what would be trained on by mistake.
  with pytest.raises(InputError, match=r'holds .*: give a new --store, or --public'):
    build(tmp_path)


@pytest.mark.parametrize('missing', ['topology.pdb', 'R1.xtc'])
def test_a_missing_file_is_one_line(tmp_path, data, missing):
  folder, _ = data
  (folder / 'ntl9_mdcath_320K' / missing).unlink()
  with pytest.raises(InputError, match=rf'ntl9_mdcath_320K/{missing}: no such file: ') as error:
    build(tmp_path, f'--public={folder}')
  assert '\n' not in str(error.value)


def test_systems_are_left_out(tmp_path, data):
  folder, written = data
  # At every temperature; and with all replicas.
  for name in ('6a5j', 'cln025', 'cln025_350K'):
    shutil.copytree(SIMULATED / name, tmp_path / 'simulated' / name)
  store = build(tmp_path, f'--public={folder}', '--leave_out=psi_integrin_b3,cln025')
  names = {entry.name for entry in store.entries}
  assert names == {'6a5j', *(name for name, _ in written)} - {'psi_integrin_b3'}
  with pytest.raises(InputError, match=r'=ntl9: not among the proteins, 6a5j, .*ntl9_'):
    build(tmp_path, f'--public={folder}', '--leave_out=6a5j,ntl9')
  with pytest.raises(InputError, match=r'psi.*: not among .* 6a5j, cln025 \(without --public\)'):
    build(tmp_path, '--leave_out=psi_integrin_b3')
  with pytest.raises(InputError, match='leaves nothing to train on'):
    build(tmp_path, '--leave_out=6a5j,cln025')
  # What was written before would be trained on.
  with pytest.raises(InputError, match=r'holds 6a5j.*, which would be trained on, too'):
    build(tmp_path, f'--public={folder}', '--leave_out=6a5j,cln025')


def test_leaving_out_needs_a_store():
  values = flags.FlagValues()
  default_training_data.define_flags(values)
  values(['command', '--leave_out=6a5j'])
  with pytest.raises(InputError, match='--leave_out applies to --store only'):
    default_training_data.main(values)
