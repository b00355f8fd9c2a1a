"""Trajectories in 3-D, in a page that opens offline: HTML and our own small script.

One canvas with the backbone as a cartoon and, where they are known, the side chains as sticks.
`head` goes once into the page's head, `viewer` wherever a trajectory is to be seen.
"""

import base64
import html
import importlib.resources
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from tempo_jax.evaluation.series import Clip
from tempo_jax.report import plots
from tempo_jax.report import sticks as sticks_lib

# Å, of the embedded coordinates; also in cartoon.js. Side chains reach 7.4 Å from their CA.
_UNIT, _STICK_UNIT = 0.01, 0.06
_BEYOND_CA = 2.0, 5.0  # Å, of backbones and of side chains, around the CA atoms.
_COLOURS = (plots.REFERENCE, plots.PREDICTION, '#d9730d', '#2e8b57')
MAX_CLIPS = len(_COLOURS)
_CSS = """
.viewer canvas { display: block; width: 100%; border: 1px solid #ddd; border-radius: 4px;
  cursor: grab; touch-action: pan-y; box-sizing: border-box; }
.viewer canvas:active { cursor: grabbing; }
.viewer-bar { display: flex; flex-wrap: wrap; gap: 0.4rem 0.6rem; align-items: center;
  margin-top: 0.5rem; font-size: 0.9rem; }
.viewer-bar input[type=range] { flex: 1 1 8rem; min-width: 6rem; }
.viewer-bar output { min-width: 6em; font-variant-numeric: tabular-nums; }
.viewer-bar button { font: inherit; min-width: 2.2rem; height: 2.2rem; border: 1px solid #bbb;
  border-radius: 4px; background: #f6f6f6; color: inherit; cursor: pointer; }
.viewer-bar button:hover { background: #e8e8e8; }
.viewer-bar select { font: inherit; padding: 0.2rem; }
.viewer-bar label { white-space: nowrap; }
"""


def head() -> str:
  """Style and script, for the head of a page with viewers."""
  folder = importlib.resources.files(__package__)
  script = '\n'.join(folder.joinpath(f'{x}.js').read_text('utf-8') for x in ('cartoon', 'viewer'))
  return f'<style>{_CSS}</style><script>\n{script}</script>'


def viewer(
  clips: Sequence[Clip],
  chain_index: np.ndarray,
  bonded: np.ndarray,
  sticks: sticks_lib.Sticks | None = None,
  *,
  height: int = 420,
) -> str:
  """A figure to rotate, zoom and play, by mouse, finger or keyboard.

  Several clips are shown side by side or overlaid, at the same time of each. If any has no times,
  frames are counted instead.

  Args:
    clips: one to four; of longer lists the first four are shown.
    chain_index: [L], ascending.
    bonded: [L] bool, residue i is bonded to i + 1; elsewhere the cartoon is interrupted.
    sticks: which side chains there are; those of clips that have them are shown.
    height: of the canvas, CSS pixels.

  Returns:
    HTML; the page's head needs `head()`.

  Raises:
    ValueError: coordinates that are not finite.
  """
  clips = clips[:MAX_CLIPS]
  times, unit = _times(clips)
  ca = [clip.ca.astype(np.float64) for clip in clips]
  if not all(np.isfinite(x).all() for x in ca):
    raise ValueError('positions are not finite')
  centre, axes = _view(ca[0])
  ca = [(x - centre) @ axes for x in ca]
  has_sticks = sticks is not None and any(clip.heavy_atoms is not None for clip in clips)
  length = len(chain_index)
  distance = np.concatenate([np.linalg.norm(x, axis=-1).ravel() for x in ca])
  data: dict[str, Any] = {
    'length': length,
    # Chains end where the next one starts, or where a bond is missing.
    'breaks': np.flatnonzero(~np.asarray(bonded[:-1], bool) | (np.diff(chain_index) != 0)).tolist(),
    'chains': [0, *(np.flatnonzero(np.diff(chain_index)) + 1).tolist()],
    # A few atoms that flew off shall not make the rest small.
    'radius': round(float(np.percentile(distance, 98.0)) + _BEYOND_CA[has_sticks], 2),
    # The slider runs over the frames of the one that goes on the longest.
    'times': max(times, key=lambda of_clip: (of_clip[-1], len(of_clip))),
    'unit': unit,
    'clips': [
      {'label': clip.label, 'colour': colour, 'times': of_clip, **_coordinates(clip, x, axes)}
      for clip, colour, of_clip, x in zip(clips, _COLOURS, times, ca, strict=False)
    ],
  }
  if sticks is not None and has_sticks:
    data['sticks'] = {
      'residue': sticks.residue.tolist(),
      'elements': sticks.elements,
      'bonds': sticks.bonds.ravel().tolist(),
    }
    for clip, encoded in zip(clips, data['clips'], strict=True):
      if clip.heavy_atoms is not None:
        from_ca = sticks.from_ca(clip.heavy_atoms).astype(np.float64) @ axes
        encoded['side'] = _encoded(from_ca / _STICK_UNIT, np.int8)
  return _figure(clips, data, height)


def _times(clips: Sequence[Clip]) -> tuple[list[list[float]], str]:
  """Time, or number from 1, of every frame shown, and which of both."""
  known = [clip.time_ns for clip in clips if clip.time_ns is not None]
  timed = len(known) == len(clips)
  found = known if timed else [clip.frame + 1.0 for clip in clips]
  return [[float(f'{time:.6g}') for time in of_clip] for of_clip in found], (
    'ns' if timed else 'frame'
  )


def _view(ca: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Centre [3] and axes [3, 3] of a view from the side: longest extent across, least in depth."""
  mean = ca.mean(axis=0)
  centre = mean.mean(axis=0)
  axes = np.linalg.svd(mean - centre)[2].T
  # A rotation, lest the picture be a mirror image.
  return centre, axes * np.array([1.0, 1.0, np.linalg.det(axes)])


def _coordinates(clip: Clip, ca: np.ndarray, axes: np.ndarray) -> dict[str, str]:
  """The backbone of a clip, whose CA are given in the view's axes."""
  return {
    'xyz': _encoded(ca / _UNIT, np.int16),
    'plane': _encoded(127.0 * clip.carbonyl.astype(np.float64) @ axes, np.int8),
    'structure': ''.join(map(str, clip.structure.ravel().tolist())),
  }


def _encoded(numbers: np.ndarray, kind: type[np.signedinteger]) -> str:
  """Whole numbers, the nearest that there are: a CA farther out than 327 Å is drawn there."""
  limit = np.iinfo(kind).max
  whole = np.clip(np.rint(numbers), -limit, limit).astype(np.dtype(kind).newbyteorder('<'))
  return base64.b64encode(whole.tobytes()).decode()


def _figure(clips: Sequence[Clip], data: dict[str, Any], height: int) -> str:
  several, chains = len(clips) > 1, len(data['chains']) > 1
  colours = {'residue': 'N (blue) to C (red)', 'structure': 'helix, strand'}
  if chains:
    colours['chain'] = 'chain'
  if several:
    colours['clip'] = 'trajectory'
  choices = [_select('colour', 'colour', colours)]
  if several:
    choices.insert(0, _select('layout', 'show', {'side': 'side by side', 'over': 'overlaid'}))
    choices += [
      f'<label><input type="checkbox" data-clip checked> {html.escape(clip.label)}</label>'
      for clip in clips
    ]
  if 'sticks' in data:
    choices.append(
      '<label><input type="checkbox" data-choose="sticks" checked> side chains</label>'
    )
  names = ', '.join(clip.label for clip in clips)
  caption = (
    'Cartoon of the backbone, helices and strands by DSSP in every frame'
    + (', side chains as sticks (N blue, O red, S yellow)' if 'sticks' in data else '')
    + '; frames superposed on the same structure'
    + (f', coordinates of {_counts(clips)}' if any(map(_is_thinned, clips)) else '')
    + '. Neighbours farther apart than 4.5 Å are joined by a thin line. Drag or arrow keys: '
    'rotate; wheel (after a click) or + and -: zoom; 0: back; space: play; comma and full stop: '
    'frame by frame' + ('; s: side chains.' if 'sticks' in data else '.')
  )
  # In a script element, nothing but this could end it.
  text = json.dumps(data, separators=(',', ':')).replace('<', '\\u003c')
  return (
    '<figure class="viewer" role="group" aria-label="Trajectory in 3-D">'
    f'<script type="application/json">{text}</script>'
    f'<canvas tabindex="0" role="img" style="height:{height}px" '
    f'aria-label="{html.escape(f"{names}: moving cartoon. Arrow keys rotate, + and - zoom.")}">'
    '</canvas><div class="viewer-bar">'
    + _button('previous', '◀❘', 'previous frame')
    + _button('play', '▶', 'play')
    + _button('next', '❘▶', 'next frame')
    + f'<input type="range" min="0" max="{len(data["times"]) - 1}" value="0" aria-label="frame">'
    '<output></output>'
    + _button('farther', '−', 'zoom out')
    + _button('closer', '+', 'zoom in')
    + _button('reset', '⟲', 'first view')
    + f'</div><div class="viewer-bar">{"".join(choices)}</div>'
    f'<figcaption>{html.escape(caption)}</figcaption>'
    '<noscript>Needs JavaScript, which is off.</noscript></figure>'
  )


def _is_thinned(clip: Clip) -> bool:
  return len(clip.frame) < clip.num_frames


def _counts(clips: Sequence[Clip]) -> str:
  return ' and '.join(
    f'{len(clip.frame)} of {clip.num_frames} frames ({clip.label})' for clip in clips
  )


def _select(name: str, label: str, options: dict[str, str]) -> str:
  inner = ''.join(f'<option value="{value}">{text}</option>' for value, text in options.items())
  return f'<label>{label} <select data-choose="{name}">{inner}</select></label>'


def _button(action: str, sign: str, label: str) -> str:
  return f'<button type="button" data-do="{action}" aria-label="{label}">{sign}</button>'
