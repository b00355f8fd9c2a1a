"""MD of others that the bundled model may learn from, and what their licences ask for.

Their files are not part of this project: `data_prep.default_training_data --public=DATA` finds them
in a folder of the user's, NAME/topology.pdb and NAME/R1.xtc each.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Sequence

import mdtraj

from tempo_jax.errors import InputError
from tempo_jax.preparation import trajectories


@dataclasses.dataclass(frozen=True)
class PublicMD:
  """Trajectories of one protein in explicit solvent.

  Attributes:
    name: of its folder.
    source: who made it, and under which licence.
    dt_ns: between frames, ns.
    temperature_K: K.
    topology: file of the atoms that the trajectories hold.
    splits: of its replicas, from the first.
    part: of the frames that are read, from the first; the rest is kept to judge by.
  """

  name: str
  source: str
  dt_ns: float
  temperature_K: float
  topology: str = 'topology.pdb'
  splits: tuple[str, ...] = ('train',)
  part: float = 1.0


SETS = (
  PublicMD(
    'trpcage_tc5b_50ns', 'Trp-cage TC5b, MIT', 0.01, 300.0, topology='topology_backbone.pdb'
  ),
  PublicMD('ntl9_mdcath_320K', 'mdCATH 2hbaA00 (Mirarchi et al.), CC-BY-4.0', 1.0, 320.0, part=0.5),
  PublicMD('sh2_lck_pYEEI', 'SH2 domain of Lck, BSD-3-Clause', 1.0, 300.0),
  PublicMD(
    'psi_integrin_b3',
    'PSI domain of integrin beta 3, MIT',
    0.2,
    300.0,
    splits=('train', 'validation'),
  ),
)
"""Those whose licence permits to bundle weights that were trained on them, with attribution."""


def add(
  data: pathlib.Path, store: pathlib.Path, leave_out: Sequence[str] = ()
) -> list[tuple[str, float, int, str]]:
  """Writes all of them into a store.

  Args:
    data: with NAME/topology.pdb, NAME/R1.xtc, ...
    store: directory of the store; replicas that it holds already are replaced.
    leave_out: names of those that are not written.

  Returns:
    Protein, temperature (K), replica and split of each.

  Raises:
    InputError: a file is missing or cannot be used.
  """
  written = []
  with tempfile.TemporaryDirectory() as folder:
    for md in (md for md in SETS if md.name not in leave_out):
      topology = data / md.name / md.topology
      replicas = [data / md.name / f'R{k}.xtc' for k in range(1, 1 + len(md.splits))]
      for file in (topology, *replicas):
        if not file.is_file():
          raise InputError(f'{file}: no such file: correct --public, or leave it out')
      named = pathlib.Path(folder) / f'{md.name}.pdb'
      named.write_bytes(topology.read_bytes())
      for number, (file, split) in enumerate(zip(replicas, md.splits, strict=True), start=1):
        part = pathlib.Path(folder) / f'{md.name}_R{number}.xtc'
        frames = mdtraj.load(str(file), top=str(topology))
        frames[: int(md.part * len(frames))].save_xtc(str(part))
        trajectories.prepare(
          named,
          [part],
          store,
          dt_ns=md.dt_ns,
          temperature_K=md.temperature_K,
          replica=number,
          split=split,
          solvent='explicit',
          overwrite=True,
          num_workers=1,
        )
        written.append((md.name, md.temperature_K, number, split))
  return written
