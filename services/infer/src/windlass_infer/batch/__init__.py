"""Batch inference: every row of a Dataset version or of raw files, once, into Parquet parts.

    options      of the command line
    command      options to a run's spec
    run          a run from its spec to its manifest
    plan         what a run was asked for, and what that came to; whoever writes it owns the output folder
    versions     by number, or the newest
    inputs       the files of the input, their bytes checked
    records      pieces of text to whole records, so many at a time
    reading      a file to partitions: rows of columns
    columns      one column as values that a transform takes
    tensors      columns to the inputs of a tensor version
    encoding     columns to the arrays of an engine; names the row that is wrong
    writing      an engine's answers to the bytes of a Parquet part
    parts        the parts and the manifest in the store, create-only
    progress     how far it is
    pipeline     reads ahead, predicts and writes at the same time

pyarrow is imported here alone: a server that answers requests never pays for it.
"""
