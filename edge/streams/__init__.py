"""Video as a source of frames: files, RTSP, HTTP and webcams, played into edge/intake.py.

    address.py   which URIs there are, and what of them may be shown
    wanted.py    what somebody asks a stream to be; how that is kept
    reader.py    PyAV: a source opened, bounded, its frames one after the other
    clock.py     when a frame was, and whether it is its turn: broken timestamps, pace, frame rate
    motion.py    whether anything moved
    still.py     one frame of video as a JPEG
    player.py    a thread: open, read, sift, hand over; when it breaks, again
    feed.py      on the event loop: the newest frame → JPEG → intake
    progress.py  what happened so far
    streams.py   all of them: bounded, kept on disk, taken away cleanly

Only reader.py and still.py import PyAV, and they are imported when the first stream is played: an edge without streams
does not pay for it. clock.py and still.py know nothing of the edge; `midstream send` reads videos with them, too.
"""
