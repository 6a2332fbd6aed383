"""From the matrix and the templates to every generated file."""
