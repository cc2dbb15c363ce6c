"""What runs the course's notebooks: the command line, papermill, refresh and the book. Nothing outside imports it."""
