"""One folder a dialect.  Pure: frames in, neutral events out; neutral commands in, frames out."""
