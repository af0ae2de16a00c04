"""Pages that Timbre serves. `app` says who may ask, `server` runs a page for this machine, a folder each is a page."""
