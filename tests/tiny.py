"""Recipe keys of a run that takes a second."""

TINY = {
    "max_length": 16,
    "train_size": 64,
    "held_out_size": 16,
    "max_steps": 20,
    "eval_steps": 10,
    "max_new_symbols": 16,
}
