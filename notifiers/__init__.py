"""ASK and HEAR: how a question reaches the customer, and how the answer comes back.

Nothing here decides. The flow says what is asked and which answer counts; the notifier carries::

    rb:challenges --read--> outbox --durable?--> claim --> channel ----------> customer
                              |  (SQLite)        (fence)   xmpp, memory, web      |
    rb:answers   <--push-- effects <--- scrub <--- understand <--- hear <---------+
    rb:audit     <--+

One adapter is one file; the catalogue of all of them is `notifiers.catalogue.CHANNELS`.
"""
