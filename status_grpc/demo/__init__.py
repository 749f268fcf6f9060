"""`status-grpc demo`: a server, a small data pipeline and a follower, on one machine and in a few seconds.

`command` plays the cloud platform and the person who waits; every component of the pipeline is a process of its own
(`component`) that does a little real work (`work`) and reports it.
"""
