"""Whole executables kept from run to run: a second run neither traces nor lowers nor compiles.

JAX's own cache is asked with the lowered program, and making that takes most of what is left. Here
the question is what the program is made from: the model's configuration, the shapes, this package's
source, the versions of JAX, its compiler and the network's libraries, the compiler's options, the
devices and the features of this CPU. An entry that cannot be read or loaded is passed over.

Entries are pickled, as JAX serialises executables: they are read only where the user who runs this
program owns them.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import pathlib
import pickle
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import files, version
from tempo_jax.compilation import ahead_of_time, cache, miscompilation
from tempo_jax.errors import InputError

_LOG = logging.getLogger('tempo_jax')
_FORMAT = b'tempo_jax executable 2\n'
# What traces depend on besides the arguments.
_SETTINGS = (
  *('jax_enable_x64', 'jax_default_matmul_precision', 'jax_default_prng_impl'),
  *('jax_threefry_partitionable', 'jax_debug_nans', 'jax_numpy_dtype_promotion'),
)


def compiled(
  function: Any,
  made_from: Any,
  *args: Any,
  effort: ahead_of_time.Effort = ahead_of_time.Effort.FULL,
) -> Any:
  """As `ahead_of_time.compiled`, from the cache where it is there.

  Args:
    function: `jax.jit(...)`.
    made_from: all that the function depends on besides its arguments and this package; its `repr`
      tells one from another.
    *args: arrays, or what has their shapes.
    effort: of the compiler.

  Returns:
    To be called with such arguments.
  """
  folder = cache.directory()
  # Of several processes, an executable that is loaded takes the devices of all for its own.
  if folder is None or jax.process_count() > 1:
    return ahead_of_time.compiled(function, *args, effort=effort)
  path = folder / f'{_digest(function.__name__, made_from, args, effort)}{cache.EXECUTABLE}'
  found = _read(path, args)
  if found is None:
    with cache.bypassed():
      found = ahead_of_time.compiled(function, *args, effort=effort)
    _write(path, found)
    cache.evict(folder)
  return found


def _digest(name: str, made_from: Any, args: Any, effort: ahead_of_time.Effort) -> str:
  leaves, tree = jax.tree.flatten(args)
  devices = jax.local_devices()
  parts = (
    *(name, repr(made_from), str(tree)),
    [(x.shape, str(x.dtype), str(getattr(x, 'sharding', None))) for x in leaves],
    *(version.__version__, source(), _versions(), devices[0].client.platform_version),
    [(device.id, device.device_kind) for device in devices],
    *(_cpu(), ahead_of_time.options(effort)),
    *(os.environ.get('XLA_FLAGS', ''), miscompilation.came_too_late()),
    [(setting, str(getattr(jax.config, setting, None))) for setting in _SETTINGS],
  )
  return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


@functools.cache
def _versions() -> list[tuple[str, str]]:
  """Of what traces and compiles: JAX, its compiler, its plugins, and the network's libraries."""
  names = {d.metadata['Name'].lower() for d in importlib.metadata.distributions()}
  traced = sorted(name for name in names if name.startswith(('jax', 'flax', 'e3nn')))
  return [(name, importlib.metadata.version(name)) for name in traced]


@functools.cache
def source() -> str:
  """Of all modules of this package: a changed one makes other programs."""
  root = pathlib.Path(version.__file__).parent
  digest = hashlib.sha256()
  for path in sorted(root.rglob('*.py')):
    digest.update(str(path.relative_to(root)).encode())
    digest.update(path.read_bytes())
  return digest.hexdigest()


@functools.cache
def _cpu() -> str:
  """Kind of processor, and what it can do; programs are compiled for just that."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    return f'{platform.machine()} {platform.processor()}'
  words = ('model name', 'flags', 'Features', 'CPU part')
  return '\n'.join(sorted({line for line in lines if line.startswith(words)}))


def _read(path: pathlib.Path, args: Any) -> Any:
  """The executable of a file, or None."""
  # Only a run that finds one needs it, and it takes a while to import.
  from jax.experimental import serialize_executable

  try:
    with open(path, 'rb') as file:
      if not _is_ours(os.fstat(file.fileno())):
        return None
      content = file.read()
    digest, body = content[len(_FORMAT) : len(_FORMAT) + 32], content[len(_FORMAT) + 32 :]
    if not content.startswith(_FORMAT) or hashlib.sha256(body).digest() != digest:
      return None
    payload, result, ids = pickle.loads(body)
    trees = jax.tree.structure((args, {})), jax.tree.structure(result)
    _prepare_lapack()
    # Unless told, it takes all devices for its own, and asks for a part of the arguments on each.
    devices = [device for device in jax.local_devices() if device.id in ids]
    found = serialize_executable.deserialize_and_load(payload, *trees, execution_devices=devices)
  except FileNotFoundError:
    return None
  except Exception as error:
    # Whatever another version of JAX or a damaged file comes up with: compiling is always right.
    _LOG.debug('%s is passed over: %s', path, error)
    return None
  with contextlib.suppress(OSError):  # Another process may have evicted it.
    os.utime(path)  # Those that were used the longest ago are evicted.
  return found


def _is_ours(status: os.stat_result) -> bool:
  """Whether nobody else can have written a file: unpickling it runs what is in it."""
  if not hasattr(os, 'getuid'):
    return True
  return status.st_uid == os.getuid() and not status.st_mode & 0o022


@functools.cache
def _prepare_lapack() -> None:
  """XLA finds LAPACK's routines on a CPU once a program with one of them has been lowered.

  An executable from the disk that calls one before ends in a segmentation fault.
  """
  jax.jit(jnp.linalg.svd).lower(jax.ShapeDtypeStruct((1, 1), np.float32))


def _write(path: pathlib.Path, executable: Any) -> None:
  from jax.experimental import serialize_executable

  try:
    payload, _, out_tree = serialize_executable.serialize(executable)
    # Structures of JAX cannot be pickled; what has that structure can.
    result = jax.tree.unflatten(out_tree, range(out_tree.num_leaves))
    shardings = jax.tree.leaves(executable.output_shardings)
    ids = {device.id for sharding in shardings for device in sharding.device_set}
    body = io.BytesIO()
    pickle.dump((payload, result, ids), body)
    content = body.getvalue()
    files.write_bytes(path, _FORMAT + hashlib.sha256(content).digest() + content)
  except InputError as error:
    _LOG.warning('a compiled program is not kept: %s', error)
  except Exception as error:  # Some backends cannot serialise.
    _LOG.debug('a compiled program is not kept: %s', error)
