"""Training: a recipe, the Hugging Face Trainer, and a run folder with a scored checkpoint."""
