"""Where a result comes from: versions, device, parameters."""

import hashlib
import platform
from typing import TYPE_CHECKING, Any

import flax
import jax
import jaxlib
import numpy as np
from flax import traverse_util

from tempo_jax import version

if TYPE_CHECKING:
  from tempo_jax.models import model as model_lib


def versions() -> dict[str, str]:
  """Of everything that the numbers depend on."""
  return {
    'tempo_jax': version.__version__,
    'jax': jax.__version__,
    'jaxlib': jaxlib.__version__,
    'flax': flax.__version__,
    'python': platform.python_version(),
  }


def device() -> dict[str, Any]:
  """The accelerator or processor that JAX computes on."""
  first = jax.devices()[0]
  return {'platform': first.platform, 'kind': first.device_kind, 'count': jax.device_count()}


def model_sha256(model: 'model_lib.Model') -> str:
  """Checksum of its parameters as trained, calibration and centres: whatever its time step."""
  checksum = params_sha256(model.as_trained().params)
  calibration = [float(x) for x in model.config.memory.gain]
  calibration += [float(x) for row in model.config.rotamer_stay for x in row]
  if model.centres:
    checksum = f'{checksum} {params_sha256(model.centres)}'
  elif calibration == [1.0, 1.0]:
    return checksum
  return hashlib.sha256(f'{checksum} {calibration}'.encode()).hexdigest()


def params_sha256(params: Any) -> str:
  """Checksum of parameters: names, types, shapes and values, in the order of the names."""
  digest = hashlib.sha256()
  for name, value in sorted(traverse_util.flatten_dict(dict(params), sep='/').items()):
    array = np.asarray(value)
    digest.update(f'{name} {array.dtype} {array.shape}\n'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()
