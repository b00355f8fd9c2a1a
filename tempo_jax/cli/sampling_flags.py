"""The flags of commands that draw with a model, and the model that they ask for."""

from absl import flags

from tempo_jax import extras
from tempo_jax.cli import compilation_cache_flag
from tempo_jax.models import model as model_lib
from tempo_jax.output import trajectory_files
from tempo_jax.trajectory import atoms as atoms_lib


def define_flags(values: flags.FlagValues) -> None:
  """Defines those of `sample` and `upsample`."""
  define_model_flags(values)
  flags.DEFINE_enum(
    'atoms',
    None,
    atoms_lib.CHOICES,
    'Atoms of each frame: all heavy ones, or N, CA, C, O of the backbone. Default: heavy where the '
    'model draws side chains.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'segment_batch_size',
    None,
    'Segments of one time scale to compute together. Lower it to save memory. Default: chosen for '
    'the device.',
    lower_bound=1,
    flag_values=values,
  )


def define_step_flag(values: flags.FlagValues) -> None:
  """Defines --dt_ns, of what is written."""
  flags.DEFINE_float(
    'dt_ns',
    None,
    'Time between two frames of the output, ns, within the range that the model has learnt. '
    'Default: the shortest, 0.01 of the bundled model.',
    lower_bound=0.0,
    flag_values=values,
  )


def define_model_flags(values: flags.FlagValues) -> None:
  """Defines those of every such command."""
  flags.DEFINE_string(
    'model',
    'default',
    "Model: 'default' is the bundled one; else a directory that `tempo-jax train` or `tempo-jax "
    'export` wrote.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'temperature_K', 320.0, 'Temperature, K; the model is conditioned on it.', flag_values=values
  )
  flags.DEFINE_integer(
    'seed',
    0,
    'Random seed. The same seed on the same device gives the same trajectory.',
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
    'Trajectory format. xtc rounds to 0.01 Å; h5 keeps float32; dcd and pdb lack times that mdtraj '
    'could read.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'report',
    False,
    'Also write report.html. Needs matplotlib: pip install tempo_jax[report].',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'overwrite', False, 'Replace the files of an earlier run in --out.', flag_values=values
  )
  flags.DEFINE_integer(
    'passes',
    None,
    'Passes of the generative head per step: more are more accurate and slower. Default: the '
    "model's own.",
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_enum(
    'precision',
    None,
    ('float32', 'bfloat16'),
    'Number format of the network; geometry is always float32. bfloat16 is faster on GPUs and '
    "TPUs. Default: the model's own.",
    flag_values=values,
  )
  compilation_cache_flag.define_flags(values)


def load_model(values: flags.FlagValues, dt_ns: float | None = None) -> model_lib.Model:
  """Loads --model and sets --passes and --precision.

  Args:
    values: the flags.
    dt_ns: between frames, ns; None: the model's own.
  """
  model = model_lib.load_model(values.model, dt_ns)
  if values.passes is not None:
    model = model.with_passes(values.passes)
  return model if values.precision is None else model.with_precision(values.precision)


def check_flags(values: flags.FlagValues) -> None:
  """Raises `InputError` for what can be refused before anything is read."""
  model_lib.check_temperature(values.temperature_K)
  if values.format == 'h5':
    extras.require('tables', 'hdf5')
  if values.report:
    extras.require('matplotlib', 'report')
