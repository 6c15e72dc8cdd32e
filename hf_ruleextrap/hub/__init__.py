"""Repositories as folders: the files that the Hub holds, to be opened by the same line of code from disk."""
