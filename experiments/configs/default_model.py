"""The bundled model: two small proteins in implicit solvent at 320 K, 0.2 and 0.01 ns.

Data (data_prep/simulated/, ours, 13 ns in all):
  for NAME in 2jof cln025; do python -m data_prep.trajectories \
    --topology=data_prep/simulated/$NAME/$NAME.pdb --store=STORE --temperature_K=320 \
    --trajectories=data_prep/simulated/$NAME/${NAME}_R1.xtc,data_prep/simulated/$NAME/${NAME}_R2.xtc
  done
Launch: python -m experiments.train --config=experiments/configs/default_model.py --workdir=RUN \
          --config.data.store=STORE
The weights in the package are older, of the paper's objective (WORKSPACE_NOTES.md).
The last tenth of every trajectory is held out; that is too short for a coarse window, so only the
fine level is validated. Cost: an hour on one core. What it reaches: WORKSPACE_NOTES.md.
"""

from experiments.configs import quickstart


def get_config(variant: str = ''):
  """Returns the configuration."""
  config = quickstart.get_config(variant)
  # Trp-cage (20 residues) and CLN025 (10) padded to one length: one compilation.
  config.data.buckets = (24,)
  # CLN025 unfolds in these data: time has a direction.
  config.data.reversal = 0.0
  config.data.train_block = (0.0, 0.9)
  config.data.validation_block = (0.9, 1.0)
  config.train.num_steps = 6_000
  config.train.teacher_forcing_steps = 3_000
  return config
