import importlib.metadata
import json

import numpy as np

from tempo_jax.output import provenance


def test_versions_are_those_installed():
  found = provenance.versions()
  for package in ('jax', 'jaxlib', 'flax'):
    assert found[package] == importlib.metadata.version(package)
  json.dumps([found, provenance.device()])


def test_checksum_sees_every_change_but_the_order():
  params = {'coarse': {'a': np.arange(6.0), 'b': np.ones(2)}, 'fine': {'a': np.zeros(3)}}
  checksum = provenance.params_sha256(params)
  same = {'fine': params['fine'], 'coarse': dict(reversed(params['coarse'].items()))}
  assert provenance.params_sha256(same) == checksum
  others = [
    {**params, 'fine': {'a': np.array([0.0, 0.0, 1e-30])}},
    {**params, 'fine': {'b': np.zeros(3)}},
    {**params, 'fine': {'a': np.zeros((3, 1))}},
    {**params, 'fine': {'a': np.zeros(3, np.float32)}},
  ]
  assert len({checksum, *map(provenance.params_sha256, others)}) == 5
