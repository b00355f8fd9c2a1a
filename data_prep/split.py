"""`python -m data_prep.split` is the command `tempo-jax prepare split`."""

from tempo_jax.cli import command, prepare_split

if __name__ == '__main__':
  command.launch(prepare_split)
