"""`python -m data_prep.simulate` is the command `tempo-jax prepare simulate`."""

from tempo_jax.cli import command, prepare_simulate

if __name__ == '__main__':
  command.launch(prepare_simulate)
