"""What the next frames are expected to be before a network says anything, and the unit of its
numbers.

The numbers of a step are how far each residue ends from where it is expected, in its own newest
frame and in units of the spread that is expected there. Two expectations:

`still`: residues stay where they are, all equally uncertain, each on its own: white noise.

`elastic`: a Gaussian process about a centre, an elastic network in space (`elastic_network`) times
one memory in time (`memory`), given the frames that are known: the window, and the frame in which
a segment ends. The centre drifts by what is remembered longest. Residue frames turn with the trace
of the chain. With a network that says nothing, samples are this process: they fluctuate as the
springs do, however long.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import elastic_network
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import memory as memory_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import alignment, rigid, so3
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.protein import protein as protein_lib

# Å, rad: no number is measured in a smaller unit.
_LEAST_SPREAD, _LEAST_TURN = 0.05, 0.02
# Radians: of a residue's frame about the trace of the chain, root mean square per component, inside
# a chain (0.07 to 0.09 in the MD that `experiments.benchmarks.memory` reads) and at its ends (0.15
# to 0.8). Nine tenths are forgotten after 10 ps.
_TILT, _TILT_AT_END = 0.08, 0.5
_TILT_VARIANCES, _TILT_TIMES_NS = (0.9, 0.1), (0.002, 5.0)
# Spreads, of a residue about its centre: beyond, the pull towards it grows no more.
_FARTHEST = 3.0
# Å: strain of a bond between residues that move together.
_STRAIN = 0.25
_REFERENCE_K = 300.0
# Frames of the coarsest level: what is remembered longer is motion of the centre.
_SLOW = 5.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prior:
  """What is known of a protein's motion before anything is learnt.

  Attributes:
    network: about its reference, in the reference's pose.
    centre: [L, 3] Å, CA about which it fluctuates for now, in that pose.
    memory: of displacements about the centre, in units of the network's.
    slow: of the centre itself: what is remembered for many frames of the coarsest level, of which a
      window sees too few to go on by.
  """

  network: elastic_network.ElasticNetwork
  centre: jax.Array
  memory: memory_lib.Memory
  slow: memory_lib.Memory


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Coherence:
  """How white noise becomes a draw of the elastic process.

  Attributes:
    network: of the prior.
    turn: [L, 3, 3], from the reference's pose into the newest residue frames.
    root: [T, T] lower triangular, of the correlation between frames.
  """

  network: elastic_network.ElasticNetwork
  turn: jax.Array
  root: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Expected:
  """Of the next T frames, in the pose of the newest one.

  Attributes:
    frames: [L] of the newest state.
    ca: [T, L, 3] Å.
    spread: [T, L] Å, unit of the translations.
    tilt: [T, L, 3, 3], of residue frames against the trace of the chain; None: frames are those
      of the newest state.
    turn_spread: [T, L] rad, unit of the rotations.
    whole: [3, 3], rotation of residues whose chain is too short for a trace.
    strain: [] Å, of a bond, to be expected from noise.
    coherence: of noise; None: each residue on its own.
  """

  frames: rigid.Rigid
  ca: jax.Array
  spread: jax.Array
  tilt: jax.Array | None
  turn_spread: jax.Array
  whole: jax.Array
  strain: jax.Array
  coherence: Coherence | None = None

  def coherent(self, normal: jax.Array) -> jax.Array:
    """Normal translations [T, L, 3] -> those of a draw, of unit spread."""
    if self.coherence is None:
      return normal
    of = self.coherence
    mixed = jnp.einsum('st,tlx->slx', of.root, normal, precision=jax.lax.Precision.HIGHEST)
    moved = of.network.displacements(mixed)
    local = jnp.sum(of.turn[None] * moved[..., None, :], axis=-1)
    return local / of.network.spread[None, :, None]

  def ends(
    self, translations: jax.Array, rotations: jax.Array, bonds: bonds_lib.Bonds
  ) -> rigid.Rigid:
    """Frames [T, L] of numbers, [T, L, 3] each."""
    shift = self.spread[..., None] * translations
    ca = self.ca + jnp.sum(self.frames.rotation[None] * shift[..., None, :], axis=-1)
    turn = so3.exp(self.turn_spread[..., None] * rotations)
    return rigid.Rigid(_product(self._untilted(ca, bonds), turn), ca)

  def numbers(self, frames: rigid.Rigid, bonds: bonds_lib.Bonds) -> tuple[jax.Array, jax.Array]:
    """The numbers that lead to frames [T, L]; inverts `ends`."""
    shift = frames.translation - self.ca
    local = jnp.sum(_transpose(self.frames.rotation)[None] * shift[..., None, :], axis=-1)
    expected = self._untilted(frames.translation, bonds)
    turn = so3.log(_product(_transpose(expected), frames.rotation))
    return local / self.spread[..., None], turn / self.turn_spread[..., None]

  def _untilted(self, ca: jax.Array, bonds: bonds_lib.Bonds) -> jax.Array:
    if self.tilt is None:
      return jnp.broadcast_to(self.frames.rotation, (*ca.shape, 3))
    return _product(traces(ca, bonds, self.whole), self.tilt)


def _transpose(rotation: jax.Array) -> jax.Array:
  return jnp.swapaxes(rotation, -1, -2)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)


def traces(ca: jax.Array, bonds: bonds_lib.Bonds, whole: jax.Array) -> jax.Array:
  """Rotations [..., L, 3, 3] that follow the chain: x from CA before to CA after, CA in the plane.

  At the ends of a chain that of the neighbour; `whole` [3, 3] where a chain has fewer than three
  residues.

  Args:
    ca: [..., L, 3] Å.
    bonds: of the L residues.
    whole: [3, 3].
  """
  axis = ca.ndim - 2
  before, after = bonds.before(ca, axis), bonds.after(ca, axis)
  middle = rigid.Rigid.from_three_points(after, before, ca).rotation
  inner = bonds.to_next & bonds.to_previous
  next_inner = bonds.to_next & bonds.after(inner, 0)
  last_inner = bonds.to_previous & bonds.before(inner, 0)

  def where(condition: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.where(jnp.broadcast_to(condition[:, None, None], x.shape), x, y)

  of_next, of_last = bonds.after(middle, axis), bonds.before(middle, axis)
  return where(
    inner,
    middle,
    where(next_inner, of_next, where(last_inner, of_last, jnp.broadcast_to(whole, middle.shape))),
  )


def still(newest: state_lib.State, level: level_lib.Level, num_frames: int) -> Expected:
  """Every residue stays, and moves by one step of the level, on its own.

  Args:
    newest: [L].
    level: the level's scalars, with `translation_std` (Å) and `rotation_std` (rad).
    num_frames: T.
  """
  ca = newest.frames.translation
  return Expected(
    newest.frames,
    jnp.broadcast_to(ca, (num_frames, *ca.shape)),
    jnp.broadcast_to(level.translation_std, (num_frames, ca.shape[0])),
    None,
    jnp.broadcast_to(level.rotation_std, (num_frames, ca.shape[0])),
    jnp.eye(3),
    level.translation_std,
  )


def elastic(
  window: state_lib.Window,
  prior: Prior,
  dt_ns: jax.Array,
  temperature_K: jax.Array,
  protein: protein_lib.ProteinArrays,
) -> Expected:
  """The elastic process, given the window and the end of the segment.

  Args:
    window: [T, L] states, an anchor superposed on the newest one.
    prior: of the protein.
    dt_ns: [] time step, ns.
    temperature_K: [] K; variances are in proportion to it.
    protein: [L] residues; its positions are not read.
  """
  num_frames = window.known.shape[0]
  weight = jnp.asarray(protein.mask).astype(jnp.float32)
  newest, bonds = window.states[-1], protein.bonds
  known, times = window.known, jnp.arange(1 - num_frames, 1, dtype=jnp.float32)
  frames = window.states.frames
  if window.anchor is not None:
    place = window.anchor.place
    is_end = (place.kind == anchor_lib.Kind.END) & (place.frames > 0)
    known = jnp.concatenate([known, is_end[None]])
    times = jnp.concatenate([times, place.frames.astype(jnp.float32)[None]])
    frames = jax.tree.map(
      lambda x, y: jnp.concatenate([x, y[None]]), frames, window.anchor.state.frames
    )
  superpose = jax.lax.stop_gradient(
    alignment.superpose(frames.translation, newest.frames.translation[None], weight[None])
  )
  frames = superpose[:, None] @ frames
  reference = prior.network.frames
  onto = jax.lax.stop_gradient(
    alignment.superpose(reference.translation, newest.frames.translation, weight)
  )
  centre = onto[None].apply(prior.centre)
  new_ns = dt_ns * jnp.arange(1, num_frames + 1)
  moves = memory_lib.conditional(prior.memory, new_ns, dt_ns * times, known)
  amplitude = jnp.sqrt(temperature_K / _REFERENCE_K)
  spread = amplitude * moves.spread[:, None] * prior.network.spread[None]

  def of_known(weights: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.einsum('tk,klx->tlx', weights, values, precision=jax.lax.Precision.HIGHEST)

  # The newest state, moved as the known frames say, and pulled towards the centre.
  ca = newest.frames.translation
  away = ca - centre
  left = 1.0 - jnp.sum(moves.weights, axis=1)
  largest = _FARTHEST * amplitude * jnp.sqrt(prior.memory.variance) * prior.network.spread
  distance = jnp.sqrt(jnp.sum(away**2, axis=-1) / 3.0 + 1e-6)
  pull = away * jnp.minimum(1.0, largest / distance)[:, None]
  change = of_known(moves.weights, frames.translation - ca[None])
  change = change - left[:, None, None] * pull[None]
  own = _transpose(traces(reference.translation, bonds, jnp.eye(3)))
  reference_tilt = _product(own, reference.rotation)
  tilts = _product(_transpose(traces(frames.translation, bonds, onto.rotation)), frames.rotation)
  bent = so3.log(_product(_transpose(reference_tilt)[None], tilts))
  tilting = memory_lib.Memory(jnp.array(_TILT_VARIANCES), jnp.array(_TILT_TIMES_NS))
  turns = memory_lib.conditional(tilting, new_ns, dt_ns * times, known)
  of_residue = jnp.where(bonds.to_next & bonds.to_previous, _TILT, _TILT_AT_END)
  tilt = _product(reference_tilt[None], so3.exp(of_known(turns.weights, bent)))
  turn = _product(_transpose(newest.frames.rotation), onto.rotation[None])
  return Expected(
    newest.frames,
    ca[None] + change,
    jnp.maximum(spread, _LEAST_SPREAD),
    tilt,
    jnp.maximum(turns.spread[:, None] * of_residue[None], _LEAST_TURN),
    onto.rotation,
    jnp.float32(_STRAIN),
    Coherence(prior.network, turn, moves.root),
  )


def of_step(
  window: state_lib.Window,
  level: level_lib.Level,
  temperature_K: jax.Array,
  protein: protein_lib.ProteinArrays,
) -> Expected:
  """What a model expects of the next T frames: `elastic` where the window has a prior."""
  if window.prior is None:
    return still(window.states[-1], level, window.known.shape[0])
  return elastic(window, window.prior, level.dt_ns, temperature_K, protein)


def make_prior(
  config: Any,
  positions: jax.Array,
  protein: protein_lib.ProteinArrays,
  root: jax.Array | None = None,
  longest_ns: jax.Array | float | None = None,
) -> Prior:
  """The prior of a protein, centred at its reference.

  Args:
    config: the model's configuration.
    positions: [L, 4, 3] Å, of the reference.
    protein: [L] residues, and their solvent; its positions are not read.
    root: `elastic_network.root_of` the same; None: computed.
    longest_ns: [] time step of the coarsest level, ns; None: as the configuration says.
  """
  network = elastic_network.of_reference(positions, protein, root)
  variances = np.array(config.memory.variances, np.float32)
  times = np.array(config.memory.times_ns, np.float32)
  first = np.arange(len(times)) == 0
  more = jnp.where(first, config.memory.implicit_variance * protein.implicit, 0.0)
  if longest_ns is None:
    longest_ns = float(max(config.level[name].dt_ns for name in config.levels))
  if isinstance(longest_ns, float):
    is_fast = (times <= _SLOW * longest_ns) | first
    fast, slow = (
      memory_lib.Memory(variances[x] + more[x], jnp.array(times[x])) for x in (is_fast, ~is_fast)
    )
  else:
    among_fast = (times <= _SLOW * longest_ns) | first
    fast, slow = (
      memory_lib.Memory(jnp.where(x, variances + more, 0.0), jnp.array(times))
      for x in (among_fast, ~among_fast)
    )
  return Prior(network, network.frames.translation, fast, slow)


def sampling_prior(
  config: Any,
  positions: jax.Array,
  protein: protein_lib.ProteinArrays,
  longest_ns: jax.Array | float | None = None,
) -> Prior:
  """The prior that samples are drawn from: that of training, widened by `config.memory.gain`.

  A network's numbers are measured in the wider spread. In a solvent that is not known, the gain is
  the mean of both.

  Args:
    config: the model's configuration.
    positions: [L, 4, 3] Å, of the reference.
    protein: [L] residues, and their solvent; its positions are not read.
    longest_ns: as in `make_prior`.
  """
  prior = make_prior(config, positions, protein, longest_ns=longest_ns)
  in_explicit, in_implicit = config.memory.gain
  gain = in_explicit + (in_implicit - in_explicit) * protein.implicit

  def widened(memory: memory_lib.Memory) -> memory_lib.Memory:
    return dataclasses.replace(memory, variances=gain**2 * memory.variances)

  return dataclasses.replace(prior, memory=widened(prior.memory), slow=widened(prior.slow))


def drawn_about(
  prior: Prior,
  ca: jax.Array,
  times_ns: jax.Array,
  temperature_K: jax.Array,
  rng: jax.Array,
) -> Prior:
  """The prior about a centre that was drawn, given some frames.

  Their mean is where the centre was, and what is left of the motion about it: of a single frame all
  of that.

  Args:
    prior: of the protein.
    ca: [S, L, 3] Å, in the pose of the reference.
    times_ns: [S] of these frames, ns.
    temperature_K: [] K.
    rng: a key.
  """
  weights, variance = memory_lib.mean_of(prior.memory, times_ns)
  mean = jnp.einsum('s,slx->lx', weights, ca, precision=jax.lax.Precision.HIGHEST)
  normal = jax.random.normal(rng, mean.shape)
  amplitude = jnp.sqrt(temperature_K / _REFERENCE_K * variance)
  centre = mean - amplitude * prior.network.displacements(normal)
  return dataclasses.replace(prior, centre=jax.lax.stop_gradient(centre))


def about_mean(prior: Prior, mean: jax.Array, mask: jax.Array) -> Prior:
  """The prior about a mean that is known, where `drawn_about` would draw one.

  Args:
    prior: of the protein.
    mean: [L, 3] Å, CA, in any pose.
    mask: [L] bool.
  """
  onto = alignment.superpose(mean, prior.centre, mask.astype(jnp.float32))
  centre = jnp.where(mask[:, None], onto[None].apply(mean), prior.centre)
  return dataclasses.replace(prior, centre=centre)


def drift(
  prior: Prior,
  slow: jax.Array,
  dt_ns: jax.Array,
  temperature_K: jax.Array,
  rngs: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Where the centre goes: the motion that is remembered for long, drawn exactly.

  Args:
    prior: at the beginning.
    slow: [K, L, 3] Å, the slow displacements there, in the reference's pose.
    dt_ns: [] time between two centres, ns.
    temperature_K: [] K.
    rngs: [P] keys.

  Returns:
    [P, L, 3] Å centres, the first that of the beginning; [L, 3] the next one, and [K, L, 3] the
    slow displacements there.
  """
  keep = jnp.exp(-dt_ns / prior.slow.times_ns)
  kick = jnp.sqrt(temperature_K / _REFERENCE_K * prior.slow.variances * (1.0 - keep**2))

  def one(carry: tuple[jax.Array, jax.Array], rng: jax.Array) -> Any:
    centre, slow = carry
    moved = prior.network.displacements(_per_residue(rng, slow.shape))
    following = keep[:, None, None] * slow + kick[:, None, None] * moved
    return (centre + jnp.sum(following - slow, axis=0), following), centre

  (centre, slow), centres = jax.lax.scan(one, (prior.centre, slow), rngs)
  return centres, centre, slow


def _per_residue(rng: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Normal numbers [K, L, 3], residue by residue: padding does not change them."""
  count, length, size = shape
  return jnp.moveaxis(jax.random.normal(rng, (length, count, size)), 1, 0)


def drawn_slow(prior: Prior, temperature_K: jax.Array, rng: jax.Array) -> jax.Array:
  """[K, L, 3] Å: slow displacements at any time, in the reference's pose."""
  spread = jnp.sqrt(temperature_K / _REFERENCE_K * prior.slow.variances)
  normal = _per_residue(rng, (spread.shape[0], *prior.centre.shape))
  return spread[:, None, None] * prior.network.displacements(normal)
