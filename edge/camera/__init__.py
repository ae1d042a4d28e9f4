"""Where pictures of the door come from, one file a kind of source, and the loop that keeps one running.

Nothing here looks at what a picture shows, stores one or names one in a log. `address` chooses the source and loads
its libraries only then: on a Raspberry Pi `address`, `raspberry` and `capture` run under the system Python, which has
numpy and picamera2 and nothing else of ours.
"""
