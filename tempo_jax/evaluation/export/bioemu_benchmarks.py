"""Files for bioemu-benchmarks 0.0.2.post1 (Microsoft, MIT).

    bioemu-bench eval RESULTS -b md_emulation -s OUT/export/bioemu-benchmarks

It searches its folder of samples for `*.xtc`, each with the `.pdb` of the same name as topology:
one chain of standard residues, N, CA, C, O of each of them. A test case is found by the sequence,
which must be equal; the names of files, times and the order of frames do not matter.
"""

from tempo_jax.evaluation.export import request as request_lib
from tempo_jax.evaluation.export import trajectories
from tempo_jax.evaluation.export.request import Request
from tempo_jax.trajectory import atoms

paths = trajectories.paths


def write(asked: Request) -> list[str]:
  """Writes NAME.pdb and NAME.xtc of the backbone.

  Backbones also where there are side chains: BioEmu's own samples, which its numbers are of, have
  none, and its filter of clashes is made for them.

  Returns:
    What the user should know, one line each.

  Raises:
    InputError: it does not take such a protein, or a file cannot be written.
  """
  request_lib.one_chain(asked.protein)
  request_lib.standard(asked.protein)
  trajectories.write(asked, atoms.BACKBONE)
  return []
