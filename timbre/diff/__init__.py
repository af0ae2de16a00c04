"""What changed between two versions of the voice, for the person who reviews it: words, clips, rights, knobs, rates.

    snapshot   a version's files, from git or the work tree      lock       dvc.lock, and which stages it is behind
    outs       what DVC keeps, by its hash                        remote     the default remote, asked with patience
    version    all of that together: what one side has           rows       transcripts, read as they are
    lines      which line became which                            wording    which words of a line changed
    clips      cut anew, moved, leaking, or unlike the others     doubts     lines that are likely wrong
    totals     how much there is                                  rights     sources, speakers and their consent
    rates      measures, gates and samples                        runs       a version's run in MLflow
    compare    all of it together, as a Report                    report     what a comparison found, as records
    verdict    the line that is read first                        sounds     samples to hear, before and after
    sections/  a Report as headings, tables and lists             document   what those are made of
    render     a format: markdown, html, terminal; JSON           history    a line per version
    preferences  what people said in listening tests          plot       the history as a picture

Everything is read from git and from small tables; nothing needs the audio, and nothing imports a model's library.
"""
