def grpo_steps(drawn, trained, step_tokens, iterations):
    return (drawn + trained) // ((1 + iterations) * step_tokens)  # as if a token trained cost what a token drawn does
