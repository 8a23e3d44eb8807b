"""Public tests of order: readers of their files, what they ask, and any encoder put through them."""
