"""The network once more: numpy, float64, residue by residue, as the papers write it.

Parameters `p` are those of the module of the same name, a dictionary of float64 arrays.
"""

import jax
import numpy as np

# Å, the unit of points.
_POINT_UNIT = 10.0


def as_float64(tree):
  """The same tree in numpy's float64; booleans and integers stay."""

  def cast(x):
    x = np.asarray(x)
    return x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x

  return jax.tree.map(cast, tree)


def dense(p, x):
  kernel = p['kernel']
  out = np.tensordot(x, kernel, axes=1)
  return out + p['bias'] if 'bias' in p else out


def layer_norm(p, x):
  x = x - x.mean(axis=-1, keepdims=True)
  return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * p['scale'] + p['bias']


def sigmoid(x):
  return 1.0 / (1.0 + np.exp(-x))


def silu(x):
  return x * sigmoid(x)


def softmax(x):
  weight = np.exp(x - x.max())
  return weight / weight.sum()


def transition(p, x):
  return x + dense(p['out'], silu(dense(p['hidden'], layer_norm(p['norm'], x))))


def _ipa_scalars_and_points(p, single):
  """Lines 1 to 3: q, k, v, each [L, H, C], and points [L, H, P, 3] of query, key and value."""
  q, k, v = np.moveaxis(dense(p['scalars'], single), 1, 0)
  # With the bias of AlphaFold 2's code.
  points = np.moveaxis(dense(p['points'], single), 1, -1)
  heads, channels = q.shape[1:]
  # What is joined for the output: channels, and of each value point three coordinates and a norm.
  value_points = (p['out']['kernel'].shape[0] // heads - channels) // 4
  query_points = (points.shape[2] - value_points) // 2
  return (q, k, v), np.split(points, [query_points, 2 * query_points], axis=2)


def ipa_logits(p, single, rotation, translation):
  """Line 7 of AlphaFold 2's Suppl. Alg. 22 without pairs, [H, L, L]; translation in Å."""
  (q, k, _), (q_points, k_points, _) = _ipa_scalars_and_points(p, single)
  origin = translation / _POINT_UNIT
  gamma = np.log1p(np.exp(p['point_weight']))
  length, heads, query_points, _ = q_points.shape
  # Lines 5 and 6.
  w_c, w_l = np.sqrt(2.0 / (9.0 * query_points)), np.sqrt(1.0 / 2.0)
  logits = np.zeros((heads, length, length))
  for h, i, j in np.ndindex(logits.shape):
    distance = 0.0
    for n in range(query_points):
      from_i = rotation[i] @ q_points[i, h, n] + origin[i]
      from_j = rotation[j] @ k_points[j, h, n] + origin[j]
      distance += np.sum((from_i - from_j) ** 2)
    scalar = q[i, h] @ k[j, h] / np.sqrt(q.shape[2])
    logits[h, i, j] = w_l * (scalar - gamma[h] * w_c / 2 * distance)
  return logits


def ipa(p, single, rotation, translation, mask):
  """AlphaFold 2, Suppl. Alg. 22 without pairs, of one conformation: [L, D]; translation in Å."""
  (_, _, v), (_, _, v_points) = _ipa_scalars_and_points(p, single)
  logits = ipa_logits(p, single, rotation, translation)
  origin = translation / _POINT_UNIT
  length, heads, value_points, _ = v_points.shape
  result = np.zeros(single.shape)
  for i in range(length):
    scalar = np.zeros((heads, v.shape[2]))
    local = np.zeros((heads, value_points, 3))
    for h in range(heads):
      weight = softmax(np.where(mask, logits[h, i], -np.inf))
      # Lines 9 and 10.
      scalar[h] = weight @ v[:, h]
      for n in range(value_points):
        space = sum(
          weight[j] * (rotation[j] @ v_points[j, h, n] + origin[j]) for j in range(length)
        )
        local[h, n] = rotation[i].T @ (space - origin[i])
    # Line 11; the order of what is joined is a convention: x of all points, then y, z.
    norm = np.sqrt(np.sum(local**2, axis=-1))
    parts = scalar, np.moveaxis(local, -1, 0), norm
    result[i] = dense(p['out'], np.concatenate([np.ravel(x) for x in parts]))
  return result


def spatial_attention(p, x, mask, bias):
  """[L, D] with bias [H, L, L]."""
  q, k, v = np.moveaxis(dense(p['qkv'], layer_norm(p['norm'], x)), 1, 0)
  out = np.zeros(q.shape)
  for i in range(len(x)):
    for h in range(q.shape[1]):
      logit = k[:, h] @ q[i, h] / np.sqrt(q.shape[2]) + bias[h, i]
      out[i, h] = softmax(np.where(mask, logit, -np.inf)) @ v[:, h]
  return x + dense(p['out'], out.reshape(len(x), -1))


def gru_layer(p, x, known):
  """Cho et al. (2014) over frames: [T, L, D]."""
  hidden, outputs = np.zeros(x.shape[1:]), []
  for t in range(len(x)):
    from_x = np.split(dense(p['input'], x[t]), 3, axis=-1)
    from_h = np.split(dense(p['recurrent'], hidden), 3, axis=-1)
    reset, update = sigmoid(from_x[0] + from_h[0]), sigmoid(from_x[1] + from_h[1])
    candidate = np.tanh(from_x[2] + reset * (from_h[2] + p['candidate_bias']))
    if known[t]:
      hidden = (1.0 - update) * candidate + update * hidden
    outputs.append(hidden)
  return np.stack(outputs)


def nearest(origins, mask, count, cutoff=16.0):
  """Per residue the list of (neighbour, weight) by increasing distance."""
  result = []
  for i, here in enumerate(origins):
    others = [j for j in range(len(origins)) if j != i and mask[j] and mask[i]]
    others.sort(key=lambda j: np.linalg.norm(origins[j] - here))
    distances = [np.linalg.norm(origins[j] - here) for j in others]
    reach = min(distances[count], cutoff) if len(others) > count else cutoff
    listed = zip(others[:count], distances[:count], strict=True)
    result.append([(j, max(0.0, 1.0 - (d / reach) ** 2) ** 2) for j, d in listed])
  return result


def relative_position(protein, i, j, most):
  if protein.chain_index[i] != protein.chain_index[j]:
    return 2 * most + 1
  return int(np.clip(protein.residue_index[j] - protein.residue_index[i], -most, most)) + most


def surroundings(p, rotation, translation, protein, count, side_chains=None):
  """Of one conformation, [L, D], with the real spherical harmonics written out."""
  result = []
  for i, listed in enumerate(nearest(translation, protein.mask, count)):
    partner = -1 if protein.disulphides is None else protein.disulphides[i]
    if partner >= 0:
      # However far away, and once.
      listed = [*((j, weight) for j, weight in listed if j != partner), (partner, 1.0)]
    total = np.zeros(p['out']['kernel'].shape[0])
    for j, weight in listed:
      inverse = rotation[i].T
      vector = inverse @ (translation[j] - translation[i])
      distance = np.linalg.norm(vector)
      x, y, z = vector / distance
      # Component-normalised, e3nn's order: l = 1 as x, y, z; l = 2 about the y axis.
      second = [x * z, x * y, (2 * y**2 - x**2 - z**2) / np.sqrt(12.0), y * z, (z**2 - x**2) / 2]
      harmonics = [np.sqrt(3.0) * np.array([x, y, z]), np.sqrt(15.0) * np.array(second)]
      radial = np.exp(-(((distance - np.linspace(2, 16, 8)) / 2.0) ** 2)) / 1.12
      features = [
        radial,
        np.outer(radial, np.concatenate(harmonics)).ravel(),
        (inverse @ rotation[j]).ravel(),
        p['type']['embedding'][protein.residue_type[j]],
        np.eye(10)[relative_position(protein, i, j, 4)],
      ]
      if side_chains is not None:
        features.append(side_chains[j])
      hidden = silu(dense(p['hidden_1'], np.concatenate(features)))
      total += weight * silu(dense(p['hidden_2'], hidden))
    result.append(dense(p['out'], total))
  return np.array(result)


def residue_embedding(p, protein):
  before = np.concatenate([[False], protein.bonded[:-1]])
  ends = np.stack([before, protein.bonded], axis=-1).astype(np.float64)
  embedded = p['type']['embedding'][protein.residue_type] + dense(p['ends'], ends)
  if protein.disulphides is not None:
    embedded[protein.disulphides >= 0] += p['disulphide']
  return embedded


def condition_embedding(p, protein, sigma, dt_ns, temperature_K):
  features = []
  values = (np.log(sigma + 1e-3) / 8, 8), (np.log(dt_ns) / 8, 8), ((temperature_K - 300) / 100, 2)
  for x, octaves in values:
    phases = [2**octave * x for octave in range(octaves)]
    features += [*np.sin(phases), *np.cos(phases)]
  embedded = dense(p['out'], silu(dense(p['hidden'], np.array(features))))
  # Rows: not known, explicit, implicit. Explicit where nothing is said.
  return embedded + p['solvent'][1 if protein.solvent is None else int(protein.solvent)]


def encoder(
  p, config, features, rotation, translation, known, protein, condition, side_chains=None
):
  """As `SpatiotemporalEncoder`, [T, L, D]; condition is (sigma, dt in ns, temperature in K)."""
  length, mask = len(protein.mask), protein.mask
  context = residue_embedding(p['sequence'], protein)
  context = context + condition_embedding(p['condition'], protein, *condition)
  table = p['relative_position']['table']
  bias = np.zeros((table.shape[1], length, length))
  for i in range(length):
    for j in range(length):
      bias[:, i, j] = table[relative_position(protein, i, j, 32)]
  frames = []
  for t in range(len(features)):
    x = dense(p['state_out'], silu(dense(p['state_hidden'], features[t]))) + context
    if config.num_neighbours:
      seen = None if side_chains is None else side_chains[t]
      around = rotation[t], translation[t], protein, config.num_neighbours, seen
      x = x + surroundings(p['surroundings'], *around)
    for block in range(config.num_ipa_blocks):
      b = jax.tree.map(lambda leaf, block=block: leaf[block], p['ipa_blocks'])
      read = context if config.ipa_reads == 'sequence' else x
      x = x + ipa(b['ipa'], layer_norm(b['norm'], read), rotation[t], translation[t], mask)
      x = transition(b['transition'], x)
    for block in range(config.num_attention_blocks):
      b = jax.tree.map(lambda leaf, block=block: leaf[block], p['attention_blocks'])
      x = transition(b['transition'], spatial_attention(b['attention'], x, mask, bias))
    frames.append(layer_norm(p['temporal_norm'], x))
  hidden = np.stack(frames)
  for layer in range(config.num_gru_layers):
    hidden = gru_layer(p[f'gru_{layer}'], hidden, known)
  return hidden
