"""A trained model: load it, sample trajectories with it, write it to a directory."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import config_dict

from tempo_jax import config as config_lib
from tempo_jax import time_scales, transitions
from tempo_jax.errors import InputError
from tempo_jax.models import centres as centres_lib
from tempo_jax.models import directory as model_directory
from tempo_jax.protein import padding, side_chain_atoms
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import coarse_to_fine, settings, side_chains, stream, upsample
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import trajectory as trajectory_lib


@dataclasses.dataclass(frozen=True)
class Model:
  """Configuration and parameters.

  Attributes:
    name: what `load_model` was given.
    config: the model's configuration (`tempo_jax.config.model_config`), frozen.
    params: per level name, the parameters of its drift.
    centres: of the proteins that it was fine-tuned on; others have centres that are drawn.
  """

  name: str
  config: config_dict.FrozenConfigDict
  params: Mapping[str, Any]
  centres: centres_lib.Centres = dataclasses.field(default_factory=dict)

  @property
  def dt_ns(self) -> float:
    """Time between two frames of a sampled trajectory, ns."""
    return self.config.level[self.config.levels[-1]].dt_ns

  @property
  def has_side_chains(self) -> bool:
    """Whether it draws side chains, too."""
    return config_lib.has_side_chains(self.config)

  def atoms(self, asked_for: str | None = None) -> str:
    """The atoms that it gives: 'heavy' or 'backbone'.

    Args:
      asked_for: one of both; None: all that it has.

    Raises:
      InputError: neither, or there are no side chains.
    """
    return settings.atoms_of(self.config, asked_for)

  def with_passes(self, passes: int) -> 'Model':
    """The same model with another number of passes of its head per step.

    Raises:
      InputError: the model has no such head (it predicts means), or it is below 1.
    """
    if transitions.passes(self.config) is None:
      raise InputError(
        f'the model {self.name} predicts means and has no head that could pass {passes} times: '
        'leave the number of passes out, or take a model with a generative objective'
      )
    return self._with(passes=passes)

  def with_precision(self, precision: str) -> 'Model':
    """The same model whose network computes in 'float32' or 'bfloat16'.

    Geometry and what the network returns stay float32.

    Raises:
      InputError: it is neither.
    """
    return self._with(precision=precision)

  def calibrated(
    self,
    gain: tuple[float, float] | None = None,
    rotamer_stay: Sequence[Sequence[float]] | None = None,
  ) -> 'Model':
    """The same model with other numbers of what is calibrated after training.

    Args:
      gain: how much wider than the elastic prior samples are, in explicit and in implicit solvent;
        None: as it is.
      rotamer_stay: added to the logit of the well that a torsion of a side chain is in: rows of a
        lag in ns and the numbers for chi1, for other torsions and for the puckers of proline, or
        six, the first three in explicit, the others in implicit solvent; None: as it is.

    Raises:
      InputError: a gain is not above zero, or the rows are not such rows.
    """
    config = config_lib.to_dict(self.config)
    memory = config['memory'] | ({} if gain is None else {'gain': tuple(gain)})
    stay = config['rotamer_stay'] if rotamer_stay is None else config_lib.stay_rows(rotamer_stay)
    return self._with(memory=memory, rotamer_stay=stay)

  def at(self, dt_ns: float) -> 'Model':
    """The same model with frames of another time step, if it has learnt any.

    Coarser levels are laid over it, up to the longest lag time of the model.

    Args:
      dt_ns: between two frames, ns.

    Raises:
      InputError: the model has one time step, and it is another; or `dt_ns` is out of its range.
    """
    if time_scales.has_any_step(self.config):
      time_scales.check_step(self.config, dt_ns)
      return self._with_steps(time_scales.steps_ns(self.config.lags_ns, dt_ns))
    if math.isclose(dt_ns, self.dt_ns, rel_tol=1e-3):
      return self
    raise InputError(
      f'dt_ns = {dt_ns:g}: the frames of the model {self.name} are {self.dt_ns:g} ns apart: '
      'leave dt_ns out, or take a model of any time step'
    )

  def free(self, dt_ns: float) -> 'Model':
    """As `at`, without coarser levels: every step goes on from those before it alone.

    Raises:
      InputError: `dt_ns` is out of the model's range, or it has levels of one step each.
    """
    if not time_scales.has_any_step(self.config):
      raise InputError(f'the model {self.name} has a time step per level: it has no free ones')
    return self._with_steps((dt_ns,))

  def between(self, coarse_dt_ns: float, name: str = 'coarse_dt_ns') -> 'Model':
    """The same with levels for `upsample` to fill in between given frames.

    A model with one time step per level stays as it is.

    Args:
      coarse_dt_ns: between the given frames, ns.
      name: what messages call it.

    Raises:
      InputError: it has not learnt such a step, or levels between that and its own are not to be
        had.
    """
    if not time_scales.has_any_step(self.config):
      return self
    time_scales.check_step(self.config, coarse_dt_ns, name)
    return self._with_steps(time_scales.steps_between(coarse_dt_ns, self.dt_ns, name))

  def _with_steps(self, steps_ns: tuple[float, ...]) -> 'Model':
    config, params = time_scales.at(self.config, self.params, steps_ns)
    config_lib.check(config)
    return dataclasses.replace(self, config=config_lib.freeze(config), params=params)

  def as_trained(self) -> 'Model':
    """The same with the levels that it was trained with, not those that it is sampled with."""
    if not time_scales.has_any_step(self.config):
      return self
    config, params = time_scales.as_trained(self.config, self.params)
    return dataclasses.replace(self, config=config_lib.freeze(config), params=params)

  def _with(self, **settings: Any) -> 'Model':
    config = config_lib.from_dict(config_lib.to_dict(self.config))
    config.update(settings)
    config_lib.check(config)
    return dataclasses.replace(self, config=config_lib.freeze(config))

  def sample(
    self,
    protein: protein_lib.Protein,
    num_frames: int = 400,
    num_replicas: int = 1,
    rng: jax.Array | None = None,
    temperature_K: float = 320.0,
    segment_batch_size: int | None = None,
    replica_batch_size: int | None = None,
    atoms: str | None = None,
  ) -> trajectory_lib.Trajectory:
    """Samples trajectories that start from the protein's conformation.

    Args:
      protein: from `tempo_jax.load_protein`.
      num_frames: frames per replica, at dt, 2 dt, ...
      num_replicas: independent trajectories.
      rng: a key; default `jax.random.key(0)`.
      temperature_K: temperature, K.
      segment_batch_size: fine segments computed together; default: what suits the device.
      replica_batch_size: replicas computed together; default all.
      atoms: 'heavy' for side chains, too, or 'backbone'; default: all that the model has.

    Returns:
      Trajectory with positions (replicas, frames, residues, 4, 3) in Å, on the device, and
      `heavy_atoms` if asked for.

    Raises:
      InputError: a number is out of range.
      FloatingPointError: the model ran off to infinity.
    """
    atoms = self.atoms(atoms)
    sampler = self.sampler(num_frames, num_replicas, segment_batch_size, replica_batch_size, atoms)
    rng = jax.random.key(0) if rng is None else rng
    check_temperature(temperature_K)
    arrays = padded(centres_lib.about(protein, self.centres))
    return self.trajectory(protein, sampler(self.params, arrays, rng, temperature_K))

  def sample_many(
    self,
    proteins: Sequence[protein_lib.Protein],
    num_frames: int = 400,
    num_replicas: int = 1,
    rng: jax.Array | None = None,
    temperature_K: float = 320.0,
    segment_batch_size: int | None = None,
    replica_batch_size: int | None = None,
    atoms: str | None = None,
  ) -> list[trajectory_lib.Trajectory]:
    """Samples trajectories of several proteins; those of similar length are computed together.

    Args:
      proteins: from `tempo_jax.load_protein`, of any lengths.
      num_frames: see `sample`; so are the others.
      num_replicas: independent trajectories of each protein.
      rng: a key; replica k of each protein draws from it by k.
      temperature_K: temperature, K.
      segment_batch_size: fine segments computed together.
      replica_batch_size: trajectories computed together on a device.
      atoms: 'heavy' or 'backbone'.

    Returns:
      Per protein, what `sample` would give, on the host.

    Raises:
      InputError: a number is out of range.
      FloatingPointError: the model ran off to infinity.
    """
    blocks = self.stream(
      proteins,
      num_frames,
      num_replicas,
      rng,
      temperature_K,
      segment_batch_size,
      replica_batch_size,
      atoms=atoms,
    )
    slots = atoms_lib.NUM_SLOTS[blocks.atoms]
    found = [
      np.empty((num_replicas, num_frames, protein.num_residues, slots, 3), np.float32)
      for protein in proteins
    ]
    for job, positions, first in blocks:
      found[job.protein][job.replica, first : first + len(positions)] = positions
    return [
      self.trajectory(protein, positions)
      for protein, positions in zip(proteins, found, strict=True)
    ]

  def stream(
    self,
    proteins: Sequence[protein_lib.Protein],
    num_frames: int = 400,
    num_replicas: int = 1,
    rng: jax.Array | None = None,
    temperature_K: float = 320.0,
    segment_batch_size: int | None = None,
    replica_batch_size: int | None = None,
    jobs: Sequence[stream.Job] | None = None,
    done: Collection[stream.Job] = (),
    atoms: str | None = None,
  ) -> stream.Stream:
    """The same block by block, for trajectories of any length in little memory.

    Args:
      proteins: see `sample_many`; so are the others.
      num_frames: frames of each trajectory.
      num_replicas: independent trajectories of each protein.
      rng: a key.
      temperature_K: temperature, K.
      segment_batch_size: fine segments computed together.
      replica_batch_size: trajectories computed together on a device, from beginning to end; the
        others after them.
      jobs: compute these trajectories only, e.g. this host's share; default all.
      done: those of them that are there already: see `stream.Stream`.
      atoms: 'heavy' or 'backbone'; default: all that the model has.

    Returns:
      To be iterated over, `stream.Stream`.

    Raises:
      InputError: a number is out of range.
    """
    settings.check_at_least_one(num_frames=num_frames, num_replicas=num_replicas)
    batch_sizes = settings.BatchSizes(segment_batch_size, replica_batch_size)
    check_temperature(temperature_K)
    if jobs is None:
      jobs = [stream.Job(i, k) for i in range(len(proteins)) for k in range(num_replicas)]
    return stream.Stream(
      self.config,
      self.params,
      [padded(centres_lib.about(protein, self.centres)) for protein in proteins],
      [protein.num_residues for protein in proteins],
      jobs,
      num_frames,
      jax.random.key(0) if rng is None else rng,
      temperature_K,
      batch_sizes,
      done,
      self.atoms(atoms),
    )

  def upsample(
    self,
    protein: protein_lib.Protein,
    coarse_positions: np.ndarray,
    spacing_ns: float,
    start_ns: float = 0.0,
    rng: jax.Array | None = None,
    temperature_K: float = 320.0,
    segment_batch_size: int | None = None,
    atoms: str | None = None,
    coarse_chi: np.ndarray | None = None,
  ) -> trajectory_lib.Trajectory:
    """Fills in the frames after each of some coarse frames, or between them.

    A model with anchors (`config.anchors` is 'both') ends every segment in the next coarse frame:
    of two conformations A and B, `coarse_positions=np.stack([a, b])`, it makes a path.

    Args:
      protein: the residues of the frames.
      coarse_positions: [S, L, 4, 3] Å.
      spacing_ns: time between two coarse frames, ns; a time step of the model's levels.
      start_ns: time of the first coarse frame, ns.
      rng: a key; default `jax.random.key(0)`.
      temperature_K: temperature, K.
      segment_batch_size: segments computed together; default: what suits the device.
      atoms: see `sample`.
      coarse_chi: [S, L, 4] rad, side chains of the coarse frames; NaN or None: they are placed
        first.

    Returns:
      Trajectory with positions (1, S * frames per segment, residues, 4, 3) in Å; of a model with
      anchors, (1, (S - 1) * frames per segment, residues, 4, 3), each coarse frame superposed on
      the one before.

    Raises:
      InputError: the model has no level with this time step above its finest, or the frames are
        of other residues.
      FloatingPointError: the model ran off to infinity.
    """
    _check_frames('coarse_positions', coarse_positions, (protein.num_residues, 4, 3))
    if coarse_chi is not None:
      _check_frames('coarse_chi', coarse_chi, (protein.num_residues, 4), len(coarse_positions))
    model = self.between(spacing_ns, 'spacing_ns')
    upsampler = model.upsampler(spacing_ns, segment_batch_size, self.atoms(atoms))
    rng = jax.random.key(0) if rng is None else rng
    check_temperature(temperature_K)
    if self.has_side_chains:
      coarse_chi = self.complete_side_chains(
        protein, coarse_positions, coarse_chi, spacing_ns, rng, temperature_K
      )
      coarse_chi = padded_chi(coarse_chi)
    else:
      coarse_chi = None
    coarse_positions = padded_positions(coarse_positions)
    positions = upsampler(
      model.params, padded(protein), coarse_positions, rng, temperature_K, coarse_chi
    )
    return self.trajectory(protein, positions[None], start_ns + self.dt_ns)

  def side_chains(
    self,
    protein: protein_lib.Protein,
    positions: np.ndarray,
    spacing_ns: float | None = None,
    rng: jax.Array | None = None,
    temperature_K: float = 320.0,
  ) -> np.ndarray:
    """Places side chains on the backbones of a trajectory, those of a frame going on in the next.

    Args:
      protein: the residues of the frames. Where its own side chains are known, its conformation is
        taken to come before the first frame.
      positions: [F, L, 4, 3] Å.
      spacing_ns: between frames, ns; None: not known.
      rng: a key; default `jax.random.key(0)`.
      temperature_K: temperature, K.

    Returns:
      [F, L, 4] chi 1-4, rad; 0 where a residue has no such torsion. `dynamics.molecule.heavy_atoms`
      makes the atoms that `tempo-jax side-chains` writes.

    Raises:
      InputError: the model has no side chains.
    """
    blocks = self.stream_side_chains(protein, positions, spacing_ns, rng, temperature_K)
    return np.concatenate(list(blocks))

  def complete_side_chains(
    self,
    protein: protein_lib.Protein,
    positions: np.ndarray,
    chi: np.ndarray | None,
    spacing_ns: float | None,
    rng: jax.Array,
    temperature_K: float,
  ) -> np.ndarray:
    """[F, L, 4] rad: chi where it is known, else as `side_chains` places it.

    Args:
      protein: see `side_chains`; so are the others.
      positions: [F, L, 4, 3] Å.
      chi: [F, L, 4] rad, NaN where a residue has no such torsion or it is not known; None: nothing
        is known.
      spacing_ns: between frames, ns.
      rng: a key.
      temperature_K: temperature, K.
    """
    there = side_chain_atoms.chi_mask(np.asarray(protein.arrays.residue_type))
    if chi is not None and np.isfinite(chi[:, there]).all():
      return np.where(there, chi, 0.0).astype(np.float32)
    key = jax.random.fold_in(rng, _SIDE_CHAINS)
    placed = self.side_chains(protein, positions, spacing_ns, key, temperature_K)
    if chi is None:
      return placed
    merged = np.where(np.isfinite(chi), chi, placed)
    return np.where(there, merged, 0.0).astype(np.float32)

  def stream_side_chains(
    self,
    protein: protein_lib.Protein,
    positions: np.ndarray,
    spacing_ns: float | None = None,
    rng: jax.Array | None = None,
    temperature_K: float = 320.0,
  ) -> Iterator[np.ndarray]:
    """The same block by block: [F, L, 4] rad of some frames, then of the next ones."""
    _check_frames('positions', positions, (protein.num_residues, 4, 3))
    if not len(positions) or not (spacing_ns is None or spacing_ns > 0.0):
      raise InputError(
        f'{len(positions)} frames, spacing_ns = {spacing_ns}: give at least one frame, and a time '
        'above zero, or None'
      )
    model = self
    if spacing_ns is not None and time_scales.has_any_step(self.config):
      shortest, longest = self.config.lags_ns
      model = self.at(min(max(spacing_ns, shortest), longest))
    size = side_chains.block_frames(self.config)
    blocks = (padded_positions(positions[k : k + size]) for k in range(0, len(positions), size))
    check_temperature(temperature_K)
    rng = jax.random.key(0) if rng is None else rng
    for chi in side_chains.place(
      model.config, model.params, padded(protein), blocks, spacing_ns, rng, temperature_K
    ):
      yield chi[:, : protein.num_residues]

  def sampler(
    self,
    num_frames: int,
    num_replicas: int = 1,
    segment_batch_size: int | None = None,
    replica_batch_size: int | None = None,
    atoms: str = atoms_lib.BACKBONE,
  ) -> Callable[..., jax.Array]:
    """The jitted function beneath `sample`, e.g. to compile it ahead of time.

    Args and result: `coarse_to_fine.make_ensemble_sampler`; its first argument is `params`.

    Raises:
      InputError: a number is out of range.
    """
    batch_sizes = settings.BatchSizes(segment_batch_size, replica_batch_size)
    return _ensemble_sampler(self.config, num_frames, num_replicas, batch_sizes, atoms)

  def upsampler(
    self,
    spacing_ns: float,
    segment_batch_size: int | None = None,
    atoms: str = atoms_lib.BACKBONE,
  ) -> Callable[..., jax.Array]:
    """The jitted function beneath `upsample`: see `upsample.make_upsampler`."""
    return _upsampler(self.config, float(spacing_ns), segment_batch_size, atoms)

  def trajectory(
    self,
    protein: protein_lib.Protein,
    positions: jax.Array | np.ndarray,
    start_ns: float | None = None,
  ) -> trajectory_lib.Trajectory:
    """What a sampler of this model gave, as a trajectory.

    Args:
      protein: that was sampled.
      positions: (replicas, frames, residues, 4 or 14, 3) Å; padding behind the residues is cut off.
      start_ns: time of the first frame, ns; default `dt_ns`.

    Raises:
      FloatingPointError: the positions are not finite.
    """
    positions = positions[:, :, : protein.num_residues]
    finite = np.asarray(jnp.all(jnp.isfinite(positions), axis=(0, 2, 3, 4)))
    if not finite.all():
      raise FloatingPointError(
        f'the model {self.name} ran off to infinity at frame {int(np.argmin(finite)) + 1} of '
        f'{finite.size}: sample fewer frames, another seed, or train it further'
      )
    return trajectory_lib.Trajectory.of_atoms(positions, protein, self.dt_ns, start_ns)

  def save(self, directory: str | os.PathLike[str]) -> None:
    """Writes `config.json`, `params.npz` and centres, which `load_model` reads; without pickle.

    The directory appears whole or not at all.

    Args:
      directory: new or empty; missing parents are made.

    Raises:
      InputError: it cannot be written: not empty, permission, space, ...
    """
    trained = self.as_trained()
    model_directory.save(directory, trained.config, trained.params, trained.centres)


# A number that no pass draws by.
_SIDE_CHAINS = 1 << 30


def _check_frames(
  name: str, frames: np.ndarray, expected: tuple[int, ...], number: int | None = None
) -> None:
  """Raises `InputError` unless the frames [F, ...] are of `expected` shape, and as many."""
  if frames.shape[1:] == expected and number in (None, len(frames)):
    return
  of = ', '.join(['frames' if number is None else str(number), *map(str, expected)])
  raise InputError(
    f'{name} has shape {frames.shape}, the protein {expected[0]} residues: give ({of}), of the '
    'same residues'
  )


def check_temperature(temperature_K: float) -> None:
  """Raises `InputError` unless it is a positive number of kelvin."""
  if not 0.0 < temperature_K < math.inf:
    raise InputError(f'temperature_K = {temperature_K}: a positive number of kelvin is needed')


def padded(protein: protein_lib.Protein) -> protein_lib.ProteinArrays:
  """The protein's arrays, padded to the next of `padding.SAMPLING_LENGTHS`.

  Where nothing is known of side chains, they say so: one program serves either. What has no solvent
  is taken to be in water.
  """
  if protein.arrays.solvent is None:
    protein = protein.in_solvent('explicit')
  arrays = protein.arrays
  if arrays.chi is None:
    arrays = arrays.with_chi(np.full((protein.num_residues, 4), np.nan))
  return padding.pad(arrays, padding.sampling_length(protein.num_residues))


def padded_positions(positions: jax.Array | np.ndarray) -> np.ndarray:
  """Positions [..., L, 4, 3] Å, padded as `padded` does."""
  length = padding.sampling_length(positions.shape[-3])
  return padding.pad_positions(np.asarray(positions), length)


def padded_chi(chi: np.ndarray) -> np.ndarray:
  """Torsions [..., L, 4], padded as `padded` does."""
  extra = padding.sampling_length(chi.shape[-2]) - chi.shape[-2]
  return np.pad(chi, [(0, 0)] * (chi.ndim - 2) + [(0, extra), (0, 0)])


# Compiled once per process and setting; `Model` itself holds arrays and cannot be hashed.
_ensemble_sampler = functools.lru_cache(maxsize=16)(coarse_to_fine.make_ensemble_sampler)
_upsampler = functools.lru_cache(maxsize=16)(upsample.make_upsampler)


def load_model(name: str | os.PathLike[str] = 'default', dt_ns: float | None = None) -> Model:
  """Loads a model.

  Args:
    name: 'default', the bundled model; or a directory: one that `experiments.train` wrote, one
      that `Model.save` wrote, or one with a folder of either kind per level (e.g. `coarse`,
      `fine`).
    dt_ns: between two frames, ns, of a model of any time step; None: its shortest.

  Returns:
    The model with the averaged parameters of the best checkpoint, where training selected one
    (`config.train.select_by`), else of the newest.

  Raises:
    InputError: there is no such model, a level of it is missing, or it is damaged; or its frames
      are never so far apart.
  """
  model = Model(str(name), *model_directory.load(name))
  if dt_ns is None and time_scales.has_any_step(model.config):
    dt_ns = model.config.lags_ns[0]
  return model if dt_ns is None else model.at(dt_ns)
