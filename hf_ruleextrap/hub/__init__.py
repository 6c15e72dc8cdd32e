"""Repositories as folders. The same line of code opens a folder on disk and its repository on the Hub."""
