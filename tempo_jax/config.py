"""The model's configuration: every choice that shapes the network or its dynamics.

Experiment files (experiments/configs/) start from `model_config()` and edit it; a model
directory stores it; `make_sampler` takes it frozen, so that it is hashable.
"""

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import config_dict

from tempo_jax import time_scales
from tempo_jax.errors import InputError

# What `objective` can be; `transitions.register` adds to it.
OBJECTIVES = ['mse', 'flow_matching', 'energy_score']
# Number formats that the network can multiply matrices in.
PRECISIONS = ('float32', 'bfloat16')


def level_config(dt_ns: float) -> config_dict.ConfigDict:
  """One time scale.

  Args:
    dt_ns: time between two frames of this level, ns.

  The noise of the SDE is a number sigma, in units of `noise_translation` Å for the origins,
  `noise_rotation` rad for the orientations and `noise_torsion` rad for the torsion that the
  frames leave free (psi at chain ends). Training draws sigma from U(noise_min, noise_max)
  (paper: 0.01, 0.05); sampling uses `noise_sample`. Where frames are drawn (`objective`), this
  noise is no part of the process: it only shows the network windows that lie beside the data, as
  its own will.
  `translation_std` Å and `rotation_std` rad are the spread of one step over the training data
  per component; `train` measures them, and they scale the network's output and the loss.
  """
  return config_dict.create(
    dt_ns=float(dt_ns),
    noise_min=0.0,
    noise_max=0.1,
    noise_sample=0.0,
    noise_translation=1.0,
    noise_rotation=1.0,
    noise_torsion=1.0,
    translation_std=1.0,
    rotation_std=0.5,
  )


def model_config(dt_ns: Mapping[str, float] | None = None) -> config_dict.ConfigDict:
  """The paper-size model with our settings.

  Args:
    dt_ns: name and time step (ns) of each level, coarse to fine. Default: the paper's.
  """
  dt_ns = dt_ns or {'coarse': 20.0, 'fine': 1.0}
  return config_dict.create(
    # 'local': equivariant updates in the residues' own frames; 'global': the paper's
    # 13 raw numbers per residue.
    update_rule='local',
    # What one step is trained to be. 'mse': the conditional mean, plus the paper's noise;
    # 'flow_matching', 'energy_score': a sample of the next frames, drawn by a light head.
    objective='flow_matching',
    # Passes of that head per step; may be changed in a trained model.
    passes=4,
    # Projects every new frame onto closed chains of MD-like geometry, without overlapping atoms.
    closure=True,
    # Whether side chains are drawn, too: their torsions chi. Not by 'mse'; 'flow_matching' learns
    # them; 'energy_score' looks at the backbone alone, and forgets them: nothing holds them.
    side_chains=True,
    # Added in sampling, not in training, to the logit of the well that a torsion is in: a network
    # that follows its own frames changes some rotamers too often, others too seldom. Rows of a lag
    # (ns, ascending), the numbers for chi1, for other torsions and for the puckers of proline;
    # interpolated over log(lag), constant beyond them. Three more numbers in every row, if there
    # are any, are those in implicit solvent; the first three are then those in explicit solvent.
    rotamer_stay=(),
    # Whether a level below the first sees only the coarse state that its segment starts from
    # ('start', paper) or also the one that it ends in ('both').
    anchors='both',
    # Whether the first level also sees the conformation that its trajectory began with: what it
    # knows of a protein's native structure, however long ago that was. Needs anchors = 'both'.
    reference=True,
    # What is known before anything is learnt (`dynamics.expected`). 'still': residues stay, and
    # move alike, each on its own; 'elastic': springs about a reference, with a memory.
    prior='still',
    # Of 'elastic': variances at 300 K, in units of the network's, and over which times (ns) they
    # are forgotten, fitted to MD from 10 ps to 30 ns (`experiments/benchmarks/memory.py`). In
    # implicit solvent the fastest motion is larger (`implicit_variance` is added to it).
    memory=config_dict.create(
      variances=(0.286, 0.177, 0.315, 0.432, 0.463, 3.411),
      times_ns=(0.004, 0.04, 0.4, 4.0, 40.0, 3000.0),
      implicit_variance=0.552,
      # By how much samples are widened, in explicit and in implicit solvent: what a trained network
      # and closed chains take from the fluctuation (`experiments/benchmarks/physics.py`).
      gain=(1.0, 1.0),
    ),
    # What it was trained on (`models.trained_range`); `train` fills that in.
    trained_on=config_dict.create(
      temperatures_K=(),
      num_residues=(),  # the least and the most
      num_chains=0,
      longest_ns=(),  # (residues, ns): how long proteins of a size were followed
    ),
    # Of a model whose parameters serve every time step: the shortest and the longest, ns
    # (`any_step_config`). (): each level has a time step, and parameters of its own.
    lags_ns=(),
    # Frames in and frames out of one network pass (paper: T = 2).
    window=2,
    # In which the network multiplies matrices, one of `PRECISIONS`. Parameters, geometry, points,
    # logits, norms and results are float32 with either. May be changed in a trained model.
    precision='float32',
    levels=tuple(dt_ns),
    level=config_dict.create(**{name: level_config(dt) for name, dt in dt_ns.items()}),
    encoder=config_dict.create(
      channels=256,
      num_ipa_blocks=4,
      num_attention_blocks=4,
      num_gru_layers=2,
      num_heads=8,
      ipa_scalar_channels=16,
      ipa_query_points=4,
      ipa_value_points=8,
      # What each IPA block reads: 'hidden' updates it from block to block (AlphaFold 2);
      # 'sequence' always reads the sequence embedding (paper, Algorithm 1).
      ipa_reads='hidden',
      # Whether it sees which cysteines a disulphide joins.
      disulphides=True,
      # Whether it sees in which solvent the protein is.
      solvent=True,
      # Spatial neighbours per residue in the local-surroundings features; 0 switches them off.
      num_neighbours=16,
    ),
    # The light head that turns noise into the next frames (objectives other than 'mse').
    head=config_dict.create(
      channels=128,
      num_blocks=2,
      num_heads=4,
      ipa_scalar_channels=16,
      ipa_query_points=4,
      ipa_value_points=4,
    ),
  )


def paper_model_config(dt_ns: Mapping[str, float] | None = None) -> config_dict.ConfigDict:
  """The paper's setting of every switch, as far as its text determines one."""
  config = model_config(dt_ns)
  config.update_rule = 'global'
  config.objective = 'mse'
  config.closure = False
  config.side_chains = False
  config.anchors = 'start'
  config.reference = False
  config.encoder.ipa_reads = 'sequence'
  config.encoder.num_neighbours = 0
  config.encoder.disulphides = False
  config.encoder.solvent = False
  for level in config.level.values():
    level.update({'noise_min': 0.01, 'noise_max': 0.05, 'noise_sample': 0.05})
  return config


def any_step_config(shortest_ns: float, longest_ns: float) -> config_dict.ConfigDict:
  """A model of any time step (`time_scales`), with the elastic prior that it needs.

  Args:
    shortest_ns: the shortest lag time that it learns, ns.
    longest_ns: the longest one, ns.
  """
  config = model_config({time_scales.LEVEL: shortest_ns})
  config.lags_ns = (float(shortest_ns), float(longest_ns))
  config.prior = 'elastic'
  return config


def model_config_of(dynamics: str, dt_ns: Mapping[str, float]) -> config_dict.ConfigDict:
  """`paper_model_config` for 'paper', `model_config` for 'ours'."""
  if dynamics not in ('paper', 'ours'):
    raise InputError(f'--config variant dynamics={dynamics}: choose paper or ours')
  return (paper_model_config if dynamics == 'paper' else model_config)(dt_ns)


def freeze(config: Any) -> config_dict.FrozenConfigDict:
  """Hashable copy, to be closed over by jitted functions and linen modules."""
  return config_dict.FrozenConfigDict(config)


def has_side_chains(config: Any) -> bool:
  """Whether a model draws side chains: its configuration says so, and its objective can."""
  return config.side_chains and config.objective != 'mse'


def complete_paper_config(config: Any) -> None:
  """Adds to a stored configuration what the paper's network has never had, and says so now."""
  if config.get('update_rule') != 'global':
    return
  paper = paper_model_config(dict.fromkeys(config.levels, 1.0))
  config.side_chains = config.get('side_chains', paper.side_chains)
  config.prior, config.memory = config.get('prior', paper.prior), paper.memory
  config.lags_ns = config.get('lags_ns', paper.lags_ns)
  for name in ('disulphides', 'solvent'):
    config.encoder[name] = config.encoder.get(name, paper.encoder[name])


def missing_settings(config: Any) -> list[str]:
  """What a stored configuration of a model lacks, 'model.KEY' each: an older version wrote it."""
  expected = model_config(dict.fromkeys(config.levels, 1.0))
  missing = sorted(_paths(expected) - _paths(config))
  # Chi was a number on the circle at first, with noise of its own.
  if not missing and has_side_chains(config) and 'chi_hop' in config.level[config.levels[0]]:
    return ['wells of rotamers']
  return missing


def _paths(config: Any, prefix: str = 'model') -> set[str]:
  """Names of all settings of a section and those below it."""
  found = set()
  for key, value in config.items():
    path = f'{prefix}.{key}'
    found |= _paths(value, path) if isinstance(value, config_dict.ConfigDict) else {path}
  return found


def _is_positive(value: Any) -> bool:
  return isinstance(value, int | float) and 0.0 < value < math.inf


def check(config: Any) -> None:
  """Raises `InputError` for a model configuration that cannot work."""
  if config.get('shared_levels', False):
    raise InputError(
      'config.model.shared_levels = True: levels no longer share their parameters: leave it out'
    )
  _check_choice('update_rule', config.update_rule, ('local', 'global'))
  _check_choice('encoder.ipa_reads', config.encoder.ipa_reads, ('hidden', 'sequence'))
  _check_choice('objective', config.objective, tuple(OBJECTIVES))
  _check_choice('anchors', config.anchors, ('start', 'both'))
  _check_choice('prior', config.prior, ('still', 'elastic'))
  _check_choice('precision', config.precision, PRECISIONS)
  if config.update_rule == 'global' and (config.objective, config.anchors) != ('mse', 'start'):
    raise InputError(
      "config.model.update_rule = 'global' goes with objective = 'mse' and anchors = 'start' only: "
      "choose update_rule = 'local'"
    )
  if config.reference and config.anchors != 'both':
    raise InputError(
      f"config.model.reference = True goes with anchors = 'both' only, not {config.anchors!r}: "
      'choose reference = False'
    )
  if config.prior == 'elastic' and config.objective == 'mse':
    raise InputError(
      "config.model.prior = 'elastic' goes with objectives that draw samples, not with 'mse': "
      "choose prior = 'still'"
    )
  if (
    sorted(config.memory.times_ns) != list(config.memory.times_ns)
    or len(config.memory.variances) != len(config.memory.times_ns)
    or not all(x > 0.0 for x in (*config.memory.variances, *config.memory.times_ns))
  ):
    raise InputError(
      f'config.model.memory: variances {tuple(config.memory.variances)} over times_ns '
      f'{tuple(config.memory.times_ns)}: give as many of each, all above zero, times ascending'
    )
  gain = config.memory.gain
  if not isinstance(gain, tuple | list) or len(gain) != 2 or not all(map(_is_positive, gain)):
    raise InputError(
      f'config.model.memory.gain = {config.memory.gain}: give two numbers above zero, for explicit '
      'and for implicit solvent'
    )
  stay_rows(config.rotamer_stay)
  if config.lags_ns:
    _check_any_step(config)
  _check_least('window', config.window, 1)
  _check_least('passes', config.passes, 1)
  for name, value in config.head.items():
    _check_least(f'head.{name}', value, 1)
  for name, value in config.encoder.items():
    if type(value) is int:
      # Blocks, layers and neighbours may be switched off.
      may_be_zero = name.endswith(('blocks', 'layers', 'neighbours'))
      _check_least(f'encoder.{name}', value, 0 if may_be_zero else 1)
  if config.encoder.channels % config.encoder.num_heads:
    raise InputError(
      f'config.model.encoder.channels = {config.encoder.channels} is not a multiple of '
      f'config.model.encoder.num_heads = {config.encoder.num_heads}: change one of them'
    )
  missing = [name for name in config.levels if name not in config.level]
  if not config.levels or missing:
    raise InputError(
      f'config.model.levels = {tuple(config.levels)} names levels without a section '
      f'config.model.level.NAME: {missing}'
    )
  for name in config.levels:
    if not config.level[name].dt_ns > 0:
      raise InputError(
        f'config.model.level.{name}.dt_ns = {config.level[name].dt_ns}: a positive number of ns is '
        'needed'
      )
  frames_per_segment(config)


def stay_rows(rows: Any) -> tuple[tuple[float, ...], ...]:
  """`rotamer_stay` as tuples, of four numbers or of seven each.

  Raises:
    InputError: it is not what the setting is.
  """

  def is_row(row: Any) -> bool:
    if not isinstance(row, tuple | list) or len(row) not in (4, 7):
      return False
    return _is_positive(row[0]) and all(
      isinstance(x, int | float) and math.isfinite(x) for x in row[1:]
    )

  good = isinstance(rows, tuple | list) and all(map(is_row, rows))
  lags = [row[0] for row in rows] if good else []
  if not good or lags != sorted(set(lags)) or len({len(row) for row in rows}) > 1:
    raise InputError(
      f'config.model.rotamer_stay = {rows!r}: give rows of a lag in ns (ascending) and three '
      'numbers, for chi1, for other torsions and for the puckers of proline, or six, the first '
      'three in explicit, the others in implicit solvent; () for none'
    )
  return tuple(map(tuple, rows))


def _check_any_step(config: Any) -> None:
  lags_ns = tuple(config.lags_ns)
  if len(lags_ns) != 2 or not 0.0 < lags_ns[0] < lags_ns[1]:
    raise InputError(
      f'config.model.lags_ns = {lags_ns}: give the shortest and the longest lag time, ns, or ()'
    )
  for name, needed in (('prior', 'elastic'), ('anchors', 'both'), ('objective', 'flow_matching')):
    if config[name] != needed:
      raise InputError(
        f'config.model.{name} = {config[name]!r}: a model of any time step (config.model.lags_ns) '
        f'needs {needed!r}'
      )


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
  if value not in choices:
    raise InputError(f'config.model.{name} = {value!r}: choose one of {", ".join(choices)}')


def _check_least(name: str, value: int, least: int) -> None:
  if value < least:
    raise InputError(f'config.model.{name} = {value}: at least {least} is needed')


def frames_per_segment(config: Any) -> tuple[int, ...]:
  """Frames of each finer level that fill one step of the level above it.

  Returns:
    One whole number per level but the first, e.g. (20,) for 20 ns and 1 ns.

  Raises:
    InputError: the time steps do not divide one another.
  """
  steps = [config.level[name].dt_ns for name in config.levels]
  counts = []
  for (coarse, fine), name in zip(itertools.pairwise(steps), config.levels[1:], strict=True):
    count = round(coarse / fine)
    if count < 1 or abs(count * fine - coarse) > 1e-3 * fine:
      raise InputError(
        f'config.model.level.{name}.dt_ns = {fine} does not divide the time step {coarse} ns of '
        'the level above: choose a whole fraction of it'
      )
    counts.append(count)
  return tuple(counts)


def to_dict(config: Any) -> dict[str, Any]:
  """Plain dictionary for JSON."""
  return json.loads(config_dict.ConfigDict(config).to_json())


def from_dict(values: Mapping[str, Any]) -> config_dict.ConfigDict:
  """Configuration from what `to_dict` gave; JSON's lists become tuples again."""

  def restore(value):
    if isinstance(value, Mapping):
      return {key: restore(item) for key, item in value.items()}
    return tuple(map(restore, value)) if isinstance(value, list | tuple) else value

  return config_dict.ConfigDict(restore(values))
