"""Rule extrapolation in language models, native to the Hugging Face ecosystem."""
