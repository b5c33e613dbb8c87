"""What transforms. A Polars frame in, a new frame out; one table a module, its schema beside it."""
