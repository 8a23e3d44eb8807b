"""Doctor, preview and the page to try a model on."""
