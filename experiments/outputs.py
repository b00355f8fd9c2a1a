"""What `sample` and `upsample` share: flags, computing with the clock running, output files."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from absl import flags

from tempo_jax import compilation_cache
from tempo_jax import model as model_lib
from tempo_jax import protein as protein_lib
from tempo_jax import trajectory as trajectory_lib
from tempo_jax.errors import InputError
from tempo_jax.metrics import validity
from tempo_jax.report import plots, provenance, trajectory_files, trajectory_page

# The flags below belong to the binary that asks for them; --help lists them with its own.
flags.disclaim_key_flags()


def define_flags(values: flags.FlagValues) -> None:
  """Flags of both binaries."""
  flags.DEFINE_string(
    'model',
    'default',
    'The bundled model (default), or a directory that experiments.train wrote.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'temperature_K', 320.0, 'Temperature, K; the model is conditioned on it.', flag_values=values
  )
  flags.DEFINE_integer(
    'seed',
    0,
    'Of the random numbers. The same seed on the same device gives the same trajectory.',
    lower_bound=0,
    upper_bound=2**32 - 1,
    flag_values=values,
  )
  flags.DEFINE_string(
    'out', None, 'Directory to write. Default: tempo_out/NAME of the input.', flag_values=values
  )
  flags.DEFINE_enum(
    'format',
    'xtc',
    trajectory_files.FORMATS,
    'Of the trajectory. xtc: 0.01 Å; h5: full float32; dcd, pdb: no times that mdtraj reads.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'report',
    False,
    'Also write report.html; needs matplotlib: pip install tempo_jax[report].',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'overwrite', False, 'Replace the files of an earlier run in --out.', flag_values=values
  )
  flags.DEFINE_integer(
    'segment_batch_size',
    None,
    'Segments of a time scale that are computed together. Lower it to save memory. Default: all.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_integer(
    'passes',
    None,
    'Passes of the head that draws the frames, per step: more are more exact, and slower. Default: '
    'those of the model.',
    lower_bound=1,
    flag_values=values,
  )
  compilation_cache.define_flag(values)


def load_model(values: flags.FlagValues) -> model_lib.Model:
  """The model of --model, with the --passes that were asked for."""
  model = model_lib.load_model(values.model)
  return model if values.passes is None else model.with_passes(values.passes)


def check_flags(values: flags.FlagValues) -> None:
  """Raises `InputError` for what can be refused before anything is read."""
  model_lib.check_temperature(values.temperature_K)
  if values.report:
    plots.require()


def describe(
  model: model_lib.Model, protein: protein_lib.Protein, source: str, temperature_K: float
) -> None:
  """Prints what was read, and what is doubtful about it."""
  lengths = ', '.join(
    f'{chain["id"] or "(blank)"} ({chain["num_residues"]})' for chain in _chains(protein)
  )
  print(f'{source}: {protein.num_residues} residues; chains: {lengths}')
  if protein.left_out:
    print(f'left out {len(protein.left_out)} residues:')
  for residue in protein.left_out:
    print(f'  {residue}')
  for warning in _warnings(model, protein, temperature_K):
    print(f'warning: {warning}')


def _warnings(
  model: model_lib.Model, protein: protein_lib.Protein, temperature_K: float
) -> list[str]:
  trained = model.config.get('temperatures_K', ())
  if not trained or min(trained) <= temperature_K <= max(trained):
    return list(protein.warnings)
  low, high = min(trained), max(trained)
  at = f'{low:g} K only' if low == high else f'{low:g} to {high:g} K'
  return [*protein.warnings, f'the model was trained at {at}; {temperature_K:g} K is outside']


def _chains(protein: protein_lib.Protein) -> list[dict[str, Any]]:
  index = protein.arrays.chain_index.tolist()
  return [
    {'id': chain_id, 'num_residues': index.count(k)} for k, chain_id in enumerate(protein.chain_ids)
  ]


@dataclasses.dataclass(frozen=True)
class Computed:
  """A result, and the seconds that compiling and computing it took."""

  value: jax.Array
  compile_seconds: float
  run_seconds: float


def compute(
  function: Callable[..., jax.Array], *args: Any, batch_flags: str = '--segment_batch_size'
) -> Computed:
  """Calls a jitted function, compiled ahead of time, and prints the progress.

  Args:
    function: to call.
    *args: its arguments.
    batch_flags: what the user can lower to save memory.

  Raises:
    InputError: the memory does not suffice.
  """
  device = provenance.device()
  print(f'compiling for {device["kind"]} ...', flush=True)
  try:
    started = time.monotonic()
    compiled = function.lower(*args).compile()  # type: ignore[attr-defined]
    compile_seconds = time.monotonic() - started
    print(f'compiled in {compile_seconds:.1f} s; sampling ...', flush=True)
    started = time.monotonic()
    value = jax.block_until_ready(compiled(*args))
    run_seconds = time.monotonic() - started
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    raise InputError(
      f'the memory of the device does not suffice: lower {batch_flags}, or ask for fewer frames '
      f'({str(error).splitlines()[0]})'
    ) from error
  print(f'sampled in {run_seconds:.1f} s', flush=True)
  return Computed(value, compile_seconds, run_seconds)


def as_trajectory(
  model: model_lib.Model,
  protein: protein_lib.Protein,
  positions: jax.Array,
  start_ns: float | None = None,
) -> trajectory_lib.Trajectory:
  """`Model.trajectory` of the protein as the model sees it.

  Raises:
    InputError: the model ran off to infinity.
  """
  try:
    return model.trajectory(trajectory_files.idealised(protein), positions, start_ns)
  except FloatingPointError as error:
    raise InputError(str(error)) from error


def write(
  folder: pathlib.Path,
  trajectory: trajectory_lib.Trajectory,
  model: model_lib.Model,
  computed: Computed,
  settings: Mapping[str, Any],
  started: float,
) -> None:
  """Writes every file, and prints whether the frames are valid.

  Args:
    folder: to write into.
    trajectory: what was sampled.
    model: that sampled it.
    computed: the times that it took.
    settings: the value of every flag.
    started: `time.monotonic()` when the command began.
  """
  frames = trajectory_files.write(folder, trajectory, settings['format'])
  circumstances = {
    'model_sha256': provenance.params_sha256(model.params),
    'levels_ns': {name: model.config.level[name].dt_ns for name in model.config.levels},
    'versions': provenance.versions(),
    'device': provenance.device(),
    'compile_seconds': computed.compile_seconds,
    'sample_seconds': computed.run_seconds,
  }
  if settings['report']:
    text = trajectory_page.trajectory_page(trajectory, frames, {**settings, **circumstances})
    (folder / trajectory_files.REPORT).write_text(text, encoding='utf-8')
  metadata = {
    'model': model.name,
    'seed': settings['seed'],
    'temperature_K': settings['temperature_K'],
    'dt_ns': trajectory.dt_ns,
    'first_frame_ns': float(trajectory.time_ns[0]),
    'num_frames': trajectory.num_frames,
    'num_replicas': trajectory.num_replicas,
    **_described(trajectory.protein),
    'warnings': _warnings(model, trajectory.protein, settings['temperature_K']),
    'broken_chain_percent': frames.broken_percent,
    'clash_percent': frames.clash_percent,
    'flags': dict(settings),
    **circumstances,
  }
  metadata['wall_seconds'] = time.monotonic() - started
  with open(folder / trajectory_files.METADATA, 'w', encoding='utf-8') as file:
    json.dump(metadata, file, indent=2)
    file.write('\n')
  print(
    f'validity: {frames.broken_percent:.1f} % of {frames.broken.size} frames have a broken chain '
    f'(CA-CA outside {validity.MIN_CA_CA:g} to {validity.MAX_CA_CA:g} Å or C-N above '
    f'{validity.MAX_C_N:g} Å), {frames.clash_percent:.1f} % a clash (atoms of different residues '
    f'nearer than {validity.CLASH_DISTANCE:g} Å)'
  )


def _described(protein: protein_lib.Protein) -> dict[str, Any]:
  return {
    'name': protein.name,
    'num_residues': protein.num_residues,
    'sequence': protein.sequence,
    'chains': _chains(protein),
    'left_out': [dataclasses.asdict(residue) for residue in protein.left_out],
  }
