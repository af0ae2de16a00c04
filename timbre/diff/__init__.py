"""What changed between two versions of the voice, for the person who reviews it: words, clips, rights, knobs, rates.

    snapshot   a version's files, from git or the work tree      outs       what DVC keeps, by its hash
    lock       dvc.lock, and which stages it is behind            rows       transcripts, read as they are
    lines      which line became which                            wording    which words of a line changed
    clips      cut anew, moved, or leaking                        compare    all of it together, as a Report
    report     what a comparison found, as records                verdict    the line that is read first
    sections   a Report as headings, tables and lists             document   what those are made of
    render     their marks: Markdown, HTML, plain text; JSON      history    a line per version

Everything is read from git and from small tables; nothing needs the audio, and nothing imports a model's library.
"""
