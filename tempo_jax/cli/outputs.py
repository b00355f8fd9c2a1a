"""What `sample` and `upsample` share: flags, computing with the clock running, output files."""

import contextlib
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tqdm
from absl import flags

from tempo_jax.cli import compilation_cache_flag
from tempo_jax.compilation import ahead_of_time
from tempo_jax.errors import InputError
from tempo_jax.metrics import validity
from tempo_jax.models import model as model_lib
from tempo_jax.models import trained_range
from tempo_jax.output import frame_table, provenance, trajectory_files
from tempo_jax.protein import protein as protein_lib
from tempo_jax.report import plots

_SECONDS_BETWEEN_LINES = 20.0


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
    'Segments of a time scale that are computed together. Lower it to save memory. Default: what '
    'suits the device.',
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
  flags.DEFINE_enum(
    'precision',
    None,
    ('float32', 'bfloat16'),
    'Number format that the network computes in; geometry is float32 always. bfloat16 is quicker '
    'on GPUs and TPUs. Default: that of the model.',
    flag_values=values,
  )
  compilation_cache_flag.define_flags(values)


def load_model(values: flags.FlagValues) -> model_lib.Model:
  """The model of --model, with the --passes and the --precision that were asked for."""
  model = model_lib.load_model(values.model)
  if values.passes is not None:
    model = model.with_passes(values.passes)
  return model if values.precision is None else model.with_precision(values.precision)


def check_flags(values: flags.FlagValues) -> None:
  """Raises `InputError` for what can be refused before anything is read."""
  model_lib.check_temperature(values.temperature_K)
  if values.report:
    plots.require()


def describe(
  model: model_lib.Model,
  protein: protein_lib.Protein,
  source: str,
  temperature_K: float,
  num_frames: int | None = None,
) -> None:
  """Prints what was read, and what is doubtful about it.

  Args:
    model: that is to sample it.
    protein: what was read.
    source: from where.
    temperature_K: K.
    num_frames: to be sampled; None where the user gives the slow motion.
  """
  lengths = ', '.join(
    f'{chain["id"] or "(blank)"} ({chain["num_residues"]})' for chain in _chains(protein)
  )
  print(f'{source}: {protein.num_residues} residues; chains: {lengths}')
  if protein.left_out:
    print(f'left out {len(protein.left_out)} residues:')
  for residue in protein.left_out:
    print(f'  {residue}')
  for warning in _warnings(model, protein, temperature_K, num_frames):
    print(f'warning: {warning}')


def _warnings(
  model: model_lib.Model,
  protein: protein_lib.Protein,
  temperature_K: float,
  num_frames: int | None,
) -> list[str]:
  return [*protein.warnings, *_unseen(model, protein, temperature_K, num_frames)]


def _unseen(
  model: model_lib.Model,
  protein: protein_lib.Protein,
  temperature_K: float,
  num_frames: int | None,
) -> list[str]:
  length_ns = None if num_frames is None else num_frames * model.dt_ns
  return trained_range.warnings(model.config, protein, temperature_K, length_ns)


def _chains(protein: protein_lib.Protein) -> list[dict[str, Any]]:
  index = protein.arrays.chain_index.tolist()
  return [
    {'id': chain_id, 'num_residues': index.count(k)} for k, chain_id in enumerate(protein.chain_ids)
  ]


@dataclasses.dataclass(frozen=True)
class Seconds:
  """What compiling took, and computing and writing."""

  compiling: float
  sampling: float


def compute(function: Callable[..., jax.Array], *args: Any) -> tuple[np.ndarray, Seconds]:
  """Calls a jitted function, compiled ahead of time, and prints the progress.

  Args:
    function: to call.
    *args: its arguments.

  Returns:
    What it gives, and the time that it took.

  Raises:
    InputError: the memory does not suffice.
  """
  with memory_errors('--segment_batch_size'):
    announce()
    started = time.monotonic()
    compiled = ahead_of_time.compiled(function, *args)
    compiling = time.monotonic() - started
    print(f'compiled in {compiling:.1f} s; sampling ...', flush=True)
    started = time.monotonic()
    value = np.asarray(compiled(*args))
    sampling = time.monotonic() - started
  print(f'sampled in {sampling:.1f} s', flush=True)
  return value, Seconds(compiling, sampling)


def announce() -> None:
  """Prints that compiling begins."""
  print(f'compiling for {provenance.device()["kind"]} ...', flush=True)


@contextlib.contextmanager
def memory_errors(batch_flags: str) -> Iterator[None]:
  """Raises `InputError` where the memory of the device does not suffice.

  Args:
    batch_flags: what the user can lower to save memory.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    raise InputError(
      f'the memory of the device does not suffice: lower {batch_flags}, or ask for fewer frames '
      f'({str(error).splitlines()[0]})'
    ) from error


class Progress:
  """A bar on a terminal; elsewhere a line now and then. Nothing where it is quick."""

  def __init__(self, num_frames: int):
    """Starts the clock.

    Args:
      num_frames: of all trajectories together.
    """
    self._num_frames, self._done = num_frames, 0
    self._started = self._last = time.monotonic()
    self._bar = tqdm.tqdm(
      total=num_frames, unit='frame', disable=None, leave=False, dynamic_ncols=True, delay=1.0
    )

  def add(self, num_frames: int) -> None:
    """So many frames more have been written."""
    self._done += num_frames
    self._bar.update(num_frames)
    now = time.monotonic()
    if self._bar.disable and now - self._last > _SECONDS_BETWEEN_LINES:
      self._last = now
      rate = self._done / (now - self._started)
      print(
        f'frame {self._done:,} of {self._num_frames:,}, {rate:,.0f} frames/s',
        flush=True,
      )

  def close(self) -> None:
    """Takes the bar away."""
    self._bar.close()


def check_finite(
  model: model_lib.Model, positions: np.ndarray, first: int, num_frames: int
) -> None:
  """Raises `InputError` if the model ran off to infinity.

  Args:
    model: that sampled them.
    positions: [F, L, 4, 3] Å.
    first: number of the first of these frames, from 0.
    num_frames: of the whole trajectory.
  """
  # The sum is not finite where a number is not, and needs no memory; a sum may also overflow.
  if np.isfinite(np.sum(positions)):
    return
  finite = np.isfinite(positions).all(axis=(1, 2, 3))
  if not finite.all():
    raise InputError(
      f'the model {model.name} ran off to infinity at frame {first + int(np.argmin(finite)) + 1} '
      f'of {num_frames}: sample fewer frames, another seed, or train it further'
    )


def complete(
  folder: pathlib.Path,
  outline: trajectory_files.Outline,
  frames: frame_table.FrameTable,
  model: model_lib.Model,
  seconds: Seconds,
  settings: Mapping[str, Any],
  started: float,
) -> None:
  """Writes the report and metadata.json, and prints whether the frames are valid.

  Args:
    folder: that holds the other files.
    outline: what is in them.
    frames: the numbers in frames.csv.
    model: that sampled it.
    seconds: that it took.
    settings: the value of every flag.
    started: `time.monotonic()` when the command began.
  """
  circumstances = {
    'model_sha256': provenance.params_sha256(model.params),
    'levels_ns': {name: model.config.level[name].dt_ns for name in model.config.levels},
    'versions': provenance.versions(),
    'device': provenance.device(),
    'compile_seconds': seconds.compiling,
    'sample_seconds': seconds.sampling,
  }
  protein = outline.protein
  asked = model, protein, settings['temperature_K'], settings.get('num_frames')
  if settings['report']:
    # Slow to import, and seldom needed.
    from tempo_jax.report import trajectory_page

    picked = trajectory_files.picked(folder, outline)
    text = trajectory_page.trajectory_page(
      picked, frames, {**settings, **circumstances}, _unseen(*asked)
    )
    (folder / trajectory_files.REPORT).write_text(text, encoding='utf-8')
  metadata = {
    'model': model.name,
    'seed': settings['seed'],
    'temperature_K': settings['temperature_K'],
    'dt_ns': outline.dt_ns,
    'first_frame_ns': outline.start_ns,
    'num_frames': outline.num_frames,
    'num_replicas': outline.num_replicas,
    **_described(protein),
    'warnings': _warnings(*asked),
    'broken_chain_percent': frames.broken_percent,
    'clash_percent': frames.clash_percent,
    'flags': dict(settings),
    **circumstances,
    'wall_seconds': time.monotonic() - started,
  }
  write_metadata(folder, metadata)
  print(
    f'validity: {frames.broken_percent:.1f} % of {frames.num_frames} frames have a broken chain '
    f'(CA-CA outside {validity.MIN_CA_CA:g} to {validity.MAX_CA_CA:g} Å or C-N above '
    f'{validity.MAX_C_N:g} Å), {frames.clash_percent:.1f} % a clash (atoms of different residues '
    f'nearer than {validity.CLASH_DISTANCE:g} Å)'
  )


def write_metadata(folder: pathlib.Path, metadata: Mapping[str, Any]) -> None:
  """Writes metadata.json."""
  with open(folder / trajectory_files.METADATA, 'w', encoding='utf-8') as file:
    json.dump(metadata, file, indent=2)
    file.write('\n')


def _described(protein: protein_lib.Protein) -> dict[str, Any]:
  return {
    'name': protein.name,
    'num_residues': protein.num_residues,
    'sequence': protein.sequence,
    'chains': _chains(protein),
    'left_out': [dataclasses.asdict(residue) for residue in protein.left_out],
  }
