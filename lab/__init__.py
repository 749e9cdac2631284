"""A network on one machine: namespaces for hosts, a router namespace for the internet between them.

For the demo, the system tests and the benchmarks. Needs root. Nothing is made in the machine's own
namespace; everything ends with the processes that hold the namespaces.
"""
