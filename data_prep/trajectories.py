"""`python -m data_prep.trajectories` is the command `tempo-jax prepare trajectories`."""

from tempo_jax.cli import command, prepare_trajectories

if __name__ == '__main__':
  command.launch(prepare_trajectories)
