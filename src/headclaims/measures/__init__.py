"""What is measured of a head: category scores, the write-up's rules, ablations, maps, communities, steering."""
