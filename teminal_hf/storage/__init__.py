"""What is kept on disk: caches, tensors, files written whole."""
