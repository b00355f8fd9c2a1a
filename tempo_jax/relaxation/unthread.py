"""Pulls bonds out of rings, past the ring's edge, which atoms let through here.

Needs the extra `simulate`: openmm and pdbfixer.
"""

import copy
from collections.abc import Sequence

import numpy as np
import openmm

from tempo_jax.preparation.simulation import system as simulation_system
from tempo_jax.relaxation import rings

_STRENGTH = 100_000.0  # kJ/mol/nm²
# nm, from the axis of the ring to the middle of the bond: the ring's radius is 0.14.
_ASIDE = 0.32
_GROUP = 31
_TOLERANCE, _ITERATIONS = 100.0, 300


def pull_out(
  system: openmm.System,
  groups: set[int],
  parameters: dict[str, float],
  positions: np.ndarray,
  pierced: Sequence[rings.Piercing],
) -> np.ndarray:
  """Minimises bonded terms and what pushes the bonds aside, at right angles to the rings' axes.

  Args:
    system: all forces of the protein.
    groups: those of its forces that act.
    parameters: of its forces.
    positions: [N, 3] nm.
    pierced: what to pull out of what.

  Returns:
    [N, 3] nm.
  """
  system = copy.deepcopy(system)
  push = openmm.CustomCentroidBondForce(
    2,
    f'0.5*{_STRENGTH}*max(0, {_ASIDE}-aside)^2; aside=sqrt(1e-6+max(0, dx^2+dy^2+dz^2-along^2)); '
    'along=dx*nx+dy*ny+dz*nz; dx=x2-x1; dy=y2-y1; dz=z2-z1',
  )
  for name in ('nx', 'ny', 'nz'):
    push.addPerBondParameter(name)
  for piercing in pierced:
    members = (push.addGroup(atoms, [1.0] * len(atoms)) for atoms in (piercing.ring, piercing.bond))
    push.addBond(list(members), _axis(positions[list(piercing.ring)]))
  push.setForceGroup(_GROUP)
  system.addForce(push)
  integrator = openmm.VerletIntegrator(0.001)
  integrator.setIntegrationForceGroups({*groups, _GROUP})
  context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName('CPU'))
  context.setPositions(positions)
  for name, value in parameters.items():
    context.setParameter(name, value)
  openmm.LocalEnergyMinimizer.minimize(context, _TOLERANCE, _ITERATIONS)
  return simulation_system.positions_of(context.getState(getPositions=True))


def _axis(corners: np.ndarray) -> list[float]:
  """Unit vector at right angles to a ring [K, 3]."""
  spokes = corners - corners.mean(axis=0)
  return np.linalg.svd(spokes)[2][2].tolist()
