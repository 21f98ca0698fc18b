"""The channels that come with the package, one file each."""
