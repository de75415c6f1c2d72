"""Which rows the engine computes next, and which requests are refused: decisions only, on times that the caller gives.

    costs.py      what a batch of n rows will take, learned from those that ran
    queue.py      the requests of one lane in order, and the next batch of them
    lasting.py    whether more is asked than can be done, or only a burst has come
    scheduler.py  whose turn it is among lanes that share an engine thread; admission by predicted finish

Pure: no thread, no clock, no event loop; a simulation runs hours of it in a second.
"""
