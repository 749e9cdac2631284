"""nftables: running ``nft`` on one table of the project's own, and the table of a component.

Below hub and component alike: it knows neither peers nor policies.
"""
