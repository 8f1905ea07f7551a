def grpo_steps(drawn, trained, step_tokens, iterations):
    return (2 * drawn + 4 * trained) // ((2 + 4 * iterations) * step_tokens)
