"""`python -m data_prep.trajectories`, see `tempo_jax.preparation.trajectories`."""

from tempo_jax.preparation import trajectories

if __name__ == '__main__':
  trajectories.launch()
