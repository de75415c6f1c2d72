"""Bodies other than JSON: one array, one image or one table, as bytes that other tools write already.

    media         what a header says: the type of a body, the codings that a client takes
    compression   gzip, deflate and zstd, both ways, bounded
    npy, raw      one array of numbers
    image         one picture as pixels
    table         rows of columns as CSV
    choice        which of these a model takes, and the arrays that its engine is given for one

Pure: bytes in, arrays out. Whatever a client sends, the only errors are refusals with a sentence.
"""
