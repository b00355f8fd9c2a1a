"""Synthetic proteins and models."""

import numpy as np
from scipy.spatial.transform import Rotation

from tempo_jax.benchmark import workloads
from tests import peptides


def test_helix_is_one():
  found = workloads.helix(30)
  xyz, ideal = (
    x.reshape(-1, 3) - x.reshape(-1, 3).mean(axis=0)
    for x in (found.arrays.positions, peptides.helix(30)[:, :4])
  )
  rmsd = Rotation.align_vectors(ideal, xyz)[1] / np.sqrt(len(xyz))
  assert rmsd < 0.12  # 0.05 Å per coordinate is 0.087 Å
  assert found.num_residues == 30
  assert not found.arrays.bonded[-1]


def test_paper_size():
  config = workloads.config_of('paper_size')
  encoder = config.encoder
  assert encoder.channels == 256
  assert (encoder.num_ipa_blocks, encoder.num_attention_blocks, encoder.num_gru_layers) == (4, 4, 2)
  assert [config.level[name].dt_ns for name in config.levels] == [0.2, 0.01]
  assert config.objective == 'flow_matching'
