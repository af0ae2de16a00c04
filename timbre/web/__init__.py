"""The review page's server: `desk` is what lies on the desk, `peaks` draws the sound, `server` is the way to them."""
