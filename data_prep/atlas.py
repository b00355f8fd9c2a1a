"""`python -m data_prep.atlas` is the command `tempo-jax prepare atlas`."""

from tempo_jax.cli import command, prepare_atlas

if __name__ == '__main__':
  command.launch(prepare_atlas)
