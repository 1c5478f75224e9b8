"""Images: stores, transforms, data sets, the order of draws, the loader."""
