r"""Draws the pictures of the README: the bundled model and MD of the same proteins.

    python -m experiments.benchmarks.pictures

It shows proteins that the model was not trained on. Writes into --out:

    motion.gif        MD and the model, frame by frame, from one start (`held_out.targets`)
    flexibility.png   CA RMSF per residue of MD, the model and an elastic network (`physics.cases`)
    speed.png         seconds against residues, from --speed (a file of experiments.benchmark)
"""

import dataclasses
import io
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from absl import flags
from scipy import interpolate

from experiments.benchmarks import held_out, md_atoms, physics
from tempo_jax import extras, files
from tempo_jax.benchmark import results
from tempo_jax.cli import command
from tempo_jax.compilation import cache as compilation_cache
from tempo_jax.errors import InputError
from tempo_jax.evaluation.replica import Native
from tempo_jax.metrics import baselines, superposition
from tempo_jax.models import model
from tempo_jax.protein import covalent_bonds
from tempo_jax.protein import protein as protein_lib
from tempo_jax.report import plots

if TYPE_CHECKING:
  from matplotlib import figure as mpl_figure
  from PIL import Image

_RESULTS = pathlib.Path(__file__).parent / 'results'
_MD, _MODEL, _NETWORK = 'MD', 'tempo_jax', 'elastic network'
_OF_NETWORK = '#d98b2b'
_DRAWS = 2000  # of the network: enough for a smooth curve
# In implicit and in explicit solvent, 4, 5 and 100 ns.
_FLEXIBLE = ('hp35', 'bpti', '3tvj_I')
_REPLICAS = 4
_LABELS = {
  'sample/default': 'bundled model',
  'sample/paper_size': "network of the paper's size",
  'sample/paper_size/passes1': "network of the paper's size (one pass)",
}
_DPI, _DPI_MOTION = 110, 84
_POINTS_PER_RESIDUE = 8  # of a smooth trace
_FRAMES_PER_S = 12
_MARGIN = 2.5  # Å around what is drawn
_NUM_BACKBONE = 4  # atoms: N, CA, C, O
_OF_SIDE_CHAINS = np.full(3, 0.45)  # grey


@dataclasses.dataclass(frozen=True)
class Motion:
  """One protein in MD and as the model moves it.

  Attributes:
    name: of its folder.
    protein: its residues, at time 0.
    sticks: [B, 2] bonds of side chains, of atoms numbered as in `covalent_bonds`.
    md: [F, L, 14, 3] Å.
    sampled: the same of the model.
  """

  name: str
  protein: protein_lib.Protein
  sticks: np.ndarray
  md: np.ndarray
  sampled: np.ndarray

  @property
  def start(self) -> np.ndarray:
    """[L, 4, 3] Å."""
    return np.asarray(self.protein.arrays.positions)


def make_motion(
  trained: model.Model, target: held_out.Target, num_frames: int, seed: int
) -> Motion:
  """Reads the longest replica of MD, and samples as much of the same, at most so many frames.

  Raises:
    InputError: a file cannot be used, or the model has no side chains.
  """
  longest = max(target.reference, key=lambda file: file.stat().st_size)
  md = md_atoms.read(target.name, target.topology, [longest])
  native = Native(target.topology, target.name).protein.in_solvent(target.solvent)
  num_frames = min(num_frames, len(md.atoms))
  rng = jax.random.key(seed)
  sampled = trained.sample(native, num_frames, 1, rng, target.temperature_K).heavy_atoms
  if sampled is None:
    raise InputError(f'{trained.name} has no side chains: give a --model that has')
  bonds = covalent_bonds.between_atoms(native.arrays)
  known = md.known.ravel()
  is_side_chain = (bonds % md.known.shape[1]).max(axis=1) >= _NUM_BACKBONE
  sticks = bonds[is_side_chain & known[bonds].all(axis=1)]
  return Motion(target.name, native, sticks, md.atoms[:num_frames], np.asarray(sampled)[0])


def smooth(ca: np.ndarray) -> np.ndarray:
  """Curve [N, 3] through CA atoms [L, 3]."""
  residue = np.arange(len(ca))
  fine = np.linspace(0, len(ca) - 1, _POINTS_PER_RESIDUE * (len(ca) - 1) + 1)
  return interpolate.CubicSpline(residue, ca)(fine)


class Molecule:
  """A backbone and side chains in a plot: nearer parts are thicker, and lie over those behind."""

  def __init__(self, axes: Any, size: int):
    """Makes an empty one.

    Args:
      axes: matplotlib's.
      size: points of the curve, N.
    """
    from matplotlib import collections as mpl_collections

    self._colours = _rainbow(size - 1)
    self._lines = mpl_collections.LineCollection([], capstyle='butt')
    axes.add_collection(self._lines)

  def show(self, points: np.ndarray, sticks: np.ndarray) -> None:
    """Draws a curve [N, 3] and sticks [B, 2, 3], Å: horizontal, vertical, towards the viewer."""
    centre, half = 0.5 * (points[1:] + points[:-1]), 0.5 * (points[1:] - points[:-1])
    near = _nearness(centre)
    # A piece reaches into its neighbours, so that bends have no gaps, and has a shorter white rim,
    # which shows what passes in front of what.
    colours = _faded(self._colours, near)
    width = 2.5 + 2.0 * near
    pieces = [
      (depth, np.stack([c - reach * h, c + reach * h]), w + rim, colour)
      for c, h, w, of_residue, depth in zip(
        centre[:, :2], half[:, :2], width, colours, centre[:, 2], strict=True
      )
      for reach, rim, colour in ((0.6, 2.0, np.ones(3)), (1.4, 0.0, of_residue))
    ]
    middle = sticks.mean(axis=1)
    near = _nearness(middle)
    greys = _faded(np.broadcast_to(_OF_SIDE_CHAINS, middle.shape), near)
    pieces += [
      (depth, stick, 0.6 + 0.8 * n, grey)
      for stick, n, grey, depth in zip(sticks[..., :2], near, greys, middle[:, 2], strict=True)
    ]
    # Of one depth, a rim comes before what it surrounds.
    pieces.sort(key=lambda piece: piece[0])
    _, segments, widths, shades = zip(*pieces, strict=True)
    self._lines.set_segments(segments)
    self._lines.set_linewidth(widths)
    self._lines.set_colors(shades)


def _nearness(points: np.ndarray) -> np.ndarray:
  """[N] from 0 to 1 of points [N, 3]: what is far fades and is thin."""
  return np.clip((points[:, 2] + 8.0) / 16.0, 0.0, 1.0)


def _rainbow(count: int) -> np.ndarray:
  """[count, 3], from blue at the N end to red at the C end, as is usual for structures."""
  import matplotlib

  return matplotlib.colormaps['turbo'](np.linspace(0.06, 0.94, count))[:, :3]


def _faded(colours: np.ndarray, near: np.ndarray) -> np.ndarray:
  """Colours [N, 3] nearer to white where `near` [N], 0 to 1, is small."""
  return 1.0 - (1.0 - colours) * (0.5 + 0.5 * near)[:, None]


def _palette() -> 'Image.Image':
  """White, greys and the colours of traces, near and far: an animation has one palette."""
  from PIL import Image

  grey = np.repeat(np.linspace(0.0, 1.0, 10)[:, None], 3, axis=1)
  shades = [_faded(_rainbow(18), np.full(18, near)) for near in (0.0, 0.5, 1.0)]
  colours = np.round(255 * np.concatenate([grey, *shades])).astype(int)
  found = Image.new('P', (1, 1))
  found.putpalette(colours.ravel().tolist())
  return found


def draw_motion(motions: Sequence[Motion], dt_ns: float) -> bytes:
  """An animated GIF, frames dt_ns (ns) apart: a column for each protein, MD above the model."""
  import matplotlib
  from matplotlib import figure as mpl_figure
  from matplotlib.backends import backend_agg
  from PIL import Image

  num_frames = min(len(motion.sampled) for motion in motions)
  with matplotlib.rc_context({'font.size': 10}):
    figure = mpl_figure.Figure(figsize=(2.3 * len(motions) + 0.4, 4.0), dpi=_DPI_MOTION)
    canvas = backend_agg.FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(motions), squeeze=False)
    figure.subplots_adjust(0.045, 0.07, 0.995, 0.93, wspace=0.03, hspace=0.03)
    drawn = []
    for column, motion in zip(grid.T, motions, strict=True):
      shown = [_shown(motion, x[:num_frames]) for x in (motion.md, motion.sampled)]
      for axes, (curve, sticks) in zip(column, shown, strict=True):
        _fit(axes, np.concatenate([x.reshape(-1, 3) for pair in shown for x in pair]))
        drawn.append((Molecule(axes, curve.shape[1]), curve, sticks))
      column[0].set_title(f'{motion.name}, {len(motion.start)} residues', fontsize=10)
    for axes, label in zip(grid[:, 0], (_MD, _MODEL), strict=True):
      axes.set_ylabel(label, fontsize=11)
    clock = figure.text(0.99, 0.015, '', ha='right', family='monospace')
    palette, pictures = _palette(), []
    for index in range(num_frames):
      for molecule, curve, sticks in drawn:
        molecule.show(curve[index], sticks[index])
      clock.set_text(f'{(index + 1) * dt_ns:.2f} ns')
      canvas.draw()
      picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
      pictures.append(picture.quantize(palette=palette, dither=Image.Dither.NONE))
  stream = io.BytesIO()
  pictures[0].save(
    stream,
    'GIF',
    save_all=True,
    append_images=pictures[1:],
    duration=round(1000 / _FRAMES_PER_S),
    loop=0,
  )
  return stream.getvalue()


def _shown(motion: Motion, atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Smooth traces [F, N, 3] and sticks [F, B, 2, 3], Å, of frames [F, L, 14, 3] on the start."""
  start = motion.start[:, superposition.CA]
  axes, centre = _principal_axes(start)
  motions = superposition.motion(atoms[:, :, :_NUM_BACKBONE], motion.start, 'ca')
  seen = (superposition.move(atoms.reshape(len(atoms), -1, 3), motions) - centre) @ axes
  ca = seen.reshape(*atoms.shape)[:, :, superposition.CA]
  return np.stack([smooth(frame) for frame in ca]), seen[:, motion.sticks]


def _principal_axes(ca: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Rotation [3, 3] that turns the longest axis of [L, 3] to the horizontal; and its centre."""
  centre = ca.mean(axis=0)
  _, _, axes = np.linalg.svd(ca - centre)
  if np.linalg.det(axes) < 0:  # A mirror image would be another protein.
    axes[2] *= -1
  return axes.T, centre


def _fit(axes: Any, points: np.ndarray) -> None:
  """Shows all of the points [..., 3] Å, horizontally and vertically on one scale."""
  low, high = points[:, :2].min(axis=0) - _MARGIN, points[:, :2].max(axis=0) + _MARGIN
  box = axes.get_window_extent()
  shape = np.array([box.width, box.height])
  half = 0.5 * shape * np.max((high - low) / shape)
  middle = 0.5 * (low + high)
  (left, bottom), (right, top) = middle - half, middle + half
  axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
  for spine in axes.spines.values():
    spine.set_color('#c6c6c6')


@dataclasses.dataclass(frozen=True)
class Flexibility:
  """CA RMSF per residue [L] Å, each replica about its own mean.

  Attributes:
    name: of the protein.
    length_ns: of a replica, ns.
    md, network: mean over replicas; of an elastic network scaled to the mean of MD.
    sampled: [R, L], the model.
  """

  name: str
  length_ns: float
  md: np.ndarray
  network: np.ndarray
  sampled: np.ndarray


def make_flexibility(trained: model.Model, case: physics.Case, seed: int) -> Flexibility:
  """Reads MD, and samples replicas that are as long."""
  protein, md = physics.read(case)
  start = np.asarray(protein.arrays.positions)
  sampled = physics.sample(trained, protein, case, len(md[0]) - 1, _REPLICAS, seed)
  rmsf = np.mean([physics.motion_of(x[1:], x[0]).rmsf for x in md], axis=0)
  network = baselines.elastic_network(start, _DRAWS, float(rmsf.mean()), seed)
  ours = np.stack([physics.motion_of(x, start).rmsf for x in sampled])
  length_ns = case.dt_ns * (len(md[0]) - 1)
  return Flexibility(case.name, length_ns, rmsf, physics.motion_of(network, start).rmsf, ours)


def draw_flexibility(found: Sequence[Flexibility]) -> 'mpl_figure.Figure':
  """A panel for each protein; the model's replicas are one line each."""
  panels = []
  for each in found:
    residue = np.arange(1, len(each.md) + 1)
    curves = [plots.Curve(_MD, plots.REFERENCE, residue, each.md)]
    curves += [plots.Curve(_MODEL, plots.PREDICTION, residue, x) for x in each.sampled]
    curves.append(plots.Curve(_NETWORK, _OF_NETWORK, residue, each.network))
    label = f'residue of {each.name} ({each.length_ns:.3g} ns)'
    panels.append(plots.Panel(curves, label, 'CA RMSF (Å)', whole=True))
  figure = plots.row(panels)
  for axes in figure.axes:
    axes.set_ylim(0.0, None)
    first, *ours, network = axes.lines
    first.set_linewidth(2.2)
    for line in ours:
      line.set_linewidth(0.9)
    network.set_linestyle('--')
  return figure


def draw_speed(rows: Sequence[dict[str, Any]]) -> 'mpl_figure.Figure':
  """Seconds for a trajectory against residues, at the lengths that all curves have."""
  from matplotlib import ticker

  known = [row | {'name': _LABELS[row['name']]} for row in rows if row['name'] in _LABELS]
  common = set.intersection(
    *({r['length'] for r in known if r['name'] == name} for name in {r['name'] for r in known})
  )
  curves = results.scaling([row for row in known if row['length'] in common])
  figure = results.draw({label.split(', ')[0]: curve for label, curve in curves.items()})
  figure.set_size_inches(6.4, 3.4)
  (axes,) = figure.axes
  axes.set_ylabel(f'seconds for {known[0]["num_frames"]} frames')
  axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
  axes.yaxis.set_major_formatter('{x:g}')
  axes.yaxis.set_minor_locator(ticker.NullLocator())
  return figure


def _png(figure: 'mpl_figure.Figure') -> bytes:
  stream = io.BytesIO()
  figure.savefig(stream, format='png', dpi=_DPI, metadata={'Software': None})
  return stream.getvalue()


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_list(
    'names',
    [],
    'Proteins that move, one column each. Default: those that are held out.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'flexible', list(_FLEXIBLE), 'Proteins of benchmarks.physics, a panel each.', flag_values=values
  )
  flags.DEFINE_string(
    'simulated', str(held_out.SIMULATED), 'Directory with our own MD.', flag_values=values
  )
  flags.DEFINE_string('data', '../shared/data', 'Directory with MD of others.', flag_values=values)
  flags.DEFINE_string('model', 'default', 'Model: "default" or a directory.', flag_values=values)
  flags.DEFINE_integer('seed', 0, 'Random seed of the samples.', lower_bound=0, flag_values=values)
  flags.DEFINE_integer(
    'num_frames', 24, 'Frames of the animation, at most.', lower_bound=2, flag_values=values
  )
  flags.DEFINE_string(
    'speed',
    str(_RESULTS / 'sampling_2_cores.json'),
    'Rows that experiments.benchmark wrote.',
    flag_values=values,
  )
  flags.DEFINE_string('out', 'docs/pictures', 'Directory to write into.', flag_values=values)


def main(values: flags.FlagValues) -> None:
  """Samples, draws and writes."""
  extras.require('matplotlib', 'report')
  compilation_cache.use()
  trained = model.load_model(values.model)
  simulated = pathlib.Path(values.simulated)
  every = held_out.targets(simulated, None)
  default = [target.name for target in every if target.kind == held_out.PROTEIN]
  chosen = held_out.choose(every, values.names or default, 'names')
  cases = physics.cases(simulated, pathlib.Path(values.data).expanduser())
  flexible = physics.named('flexible', values.flexible, cases)
  motions = [make_motion(trained, x, values.num_frames, values.seed) for x in chosen]
  found = [make_flexibility(trained, case, values.seed) for case in flexible]
  rows = json.loads(pathlib.Path(values.speed).read_text())
  for name, content in (
    ('motion.gif', draw_motion(motions, trained.dt_ns)),
    ('flexibility.png', _png(draw_flexibility(found))),
    ('speed.png', _png(draw_speed(rows))),
  ):
    path = pathlib.Path(values.out) / name
    files.write_bytes(path, content)
    print(f'{path}: {len(content) / 1024:.0f} KiB')


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
