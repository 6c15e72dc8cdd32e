"""Training: the Hugging Face Trainer runs a recipe and leaves a run folder with a scored checkpoint."""
