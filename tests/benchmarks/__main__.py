"""`make bench`: Falcon-7B's rows where there is a GPU, ratios on falcon-tiny and SmolLM2 where there is none."""

from tests.benchmarks import falcon_7b, training_step

falcon_7b.main() if falcon_7b.GPU else training_step.main()
