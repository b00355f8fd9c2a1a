"""Which side chains come to the surface, and which do so together. After AlphaFlow.

Jing et al. (2024), `analyze_ensembles.py` and `print_analysis.py`: a residue is exposed in a frame
if its side chain (heavy atoms but N, CA, C, O) offers more than 2 Å^2 to a probe of 2.8 Å. Glycine
never does. Areas are mdtraj's, by Shrake and Rupley's method, of heavy atoms alone.

Blind to: hydrogens, the surface of the backbone, how far a residue is exposed. Costly, some 0.1 ms
of each atom and frame: two minutes for 1,000 frames of 150 residues, as many as AlphaFlow draws.
"""

import mdtraj
import numpy as np
from scipy import spatial, special, stats

from tempo_jax.metrics.kinetics import Found
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tempo_jax.trajectory import atoms as atoms_lib

PROBE_RADIUS = 2.8
"""Å: two waters wide; pockets that close are buried."""
EXPOSED = 2.0
"""Å^2, of a side chain."""
EXPOSED_SHARE = 0.1
"""Share of frames in which a residue is exposed that is buried in the native structure."""
_NUM_BACKBONE = 4
_SAME_PLACE = 1e-4  # nm; mdtraj gives up below 1e-5.


def side_chain_areas(heavy_atoms: np.ndarray, residue_type: np.ndarray) -> Found[np.ndarray]:
  """Solvent-accessible surface area of each side chain.

  Args:
    heavy_atoms: [F, L, 14, 3] Å, in the slots of `protein.side_chain_atoms`.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [F, L] float64 Å^2, 0 of glycine, and None; or None and the reason: atoms whose positions are
    not numbers, or the same (of which mdtraj ends the process).
  """
  residue_type = np.asarray(residue_type)
  residue, slot = np.nonzero(side_chain_atoms.atom_mask(residue_type))
  coordinates = (atoms_lib.flat(heavy_atoms, residue_type) / 10.0).astype(np.float32)
  for number, points in enumerate(coordinates):
    if not np.isfinite(points).all():
      return None, f'frame {number} has positions that are not numbers'
    if spatial.cKDTree(points).query_pairs(_SAME_PLACE):
      return None, f'two atoms of frame {number} are in the same place'
  traj = mdtraj.Trajectory(coordinates, _topology(residue_type))
  areas = mdtraj.shrake_rupley(traj, probe_radius=PROBE_RADIUS / 10.0)
  found = np.zeros((len(heavy_atoms), len(residue_type)))
  side = slot >= _NUM_BACKBONE
  np.add.at(found.T, residue[side], 100.0 * areas.T[side])
  return found, None


def _topology(residue_type: np.ndarray) -> mdtraj.Topology:
  """Elements alone matter: radii depend on them."""
  top = mdtraj.Topology()
  chain = top.add_chain()
  for number in residue_type.tolist():
    residue = top.add_residue(protein_lib.RESIDUE_TYPES[number], chain)
    for name in side_chain_atoms.ATOM_NAMES[number]:
      top.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
  return top


def exposed_jaccard(
  prediction: np.ndarray, reference: np.ndarray, native: np.ndarray
) -> Found[float]:
  """Jaccard index of the residues that are buried in the native structure but come to the surface.

  Args:
    prediction: [F, L] Å^2, from `side_chain_areas`.
    reference: [G, L] Å^2.
    native: [L] Å^2.

  Returns:
    0 to 1 and None; or None and the reason: none does on either side.
  """
  if not (len(prediction) and len(reference)):
    return None, 'one side has no frames'
  buried = native < EXPOSED
  ours, theirs = (
    buried & ((areas > EXPOSED).mean(axis=0) > EXPOSED_SHARE) for areas in (prediction, reference)
  )
  union = np.count_nonzero(ours | theirs)
  if not union:
    return None, 'no buried residue comes to the surface on either side'
  return np.count_nonzero(ours & theirs) / union, None


def mutual_information(areas: np.ndarray) -> np.ndarray:
  """Mutual information of two residues being exposed.

  Args:
    areas: [F, L] Å^2, from `side_chain_areas`.

  Returns:
    [L, L] nats, symmetric, 0 on the diagonal, as AlphaFlow sets it.
  """
  exposed = (areas > EXPOSED).astype(np.float64)
  both = exposed.T @ exposed
  once = exposed.sum(axis=0)
  total = len(areas)
  information = np.zeros_like(both)
  # Counts, which are exact: what never happens must not come out as a small number.
  for joint, a, b in (
    (both, once, once),
    (once[:, None] - both, once, total - once),
    (once - both, total - once, once),
    (total - once[:, None] - once + both, total - once, total - once),
  ):
    information += special.rel_entr(joint / total, np.outer(a, b) / total**2)
  np.fill_diagonal(information, 0.0)
  return np.maximum(information, 0.0)


def information_correlation(prediction: np.ndarray, reference: np.ndarray) -> Found[float]:
  """Spearman correlation of the two matrices of `mutual_information`, all entries (AlphaFlow).

  With the diagonal and both halves. In few frames the information of independent residues is some
  1 / (2 F), so that it is noise where little is exposed.

  Args:
    prediction: [F, L] Å^2, from `side_chain_areas`.
    reference: [G, L] Å^2.

  Returns:
    -1 to 1 and None; or None and the reason.
  """
  for name, areas in (('prediction', prediction), ('reference', reference)):
    if len(areas) < 2:
      return None, f'{len(areas)} frames of the {name} are too few for mutual information'
  ours, theirs = (mutual_information(areas).ravel() for areas in (prediction, reference))
  for name, values in (('prediction', ours), ('reference', theirs)):
    if not np.ptp(values):
      return None, f'{name}: exposure of no two residues depends on each other'
  return float(stats.spearmanr(ours, theirs).statistic), None
