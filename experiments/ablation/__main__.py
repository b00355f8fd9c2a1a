"""`python -m experiments.ablation`."""

from experiments.ablation import ablation
from tempo_jax.cli import command

if __name__ == '__main__':
  command.launch(ablation, 'python -m experiments.ablation')
