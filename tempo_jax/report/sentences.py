"""What each picture of a protein says, in one plain sentence, from its numbers."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tempo_jax.evaluation.series import EnsembleSeries, ProteinSeries, ReplicaSeries
from tempo_jax.evaluation.series_kinetics import KineticSeries
from tempo_jax.evaluation.series_side_chains import SideChainSeries
from tempo_jax.metrics import interfaces as interfaces_lib
from tempo_jax.metrics import validity

_CHANGED = 0.5  # Of the probability of a contact.


def number(value: float, digits: int = 2) -> str:
  """With so many significant digits, no exponent: '0.012', '1.3', '120'."""
  if value == 0.0 or not math.isfinite(value):
    return '0' if value == 0.0 else '–'
  places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
  return f'{value:.{places}f}'.replace('-', '−')


def percent(share: float) -> str:
  """A share in percent; what is not all or nothing is written as such."""
  value = 100.0 * share
  if 0.0 < value < 0.5:
    return 'less than 1 %'
  return f'{min(99, round(value)) if value < 100.0 else 100} %'


def ranking(values: Mapping[str, float | None], prediction: str) -> str:
  """Which columns of the table the prediction is closer to MD than, by root mean W2.

  Args:
    values: of each column, Å; None where there is none.
    prediction: its name among them.
  """
  ours = values.get(prediction)
  others = {name: x for name, x in values.items() if x is not None and name != prediction}
  if ours is None or not others:
    return ''
  ordered = sorted(others, key=lambda name: (others[name], name))
  named = {name: f'{name} ({others[name]:.2f} Å)' for name in ordered}
  beaten = [named[name] for name in ordered if others[name] > ours]
  rest = [named[name] for name in ordered if others[name] <= ours]
  text = f'By root mean W2 the prediction ({ours:.2f} Å)'
  if beaten:
    text += f' is closer to MD than {_joined(beaten)}'
  if rest:
    text += (', but not closer' if beaten else ' is not closer to MD') + f' than {_or(rest)}'
  return f'{text}.'


def residue(names: Sequence[str], index: int) -> str:
  """Its number in the pictures, from 1, and its name, if it is known: '7 (LEU 12)'."""
  return f'{index + 1} ({names[index]})' if names else str(index + 1)


def flexibility(curves: ProteinSeries) -> str:
  """RMSF of both, and where it differs most."""
  ours, theirs = curves.prediction.rmsf, curves.reference.rmsf
  if ours is None or theirs is None:
    return ''
  at = int(np.argmax(np.abs(ours - theirs)))
  return (
    f'Residues of the prediction fluctuate by {ours.mean():.1f} Å on average, those of MD by '
    f'{theirs.mean():.1f} Å; the difference is largest at residue '
    f'{residue(curves.names, at)}, {ours[at]:.1f} Å against {theirs[at]:.1f} Å.'
  )


def over_time(curves: ProteinSeries) -> str:
  """Means over all frames."""
  parts = []
  kinds: tuple[tuple[str, str, Callable[[ReplicaSeries], np.ndarray | None]], ...] = (
    ('{} Å from the native structure', '.1f', lambda r: r.rmsd),
    ('has a radius of gyration of {} Å', '.1f', lambda r: r.radius_of_gyration),
    ('keeps {} % of the native contacts', '.0f', _percent_of_contacts),
  )
  for text, form, values in kinds:
    ours, theirs = (_mean(side, values) for side in (curves.prediction, curves.reference))
    if ours is not None and theirs is not None:
      verb = 'is ' if text.startswith('{}') else ''
      parts.append(f'{verb}{text.format(format(ours, form))} (MD: {theirs:{form}})')
  return f'On average the prediction {_joined(parts)}.' if parts else ''


def _percent_of_contacts(replica: ReplicaSeries) -> np.ndarray | None:
  return None if replica.native_contacts is None else 100.0 * replica.native_contacts


def _mean(
  side: EnsembleSeries, values: Callable[[ReplicaSeries], np.ndarray | None]
) -> float | None:
  found = [x for replica in side.replicas if (x := values(replica)) is not None]
  return float(np.concatenate(found).mean()) if found else None


def free_energy(curves: ProteinSeries) -> str:
  """Cells of PC1 and PC2 that both visit."""
  found = curves.recovery
  if found is None:
    return ''
  shared = round(found.recall * found.num_reference_states)
  return (
    f'Of the {found.num_reference_states} cells (of 10 × 10 over PC1 and PC2) that MD visits, the '
    f'prediction visits {shared}, in which MD spends {percent(found.recovery_rate)} of its time; '
    f'{percent(1.0 - found.hit_rate)} of the predicted frames are where MD never is.'
  )


def contacts(curves: ProteinSeries) -> str:
  """Contacts that come or go."""
  ours, theirs = curves.prediction.contacts, curves.reference.contacts
  if ours is None or theirs is None:
    return ''
  change = np.triu(ours - theirs)
  formed, broken = int(np.sum(change > _CHANGED)), int(np.sum(change < -_CHANGED))
  i, j = map(int, np.unravel_index(np.argmax(np.abs(change)), change.shape))
  if formed or broken:
    text = (
      f'{_count(formed, "contact")} {_is(formed)} more probable by {_CHANGED:g} in the prediction '
      f'than in MD, and {broken} less probable'
    )
  else:
    text = f'No contact is more or less probable by {_CHANGED:g} in the prediction than in MD'
  return (
    f'{text}; residues {residue(curves.names, i)} and {residue(curves.names, j)} differ most, '
    f'in contact in {percent(ours[i, j])} of the predicted frames and in '
    f'{percent(theirs[i, j])} of those of MD.'
  )


def interfaces(curves: ProteinSeries) -> str:
  """What chains that touch keep of their contacts, and how often they come apart."""
  kept = [
    [r.interface_contacts for r in side.replicas if r.interface_contacts is not None]
    for side in (curves.prediction, curves.reference)
  ]
  if not all(kept) or not kept[0][0].size:
    return ''
  ours, theirs = (np.concatenate(each) for each in kept)
  apart = [percent(float(np.mean(each < interfaces_lib.APART))) for each in (ours, theirs)]
  chains = 'The two chains that touch keep' if ours.shape[1] == 1 else 'Chains that touch keep'
  return (
    f'{chains} {percent(ours.mean())} of their native contacts in the prediction and '
    f'{percent(theirs.mean())} in MD; they are apart in {apart[0]} of the predicted frames and in '
    f'{apart[1]} of those of MD.'
  )


def backbone_torsions(curves: ProteinSeries) -> str:
  """Shares of the helical region, of the extended one and of positive phi."""
  both = [side.ramachandran for side in (curves.prediction, curves.reference)]
  if any(counts is None or not counts.any() for counts in both):
    return ''
  ours, theirs = (_regions(counts) for counts in both if counts is not None)
  return (
    f'Residues of the prediction are helical in {percent(ours[0])} of all cases, extended in '
    f'{percent(ours[1])}, and at positive phi in {percent(ours[2])}; in MD these are '
    f'{percent(theirs[0])}, {percent(theirs[1])} and {percent(theirs[2])}.'
  )


def _regions(counts: np.ndarray) -> tuple[float, float, float]:
  """Shares of phi < 0 with psi from -120 to 50°, phi < 0 with other psi, and phi > 0."""
  middle = -180.0 + 360.0 * (np.arange(len(counts)) + 0.5) / len(counts)
  share = counts / counts.sum()
  negative = share[middle < 0.0]
  helical = float(negative[:, (middle > -120.0) & (middle < 50.0)].sum())
  total = float(negative.sum())
  return helical, total - helical, 1.0 - total


def states(found: KineticSeries) -> str:
  """How many states the prediction visits, and how long it stays in the first."""
  ours, theirs = found.prediction, found.reference
  if ours is None:
    return f'The prediction is in no state: {found.reason}.'
  of_md = theirs.shares > 0.0
  visited = int(np.sum(ours.shares[of_md] > 0.0))
  halves = ' and '.join(percent(x) for x in found.half_shares[:, 0])
  return (
    f"The prediction visits {visited} of MD's {int(of_md.sum())} states, and spends "
    f'{percent(ours.shares[0])} of its time in the one where MD spends {percent(theirs.shares[0])} '
    f'(the halves of MD: {halves}).'
  )


def passage_times(found: KineticSeries) -> str:
  """Whether the prediction is too fast or too slow between states; why there is no answer."""
  theirs = found.reference.passage_times_ns
  ours = None if found.prediction is None else found.prediction.passage_times_ns
  if theirs is None:
    return f'MD itself has no passage times: {found.reference.reason}.'
  if ours is None:
    why = found.reason if found.prediction is None else found.prediction.reason
    return f'The prediction has no passage times: {why}.'
  ratio, correlation, pairs = compared(ours, theirs)
  if not pairs:
    return 'No two states are connected in both, so that no passage times can be compared.'
  factor = 10.0 ** abs(ratio)
  speed = (
    'as long as those of MD'
    if factor < 1.05
    else f'{number(factor)} times {"longer" if ratio > 0.0 else "shorter"} than those of MD'
  )
  text = f'Passage times of the prediction are {speed} (geometric mean of {pairs} pairs of states)'
  if correlation is not None:
    text += f', and their logarithms correlate by {correlation:.2f}'.replace('-', '−')
    halves = found.half_passage_times_ns
    ceiling = None if halves is None else compared(halves[0], halves[1])[1]
    if ceiling is not None:
      text += f'; those of the halves of MD by {ceiling:.2f}'.replace('-', '−')
  return f'{text}.'


def compared(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float | None, int]:
  """Mean difference of decimal logarithms, their correlation, and of how many pairs of states.

  Args:
    ours: [K, K] ns, NaN where not connected.
    theirs: [K, K] ns.

  Returns:
    The correlation is None of two states or fewer (`markov_comparison`), or of equal times.
  """
  there = np.isfinite(ours) & np.isfinite(theirs) & ~np.eye(len(ours), dtype=bool)
  a, b = np.log10(ours[there]), np.log10(theirs[there])
  if not a.size:
    return 0.0, None, 0
  defined = a.size > 2 and np.ptp(a) > 1e-9 and np.ptp(b) > 1e-9
  correlation = float(np.corrcoef(a, b)[0, 1]) if defined else None
  return float(np.mean(a - b)), correlation, int(a.size)


def time_scales(found: KineticSeries) -> str:
  """The slowest implied time scales of both, and whether their errors can tell them apart."""
  sides = [s for s in (found.prediction, found.reference) if s is not None]
  row = int(np.argmin(np.abs(found.lags_ns - found.lag_ns)))
  slowest = [(s.time_scales_ns[row, 0], s.time_scale_errors_ns[row, 0]) for s in sides]
  if len(slowest) < 2 or not all(math.isfinite(value) for value, _ in slowest):
    return ''
  ours, theirs = (_with_error(*each) for each in slowest)
  text = (
    f'The slowest motion between states takes {ours} ns in the prediction and {theirs} ns in MD'
  )
  error = math.hypot(*(e for _, e in slowest))
  if math.isfinite(error) and error > 0.0:
    ratio = abs(slowest[0][0] - slowest[1][0]) / error
    text += f', a difference of {number(ratio)} standard errors'
  return f'{text}.'


def _with_error(value: float, error: float) -> str:
  """To the first digit of the error."""
  if not (math.isfinite(error) and error > 0.0):
    return number(value)
  places = max(0, -math.floor(math.log10(error)))
  return f'{value:.{places}f} ± {error:.{places}f}'


def autocorrelations(curves: ProteinSeries) -> str:
  """How much of the torsions' memory is left when MD has lost most of its own."""
  name = 'phi and psi'
  both = [s.autocorrelations.get(name) for s in (curves.prediction, curves.reference)]
  if both[0] is None or both[1] is None:
    return ''
  (our_lags, ours), (lags, theirs) = both[0], both[1]
  within = lags <= our_lags[-1]
  below = np.flatnonzero((theirs < math.exp(-1.0)) & within)
  at = int(below[0]) if below.size else int(np.flatnonzero(within)[-1])
  left = float(np.interp(lags[at], our_lags, ours))
  return (
    f'After {lags[at]:.3g} ns the autocorrelation of phi and psi is {left:.2f} in the '
    f'prediction and {theirs[at]:.2f} in MD.'
  ).replace('-', '−')


def side_chains(found: SideChainSeries) -> str:
  """How many side chains have MD's rotamer, and which differs most."""
  theirs, ours = found.populations[:, :, 0]
  judged = np.flatnonzero(~np.isnan(theirs).all(axis=1) & ~np.isnan(ours).all(axis=1))
  if not judged.size:
    return ''
  theirs, ours = np.nan_to_num(theirs[judged]), np.nan_to_num(ours[judged])
  favoured = theirs.argmax(axis=1)
  same = int(np.sum(ours.argmax(axis=1) == favoured))
  lost = np.abs(ours - theirs)[np.arange(len(judged)), favoured]
  worst = int(np.argmax(lost))
  well = favoured[worst]
  angle = round(math.degrees(found.wells[judged[worst], 0, well]))
  return (
    f'Of {_count(len(judged), "side chain")}, {same} {"has" if same == 1 else "have"} the most '
    f'frequent chi1 rotamer of MD most of the time; residue '
    f'{residue(found.names, int(judged[worst]))} differs most, at {angle}° in '
    f'{percent(ours[worst, well])} of the predicted frames and in {percent(theirs[worst, well])} '
    'of MD.'
  )


def validity_of(curves: ProteinSeries) -> str:
  """Frames with a broken chain, and with clashes."""
  counted = [_faults(side.replicas) for side in (curves.prediction, curves.reference)]
  if counted[0] is None or counted[1] is None:
    return ''
  (frames, broken, clashing), (all_md, broken_md, clashing_md) = counted[0], counted[1]
  return (
    f'Of {_count(frames, "predicted frame")}, {broken} {_has(broken)} a broken chain and '
    f'{clashing} {_has(clashing)} clashes; of {all_md} of MD, {broken_md} and {clashing_md}.'
  )


def _faults(replicas: Sequence[ReplicaSeries]) -> tuple[int, int, int] | None:
  frames = broken = clashing = 0
  for each in replicas:
    low, high, bond, clashes = each.ca_ca_min, each.ca_ca_max, each.c_n_max, each.clashes
    if low is None or high is None or bond is None or clashes is None:
      return None
    frames += len(low)
    broken += int(validity.is_broken(low, high, bond).sum())
    clashing += int(np.count_nonzero(clashes))
  return (frames, broken, clashing) if frames else None


def _count(value: int, noun: str) -> str:
  return f'{value} {noun}' + ('' if value == 1 else 's')


def _is(value: int) -> str:
  return 'is' if value == 1 else 'are'


def _has(value: int) -> str:
  return 'has' if value == 1 else 'have'


def _or(parts: Sequence[str]) -> str:
  return ' or '.join(filter(None, (', '.join(parts[:-1]), parts[-1])))


def _joined(parts: Sequence[str]) -> str:
  return parts[0] if len(parts) == 1 else f'{", ".join(parts[:-1])} and {parts[-1]}'
