"""`python -m hf_gpt`, and with it `accelerate launch -m hf_gpt`."""

from .cli import main


main()
