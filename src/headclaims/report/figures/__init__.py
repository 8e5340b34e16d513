"""Forms of figure, one a file: the file `scatter_plane.py` registers the form `scatter-plane`."""
