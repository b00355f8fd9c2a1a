"""Flow matching (Lipman et al. 2023): regression of where the line from noise to y ends.

Wells of rotamers that are hidden along the line are predicted from those that are visible
(cross-entropy, as in masked diffusion: Sahoo et al., arXiv 2406.07524). The window is encoded once;
the light head is trained at several points of several lines.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax import config as config_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import generator, rotamers, transition, update
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import alignment, backbone
from tempo_jax.protein import protein as protein_lib
from tempo_jax.training import examples

# Nearer to the data than this nothing is left to learn, and the weight of an error diverges.
_LAST_TAU = 0.99
# Share of the lines on which the backbone is given and side chains alone are drawn.
_GIVEN = 0.25
# Of the error of where the next residue stands beside that of the motions: bonds and torsions need
# neighbours to agree better than either is known alone. Frames of the fine level before closure,
# 600 steps, without and with: sd of C-N 0.27 and 0.22 Å, phi and psi outside 13 and 7 %; with a
# weight of 2, 0.21 Å and 9 %.
_CHAIN_WEIGHT = 0.5
# Of the error of side chains within their wells beside that of the backbone.
_OFFSET_WEIGHT = 0.25
_OF_SIDE_CHAINS = ('side_chain_error', 'rotamer_error')


def counts(protein: protein_lib.ProteinArrays) -> dict[str, jax.Array]:
  """What the sums of an example are divided by: residues, and torsions that are known."""
  found = {'error': jnp.sum(protein.mask).astype(jnp.float32)}
  if protein.chi_known is not None:
    known = jnp.asarray(protein.chi_known) & protein.mask[:, None]
    found |= dict.fromkeys(_OF_SIDE_CHAINS, jnp.sum(known).astype(jnp.float32))
  return found


def weights(config: Any) -> dict[str, float]:
  """Of each mean in the loss."""
  if not config_lib.has_side_chains(config.model):
    return {'error': 1.0}
  of_side_chains = zip(_OF_SIDE_CHAINS, (_OFFSET_WEIGHT, config.train.rotamer_weight), strict=True)
  return {'error': 1.0, **dict(of_side_chains)}


def superposed_on(
  newest: state_lib.State, states: state_lib.State, mask: jax.Array
) -> state_lib.State:
  """States [T, L], each superposed on the newest one [L] by CA: tumbling is not learnt."""
  motion = alignment.superpose(
    states.frames.translation,
    newest.frames.translation[None],
    jnp.broadcast_to(mask.astype(jnp.float32), states.psi.shape),
  )
  return states.with_frames(motion[:, None] @ states.frames)


def _next_residue(
  newest: state_lib.State,
  numbers: jax.Array,
  expected: expected_lib.Expected,
  protein: protein_lib.ProteinArrays,
) -> jax.Array:
  """[T, L, 9]: N, CA and C of the next residue as seen from each; 0 where there is none."""
  states = update.apply_motions(newest, numbers[..., : generator.NUM_BACKBONE], expected, protein)
  atoms = jnp.stack(backbone.n_ca_c_from_frames(states.frames, states.n_ca_c), axis=-2)
  there = protein.bonds.to_next[None, :, None, None]
  seen = states.frames[..., None].apply_inverse(protein.bonds.after(atoms, 1))
  seen = jnp.where(there, seen, 0.0)
  return seen.reshape(*states.frames.shape, 9) / expected.strain


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SideChainError:
  """Errors of side chains; of what is not known, any number.

  Attributes:
    offset: [T, L, 4] squares of offsets within wells, about 1 before anything is learnt.
    well: [T, L, 4] cross-entropy of the wells that are hidden, log 3 before anything is learnt; 0
      of those that are not.
  """

  offset: jax.Array
  well: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LineError:
  """Errors of where lines end, means over the lines.

  Attributes:
    motion: [T, L] squares of motions and N-CA-C, of variance 1 before anything is learnt.
    chain: [T, L] of where the next residue of the chain stands, seen from each, in the same units
      but of order 1.
    psi: [T, L] rad^2, where it is free.
    side_chains: None without.
  """

  motion: jax.Array
  chain: jax.Array
  psi: jax.Array
  side_chains: SideChainError | None = None


def _cross_entropy(logits: jax.Array, wells: jax.Array) -> jax.Array:
  """[..., L, 4] of true wells; 0 where they are hidden."""
  return -jnp.sum(rotamers.seen_wells(wells) * jax.nn.log_softmax(logits, axis=-1), axis=-1)


def line_error(
  end: Callable[[generator.Step, jax.Array, jax.Array], tuple[jax.Array, jax.Array | None]],
  true: generator.Step,
  draw_noise: Callable[[jax.Array], generator.Noise],
  next_residue: Callable[[jax.Array], jax.Array],
  num_draws: int,
  rng: jax.Array,
) -> LineError:
  """Errors of `end` at points of several lines from noise to the true numbers.

  With side chains, the backbone is given at some of the points: what places side chains on it.

  Args:
    end: of a step on its line, tau of the backbone and of the side chains: the mean of y given
      z_tau, and logits of the wells (`generator.follow` samples from both).
    true: [T, L] y, and the wells.
    draw_noise: key -> noise of T frames.
    next_residue: y -> [T, L, P], where the next residue stands, in units of one step's spread.
    num_draws: lines.
    rng: a key.
  """
  tau_rng, given_rng, noise_rng = jax.random.split(rng, 3)
  # One tau in each part of the unit interval.
  tau = (jnp.arange(num_draws) + jax.random.uniform(tau_rng)) / num_draws
  share = 0.0 if true.wells is None else _GIVEN
  given = jax.random.bernoulli(given_rng, share, (num_draws,))
  motions, psi = slice(generator.NUM_MOTIONS), slice(generator.NUM_MOTIONS, generator.NUM_BACKBONE)
  is_psi = jnp.arange(true.numbers.shape[-1]) == generator.NUM_MOTIONS
  is_backbone = jnp.arange(true.numbers.shape[-1]) < generator.NUM_BACKBONE

  def one_line(tau, given, rng):
    noise = draw_noise(rng)
    way = true.numbers - noise.numbers
    # An angle goes the short way round.
    way = jnp.where(is_psi, rotamers.wrapped(way), way)
    backbone_tau = jnp.where(given, 1.0, tau)
    along = jnp.where(is_backbone, backbone_tau, tau)[None, None]
    shown = None
    if true.wells is not None and noise.chances is not None:
      shown = jnp.where(noise.chances.order < tau, true.wells, rotamers.HIDDEN)
    ends, logits = end(generator.Step(noise.numbers + along * way, shown), backbone_tau, tau)
    true_ends = noise.numbers + way
    miss = ends - true_ends
    _, scale = generator.preconditioning(tau)
    # Nothing is to be learnt of what is given; the others count for it.
    weight = jnp.where(given, 0.0, 1.0 / (1.0 - share))
    # Early on a line, the mean of where the next residue stands is not where it stands on average.
    chain = tau * (next_residue(ends) - next_residue(true_ends)) / scale
    errors = LineError(
      weight * jnp.mean((miss[..., motions] / scale) ** 2, axis=-1),
      weight * jnp.mean(chain**2, axis=-1),
      weight * (miss[..., psi][..., 0] / (1.0 - tau)) ** 2,
    )
    if true.wells is None or shown is None or logits is None:
      return errors
    hidden = jnp.where(shown == rotamers.HIDDEN, true.wells, rotamers.HIDDEN)
    of_side_chains = SideChainError(
      (miss[..., generator.NUM_BACKBONE :] / scale) ** 2, _cross_entropy(logits, hidden)
    )
    return dataclasses.replace(errors, side_chains=of_side_chains)

  keys = jax.random.split(noise_rng, num_draws)
  errors = jax.vmap(one_line)(_LAST_TAU * tau, given, keys)
  return jax.tree.map(lambda x: jnp.mean(x, axis=0), errors)


def example_loss(
  config: Any,
  level: level_lib.Level,
  params: Any,
  window: state_lib.Window,
  following: state_lib.State,
  protein: protein_lib.ProteinArrays,
  temperature_K: jax.Array,
  forcing: jax.Array,
  rngs: Sequence[jax.Array],
) -> dict[str, jax.Array]:
  """Loss sums of one example: the first window and the one that follows it.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    window: [T, L] to begin with.
    following: [1, T, L] true states of the next window.
    protein: [L] residues.
    temperature_K: [] K.
    forcing: [] not used: every input is a true window.
    rngs: three keys.

  Returns:
    'error': summed over residues, averaged over frames and draws; 1 for a network that knows
    nothing but the spread of one step. With side chains, 'side_chain_error': the same of chi
    within its well, and 'rotamer_error', the cross-entropy of wells, both summed over torsions.
  """
  del forcing
  network: Any = generator.Generator(config.model)
  sigma_rng, noise_rng, line_rng = rngs
  sigma = examples.draw_sigma(level, sigma_rng)
  noised = transition.noised_window(window, sigma, level, protein, noise_rng)
  newest = noised.states[-1]
  superposed = superposed_on(newest, following[0], protein.mask)
  expected = expected_lib.of_step(noised, level, temperature_K, protein)
  true = generator.step_between(newest, superposed, expected, protein)

  variables = {'params': params}
  hidden = network.apply(
    variables, noised, protein, sigma, level.dt_ns, temperature_K, method='encode'
  )

  def end(step: generator.Step, tau: jax.Array, side_chain_tau: jax.Array) -> Any:
    taus = tau, side_chain_tau
    return network.apply(variables, hidden, noised, step, *taus, expected, protein, method='end')

  def draw_noise(rng: jax.Array) -> generator.Noise:
    return generator.draw_noise(rng, config.model.window, newest, expected, protein)

  def next_residue(numbers: jax.Array) -> jax.Array:
    return _next_residue(newest, numbers, expected, protein)

  found = line_error(end, true, draw_noise, next_residue, config.train.draws, line_rng)
  free = (protein.mask & ~protein.bonds.to_next)[None, :]
  motion = found.motion + _CHAIN_WEIGHT * found.chain
  error = jnp.mean(motion + jnp.where(free, found.psi, 0.0), axis=0)
  sums = {'error': jnp.sum(jnp.where(protein.mask, error, 0.0))}
  side_chains = following.side_chains
  if side_chains is not None and found.side_chains is not None:
    known = side_chains.known[0] & protein.mask[None, :, None]
    errors = found.side_chains.offset, found.side_chains.well
    for name, error in zip(_OF_SIDE_CHAINS, errors, strict=True):
      # As many residues as frames have side chains: the mean over torsions, where there are any.
      sums[name] = jnp.sum(jnp.where(known, error, 0.0)) / config.model.window
  return sums
