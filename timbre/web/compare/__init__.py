"""The blind listening page: which of these voices do people prefer, on this machine or in one file to send."""
