"""Small synthetic proteins, networks and parameters."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from tempo_jax import config as config_lib
from tempo_jax import time_scales, transitions
from tempo_jax.dynamics import chain_closure
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import backbone, ideal, rigid
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tests import peptides


def numpy_jit(function, **kwargs):
  """`jax.jit` that returns numpy arrays."""
  jitted = jax.jit(function, **kwargs)

  @functools.wraps(function)
  def run(*args):
    return jax.tree.map(np.asarray, jitted(*args))

  return run


def helix(length: int, chains: int = 1, seed: int = 0) -> protein_lib.ProteinArrays:
  """L-peptide helices side by side, `length` residues in all, atoms displaced by 0.1 Å."""
  rng = np.random.default_rng(seed)
  lengths = [len(part) for part in np.array_split(np.arange(length), chains)]
  positions = np.concatenate(
    [peptides.helix(n)[:, :4] + [0.0, 0.0, 9.0 * i] for i, n in enumerate(lengths)]
  )
  positions += 0.1 * rng.normal(size=positions.shape)
  index = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)
  bonded = np.ones(length, bool)
  bonded[np.cumsum(lengths) - 1] = False
  return protein_lib.ProteinArrays(
    residue_type=rng.integers(0, 20, length).astype(np.int32),
    residue_index=index,
    chain_index=np.repeat(np.arange(chains), lengths).astype(np.int32),
    bonded=bonded,
    mask=np.ones(length, bool),
    positions=positions.astype(np.float32),
  )


def ring(length: int, seed: int = 0, behind: int = 0) -> protein_lib.ProteinArrays:
  """A cyclic peptide whose bonds are closed, and `behind` it a helix of so many residues."""
  angle = 2.0 * np.pi * np.arange(length) / length
  radius = 3.8 / (2.0 * np.sin(np.pi / length))
  place = radius * np.stack([np.cos(angle), np.sin(angle), np.zeros(length)], axis=-1)
  turns = Rotation.from_rotvec(np.stack([np.zeros(length)] * 2 + [angle], axis=-1)).as_matrix()
  # N towards the residue before, C towards the next one.
  frame = rigid.Rigid(
    np.float32(turns @ Rotation.from_euler('z', -120.0, degrees=True).as_matrix()),
    np.float32(place),
  )
  to_next = np.ones(length, bool)
  index = np.full(length, bonds_lib.NO_RING, np.int32)
  index[-1] = 0
  bonds, cis = bonds_lib.Bonds(to_next, index), np.zeros(length, bool)
  angle = np.full(length, ideal.N_CA_C, np.float32)
  for _ in range(30):
    frame, angle = chain_closure.close_chains(frame, angle, bonds, cis)
  psi = np.zeros(length, np.float32)
  positions = np.asarray(backbone.atoms_from_frames(frame, psi, bonds, angle))
  rng = np.random.default_rng(seed)
  types = rng.integers(0, 20, length + behind).astype(np.int32)
  tail = helix(behind or 1)
  keep = slice(0, behind)
  return protein_lib.ProteinArrays(
    residue_type=types,
    residue_index=np.concatenate([np.arange(length, dtype=np.int32), tail.residue_index[keep]]),
    chain_index=np.repeat(np.arange(2, dtype=np.int32), [length, behind]),
    bonded=np.concatenate([np.arange(length) < length - 1, tail.bonded[keep]]),
    mask=np.ones(length + behind, bool),
    positions=np.concatenate(
      [positions, tail.positions[keep] + np.float32([0.0, 0.0, 15.0])]
    ).astype(np.float32),
    ring=np.concatenate([index, np.full(behind, bonds_lib.NO_RING, np.int32)]),
  )


def pad(protein: protein_lib.ProteinArrays, length: int, seed: int = 0):
  """The same protein with finite garbage behind it, far away too."""
  rng = np.random.default_rng(seed)
  extra = length - len(protein.mask)
  garbage = {
    'residue_type': rng.integers(0, 20, extra),
    'residue_index': rng.integers(-50, 50, extra),
    'chain_index': rng.integers(0, 2, extra),
    'bonded': np.zeros(extra, bool),
    'mask': np.zeros(extra, bool),
    'positions': 2000.0 + 300.0 * rng.normal(size=(extra, 4, 3)),
    'ring': np.full(extra, -1),
    'disulphides': np.full(extra, -1),
    'chi': rng.uniform(-3.0, 3.0, (extra, 4)),
    'chi_known': rng.random((extra, 4)) < 0.5,
    'mirrored': rng.random(extra) < 0.5,
  }
  return protein_lib.ProteinArrays(
    **{
      name: np.concatenate([value, garbage[name].astype(value.dtype)])
      for name, value in vars(protein).items()
      if value is not None
    }
  )


def with_side_chains(protein: protein_lib.ProteinArrays, seed: int = 0, known: float = 1.0):
  """The same protein with torsions of its side chains, any angles; a share of them is known."""
  rng = np.random.default_rng(seed)
  there = side_chain_atoms.chi_mask(protein.residue_type)
  there &= rng.random(there.shape) < known
  chi = np.where(there, rng.uniform(-np.pi, np.pi, there.shape), 0.0).astype(np.float32)
  return dataclasses.replace(protein, chi=chi, chi_known=there)


def take(protein: protein_lib.ProteinArrays, order) -> protein_lib.ProteinArrays:
  """Residues in another order."""
  return jax.tree.map(lambda x: x[order], protein)


def with_positions(protein: protein_lib.ProteinArrays, positions) -> protein_lib.ProteinArrays:
  return dataclasses.replace(protein, positions=np.asarray(positions, np.float32))


def random_motion(seed: int, translation: float = 100.0):
  """Rotation [3, 3] and translation [3] of the given length, Å, float64, from scipy."""
  rng = np.random.default_rng(seed)
  shift = rng.normal(size=3)
  return Rotation.random(rng=rng).as_matrix(), translation * shift / np.linalg.norm(shift)


def small_config(dt_ns=None, update_rule='local', **encoder):
  """A network of one block each; steps of some 0.2 Å. Frozen."""
  config = config_lib.model_config(dt_ns or {'coarse': 0.4, 'fine': 0.1})
  config.update_rule = update_rule
  config.update({'objective': 'mse', 'closure': False, 'anchors': 'start', 'reference': False})
  config.side_chains = False
  config.encoder.update(
    channels=16,
    num_ipa_blocks=1,
    num_attention_blocks=1,
    num_gru_layers=1,
    num_heads=2,
    ipa_scalar_channels=4,
    ipa_query_points=2,
    ipa_value_points=3,
    num_neighbours=6,
  )
  config.encoder.update(encoder)
  for name in config.levels:
    config.level[name].update(translation_std=0.2, rotation_std=0.1, noise_rotation=0.3)
    config.level[name].update(noise_min=0.01, noise_max=0.05, noise_sample=0.05)
  return config_lib.freeze(config)


def generative_config(dt_ns=None, **model):
  """The same with a light head that draws the next frames, the backbone's by default. Frozen."""
  config = config_lib.from_dict(config_lib.to_dict(small_config(dt_ns)))
  config.head.update(
    channels=16,
    num_blocks=1,
    num_heads=2,
    ipa_scalar_channels=4,
    ipa_query_points=2,
    ipa_value_points=3,
  )
  config.update({'objective': 'flow_matching', 'passes': 3} | model)
  for name in config.levels:
    config.level[name].noise_sample = 0.0
  return config_lib.freeze(config)


def any_step_config(shortest_ns=0.01, longest_ns=0.2, **model):
  """The same for any time step of a range. Frozen."""
  settings = {'anchors': 'both', 'reference': True, 'prior': 'elastic', 'closure': True} | model
  settings['lags_ns'] = (shortest_ns, longest_ns)
  return generative_config({time_scales.LEVEL: shortest_ns}, **settings)


def expecting_nothing(newest, num_frames: int):
  """Steps of unit spread from a state, as a network knows them that expects residues to stay."""
  return expected_lib.still(newest, level_lib.Level(*[jnp.float32(1.0)] * 9), num_frames)


def make_step(config, level_name: str):
  return transitions.make_step(config, level_lib.Level.of(config, level_name))


def fill(shapes, seed: int = 0, dtype=np.float32):
  """Random parameters of the given tree of shapes, none of them zero."""
  rng = np.random.default_rng(seed)

  def leaf(path, shape):
    name = path[-1].key
    values = rng.normal(size=shape.shape)
    if name == 'kernel':
      values *= 0.2
    elif name == 'scale':
      values = 1.0 + 0.1 * values
    else:
      values *= 0.3
    return jnp.asarray(values, dtype)

  return jax.tree_util.tree_map_with_path(leaf, shapes)


@functools.cache
def params(config, seed: int = 0):
  """Parameters of one level's drift, its head away from zero; nothing is compiled."""
  shapes = jax.eval_shape(functools.partial(transitions.init_params, config), jax.random.key(0))
  return fill(shapes, seed)


def zero_head(drift_params):
  """The same parameters with the zero head of an untrained model."""
  return {**drift_params, 'head_out': jax.tree.map(jnp.zeros_like, drift_params['head_out'])}


def known_window(protein) -> state_lib.Window:
  """Two different frames of a protein, both known."""
  rng = np.random.default_rng(0)
  positions = protein.positions + 0.3 * rng.normal(size=(2, *protein.positions.shape))
  states = numpy_jit(state_lib.from_positions)(positions.astype(np.float32), protein.bonded)
  return state_lib.Window(states, np.ones(2, bool))


def moved_window(window: state_lib.Window) -> state_lib.Window:
  """The same window after a global motion."""
  rotation, shift = (x.astype(np.float32) for x in random_motion(2, translation=20.0))
  frames = rigid.Rigid(rotation[None, None], shift[None, None]) @ window.states.frames
  return state_lib.Window(window.states.with_frames(frames), window.known)
