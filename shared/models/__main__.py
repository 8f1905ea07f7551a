"""`python -m shared.models` fetches the weights of profile `small` ahead; exit status 1 where they cannot be had."""

from shared.models.weights import main

main()
