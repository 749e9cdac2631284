"""What the hub serves: metrics and the page, over real HTTP, with wg0 and nft as stand-ins."""
