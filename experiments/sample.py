"""Samples trajectories from one structure: `python -m experiments.sample --structure=FILE`.

Without flags it samples the bundled structure with the bundled model. Writes into --out:
topology.pdb (the start, t = 0, as the model sees it), trajectory.xtc (one per replica,
trajectory_rK.xtc, where there are several), frames.csv (validity, RMSD and radius of gyration
per frame), metadata.json and, with --report, report.html.
"""

import pathlib
import time
from collections.abc import Sequence

import jax
from absl import flags

import tempo_jax
from experiments import outputs
from tempo_jax import compilation_cache, errors
from tempo_jax import model as model_lib
from tempo_jax import protein as protein_lib
from tempo_jax.report import staging, trajectory_files

_BUNDLED_STRUCTURE = pathlib.Path(tempo_jax.__file__).parent / 'models/default/trp_cage.pdb'
_FLAGS = (
  *('structure', 'model', 'num_frames', 'num_replicas', 'chains', 'temperature_K', 'seed'),
  *('out', 'format', 'report', 'overwrite', 'segment_batch_size', 'replica_batch_size', 'passes'),
)


def define_flags(values: flags.FlagValues) -> None:
  """Called by the binary only: others have flags of the same names."""
  flags.DEFINE_string(
    'structure',
    str(_BUNDLED_STRUCTURE),
    'PDB or mmCIF file, may be gzipped; model 1 of it is the start. Default: the bundled one.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'chains', [], 'Chain ids to sample, e.g. A,B. Default: every protein chain.', flag_values=values
  )
  flags.DEFINE_integer(
    'num_frames',
    400,
    'Frames per replica; the time between them belongs to the model.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_integer(
    'num_replicas', 1, 'Independent trajectories.', lower_bound=1, flag_values=values
  )
  flags.DEFINE_integer(
    'replica_batch_size',
    None,
    'Replicas that are computed together. Lower it to save memory. Default: all.',
    lower_bound=1,
    flag_values=values,
  )
  outputs.define_flags(values)


def sample(values: flags.FlagValues) -> pathlib.Path:
  """Does what the flags say.

  Returns:
    The output directory.

  Raises:
    InputError: something that the user gave is wrong; nothing was written then.
  """
  started = time.monotonic()
  outputs.check_flags(values)
  protein = protein_lib.load_protein(values.structure, values.chains or None)
  model = outputs.load_model(values)
  out = pathlib.Path(values.out or f'tempo_out/{protein.name}')
  with staging.output_directory(out, trajectory_files.FILE_NAMES, values.overwrite) as folder:
    outputs.describe(model, protein, values.structure, values.temperature_K)
    print(
      f'{values.num_replicas} x {values.num_frames} frames, {model.dt_ns:g} ns apart: '
      f'{values.num_frames * model.dt_ns:g} ns each, at {values.temperature_K:g} K'
    )
    computed = outputs.compute(
      model.sampler(
        values.num_frames,
        values.num_replicas,
        values.segment_batch_size,
        values.replica_batch_size,
      ),
      model.params,
      model_lib.padded(protein),
      jax.random.key(values.seed),
      values.temperature_K,
      batch_flags='--replica_batch_size or --segment_batch_size',
    )
    trajectory = outputs.as_trajectory(model, protein, computed.value)
    settings = {name: values[name].value for name in _FLAGS}
    outputs.write(folder, trajectory, model, computed, settings, started)
  print(f'written to {out}')
  return out


def main(argv: Sequence[str]) -> None:
  """From the flags to `sample`."""
  del argv
  compilation_cache.use(flags.FLAGS.compilation_cache_dir)
  sample(flags.FLAGS)


if __name__ == '__main__':
  define_flags(flags.FLAGS)
  errors.run(main)
