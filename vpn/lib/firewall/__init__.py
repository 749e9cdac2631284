"""Who may reach whom through the hub: the policy, its file, and the nftables table that it becomes."""
