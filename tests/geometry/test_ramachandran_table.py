"""The contours of phi and psi: their cells, and how far each is from their inside."""

import numpy as np
from scipy import ndimage

from tempo_jax.geometry import ramachandran_table


def test_cells_begin_at_minus_half_a_turn():
  angles = np.deg2rad([-180.0, -175.1, -174.9, -0.1, 0.1, 179.9, 180.0])
  np.testing.assert_array_equal(ramachandran_table.cells(angles), [0, 0, 1, 35, 36, 71, 0])


def test_the_table_is_read_as_it_is_written():
  for name, allowed in zip(ramachandran_table.CLASSES, ramachandran_table.contours(), strict=True):
    lines = [line.strip() for line in ramachandran_table._ALLOWED[name].strip().splitlines()]
    assert ramachandran_table.packed(allowed) == lines
  general, glycine, proline, before = ramachandran_table.contours()
  np.testing.assert_array_equal(glycine, glycine[::-1, ::-1])
  assert 0.3 < general.mean() < 0.45 < 0.65 < glycine.mean() < 0.8
  assert proline.mean() < before.mean() < 0.2


def test_distances_are_those_of_a_plot_that_is_repeated():
  found = ramachandran_table.distances()
  for allowed, distance in zip(ramachandran_table.contours(), found, strict=True):
    tiled = np.tile(allowed, (3, 3))
    inside = ndimage.binary_erosion(tiled, border_value=1)
    expected = 5.0 * ndimage.distance_transform_edt(~inside)[72:144, 72:144]
    np.testing.assert_allclose(distance, expected, rtol=1e-6)
    assert (distance[~allowed] >= 5.0).all()
