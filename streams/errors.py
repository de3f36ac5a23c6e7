"""What can go wrong with what we depend on; each error says whether trying again can help.

::

    StreamsError
    └── StoreError                 the store refuses, and will again: rights, a wrong command, another program's keys
        └── StoreUnavailable       weather: no connection, loading, full, read-only, a failover (retriable)
            └── StoreReplyInvalid  an answer that is not to our question; the connection is dropped (retriable)

Infrastructure errors must not leave an agent's body, or its batch counts as processed: retriable ones are tried again in place, others
stop the worker.
"""


class StreamsError(Exception):
    """Base of what goes wrong around us. ``retriable`` says whether the same call may succeed later."""

    retriable = False


class StoreError(StreamsError):
    """The store answers, and will answer the same again."""


class StoreUnavailable(StoreError):  # noqa: N818 - a state of the store, not a mistake
    """The store cannot be written to just now."""

    retriable = True


class StoreReplyInvalid(StoreUnavailable):
    """An answer that does not fit the question."""
