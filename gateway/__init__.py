"""HTTP: events in, decisions out, answers in, and the pages. It decides nothing.

::

    POST /v1/events --callers--> bodies --edge--> accept.lua --> rb:events:<p> --> (the flow)
                                  |                                                   |
                                 422                  replies <-- rb:reply:<gateway> --+
                                                        |
    200 <-----------------------------------------------+-- deadline (fail policy) when late

Clear values end in `edge`: behind it there are tokens and seals only. Whatever a request writes
goes out through `turns`: the writes of one turn of the event loop are one pipeline.
"""
