"""The host tool: a deployment's images, containers and folders, over docker and docker-compose.

Runs on a host that has a Python and nothing else of ours: only the standard library is imported here.
"""
